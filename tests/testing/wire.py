"""Requests to a `KimiServer` as bytes, and what its responses say."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2

from langchain_kimi import testing
from langchain_kimi.testing import (
    Script,
)

WAIT = 20.0
"""Seconds after which a test gives up on another thread."""
KEY = {"authorization": "Bearer sk-test"}


ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def body(messages: str | list[dict[str, Any]] = "hi", **fields: Any) -> dict[str, Any]:
    return {"model": "kimi-k3", "messages": [user(messages)] if isinstance(messages, str) else messages, **fields}


def ask(
    http: httpx2.Client, server: testing.KimiServer, messages: str | list[dict[str, Any]] = "hi", **fields: Any
) -> httpx2.Response:
    return http.post(f"{server.url}/chat/completions", json=body(messages, **fields))


def message(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["choices"][0]["message"]
    return found


def chunks(answer: httpx2.Response) -> list[dict[str, Any]]:
    """The events of a whole stream, without its `[DONE]`."""
    assert answer.status_code == 200, answer.text
    *events, done, rest = answer.content.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert all(event.startswith(b"data: {") for event in events)
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def deltas(answer: httpx2.Response) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(answer) if chunk["choices"]]


def error(answer: httpx2.Response) -> tuple[int, str, str]:
    assert answer.json().keys() == {"error"}
    return answer.status_code, answer.json()["error"]["type"], answer.json()["error"]["message"]


def cached(answer: httpx2.Response) -> int:
    usage = answer.json()["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": usage["cached_tokens"]}
    found: int = usage["cached_tokens"]
    return found


class KimiServer(testing.KimiServer):
    """Many of these tests leave replies unused, or play broken scripts, on purpose."""

    def __init__(self, script: Script = (), **settings: Any) -> None:
        super().__init__(script, strict=False, **settings)


def opening(index: int, call_id: str) -> dict[str, Any]:
    call = {"index": index, "id": call_id, "type": "function", "function": {"name": "add", "arguments": ""}}
    return {"tool_calls": [call]}


def fragment(index: int, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def read_until(arriving: Iterator[bytes], wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        seen += next(arriving)
    return seen
