"""What a scripted model hears and says: `Request` as received, `Reply` as a test writes it, `Completion` as it is sent.

A script is an iterable of replies, used up in order of arrival, or a function from `Request` to `Reply`:

    [thought("2 + 3").calling("add", a=2, b=3), said("5"), overloaded(), cut_after(said("a long text"), events=3)]

Replies are values: every method returns a new one, so one reply may stand in a script many times.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from langchain_kimi.rules import thinks
from langchain_kimi.testing.dialects import Dialect, read_request, write_part

_WORD = re.compile(r"\s*\S{1,8}|\s+")
_FRAGMENT = re.compile(r"(?s).{1,12}")
_ACCOUNT = "Your account org-4f1d0c2be5a94a6d<ak-e1hq0zkd7c>"
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def compact(value: Any) -> str:
    """JSON as Kimi writes it: no spaces, non-ASCII characters as they are."""
    return _JSON.encode(value)


def encode(value: object) -> bytes:
    """The bytes of `compact`."""
    return compact(value).encode("utf-8", "surrogatepass")


def tokens(size: int) -> int:
    """The tokens estimated for so many bytes."""
    return -(-size // 4)


@dataclass(frozen=True, eq=False)
class Request:
    """One chat request as it was received.

    `headers` have lower-case names and masked secrets, `body` is raw, `number` counts from 1 in order of arrival.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    number: int

    @cached_property
    def json(self) -> dict[str, Any]:
        """The parsed body; `ValueError` where it is not a JSON object."""
        parsed = json.loads(self.body, parse_constant=_not_json)
        if not isinstance(parsed, dict):
            raise ValueError("the body is not a JSON object")
        return parsed

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the conversation."""
        return _objects(self.json.get("messages"))

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The declared functions, each with its name, description and parameters."""
        return _objects([tool.get("function") for tool in _objects(self.json.get("tools"))])

    @property
    def model(self) -> str:
        """The model asked for."""
        return str(self.json.get("model") or "")

    @property
    def stream(self) -> bool:
        """Whether the answer is to be streamed."""
        return self.json.get("stream") is True

    @property
    def last(self) -> dict[str, Any]:
        """The last message; empty where there is none."""
        return self.messages[-1] if self.messages else {}

    def tool_results(self) -> list[dict[str, Any]]:
        """The tool messages after the last assistant message."""
        messages = self.messages
        asked = max((n for n, message in enumerate(messages) if message.get("role") == "assistant"), default=-1)
        return [message for message in messages[asked + 1 :] if message.get("role") == "tool"]


def _error(type: str, message: str) -> bytes:
    return encode({"error": {"message": message, "type": type}})


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


@dataclass(frozen=True)
class Call:
    """A tool call: `arguments` is the string on the wire; without an `id` the server gives one of Kimi's form."""

    name: str
    arguments: str
    id: str | None = None


Text = str | Iterable[str]
"""A whole text, or its pieces: each is sent when the iterable yields it, so a generator may hold the rest back."""


@dataclass(frozen=True)
class Reply:
    """What the model answers: thinking, then text, then tool calls; start one with `said`, `called` or `thought`."""

    text: Text = ""
    reasoning: Text | None = None
    """The thinking; None leaves `reasoning_content` out, which is not the same as an empty one."""
    calls: tuple[Call, ...] = ()
    finish_reason: str | None = None
    """Given by `finish`; None means `tool_calls` with calls and `stop` without."""
    cut: int | None = None
    """Given by the faults below: the number of events after which the answer goes no further."""
    ending: bytes | Literal["close", "stall"] = "close"
    """What is at the cut: the connection is closed, or kept open in silence, or the answer ends with these bytes."""
    piece: int | None = None
    """Given by `slowly`: the most bytes of the body sent at once."""

    def saying(self, text: Text) -> "Reply":
        """The reply with this text."""
        return replace(self, text=text)

    def thinking(self, text: Text) -> "Reply":
        """The reply with this thinking; a request that turned thinking off does not get it."""
        return replace(self, reasoning=text)

    def calling(self, name: str, /, **arguments: Any) -> "Reply":
        """The reply with one more tool call, parallel to those it has."""
        return self.calling_raw(name, compact(arguments))

    def calling_raw(self, name: str, arguments: str, id: str | None = None) -> "Reply":
        """The reply with one more tool call of exactly this argument string (JSON or not) and id."""
        return replace(self, calls=(*self.calls, Call(name, arguments, id)))

    def finish(self, reason: str) -> "Reply":
        """The reply with another `finish_reason`, such as `length`."""
        return replace(self, finish_reason=reason)


@dataclass(frozen=True)
class Refused(Reply):
    """An error in place of an answer; made by `refused`, `overloaded` and `rate_limited`."""

    status: int = 500
    type: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    page: str | None = None

    @property
    def body(self) -> bytes:
        """The body on the wire: Kimi's error object, or the page."""
        if self.page is not None:
            return self.page.encode()
        return _error(self.type, self.message)


def said(text: Text, *, thinking: Text | None = None) -> Reply:
    """A reply of text, which ends the turn."""
    return Reply(text=text, reasoning=thinking)


def thought(text: Text) -> Reply:
    """A reply that begins with thinking; go on with `.saying(…)` or `.calling(…)`."""
    return Reply(reasoning=text)


def called(name: str, /, **arguments: Any) -> Reply:
    """A reply that calls a tool; go on with `.calling(…)` for parallel calls."""
    return Reply().calling(name, **arguments)


def raw_call(name: str, arguments: str, id: str | None = None) -> Reply:
    """A reply that calls a tool with exactly this argument string, JSON or not, and this id."""
    return Reply().calling_raw(name, arguments, id)


def refused(
    status: int,
    type: str = "",
    message: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    page: str | None = None,
) -> Refused:
    """An HTTP error with Kimi's error object, or with an HTML `page` as a gateway sends it."""
    return Refused(status=status, type=type, message=message, headers=dict(headers or {}), page=page)


def overloaded() -> Refused:
    """The engine is full: 429 and, as recorded, no `retry-after`."""
    return refused(429, "engine_overloaded_error", "The engine is currently overloaded, please try again later")


def rate_limited(seconds: float) -> Refused:
    """Too many requests a minute: 429 that asks to wait so many seconds, in its header and its text."""
    return refused(
        429,
        "rate_limit_reached_error",
        f"{_ACCOUNT} request reached organization max RPM: 3, please try again after {seconds:g} seconds",
        headers={"retry-after": f"{seconds:g}"},
    )


def empty(status: int = 200) -> Refused:
    """An answer without a body."""
    return refused(status, page="")


def too_many(concurrency: int) -> Refused:
    """Too many requests at once: 429 that asks in its text to wait a second."""
    return refused(
        429,
        "rate_limit_reached_error",
        f"{_ACCOUNT} request reached organization max concurrency: {concurrency}, please try again after 1 seconds",
    )


def cut_after(reply: Reply, *, events: int) -> Reply:
    """The reply, broken off: the connection closes after so many events, or after half of a whole answer's body."""
    return replace(reply, cut=events, ending="close")


def stall(reply: Reply, *, after_events: int) -> Reply:
    """The reply, falling silent: the connection stays open, and nothing comes until the client closes it.

    That is after so many events, or after half of a whole answer's body.
    """
    return replace(reply, cut=after_events, ending="stall")


def garbage(data: bytes, *, within: Reply | None = None, after_events: int = 0) -> Reply:
    """An event of any data; the stream ends with it. A whole answer's body is nothing but the data.

    `within` is a reply of which so many events come before.
    """
    return replace(within or Reply(), cut=after_events, ending=data)


def error_event(reply: Reply, *, after_events: int, type: str = "server_error", message: str = "") -> Reply:
    """The reply, given up: after so many events comes Kimi's error object in place of the rest."""
    return garbage(_error(type, message), within=reply, after_events=after_events)


def slowly(reply: Reply, *, bytes: int = 1) -> Reply:
    """The reply with its body sent in pieces of so many bytes, which cut events and characters anywhere."""
    return replace(reply, piece=bytes)


Script = Iterable[Reply] | Callable[[Request], Reply]
"""Replies in order of arrival, or a function that is asked for each."""


class Completion:
    """One reply, written as Kimi's answer to a request."""

    def __init__(
        self, request: Request, reply: Reply, prompt_tokens: int, cached_tokens: int, dialect: Dialect = "kimi"
    ) -> None:
        self._reply = reply
        self._dialect = dialect
        self._reasoning = None if thinks(read_request(request.json, dialect)) is False else reply.reasoning
        self._calls = _numbered(reply, request)
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = cached_tokens
        self._bytes = {"reasoning_content": 0, "content": 0}
        self._finish = reply.finish_reason or ("tool_calls" if reply.calls else "stop")
        options = request.json.get("stream_options")
        self._usage_at_end = isinstance(options, dict) and options.get("include_usage") is True
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk" if request.stream else "chat.completion",
            "created": int(time.time()),
            "model": request.model,
        }

    def whole(self) -> bytes:
        """The body of a whole answer."""
        message: dict[str, Any] = {"role": "assistant", "content": self._joined("content", self._reply.text)}
        if self._reasoning is not None:
            message["reasoning_content"] = self._joined("reasoning_content", self._reasoning)
        if self._calls:
            message["tool_calls"] = self._calls
        message = write_part(message, self._dialect)
        choice = {"index": 0, "message": message, "finish_reason": self._finish}
        return encode({**self._head, "choices": [choice], "usage": self._usage()})

    def events(self) -> Iterator[list[bytes]]:
        """The server-sent events, `[DONE]` included; each list holds those that need no waiting."""
        before, after = encode({**self._head, "choices": ["<delta>"]}).split(b'"<delta>"')
        before = b'data: %b{"index":0,"delta":' % before
        after = b',"finish_reason":null}%b\n\n' % after

        def chunk(delta: object) -> bytes:
            return before + encode(delta) + after

        yield [chunk({"role": "assistant", "content": ""})]
        if self._reasoning is not None:
            for pieces in self._cut("reasoning_content", self._reasoning):
                yield [chunk(write_part({"reasoning_content": piece}, self._dialect)) for piece in pieces]
        if self._reply.text:
            for pieces in self._cut("content", self._reply.text):
                yield [chunk({"content": piece}) for piece in pieces]
        for call in self._calls:
            yield [chunk({"tool_calls": [delta]}) for delta in _call_deltas(call)]
        yield self._end()

    def _end(self) -> list[bytes]:
        usage = self._usage()
        choice = {"index": 0, "delta": {}, "finish_reason": self._finish, "usage": usage}
        last: list[dict[str, Any]] = [{**self._head, "choices": [choice]}]
        if self._usage_at_end:
            last.append({**self._head, "choices": [], "usage": usage})
        return [*(b"data: %b\n\n" % encode(event) for event in last), b"data: [DONE]\n\n"]

    def _joined(self, key: str, text: Text) -> str:
        return "".join(piece for pieces in self._cut(key, text) for piece in pieces)

    def _cut(self, key: str, text: Text) -> Iterator[list[str]]:
        """The pieces of a text in lists of those that are ready; their bytes are counted."""
        for pieces in [_WORD.findall(text) or [text]] if isinstance(text, str) else ([piece] for piece in text):
            self._bytes[key] += sum(_size(piece) for piece in pieces)
            yield pieces

    def _usage(self) -> dict[str, Any]:
        reasoning = tokens(self._bytes["reasoning_content"])
        arguments = sum(_size(call["function"]["arguments"]) for call in self._calls)
        completion = reasoning + tokens(self._bytes["content"] + arguments)
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self._prompt_tokens + completion,
            "cached_tokens": self._cached_tokens,
            "completion_tokens_details": {"reasoning_tokens": reasoning},
            "prompt_tokens_details": {"cached_tokens": self._cached_tokens},
        }


def _numbered(reply: Reply, request: Request) -> list[dict[str, Any]]:
    """The calls on the wire; ids are Kimi's `name:idx`, where idx goes on over the conversation."""
    earlier = [call for message in request.messages for call in _objects(message.get("tool_calls"))]
    taken = {call.get("id") for call in earlier}
    calls: list[dict[str, Any]] = []
    number = len(earlier)
    for index, call in enumerate(reply.calls):
        # A conversation that was shortened holds fewer calls than their numbers say.
        while f"{call.name}:{number}" in taken:
            number += 1
        calls.append(
            {
                "index": index,
                "id": f"{call.name}:{number}" if call.id is None else call.id,
                "type": "builtin_function" if call.name.startswith("$") else "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
        )
        number += 1
    return calls


def _call_deltas(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
    for fragment in _FRAGMENT.findall(call["function"]["arguments"]):
        yield {"index": call["index"], "function": {"arguments": fragment}}


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
