"""Responses of Kimi, whole and as the events of a stream, and what is read from them."""

import json
from typing import Any

from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_kimi._http import SSEParser
from langchain_kimi._raw_calls import reparse_calls
from langchain_kimi._response import ResponseDecoder

HEAD = {"id": "chatcmpl-7", "object": "chat.completion", "created": 1790000000, "model": "kimi-k2.6"}


USAGE = {"prompt_tokens": 300, "completion_tokens": 40, "cached_tokens": 256, "total_tokens": 340}


def whole(message: dict[str, Any], finish: str = "tool_calls") -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": USAGE}


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **more}]}


def sse(events: list[dict[str, Any]]) -> bytes:
    lines = [b"data: " + json.dumps(one, ensure_ascii=False).encode() + b"\n\n" for one in events]
    return b"".join(lines) + b"data: [DONE]\n\n"


def chunks_of(pieces: list[bytes], **settings: Any) -> list[AIMessageChunk]:
    """What a stream of these bytes hands out."""
    answer, events = ResponseDecoder(**settings), SSEParser()
    chunks = [chunk for piece in pieces for data in events.feed(piece) for chunk in answer.chunks(data)]
    chunks += [chunk for data in events.end() for chunk in answer.chunks(data)]
    return chunks + answer.last_chunks()


def read(pieces: list[bytes], **settings: Any) -> AIMessage:
    """The message of a stream, by way of chunks and LangChain's joining, as `invoke` with callbacks takes it."""
    chunks = (ChatGenerationChunk(message=chunk) for chunk in chunks_of(pieces, **settings))
    message = generate_from_stream(chunks).generations[0].message
    assert isinstance(message, AIMessage)
    reparse_calls(message)
    return message


ARGUMENTS = '{"path": "/tmp/ä\\"b",  "lines": [1, 2, {"x": null}], "deep": {"a": [[], {}]}}'


def call(name: str, arguments: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


def delta(*calls: dict[str, Any]) -> dict[str, Any]:
    return event({"tool_calls": list(calls)})


def piece(arguments: Any, **more: Any) -> dict[str, Any]:
    return {"function": {"arguments": arguments}, **more}


def joined(events: list[dict[str, Any]], **settings: Any) -> AIMessageChunk:
    """What a user has who adds up the chunks of `model.stream()`."""
    first, *rest = chunks_of([sse(events)], **settings)
    return first + rest


def of(*events: dict[str, Any], finish: str = "tool_calls", **settings: Any) -> AIMessage:
    return read([sse([*events, event({}, finish)])], **settings)
