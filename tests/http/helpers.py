"""Responses of hosts as bytes, and `ChatKimi` asked in each way for them."""

import asyncio
import itertools
import json
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from langchain_core.messages import AIMessage

from langchain_kimi import ChatKimi, create_kimi_agent
from tests.clock import VirtualClock, with_clock
from tests.conftest import KEY
from tests.raw_server import RawServer

WAYS = ["invoke", "ainvoke", "stream", "astream", "invoke, not streamed", "ainvoke, not streamed", "agent"]


HEAD = {"id": "chatcmpl-1", "created": 1790000000, "model": "kimi-k2.6"}


USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def whole(**changes: Any) -> bytes:
    message = {"role": "assistant", "content": "Good day", "reasoning_content": "Hm", **changes}
    finish = "tool_calls" if "tool_calls" in changes else "stop"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return json.dumps({**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps({**HEAD, "object": "chat.completion.chunk", "choices": [choice], **more}).encode()


EVENTS = [
    chunk({"role": "assistant", "reasoning_content": "Hm"}),
    chunk({"content": "Good "}),
    chunk({"content": "day"}),
    chunk({}, "stop", usage=USAGE),
    b"[DONE]",
]


def sse(*events: bytes, end: bytes = b"\n") -> bytes:
    return b"".join(b"data: " + event + end + end for event in events)


def error_body(kind: str = "", message: str = "the host's words", **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, **more}}).encode()


def model(server: RawServer, **settings: Any) -> ChatKimi:
    given: Any = {"model": "kimi-k2.6", "base_url": server.url, "api_key": KEY, "max_retries": 0, "timeout": 30}
    clock = settings.pop("clock", None) or VirtualClock()
    return with_clock(ChatKimi(**(given | settings)), clock)


async def ask(way: str, server: RawServer, **settings: Any) -> AIMessage:
    """The answer in one of the ways; streamed chunks are joined."""
    if "not streamed" in way:
        settings["streaming"] = False
    kimi = model(server, **settings)
    if way == "agent":
        state = await create_kimi_agent(kimi).ainvoke({"messages": [("user", "hi")]})
        message = state["messages"][-1]
    elif way.startswith("ainvoke"):
        message = await kimi.ainvoke("hi")
    elif way.startswith("invoke"):
        message = await asyncio.to_thread(kimi.invoke, "hi")
    elif way == "astream":
        message = None
        async for one in kimi.astream("hi"):
            message = one if message is None else message + one
    else:
        chunks = await asyncio.to_thread(lambda: list(kimi.stream("hi")))
        message = chunks[0]
        for one in chunks[1:]:
            message = message + one
    assert isinstance(message, AIMessage)
    return message


def without_end(piece: bytes, first: bytes = b"") -> Callable[[], Iterable[bytes]]:
    """A body that goes on until the connection is closed."""
    return lambda: itertools.chain([first], itertools.repeat(piece))


def bomb(size: int, first: bytes = b"", piece: bytes = b" " * 1_000_000) -> bytes:
    """Little gzip that holds very much."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(first)] + [packer.compress(piece) for _ in range(size // len(piece))]
    return b"".join(parts) + packer.flush()


GZIP = {"content-encoding": "gzip"}


SSE = "text/event-stream"
