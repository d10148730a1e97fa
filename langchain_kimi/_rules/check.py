"""Applies the rules to a request, as a whole or behind a prefix that was checked before."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_kimi._rules.exchanges import NOTHING_CHECKED, CheckedPrefix, read_transcript
from langchain_kimi._rules.messages import MESSAGES
from langchain_kimi._rules.request import Rule, Violation, WireRequest, row_of, thinking_of
from langchain_kimi._rules.settings import SETTINGS
from langchain_kimi._rules.tools import TOOLS
from langchain_kimi._rules.whole_request import WHOLE_REQUEST

RULES: tuple[Rule, ...] = WHOLE_REQUEST + SETTINGS + TOOLS + MESSAGES


def check(
    body: Mapping[str, Any],
    *,
    size: int | None = None,
    elsewhere: bool = False,
    after: CheckedPrefix = NOTHING_CHECKED,
    rules: Sequence[Rule] = RULES,
) -> list[Violation]:
    """Everything that Kimi would refuse in a body of POST /v1/chat/completions, in the order of the rules.

    `size` is the length of the whole body in bytes; None leaves it unchecked. `elsewhere` says that the request goes to
    another host than Kimi's own, which samples more freely. With `after`, the body holds only the messages behind that
    prefix, and the result is as for the whole request if `is_valid_prefix` is true. An unknown model is held to the
    protocol only: shapes, names, schemas, ids and pairing. Never raises on odd JSON.
    """
    request = WireRequest(body, size=size, elsewhere=elsewhere, after=after)
    return [
        Violation(rule.name, path, message, rule.way_out, rule.status, rule.type)
        for rule in rules
        for path, message in rule.find(request)
    ]


def is_valid_prefix(prefix: CheckedPrefix, body: Mapping[str, Any]) -> bool:
    """Whether a body of the messages behind the prefix may be checked alone.

    False where the body has other conditions than the prefix was checked under, and where its first message is a tool
    message, which belongs to the exchange before it.
    """
    if not prefix.length:
        return True
    return prefix.conditions == WireRequest(body).conditions and not _is_tool(body["messages"][:1])


def checked_prefix(body: Mapping[str, Any], count: int, after: CheckedPrefix = NOTHING_CHECKED) -> CheckedPrefix | None:
    """The prefix `after` with the first `count` messages of a body without violations.

    None where the prefix would be empty or end within an exchange.
    """
    messages = body["messages"]
    if after.length + count == 0 or _is_tool(messages[count : count + 1]):
        return None
    transcript = read_transcript(messages[:count], after)
    ids = frozenset(call_id for exchange in transcript.exchanges for call_id in exchange.calls if call_id)
    return CheckedPrefix(
        WireRequest(body).conditions, transcript.length, after.call_ids | ids, tuple(transcript.dynamic_tools)
    )


def thinks(body: Mapping[str, Any]) -> bool | None:
    """Whether the model thinks on this request, by its row and the `thinking` field; None for an unknown model."""
    return thinking_of(row_of(body), body)


def _is_tool(messages: Sequence[Any]) -> bool:
    return any(isinstance(message, dict) and message.get("role") == "tool" for message in messages)
