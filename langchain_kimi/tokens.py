"""How many tokens a request has, estimated here: nothing is sent, loaded or downloaded.

Kimi's tokeniser packs about four characters of English and, of Chinese, one and a half to two characters in a token.
Text is counted by that: a token is four ASCII characters, or five UTF-8 bytes of anything else (1.7 Chinese or 2.5
Cyrillic characters). Pictures and videos cost what they show, which cannot be known here: each counts as a fixed
number. What a request costs beside its messages depends on the model (recorded were about 15 tokens with K2.5 and 85
with K3); `REQUEST` is in between.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_kimi._raw_calls import REASONING, is_call_block, raw_calls

REQUEST = 40
"""Tokens of a request beside its messages and tools."""
MESSAGE = 5
"""Tokens of a message's frame: its role and its ends."""
CALL = 12
"""Tokens of a tool call beside its name, id and arguments."""
IMAGE = 1_024
VIDEO = 8 * IMAGE

_CHARACTERS = 4
_BYTES = 5
_LONG_DATA = 1_000
_CALLS_OF_OTHERS = ("tool_use", "function_call")


def count(messages: Sequence[BaseMessage], tools: Sequence[Any] = ()) -> int:
    """The tokens of a request of these messages and tools, their thinking and argument strings included.

    `tools` come in any form that `bind_tools` takes, or as they are declared on the wire.
    """
    return REQUEST + count_messages(messages) + count_tools(tools)


def at_least(messages: Iterable[BaseMessage], tools: Sequence[Any] = ()) -> int:
    """The tokens that a request of these messages surely has: half of what their texts and tools are estimated at.

    For prose the estimate is up to a fifth too high; columns of spaces and other repetitions take fewer tokens still.
    Thinking does not count, since a model may not read it again, nor do pictures and videos, whose cost is not known.
    """
    texts = (count_message(message) - _count_uncertain(message) for message in messages)
    return (sum(texts) + count_tools(tools)) // 2


def count_messages(messages: Iterable[BaseMessage]) -> int:
    """The tokens of messages alone."""
    return sum(map(count_message, messages))


def count_message(message: BaseMessage) -> int:
    """The tokens of one message."""
    total = MESSAGE + _content(message)
    if isinstance(message, AIMessage):
        total += count_reasoning(message)
        if message.tool_calls or message.invalid_tool_calls:
            calls = raw_calls(message)
            total += sum(
                CALL + count_text(call["name"]) + count_text(call["id"] or "") + count_text(call["arguments"])
                for call in calls
            )
    elif call_id := getattr(message, "tool_call_id", None):
        total += count_text(call_id)
    elif isinstance(message, SystemMessage) and isinstance(brought := message.additional_kwargs.get("tools"), list):
        total += count_tools(brought)
    return total


def count_reasoning(message: AIMessage) -> int:
    """The tokens of a message's thinking, which may stand in `additional_kwargs`, in blocks or in both."""
    kept = message.additional_kwargs.get(REASONING)
    if isinstance(kept, str):
        return count_text(kept)
    if isinstance(message.content, str):
        return 0
    thoughts = (_thought(block) for block in message.content if isinstance(block, dict))
    return sum(count_text(thought) for thought in thoughts if thought)


def count_text(text: str) -> int:
    """The tokens of a text; never 0 for one that is not empty."""
    if text.isascii():
        return -(-len(text) // _CHARACTERS)
    plain = len(text.encode("ascii", "ignore"))
    rest = len(text.encode("utf-8", "replace")) - plain
    return -(-plain // _CHARACTERS) - (-rest // _BYTES)


def count_tools(tools: Iterable[Any]) -> int:
    """The tokens of the declarations of tools."""
    return sum(count_text(_declaration(tool)) for tool in tools)


def _content(message: BaseMessage) -> int:
    """The tokens of what is said and shown, without thinking and calls."""
    if isinstance(message.content, str):
        return count_text(message.content)
    return sum(count_text(block) if isinstance(block, str) else _block(block) for block in message.content)


def _block(block: Mapping[str, Any]) -> int:
    kind = block.get("type")
    if kind in ("text", "text-plain") and isinstance(block.get("text"), str):
        return count_text(block["text"])
    if is_call_block(block) or kind in _CALLS_OF_OTHERS or _thought(block) is not None:
        return 0
    return _medium(block) or count_text(_json(block))


def _medium(block: Mapping[str, Any]) -> int:
    """The tokens of a picture, a video or a file; 0 for any other block."""
    medium = str(block.get("mime_type") or block.get("type"))
    if medium.startswith("video"):
        return VIDEO
    return IMAGE if medium.startswith("image") or _holds_data(block) else 0


def _count_uncertain(message: BaseMessage) -> int:
    """The tokens of a message's thinking, pictures and videos."""
    total = count_reasoning(message) if isinstance(message, AIMessage) else 0
    if isinstance(message.content, str):
        return total
    blocks = (block for block in message.content if isinstance(block, dict) and _thought(block) is None)
    return total + sum(map(_medium, blocks))


def _thought(block: Mapping[str, Any]) -> str | None:
    """The text of a block of thinking, Kimi's or another model's; None for any other block."""
    match block:
        case {"type": "reasoning", "reasoning": str(text)} | {"type": "thinking", "thinking": str(text)}:
            return text
        case {"type": "reasoning" | "thinking" | "redacted_thinking"}:
            return ""
    return None


def _holds_data(block: Mapping[str, Any]) -> bool:
    values = [block.get(key) for key in ("base64", "data", "source", "file")]
    inner = [value.get("data") or value.get("file_data") if isinstance(value, Mapping) else value for value in values]
    return any(isinstance(value, str) and len(value) > _LONG_DATA for value in inner)


def _declaration(tool: Any) -> str:
    """The tool as JSON, in OpenAI's format where it can be brought into that."""
    own = getattr(tool, "kimi_declaration", tool)
    if isinstance(own, Mapping) and isinstance(own.get("type"), str) and ("function" in own or "name" not in own):
        return _json(own)
    try:
        return _json(convert_to_openai_tool(own))
    except (ValueError, TypeError, NotImplementedError):
        return _json(own) if isinstance(own, Mapping) else str(own)


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        return str(value)
