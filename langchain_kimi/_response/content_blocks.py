"""Reads LangChain's standard content blocks off our messages: reasoning, then text, then tool calls."""

from collections.abc import Iterable
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, ContentBlock
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import ReasoningContentBlock, TextContentBlock

from langchain_kimi._raw_calls import CALLS, PROVIDER, REASONING, call_blocks


def register_block_translator() -> None:
    """Register the functions by which LangChain reads `content_blocks` off messages of this provider."""
    register_translator(PROVIDER, message_blocks, chunk_blocks)


def message_blocks(message: AIMessage) -> list[ContentBlock]:
    """The blocks of a whole message. Invalid tool calls are not among them, as in LangChain's own translators."""
    return [*_reasoning_and_text(message), *_as_blocks(message.tool_calls)]


def chunk_blocks(chunk: AIMessageChunk) -> list[ContentBlock]:
    """The blocks of a chunk or of joined chunks: tool call chunks, and whole tool calls after the last chunk."""
    if chunk.chunk_position != "last":
        return [*_reasoning_and_text(chunk), *_as_blocks(chunk.tool_call_chunks)]
    # The last chunk by itself has the raw calls and none of their chunks.
    calls = chunk.additional_kwargs.get(CALLS, ()) if chunk.tool_call_chunks else ()
    return [*_reasoning_and_text(chunk), *_as_blocks(call_blocks(calls))]


def _reasoning_and_text(message: AIMessage) -> list[ContentBlock]:
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
