"""Estimates the tokens of a request, without a server or a tokeniser.

A token of Kimi's is about four characters of English, or one and a half to two of Chinese. So the estimate is one token
for four ASCII characters, and one for five UTF-8 bytes of anything else (1.7 Chinese or 2.5 Cyrillic characters). The
tokens of an image or a video depend on what it shows, so that each counts as a fixed number. The overhead of a request
depends on the model: about 15 tokens were recorded with K2.5 and 85 with K3, and `PER_REQUEST` is in between.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_kimi._raw_calls import is_call_block, raw_calls, reasoning_block_text, reasoning_text

PER_REQUEST = 40
"""The tokens of a request without its messages and tools."""
PER_MESSAGE = 5
"""The tokens of a message without its content: its role and its ends."""
PER_CALL = 12
"""The tokens of a tool call without its name, id and arguments."""
PER_IMAGE = 1_024
PER_VIDEO = 8 * PER_IMAGE

_ASCII_CHARACTERS_PER_TOKEN = 4
_OTHER_BYTES_PER_TOKEN = 5
_MIN_DATA = 1_000
"""A longer value of a block's data fields is the content of a file."""
_CALL_BLOCKS_OF_OTHER_PROVIDERS = ("tool_use", "function_call")


def count(messages: Sequence[BaseMessage], tools: Sequence[Any] = ()) -> int:
    """The tokens of a request with these messages and tools, reasoning and tool-call arguments included.

    `tools`: in any form that `bind_tools` takes, or as declared on the wire.
    """
    return PER_REQUEST + count_messages(messages) + count_tools(tools)


def at_least(estimate: int) -> int:
    """The tokens that a text of so many estimated tokens has at the least: half of them.

    For prose the estimate is up to a fifth too high; for columns of spaces and other repetitions, more.
    """
    return estimate // 2


def count_certain(messages: Iterable[BaseMessage]) -> int:
    """The tokens of the messages that a model reads in any case.

    Reasoning does not count, because a model may not read it again, nor do images and videos, whose tokens are not
    known.
    """
    return sum(count_message(message) - _count_uncertain(message) for message in messages)


def count_messages(messages: Iterable[BaseMessage]) -> int:
    """The tokens of the messages."""
    return sum(map(count_message, messages))


def count_message(message: BaseMessage) -> int:
    """The tokens of one message."""
    total = PER_MESSAGE + _count_content(message)
    if isinstance(message, AIMessage):
        total += count_reasoning(message)
        if message.tool_calls or message.invalid_tool_calls:
            calls = raw_calls(message)
            total += sum(
                PER_CALL + count_text(call["name"]) + count_text(call["id"] or "") + count_text(call["arguments"])
                for call in calls
            )
    elif call_id := getattr(message, "tool_call_id", None):
        total += count_text(call_id)
    elif isinstance(message, SystemMessage) and isinstance(tools := message.additional_kwargs.get("tools"), list):
        total += count_tools(tools)
    return total


def count_reasoning(message: AIMessage) -> int:
    """The tokens of a message's reasoning."""
    return count_text(reasoning_text(message) or "")


def count_text(text: str) -> int:
    """The tokens of a text; never 0 for one that is not empty."""
    if text.isascii():
        return -(-len(text) // _ASCII_CHARACTERS_PER_TOKEN)
    ascii_bytes = len(text.encode("ascii", "ignore"))
    other_bytes = len(text.encode("utf-8", "replace")) - ascii_bytes
    return -(-ascii_bytes // _ASCII_CHARACTERS_PER_TOKEN) - (-other_bytes // _OTHER_BYTES_PER_TOKEN)


def count_json(encoded: bytes) -> int:
    """The tokens of encoded JSON."""
    return -(-len(encoded) // _ASCII_CHARACTERS_PER_TOKEN) if encoded.isascii() else count_text(encoded.decode())


def count_tools(tools: Iterable[Any]) -> int:
    """The tokens of the declarations of tools."""
    return sum(count_text(_declaration(tool)) for tool in tools)


def _count_content(message: BaseMessage) -> int:
    """The tokens of a message's texts, images and videos, without its reasoning and tool calls."""
    if isinstance(message.content, str):
        return count_text(message.content)
    return sum(count_text(block) if isinstance(block, str) else _count_block(block) for block in message.content)


def _count_block(block: Mapping[str, Any]) -> int:
    kind = block.get("type")
    if kind in ("text", "text-plain") and isinstance(block.get("text"), str):
        return count_text(block["text"])
    if is_call_block(block) or kind in _CALL_BLOCKS_OF_OTHER_PROVIDERS or reasoning_block_text(block) is not None:
        return 0
    return _count_media(block) or count_text(_json(block))


def _count_media(block: Mapping[str, Any]) -> int:
    """The tokens of an image, a video or a file; 0 for any other block."""
    media_type = str(block.get("mime_type") or block.get("type"))
    if media_type.startswith("video"):
        return PER_VIDEO
    return PER_IMAGE if media_type.startswith("image") or _has_data(block) else 0


def _count_uncertain(message: BaseMessage) -> int:
    """The tokens of a message's reasoning, images and videos."""
    total = count_reasoning(message) if isinstance(message, AIMessage) else 0
    if isinstance(message.content, str):
        return total
    blocks = (block for block in message.content if isinstance(block, dict) and reasoning_block_text(block) is None)
    return total + sum(map(_count_media, blocks))


def _has_data(block: Mapping[str, Any]) -> bool:
    """Whether a block holds the content of a file."""
    values = [block.get(key) for key in ("base64", "data", "source", "file")]
    inner = [value.get("data") or value.get("file_data") if isinstance(value, Mapping) else value for value in values]
    return any(isinstance(value, str) and len(value) > _MIN_DATA for value in inner)


def _declaration(tool: Any) -> str:
    """The tool as JSON, in OpenAI's format where it can be converted to it."""
    tool = getattr(tool, "kimi_declaration", tool)
    if isinstance(tool, Mapping) and isinstance(tool.get("type"), str) and ("function" in tool or "name" not in tool):
        return _json(tool)
    try:
        return _json(convert_to_openai_tool(tool))
    except (ValueError, TypeError, NotImplementedError):
        return _json(tool) if isinstance(tool, Mapping) else str(tool)


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        return str(value)
