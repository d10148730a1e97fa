"""What a scripted model says: `Reply` as a test writes it.

A script is an iterable of replies, used up in order of arrival, or a function from `Request` to `Reply`:

    [thought("2 + 3").calling("add", a=2, b=3), said("5"), overloaded(), cut_after(said("a long text"), events=3)]

Replies are values: every method returns a new one, so one reply may stand in a script many times.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from langchain_kimi.testing.script.chat_request import Request as Request
from langchain_kimi.testing.script.wire_json import compact, encode

_ACCOUNT = "Your account org-4f1d0c2be5a94a6d<ak-e1hq0zkd7c>"


def _error(type: str, message: str) -> bytes:
    return encode({"error": {"message": message, "type": type}})


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
    pause: float | None = None
    """Given by `stall`: the seconds after which it goes on behind the cut."""
    piece: int | None = None
    """Given by `slowly`: the most bytes of the body sent at once."""
    length: int | None = None
    """Given by `cut_after`: the bytes of the body after which the connection closes."""
    choices: bool = True
    """Given by `no_choice`: whether the answer has any choice in it."""
    times: int = 1
    """How often a list says it, one after the other."""
    fit: "Callable[[Reply, Request], Reply] | None" = None
    """Completes the reply once the request is known; a ValueError says why it cannot."""
    expected: Mapping[str, str] = field(default_factory=dict)
    """Given by `expecting`."""

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
        """The reply with one more tool call of exactly this argument string (JSON or not) and id; the id `""` is left
        out of the answer.
        """
        return replace(self, calls=(*self.calls, Call(name, arguments, id)))

    def finish(self, reason: str) -> "Reply":
        """The reply with another `finish_reason`: `length`, `content_filter`, or one of those with which Kimi gives up
        on an answer, such as `engine_overloaded`.
        """
        return replace(self, finish_reason=reason)

    def expecting(self, **expected: str) -> "Reply":
        """The reply to one request only: another is an error of the script.

        Each text must be part of what the request has: `user`, the last user message; `tool`, the tool results after
        the last assistant message; `system`, the system messages; or a field such as `model`.
        """
        return replace(self, expected={**self.expected, **expected})

    def unexpected(self, request: Request) -> str | None:
        """What of the request is not as expected."""
        for name, wanted in self.expected.items():
            found = request.text_of(name)
            if wanted not in found:
                return f"its {name} is {found[:300]!r}, wanted was {wanted!r}"
        return None

    def fitted(self, request: Request) -> "Reply":
        """The reply as this request gets it. Raises ValueError where it does not fit."""
        return replace(self.fit(self, request), fit=None) if self.fit else self

    def repeated(self) -> list[Self]:
        """The reply as often as a list says it."""
        return [replace(self, times=1)] * self.times

    @property
    def waits(self) -> bool:
        """Whether its pieces are waited for: they come from iterables, or after a pause."""
        return self.pause is not None or not (isinstance(self.text, str) and isinstance(self.reasoning, str | None))

    @property
    def shown(self) -> str:
        """The reply in a few words, for messages."""
        if self.calls:
            return ", ".join(f"{call.name}({call.arguments[:60]})" for call in self.calls)
        return repr(self.text[:80]) if isinstance(self.text, str) else "a text in pieces"


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

    @property
    def answer_headers(self) -> dict[str, str]:
        """The headers on the wire, without those that every answer has."""
        return {"content-type": "application/json" if self.page is None else "text/html", **self.headers}

    @property
    def shown(self) -> str:
        """The refusal in a few words, for messages."""
        return f"{self.status} {self.type or 'page'}"


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


def overloaded(times: int = 1) -> Refused:
    """The engine is full: 429 and, as recorded, no `retry-after`; in a list, so many times."""
    message = "The engine is currently overloaded, please try again later"
    return replace(refused(429, "engine_overloaded_error", message), times=times)


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


def cut_after(reply: Reply, *, events: int | None = None, bytes: int | None = None) -> Reply:
    """The reply, broken off: the connection closes after so many events, or after half of a whole answer's body.

    With `bytes` it closes after so many bytes of the body, wherever that is.
    """
    if (events is None) == (bytes is None):
        raise TypeError("give either events= or bytes=")
    return replace(reply, cut=events, length=bytes, ending="close")


def no_choice(reply: Reply | None = None) -> Reply:
    """An answer that ends well and has nothing in it: a stream of its last events only, or `"choices": []`."""
    return replace(reply or Reply(), choices=False)


def stall(reply: Reply, *, after_events: int, seconds: float | None = None) -> Reply:
    """The reply, falling silent: the connection stays open, and nothing comes until the client closes it.

    That is after so many events, or after half of a whole answer's body. With `seconds` it goes on after them.
    """
    return replace(reply, cut=after_events, ending="stall", pause=seconds)


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


Script = Iterable[Reply] | Callable[[Request], Reply] | os.PathLike[str]
"""Replies in order of arrival, a function that is asked for each, or the path of a conversation in YAML."""
