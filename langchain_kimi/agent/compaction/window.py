"""How much of a model's window a request takes, and how much it may take."""

import re
from collections.abc import Sequence
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi import tokens
from langchain_kimi.agent.compaction.plan import is_users
from langchain_kimi.catalogue import DEFAULT_OUTPUT, Model, find

_LIMIT = re.compile(r"(?:token limit\s*:\s*|maximum context length is )(\d+)(?:.*?requested:?\s*(\d+))?", re.DOTALL)


class Window:
    """A model's window: what its requests have, counted as the model counts, and what they may have."""

    def __init__(self, model: BaseChatModel, tools: Sequence[Any], window: int | None, reserve: int | None) -> None:
        row = find(str(getattr(model, "model", None) or getattr(model, "model_name", None)))
        self.ignores_thinking = _ignores_earlier_thinking(model, row)
        """Whether it is known that the model does not read the thinking of earlier user turns."""
        self._window = window or _profile(model).get("max_input_tokens")
        self._reserve = reserve if reserve is not None else _output_cap(model, row, self._window)
        self._tools = tokens.count_tools(tools)
        if self._window is not None and self._reserve >= self._window:
            raise ValueError(
                f"Compaction: no room is left of a window of {self._window} tokens with {self._reserve} in reserve for "
                "the answer. Give a smaller `reserve` or a larger `window`."
            )

    @property
    def room(self) -> int | None:
        """The tokens that a request may have beside the answer's; None where the window is not known."""
        return None if self._window is None else self._window - self._reserve

    def fixed(self, prompt: Sequence[BaseMessage]) -> int:
        """The tokens of a request beside the thread's messages."""
        return tokens.REQUEST + self._tools + tokens.count_messages(prompt)

    def size(self, messages: Sequence[BaseMessage], prompt: Sequence[BaseMessage]) -> int:
        """The tokens of a request with these messages: as recorded, as far as that goes."""
        place = tokens.recorded(messages)
        if place is None:
            total = self.fixed(prompt) + tokens.count_messages(messages)
        else:
            usage = messages[place].usage_metadata  # type: ignore[attr-defined]
            total = usage["input_tokens"] + usage["output_tokens"] + tokens.count_messages(messages[place + 1 :])
        if self.ignores_thinking:
            total -= _outdated_thinking(messages, place)
        return max(total, 0)

    def refused(self, error: BaseException, size: int) -> tuple[int, int]:
        """The room and the size of a request that was refused as too long, where it seemed to have `size` tokens."""
        limit, requested = getattr(error, "limit", None), getattr(error, "requested", None)
        if limit is None and (found := _LIMIT.search(str(error))):
            limit, requested = int(found.group(1)), int(found.group(2) or 0)
        window = min(self._window or limit, limit) if limit else self._window
        if window is None:
            return size, size
        room = window - self._reserve if window > self._reserve else window // 2
        return room, max(size, room, (requested or 0) - self._reserve)


def is_overflow(error: BaseException) -> bool:
    """Whether a model refused a request as too long for its window."""
    return isinstance(error, ContextOverflowError)


def _outdated_thinking(messages: Sequence[BaseMessage], place: int | None) -> int:
    """The tokens of thinking that were counted up to `place`, or everywhere, and are not read any more since the user
    spoke again."""
    end, first = len(messages), 0 if place is None else place + 1
    while end > first and not is_users(messages[end - 1]):
        end -= 1
    if end == first:
        return 0
    counted = end if place is None else place + 1
    total = 0
    for message in reversed(messages[:counted]):
        if place is not None and is_users(message):
            break
        if isinstance(message, AIMessage):
            total += tokens.count_reasoning(message)
    return total


def _ignores_earlier_thinking(model: BaseChatModel, row: Model | None) -> bool:
    """Whether it is known that the model does not read the thinking of earlier user turns."""
    chosen = getattr(model, "extra_body", None) or {}
    if row is None or not hasattr(model, "keep_thinking") or {"thinking", "chat_template_kwargs"} & chosen.keys():
        return False
    return row.keeps == "never" or (row.keeps == "on_request" and not model.keep_thinking)


def _profile(model: BaseChatModel) -> Any:
    return getattr(model, "profile", None) or {}


def _output_cap(model: BaseChatModel, row: Model | None, window: int | None) -> int:
    """What an answer may have: what was asked for, else what the model is known to be asked for."""
    asked = getattr(model, "max_tokens", None)
    most = DEFAULT_OUTPUT if window is None else window // 2
    if isinstance(asked, int) and asked > 0:
        return min(asked, most if window is None else window * 7 // 8)
    if row is not None:
        return min(row.default_output, most)
    named = _profile(model).get("max_output_tokens") or DEFAULT_OUTPUT
    return min(named, most if window is None else window // 4)
