"""Judging only what is new in a transcript whose beginning was judged before.

Why that is enough, once nothing was found in the beginning and no tool message follows it: a rule on messages looks at
one message, at one exchange (an assistant message and the tool messages directly after it), or at everything before it.
A message and an exchange of the beginning are the same in the longer transcript, so nothing is found in them again, as
long as what else the verdict hangs on is the same: the model, whether it thinks, and `json_object`. What is new needs
to know of the beginning no more than the ids of its calls and the tools that it brings along. All other rules look at
no message but the latter. The message before what is new matters to a tool message only; behind the message that
stands for the beginning here, a tool message is a violation.

A suspicion is no verdict: the whole is then judged by `check`, whose words and order are the only ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_kimi._rules.exchanges import Transcript, read
from langchain_kimi._rules.request import Request

_STAND_IN = {"role": "user", "content": "what was judged before"}


@dataclass(frozen=True, slots=True)
class Judged:
    """What must be remembered of the beginning of a transcript in which nothing was found."""

    setting: tuple[Any, ...]
    """What the verdict hangs on besides the messages."""
    call_ids: frozenset[str]
    toolboxes: tuple[dict[str, Any], ...]
    """The messages that bring along tools."""


def judged(request: Mapping[str, Any], count: int) -> Judged | None:
    """The first `count` messages of a request in which `check` finds nothing.

    None for no messages, and where an exchange would be cut.
    """
    messages = request["messages"]
    return _joined(None, request, read(messages[:count])) if count and not _is_tool(messages[count:]) else None


def reduced(known: Judged, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """A short request in which `check` finds something if it would in the whole one.

    `request` holds, of its messages, only those behind `known`. None where the whole has to be judged.
    """
    messages = request["messages"]
    if known.setting != _setting(request):
        return None
    made = (call_id for exchange in read(messages).exchanges for call_id in exchange.calls)
    if not known.call_ids.isdisjoint(made):
        return None
    return {**request, "messages": [_STAND_IN, *known.toolboxes, *messages]}


def longer(known: Judged, request: Mapping[str, Any], count: int) -> Judged | None:
    """The beginning with the first `count` of the new messages of a request in whose reduced form nothing was found."""
    messages = request["messages"]
    return None if _is_tool(messages[count:]) else _joined(known, request, read(messages[:count]))


def _joined(known: Judged | None, request: Mapping[str, Any], seen: Transcript) -> Judged:
    ids = frozenset(call_id for exchange in seen.exchanges for call_id in exchange.calls if call_id)
    boxes = tuple(message for _, message in seen.toolboxes)
    if known is None:
        return Judged(_setting(request), ids, boxes)
    return Judged(known.setting, known.call_ids | ids, known.toolboxes + boxes)


def _setting(request: Mapping[str, Any]) -> tuple[Any, ...]:
    judged_as, wanted = Request(request), request.get("response_format")
    return request.get("model"), judged_as.thinks, isinstance(wanted, dict) and wanted.get("type") == "json_object"


def _is_tool(messages: Any) -> bool:
    """Whether the first of the messages is a tool's."""
    return bool(messages) and isinstance(messages[0], dict) and messages[0].get("role") == "tool"
