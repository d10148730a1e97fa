"""Estimates the tokens of a request, without a server or a tokeniser.

The frames that the chat template puts around messages, calls and tools are known; texts and pictures are estimated
by `langchain_kimi._token_estimates`. A picture whose size is not known, and any video, counts as a fixed number. Where
no frames are given, those of K3 count; K2 models have fewer tokens around each part.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_kimi._picture_sizes import picture_size
from langchain_kimi._raw_calls import is_call_block, raw_calls, reasoning_block_text, reasoning_text
from langchain_kimi._token_estimates import K3, Frames, count_picture, count_schema
from langchain_kimi._token_estimates import count_text as count_text
from langchain_kimi._token_estimates import frames_of as frames_of

PER_IMAGE = 1_024
"""The tokens of a picture whose size is not known, such as an uploaded one."""
PER_VIDEO = 8 * PER_IMAGE

_TOOL_NAME = 2
"""The tokens of the name of a tool that a tool message does not say."""
_MIN_DATA = 1_000
"""A longer value of a block's data fields is the content of a file."""
_CALL_BLOCKS_OF_OTHER_PROVIDERS = ("tool_use", "function_call")


def count(
    messages: Sequence[BaseMessage], tools: Sequence[Any] = (), *, frames: Frames = K3, thinks: bool = True
) -> int:
    """The tokens of a request with these messages and tools, reasoning and tool-call arguments included.

    `tools`: in any form that `bind_tools` takes, or as declared on the wire. `thinks`: whether the model thinks.
    """
    return (
        per_request(frames, thinks=thinks)
        + count_messages(messages, frames=frames, thinks=thinks)
        + count_tools(tools, frames=frames)
    )


def per_request(frames: Frames = K3, *, thinks: bool = True) -> int:
    """The tokens of a request without its messages and tools."""
    return frames.request + (frames.effort if thinks else 0)


def at_least(estimate: int) -> int:
    """The tokens that a text of so many estimated tokens has at the least: half of them.

    For prose the estimate is up to a fifth too high; for rows of dashes and other repetitions, more.
    """
    return estimate // 2


def count_certain(messages: Iterable[BaseMessage]) -> int:
    """The tokens of the messages that a model reads in any case.

    Reasoning does not count, because a model may not read it again, nor do images and videos, whose tokens are not
    known.
    """
    return sum(count_message(message) - _count_uncertain(message) for message in messages)


def count_messages(messages: Iterable[BaseMessage], *, frames: Frames = K3, thinks: bool = True) -> int:
    """The tokens of the messages."""
    return sum(count_message(message, frames=frames, thinks=thinks) for message in messages)


def count_message(message: BaseMessage, *, frames: Frames = K3, thinks: bool = True) -> int:
    """The tokens of one message."""
    total = overhead(message, frames=frames, thinks=thinks) + _count_content(message, frames)
    if isinstance(message, AIMessage):
        total += count_reasoning(message) if thinks else 0
        if message.tool_calls or message.invalid_tool_calls:
            total += sum(count_text(call["name"]) + count_text(call["arguments"]) for call in raw_calls(message))
    elif tools := _brought_tools(message):
        total += sum(count_schema(_declaration(tool)) for tool in tools)
    return total


def overhead(message: BaseMessage, *, frames: Frames = K3, thinks: bool = True) -> int:
    """The tokens that the template puts around the parts of a message."""
    if isinstance(message, AIMessage):
        total = frames.answer + (frames.thinking if thinks else 0)
        calls = len(message.tool_calls) + len(message.invalid_tool_calls)
        arguments = sum(len(call["args"]) for call in message.tool_calls if isinstance(call["args"], dict))
        return total + (frames.calls + frames.call * calls + frames.argument * arguments if calls else 0)
    if isinstance(message, ToolMessage):
        return frames.result + (count_text(message.name) if message.name else _TOOL_NAME)
    return frames.dynamic_tools if _brought_tools(message) else frames.message


def count_reasoning(message: AIMessage) -> int:
    """The tokens of a message's reasoning."""
    return count_text(reasoning_text(message) or "")


def count_tools(tools: Iterable[Any], *, frames: Frames = K3) -> int:
    """The tokens of the declarations of tools, none for no tools."""
    declared = [count_schema(_declaration(tool)) for tool in tools]
    return frames.tools + sum(declared) if declared else 0


def _brought_tools(message: BaseMessage) -> list[Any]:
    """The tools that a system message declares."""
    tools = message.additional_kwargs.get("tools") if isinstance(message, SystemMessage) else None
    return tools if isinstance(tools, list) else []


def _count_content(message: BaseMessage, frames: Frames) -> int:
    """The tokens of a message's texts, images and videos, without its reasoning and tool calls."""
    if isinstance(message.content, str):
        return count_text(message.content)
    return sum(
        count_text(block) if isinstance(block, str) else _count_block(block, frames) for block in message.content
    )


def _count_block(block: Mapping[str, Any], frames: Frames) -> int:
    kind = block.get("type")
    if kind in ("text", "text-plain") and isinstance(block.get("text"), str):
        return count_text(block["text"])
    if is_call_block(block) or kind in _CALL_BLOCKS_OF_OTHER_PROVIDERS or reasoning_block_text(block) is not None:
        return 0
    return _count_media(block, frames) or count_text(_json(block))


def _count_media(block: Mapping[str, Any], frames: Frames) -> int:
    """The tokens of an image, a video or a file; 0 for any other block."""
    media_type = str(block.get("mime_type") or block.get("type"))
    if media_type.startswith("video"):
        return PER_VIDEO
    if not (media_type.startswith("image") or _has_data(block)):
        return 0
    size = next(filter(None, map(picture_size, _data(block))), None)
    return count_picture(*size, frames) if size else PER_IMAGE


def _count_uncertain(message: BaseMessage) -> int:
    """The tokens of a message's reasoning, images and videos."""
    total = count_reasoning(message) if isinstance(message, AIMessage) else 0
    if isinstance(message.content, str):
        return total
    blocks = (block for block in message.content if isinstance(block, dict) and reasoning_block_text(block) is None)
    return total + sum(_count_media(block, K3) for block in blocks)


def _has_data(block: Mapping[str, Any]) -> bool:
    """Whether a block holds the content of a file."""
    return any(len(value) > _MIN_DATA for value in _data(block))


def _data(block: Mapping[str, Any]) -> Iterator[str]:
    """The texts that may be the content of a file, in base64 or as a data URL."""
    for key in ("base64", "data", "url", "image_url", "source", "file"):
        value = block.get(key)
        if isinstance(value, Mapping):
            value = value.get("url") or value.get("data") or value.get("file_data")
        if isinstance(value, str) and not value.startswith(("http:", "https:")):
            yield value


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
