"""The window of a model: how many tokens a request has, and how many it may have."""

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi import tokens
from langchain_kimi._error_responses import overflow_numbers
from langchain_kimi.agent.compaction.message_groups import is_user_message
from langchain_kimi.agent.compaction.recorded_usage import current_usage
from langchain_kimi.agent.model_request import model_name
from langchain_kimi.catalogue import Model, default_output, find


class Window:
    """The window of one model with its tools. Sizes are tokens: reported usage where there is any, else estimates."""

    def __init__(self, model: BaseChatModel, tools: Sequence[Any], window: int | None, reserve: int | None) -> None:
        """`window` and `reserve`: as in `Compaction`."""
        row = find(model_name(model))
        self.ignores_earlier_reasoning = _ignores_earlier_reasoning(model, row)
        """Whether the model is known not to read the reasoning of earlier user turns."""
        self._window = window or _profile(model).get("max_input_tokens")
        self._reserve = reserve if reserve is not None else _output_cap(model, row, self._window)
        self._tools = tokens.count_tools(tools)
        if self._window is not None and self._reserve >= self._window:
            raise ValueError(
                f"Compaction: the reserve for the answer ({self._reserve} tokens) leaves nothing of the window "
                f"({self._window} tokens). Give a smaller `reserve` or a larger `window`."
            )

    @property
    def limit(self) -> int | None:
        """The most tokens of a request, without its answer; None where the window is not known."""
        return None if self._window is None else self._window - self._reserve

    def fixed_size(self, prompt: Sequence[BaseMessage]) -> int:
        """The estimated tokens of a request without the messages of the thread."""
        return tokens.per_request() + self._tools + tokens.count_messages(prompt)

    def size(self, messages: Sequence[BaseMessage], prompt: Sequence[BaseMessage]) -> int:
        """The tokens of a request with these messages."""
        index = current_usage(messages)
        if index is None:
            total = self.fixed_size(prompt) + tokens.count_messages(messages)
        else:
            usage = messages[index].usage_metadata  # type: ignore[attr-defined]
            total = usage["input_tokens"] + usage["output_tokens"] + tokens.count_messages(messages[index + 1 :])
        if self.ignores_earlier_reasoning:
            total -= _unread_reasoning(messages, index)
        return max(total, 0)

    def after_refusal(self, error: BaseException, size: int) -> tuple[int, int]:
        """The limit and the size of a request that was refused as too long, by the numbers in the error.

        `size`: its size as it seemed before.
        """
        limit, requested = overflow_numbers(error)
        window = min(self._window or limit, limit) if limit else self._window
        if window is None:
            return size, size
        limit = window - self._reserve if window > self._reserve else window // 2
        return limit, max(size, limit, (requested or 0) - self._reserve)


def _unread_reasoning(messages: Sequence[BaseMessage], usage_index: int | None) -> int:
    """The tokens of reasoning that `Window.size` counts although a later user message makes the model ignore them.

    `usage_index`: the answer whose usage is counted; it has only the reasoning of its own user turn. None: all messages
    are estimated.
    """
    end, first_estimated = len(messages), 0 if usage_index is None else usage_index + 1
    while end > first_estimated and not is_user_message(messages[end - 1]):
        end -= 1
    if end == first_estimated:
        return 0
    counted = end if usage_index is None else first_estimated
    total = 0
    for message in reversed(messages[:counted]):
        if usage_index is not None and is_user_message(message):
            break
        if isinstance(message, AIMessage):
            total += tokens.count_reasoning(message)
    return total


def _ignores_earlier_reasoning(model: BaseChatModel, row: Model | None) -> bool:
    extra_body = getattr(model, "extra_body", None) or {}
    is_set_by_hand = bool({"thinking", "chat_template_kwargs"} & extra_body.keys())
    if row is None or not hasattr(model, "keep_thinking") or is_set_by_hand:
        return False
    return row.keeps == "never" or (row.keeps == "on_request" and not model.keep_thinking)


def _profile(model: BaseChatModel) -> Any:
    return getattr(model, "profile", None) or {}


def _output_cap(model: BaseChatModel, row: Model | None, window: int | None) -> int:
    """The tokens to reserve for an answer: the model's output cap, within a share of its window."""
    cap = getattr(model, "max_tokens", None)
    if isinstance(cap, int) and cap > 0:
        return min(cap, default_output(None) if window is None else window * 7 // 8)
    if row is not None:
        return min(row.default_output, default_output(None) if window is None else window // 2)
    cap = _profile(model).get("max_output_tokens") or default_output(None)
    return int(min(cap, default_output(None) if window is None else window // 4))
