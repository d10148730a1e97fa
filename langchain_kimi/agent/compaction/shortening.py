"""Shortens single messages: leaves out reasoning, or the middle of a text."""

from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

from langchain_kimi import tokens
from langchain_kimi._raw_calls import NO_REASONING, PROVIDER, REASONING, REASONING_DETAILS
from langchain_kimi.agent.compaction.archive import message_text
from langchain_kimi.agent.loop_guard import FINGERPRINT, fingerprint

SHORTENED = "kimi_shortened"
"""The key of `additional_kwargs` under which a shortened result has its original length in `characters`, and its `key`
in the archive or None."""

_LEFT_OUT = "\n[… {cut:,} of {all:,} characters were left out here to save space{how} …]\n"


def cut_middle(text: str, size: int, note: str, how: str = "") -> str:
    """A text of more than `size` characters without its middle: two thirds of `size` from its head, a third from its
    tail, and between them the note, a format string with the fields `cut`, `all` (in characters) and `how`.
    """
    if len(text) <= size:
        return text
    tail = size // 3
    note = note.format(cut=len(text) - size, all=len(text), how=how)
    return f"{text[: size - tail]}{note}{text[len(text) - tail :]}"


def cut_to_tokens(text: str, max_tokens: int, how: str = "") -> str:
    """The text without its middle where it has more tokens, with a note of how much is left out."""
    total = tokens.count_text(text)
    if total <= max_tokens:
        return text
    return cut_middle(text, max(len(text) * max_tokens // total, 2), _LEFT_OUT, how)


def shorten_result(result: ToolMessage, max_tokens: int, key: str | None) -> ToolMessage | None:
    """The result with its middle left out; None where it was shortened before, or that would save less than a fifth.

    `key`: the key of the whole result in the archive, which the text then names.
    """
    if SHORTENED in result.additional_kwargs:
        return None
    whole = message_text(result)
    text = cut_to_tokens(whole, max_tokens, "" if key is None else f'; recall(key="{key}") gives all of it')
    if tokens.count_text(text) * 5 > (tokens.count_message(result) - tokens.overhead(result)) * 4:
        return None
    original = {"characters": len(whole), "key": key}
    kwargs = {FINGERPRINT: fingerprint(result), **result.additional_kwargs, SHORTENED: original}
    return result.model_copy(update={"content": text, "additional_kwargs": kwargs})


def without_reasoning(message: AIMessage) -> AIMessage | None:
    """Kimi's message without its reasoning; None where it has none, or nothing else.

    A message with calls has a single space as reasoning, since Kimi refuses such a message without any.
    """
    kwargs = message.additional_kwargs
    if message.response_metadata.get("model_provider", PROVIDER) != PROVIDER or not tokens.count_reasoning(message):
        return None
    has_calls = bool(message.tool_calls or message.invalid_tool_calls)
    if kwargs.get(REASONING) == NO_REASONING or not (has_calls or message.text.strip()):
        return None
    kwargs = {key: value for key, value in kwargs.items() if key not in (REASONING, REASONING_DETAILS)}
    if has_calls:
        kwargs[REASONING] = NO_REASONING
    update: dict[str, Any] = {"additional_kwargs": kwargs}
    if isinstance(message.content, list):
        update["content"] = [
            block for block in message.content if isinstance(block, str) or block.get("type") != "reasoning"
        ]
    return message.model_copy(update=update)
