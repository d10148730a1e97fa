"""The content of messages, LangChain's and those on the wire, as parts."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_kimi._raw_calls import is_call_block, reasoning_block_text
from langchain_kimi._recorded_runs.recorded_run import MessagePart

_TEXT = ("text", "input_text", "output_text")


def message_parts(content: Any) -> tuple[MessagePart, ...]:
    """The parts of a message's content, without reasoning and tool calls."""
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (MessagePart("text", content),)
    if not isinstance(content, list):
        return (MessagePart("other", type(content).__name__),)
    return tuple(_parts_of_blocks(content))


def _parts_of_blocks(blocks: list[Any]) -> Iterator[MessagePart]:
    for block in blocks:
        if isinstance(block, str):
            yield MessagePart("text", block)
        elif not isinstance(block, Mapping):
            yield MessagePart("other", type(block).__name__)
        elif block.get("type") in _TEXT:
            yield MessagePart("text", str(block.get("text", "")))
        elif (url := _picture_url(block)) is not None:
            yield MessagePart("picture", url)
        elif reasoning_block_text(block) is None and not is_call_block(block) and block.get("type") != "tool_use":
            yield MessagePart("other", str(block.get("type")))


def _picture_url(block: Mapping[str, Any]) -> str | None:
    """The URL of a picture, `data:` for one that the block holds; None for any other block."""
    if block.get("type") == "image_url":
        image = block.get("image_url")
        return str(image.get("url") if isinstance(image, Mapping) else image)
    if block.get("type") != "image":
        return None
    source: Mapping[str, Any] = block["source"] if isinstance(block.get("source"), Mapping) else block
    data = source.get("base64") or source.get("data")
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode()
    if isinstance(data, str):
        kind = source.get("mime_type") or source.get("media_type") or "image/png"
        return f"data:{kind};base64,{data}"
    return str(source.get("url") or source.get("file_id") or source.get("id") or "")
