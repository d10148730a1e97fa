"""`Reply`: what a scripted model answers, as a test writes it.

A script is an iterable of replies, used in order of arrival, or a function from `Request` to `Reply`:

    [thought("2 + 3").calling("add", a=2, b=3), said("5"), overloaded(), cut_after(said("a long text"), events=3)]

Replies are values: every method returns a new one, so one reply may appear in a script many times.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from langchain_kimi.testing.script.chat_request import Request as Request
from langchain_kimi.testing.serialization import compact_json, encode_json

_ACCOUNT = "Your account org-4f1d0c2be5a94a6d<ak-e1hq0zkd7c>"


def _error_object(type: str, message: str) -> bytes:
    return encode_json({"error": {"message": message, "type": type}})


@dataclass(frozen=True)
class ScriptedToolCall:
    """A tool call of a reply.

    `arguments` is the string on the wire. Without an `id` the fake API creates one of Kimi's form.
    """

    name: str
    arguments: str
    id: str | None = None


ReplyText = str | Iterable[str]
"""A whole text, or its pieces. Each piece is sent when the iterable yields it, so a generator may delay the rest."""


@dataclass(frozen=True)
class Reply:
    """What the model answers: thinking, then text, then tool calls. Start one with `said`, `called` or `thought`."""

    text: ReplyText = ""
    reasoning: ReplyText | None = None
    """The thinking. None omits `reasoning_content`, which differs from an empty one."""
    calls: tuple[ScriptedToolCall, ...] = ()
    finish_reason: str | None = None
    """Set by `finish`. None means `tool_calls` if there are calls, else `stop`."""
    cut_events: int | None = None
    """The number of events after which the response is interrupted. Set by the faults below."""
    ending: bytes | Literal["close", "stall"] = "close"
    """What follows the cut: the connection closes, or stays open in silence, or the response ends with these bytes."""
    pause: float | None = None
    """The seconds of silence after which the response continues behind the cut. Set by `stall`."""
    piece_bytes: int | None = None
    """The most bytes of the body that are sent at once. Set by `slowly`."""
    cut_bytes: int | None = None
    """The bytes of the body after which the connection closes. Set by `cut_after`."""
    has_choices: bool = True
    """Whether the response has a choice. Set by `no_choice`."""
    times: int = 1
    """How often a list repeats the reply."""
    complete: "Callable[[Reply, Request], Reply] | None" = None
    """Completes the reply when the request is known. It raises ValueError if the request does not fit."""
    expected: Mapping[str, str] = field(default_factory=dict)
    """The texts that the request must contain. Set by `expecting`."""

    def saying(self, text: ReplyText) -> "Reply":
        """The reply with this text."""
        return replace(self, text=text)

    def thinking(self, text: ReplyText) -> "Reply":
        """The reply with this thinking, which is omitted if the request turns thinking off."""
        return replace(self, reasoning=text)

    def calling(self, name: str, /, **arguments: Any) -> "Reply":
        """The reply with one more tool call, parallel to the existing ones."""
        return self.calling_raw(name, compact_json(arguments))

    def calling_raw(self, name: str, arguments: str, id: str | None = None) -> "Reply":
        """The reply with one more tool call that has exactly this argument string (JSON or not) and id.

        The id `""` is omitted from the response.
        """
        return replace(self, calls=(*self.calls, ScriptedToolCall(name, arguments, id)))

    def finish(self, reason: str) -> "Reply":
        """The reply with another `finish_reason`.

        That is `length`, `content_filter`, or one with which Kimi gives up on a response, such as `engine_overloaded`.
        """
        return replace(self, finish_reason=reason)

    def expecting(self, **expected: str) -> "Reply":
        """The reply for one request only. Any other request is an error of the script.

        Each text must be part of the request: `user` is the last user message, `tool` the tool results after the last
        assistant message, `system` the system messages. Any other name is that of a field, such as `model`.
        """
        return replace(self, expected={**self.expected, **expected})

    def mismatch(self, request: Request) -> str | None:
        """How the request differs from the expected one; None if it does not."""
        for name, expected in self.expected.items():
            actual = request.text_of(name)
            if expected not in actual:
                return f"its {name} is {actual[:300]!r}, expected was {expected!r}"
        return None

    def completed_for(self, request: Request) -> "Reply":
        """The reply for this request. Raises ValueError if it does not fit."""
        return replace(self.complete(self, request), complete=None) if self.complete else self

    def repeated(self) -> list[Self]:
        """The reply as often as `times` says."""
        return [replace(self, times=1)] * self.times

    @property
    def may_block(self) -> bool:
        """Whether producing the body may take time: its pieces come from iterables, or follow a pause."""
        return self.pause is not None or not (isinstance(self.text, str) and isinstance(self.reasoning, str | None))

    @property
    def summary(self) -> str:
        """A short description of the reply for error texts."""
        if self.calls:
            return ", ".join(f"{call.name}({call.arguments[:60]})" for call in self.calls)
        return repr(self.text[:80]) if isinstance(self.text, str) else "a text in pieces"


@dataclass(frozen=True)
class ErrorReply(Reply):
    """An HTTP error instead of an answer. `refused`, `overloaded`, `rate_limited`, `too_many` and `empty` make one."""

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
        return _error_object(self.type, self.message)

    @property
    def response_headers(self) -> dict[str, str]:
        """The headers on the wire, without those that every response has."""
        return {"content-type": "application/json" if self.page is None else "text/html", **self.headers}

    @property
    def summary(self) -> str:
        """A short description of the error for error texts."""
        return f"{self.status} {self.type or 'page'}"


def said(text: ReplyText, *, thinking: ReplyText | None = None) -> Reply:
    """A reply of text, which ends the turn."""
    return Reply(text=text, reasoning=thinking)


def thought(text: ReplyText) -> Reply:
    """A reply that begins with thinking; continue with `.saying(…)` or `.calling(…)`."""
    return Reply(reasoning=text)


def called(name: str, /, **arguments: Any) -> Reply:
    """A reply that calls a tool; add parallel calls with `.calling(…)`."""
    return Reply().calling(name, **arguments)


def raw_call(name: str, arguments: str, id: str | None = None) -> Reply:
    """A reply that calls a tool with exactly this argument string (JSON or not) and this id."""
    return Reply().calling_raw(name, arguments, id)


def refused(
    status: int,
    type: str = "",
    message: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    page: str | None = None,
) -> ErrorReply:
    """An HTTP error with Kimi's error object, or with an HTML `page` as gateways send it."""
    return ErrorReply(status=status, type=type, message=message, headers=dict(headers or {}), page=page)


def overloaded(times: int = 1) -> ErrorReply:
    """A 429 of a full engine, as recorded without `retry-after`. In a list it counts `times` times."""
    message = "The engine is currently overloaded, please try again later"
    return replace(refused(429, "engine_overloaded_error", message), times=times)


def rate_limited(seconds: float) -> ErrorReply:
    """A 429 for too many requests a minute, which asks to wait for `seconds` in its header and its text."""
    return refused(
        429,
        "rate_limit_reached_error",
        f"{_ACCOUNT} request reached organization max RPM: 3, please try again after {seconds:g} seconds",
        headers={"retry-after": f"{seconds:g}"},
    )


def empty(status: int = 200) -> ErrorReply:
    """A response without a body."""
    return refused(status, page="")


def too_many(concurrency: int) -> ErrorReply:
    """A 429 for too many requests at once, which asks in its text to wait for a second."""
    return refused(
        429,
        "rate_limit_reached_error",
        f"{_ACCOUNT} request reached organization max concurrency: {concurrency}, please try again after 1 seconds",
    )


def cut_after(reply: Reply, *, events: int | None = None, bytes: int | None = None) -> Reply:
    """The reply with a connection that closes after `events` events, or after half the body of a whole response.

    With `bytes` it closes after that many bytes of the body.
    """
    if (events is None) == (bytes is None):
        raise TypeError("cut_after needs either events= or bytes=")
    return replace(reply, cut_events=events, cut_bytes=bytes, ending="close")


def no_choice(reply: Reply | None = None) -> Reply:
    """A regular response without a choice: a stream of only its last events, or `"choices": []`."""
    return replace(reply or Reply(), has_choices=False)


def stall(reply: Reply, *, after_events: int, seconds: float | None = None) -> Reply:
    """The reply with a connection that stays open in silence until the client closes it.

    The silence begins after `after_events` events, or after half the body of a whole response. With `seconds` the
    response continues after that time.
    """
    return replace(reply, cut_events=after_events, ending="stall", pause=seconds)


def garbage(data: bytes, *, within: Reply | None = None, after_events: int = 0) -> Reply:
    """A stream that ends with an event of any data, or a whole response whose body is only the data.

    `within` is a reply whose first `after_events` events come before.
    """
    return replace(within or Reply(), cut_events=after_events, ending=data)


def error_event(reply: Reply, *, after_events: int, type: str = "server_error", message: str = "") -> Reply:
    """The reply with Kimi's error object instead of everything after the first `after_events` events."""
    return garbage(_error_object(type, message), within=reply, after_events=after_events)


def slowly(reply: Reply, *, bytes: int = 1) -> Reply:
    """The reply with its body sent in pieces of `bytes` bytes, which cut events and characters anywhere."""
    return replace(reply, piece_bytes=bytes)


Script = Iterable[Reply] | Callable[[Request], Reply] | os.PathLike[str]
"""Replies in order of arrival, a function that is called for each request, or the path of a script in YAML."""
