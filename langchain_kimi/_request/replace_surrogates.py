"""Halves of characters, which no host can be sent: replaced before anything else looks at a message.

Python holds surrogates (U+D800 to U+DFFF) in texts that were cut or read wrongly; UTF-8 has no form for them.
"""

import re
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_kimi._request.encode_cache import Print, fingerprints
from langchain_kimi._request.settings import Note
from langchain_kimi._surrogates import replaced, replaced_in

REPLACED = Note(
    "surrogates",
    "The request holds half a character (a lone surrogate, U+D800 to U+DFFF), which cannot be sent. U+FFFD is sent in "
    "its place; your messages and settings keep it. Look for text that was cut inside an emoji or decoded wrongly.",
)
RULE = "surrogates"
"""The rule of the change in a tool's declaration."""

_MARSHALLED = re.compile(rb"\xed[\xa0-\xbf]")
"""How `marshal` writes a surrogate; other bytes may look so too."""
_TEXTS = ("content", "additional_kwargs", "name", "tool_call_id", "tool_calls", "invalid_tool_calls", "role")


def clean_message(message: BaseMessage) -> BaseMessage:
    """A copy of the message without surrogates in what is sent of it; the very message where it has none."""
    held = message.__dict__
    changed: dict[str, Any] = {}
    for name in _TEXTS:
        if name in held and (clean := replaced_in(held[name])) is not held[name]:
            changed[name] = clean
    return message.model_copy(update=changed) if changed else message


def clean_transcript(
    messages: Sequence[BaseMessage], prints: Sequence[Print], known: int
) -> tuple[Sequence[BaseMessage], Sequence[Print]]:
    """The messages without surrogates, with their fingerprints; the very ones where there are none.

    The first `known` messages are not looked at as long as those behind them hold no surrogate.
    """
    if not any(_may_hold(prints, at) for at in range(known, len(messages))):
        return messages, prints
    clean = [clean_message(one) if _may_hold(prints, at) else one for at, one in enumerate(messages)]
    if all(new is old for new, old in zip(clean, messages, strict=True)):
        return messages, prints
    anew = [one if clean[at] is messages[at] else fingerprints([clean[at]])[0] for at, one in enumerate(prints)]
    return clean, anew


def _may_hold(prints: Sequence[Print], at: int) -> bool:
    """Whether the message may hold a surrogate; one without a fingerprint always may."""
    if at >= len(prints):
        return True
    _, text, rest = prints[at]
    return (text is not None and replaced(text) is not text) or (
        b"\xed" in rest and _MARSHALLED.search(rest) is not None
    )
