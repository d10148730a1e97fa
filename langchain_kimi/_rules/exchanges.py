"""Sorts the messages of a wire request for the rules in one pass, so that each rule reads only what concerns it."""

from dataclasses import dataclass, field
from typing import Any

ROLES = ("system", "user", "assistant", "tool")

WireMessage = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CheckedPrefix:
    """What rules need to know of the beginning of a transcript without violations.

    A rule on messages reads one message, one exchange, or the request as a whole. The first two
    find nothing in the prefix again, as long as the conditions of the request are the same; the last reads the totals
    that are stored here.
    """

    conditions: tuple[Any, ...] = ()
    """`WireRequest.conditions` of the request that was checked."""
    length: int = 0
    """How many messages it has."""
    call_ids: frozenset[str] = frozenset()
    dynamic_tools: tuple[tuple[int, WireMessage], ...] = ()


NOTHING_CHECKED = CheckedPrefix()


@dataclass(slots=True)
class Exchange:
    """An assistant message with tool calls, and the tool messages directly after it."""

    at: int
    message: WireMessage
    calls: list[str]
    """The ids of its calls; empty where a call has none."""
    answers: list[tuple[int, str]] = field(default_factory=list)
    """Index and `tool_call_id` of each answer."""


@dataclass(slots=True)
class WireTranscript:
    """The messages of a request by kind; integers are indices into the messages of the whole request.

    Behind a checked prefix, lists hold the messages after it only, except for those that say otherwise.
    """

    length: int = 0
    """The number of all messages."""
    earlier_call_ids: frozenset[str] = frozenset()
    """The ids of the calls in the prefix."""
    unknown_roles: list[tuple[int, str]] = field(default_factory=list)
    """Messages with a role that is not one of ROLES, and that role."""
    plain: list[tuple[int, WireMessage]] = field(default_factory=list)
    """Assistant messages without tool calls."""
    exchanges: list[Exchange] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    """Tool messages that do not follow an assistant message with tool calls."""
    parts: list[tuple[int, str, int, Any]] = field(default_factory=list)
    """Message, role, position and content part, for content that is an array."""
    dynamic_tools: list[tuple[int, WireMessage]] = field(default_factory=list)
    """All messages that declare tools, those of the prefix too."""


def read_transcript(messages: object, after: CheckedPrefix = NOTHING_CHECKED) -> WireTranscript:
    """Sort the messages of a request behind a checked prefix. Anything that is no array reads as no messages."""
    new = messages if isinstance(messages, list) else []
    transcript = WireTranscript(after.length + len(new), after.call_ids, dynamic_tools=list(after.dynamic_tools))
    exchange: Exchange | None = None
    for at, message in enumerate(new, after.length):
        if not isinstance(message, dict):
            message = {}
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str):
            role = ""
        if isinstance(content, list):
            transcript.parts += [(at, role, index, part) for index, part in enumerate(content)]
        if message.get("tools") is not None:
            transcript.dynamic_tools.append((at, message))
        if role == "tool":
            if exchange is None:
                transcript.orphans.append(at)
            else:
                exchange.answers.append((at, _text(message.get("tool_call_id"))))
            continue
        exchange = None
        if role == "assistant":
            calls = message.get("tool_calls")
            if calls and isinstance(calls, list):
                exchange = Exchange(at, message, [_call_id(call) for call in calls])
                transcript.exchanges.append(exchange)
            else:
                transcript.plain.append((at, message))
        elif role not in ROLES:
            transcript.unknown_roles.append((at, role))
    return transcript


def _call_id(call: object) -> str:
    return _text(call.get("id")) if isinstance(call, dict) else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
