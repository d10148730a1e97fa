"""One pass over the messages that sorts them for the rules, so that each rule looks only at what concerns it."""

from dataclasses import dataclass, field
from typing import Any

ROLES = ("system", "user", "assistant", "tool")

Message = dict[str, Any]


@dataclass(slots=True)
class Exchange:
    """An assistant message with tool calls, and the tool messages directly after it."""

    at: int
    message: Message
    calls: list[str]
    """The ids of its calls; empty where a call has none."""
    answers: list[tuple[int, str]] = field(default_factory=list)
    """Index and `tool_call_id` of each answer."""


@dataclass(slots=True)
class Transcript:
    """The messages of a request by kind; integers are indices into `messages`."""

    strangers: list[tuple[int, str]] = field(default_factory=list)
    """Messages with a role that is not one of ROLES, and that role."""
    plain: list[tuple[int, Message]] = field(default_factory=list)
    """Assistant messages without tool calls."""
    exchanges: list[Exchange] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    """Tool messages that no tool call precedes."""
    parts: list[tuple[int, str, int, Any]] = field(default_factory=list)
    """Message, role, position and content part, for content given as an array."""
    toolboxes: list[tuple[int, Message]] = field(default_factory=list)
    """Messages that declare tools."""


def read(messages: object) -> Transcript:
    """Sort the messages of a request. Anything that is no array reads as no messages."""
    seen = Transcript()
    current: Exchange | None = None
    for at, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            message = {}
        role = _text(message.get("role"))
        content = message.get("content")
        if isinstance(content, list):
            seen.parts += [(at, role, index, part) for index, part in enumerate(content)]
        if message.get("tools") is not None:
            seen.toolboxes.append((at, message))
        if role != "tool":
            current = _opened(seen, at, role, message)
        elif current is None:
            seen.orphans.append(at)
        else:
            current.answers.append((at, _text(message.get("tool_call_id"))))
    return seen


def _opened(seen: Transcript, at: int, role: str, message: Message) -> Exchange | None:
    """File a message that is no tool's; the exchange that it opens, if it calls tools."""
    if role not in ROLES:
        seen.strangers.append((at, role))
    if role != "assistant":
        return None
    calls = message.get("tool_calls")
    if not calls or not isinstance(calls, list):
        seen.plain.append((at, message))
        return None
    exchange = Exchange(at, message, [_text(call.get("id")) if isinstance(call, dict) else "" for call in calls])
    seen.exchanges.append(exchange)
    return exchange


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
