"""Our messages as LangChain's standard content blocks: thinking, then text, then tool calls in the answer's order."""

from collections.abc import Iterable
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, ContentBlock
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import ReasoningContentBlock, TextContentBlock

from langchain_kimi._raw_calls import CALLS, PROVIDER, REASONING, call_blocks


def register() -> None:
    """Tell LangChain how to read `content_blocks` off messages of this provider."""
    register_translator(PROVIDER, of_message, of_chunk)


def of_message(message: AIMessage) -> list[ContentBlock]:
    """The blocks of a whole message. As in LangChain's own translators, calls that cannot be run are not among them."""
    return [*_said(message), *_as_blocks(message.tool_calls)]


def of_chunk(chunk: AIMessageChunk) -> list[ContentBlock]:
    """The blocks of a chunk, or of chunks joined: pieces of calls, and whole calls once the last chunk is in."""
    if chunk.chunk_position != "last":
        return [*_said(chunk), *_as_blocks(chunk.tool_call_chunks)]
    # The last chunk by itself has the record of the calls and none of their pieces.
    calls = chunk.additional_kwargs.get(CALLS, ()) if chunk.tool_call_chunks else ()
    return [*_said(chunk), *_as_blocks(call_blocks(calls))]


def _said(message: AIMessage) -> list[ContentBlock]:
    if not isinstance(message.content, str):
        raise NotImplementedError  # LangChain then reads the list by its own rules.
    blocks: list[ContentBlock] = []
    if reasoning := message.additional_kwargs.get(REASONING):
        blocks.append(ReasoningContentBlock(type="reasoning", reasoning=reasoning))
    if message.content:
        blocks.append(TextContentBlock(type="text", text=message.content))
    return blocks


def _as_blocks(calls: Iterable[Any]) -> list[ContentBlock]:
    return [cast("ContentBlock", {**call}) for call in calls]
