"""One request and its answer, whole or streamed, synchronous or asynchronous."""

import logging
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

import httpx2
import orjson

from langchain_kimi import errors, surrogates
from langchain_kimi.errors import KimiError
from langchain_kimi.redaction import LogFilter, mask_bytes, mask_values, secret_values
from langchain_kimi.transport.causes import cause_text, cut_causes, is_illegal_header
from langchain_kimi.transport.clock import CLOCK, Clock
from langchain_kimi.transport.connections import Connections
from langchain_kimi.transport.credentials import check_headers
from langchain_kimi.transport.deadlines import Deadlines
from langchain_kimi.transport.events import DONE, Events
from langchain_kimi.transport.form import Form
from langchain_kimi.transport.limits import RateLimits, Turn
from langchain_kimi.transport.retries import Retries, Wait

logger = logging.getLogger("langchain_kimi")
_PARTS = ("connection", "http11", "http2", "proxy", "socks")

_LIBRARIES = ("httpx2", "httpx", *(f"{core}.{part}" for core in ("httpcore2", "httpcore") for part in _PARTS))
for _name in _LIBRARIES:  # at DEBUG they log headers of answers, in which a host may repeat the key
    logging.getLogger(_name).addFilter(LogFilter())

OnWait = Callable[[Wait], None]
"""Is told of each wait before it begins; it runs in the thread or the event loop of the call."""


class About(TypedDict, total=False):
    """What else is known of a call."""

    model: str
    """The model asked for, for messages."""
    tokens: int
    """What the call counts against `limits`."""
    raw: bool
    """Whether the answer is to be handed out as its bytes, whatever they are."""
    once: bool
    """Whether the request must not take effect twice."""
    on_wait: OnWait | None
    heard: dict[str, str]
    """Filled with the headers of the answer."""


_NOBODY_CHOSE = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
"""The timeout of an httpx client that was made without one; a model that thinks takes longer."""
_NO_EVENTS = ("application/json", "text/html")


@dataclass(frozen=True, slots=True)
class Transport:
    """Sends requests to one host. `headers` hold the key, so they are never shown."""

    base_url: str
    connections: Connections = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: Any = None
    """What `Deadlines.of` takes; None is a given client's own timeout, else the default."""
    max_retries: int = 2
    limits: RateLimits | None = None
    clock: Clock = field(default=CLOCK, repr=False)

    def __post_init__(self) -> None:
        check_headers(self.headers)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return httpx2.URL(self.base_url).netloc.decode()

    def post(self, path: str, body: bytes, **about: Unpack[About]) -> Any:
        """The whole answer to a POST, parsed. Raises a KimiError."""
        return self.request("POST", path, body, **about)

    async def apost(self, path: str, body: bytes, **about: Unpack[About]) -> Any:
        """`post` for asynchronous use."""
        return await self.arequest("POST", path, body, **about)

    def request(self, method: str, path: str, body: bytes | Form = b"", **about: Unpack[About]) -> Any:
        """The whole answer to a request, parsed. Raises a KimiError."""
        call = _Call(self, path, body, about, method)
        while True:
            try:
                with call.turn(), call.failures(), closing(self._send(call)) as answer:
                    return call.parsed(answer, b"".join(call.in_time(piece) for piece in answer.iter_bytes()))
            except KimiError as error:
                seconds = call.wait(error)
            self.clock.sleep(seconds)

    async def arequest(self, method: str, path: str, body: bytes | Form = b"", **about: Unpack[About]) -> Any:
        """`request` for asynchronous use."""
        call = _Call(self, path, body, about, method)
        while True:
            try:
                async with call.turn():
                    with call.failures():
                        async with aclosing(await self._asend(call)) as answer:
                            return call.parsed(answer, b"".join([call.in_time(p) async for p in answer.aiter_bytes()]))
            except KimiError as error:
                seconds = call.wait(error)
            await self.clock.asleep(seconds)

    def stream(self, path: str, body: bytes, **about: Unpack[About]) -> Generator[bytes, None, None]:
        """The data of each event of a streamed answer. Tries again only while nothing has arrived."""
        call = _Call(self, path, body, about)
        last: bytes | None = None
        while True:
            try:
                with call.turn(), call.failures(), closing(self._send(call, streamed=True)) as answer:
                    events = Events()
                    for piece in answer.iter_bytes():
                        for data in map(call.masked, events.feed(call.in_time(piece))):
                            last = data if last else call.first(data)
                            yield data
                    for last in map(call.masked, events.end()):
                        yield last
                    return call.ended(last)
            except KimiError as error:
                if last == DONE:
                    return None
                seconds = call.wait(error, begun=last is not None)
            self.clock.sleep(seconds)

    async def astream(self, path: str, body: bytes, **about: Unpack[About]) -> AsyncGenerator[bytes, None]:
        """`stream` for asynchronous use."""
        call = _Call(self, path, body, about)
        last: bytes | None = None
        while True:
            try:
                async with call.turn():
                    with call.failures():
                        async with aclosing(await self._asend(call, streamed=True)) as answer:
                            events = Events()
                            async for piece in answer.aiter_bytes():
                                for data in map(call.masked, events.feed(call.in_time(piece))):
                                    last = data if last else call.first(data)
                                    yield data
                            for last in map(call.masked, events.end()):
                                yield last
                            call.ended(last)
                            return
            except KimiError as error:
                if last == DONE:
                    return
                seconds = call.wait(error, begun=last is not None)
            await self.clock.asleep(seconds)

    def _send(self, call: "_Call", *, streamed: bool = False) -> Any:
        """The answer, open and unread; a refusal is read, closed and raised."""
        client = self.connections.client()
        answer = client.send(call.request(client), stream=True)
        call.begun(answer)
        if call.refused(answer, streamed):
            with closing(answer):
                answer.read()
                call.parsed(answer, answer.content, refused=True)
        return answer

    async def _asend(self, call: "_Call", *, streamed: bool = False) -> Any:
        client = await self.connections.async_client()
        answer = await client.send(call.request(client), stream=True)
        call.begun(answer)
        if call.refused(answer, streamed):
            async with aclosing(answer):
                await answer.aread()
                call.parsed(answer, answer.content, refused=True)
        return answer


class _Call:
    """What one call decides on its way through all its attempts; it does no I/O."""

    def __init__(self, transport: Transport, path: str, body: bytes | Form, about: About, method: str = "POST") -> None:
        self._transport = transport
        self._method = method
        self._host = transport.host
        self._path = path
        self._body = body
        self._about = about
        self._retries = Retries(transport.max_retries, once=about.get("once", False))
        self._deadlines = Deadlines.of(transport.timeout)
        self._started = transport.clock.now()
        self._ends: float | None = None
        self._timeouts: dict[str, float | None] = {}
        self._read = "first_byte"
        self._secrets: tuple[str, ...] = ()

    def turn(self) -> Turn | nullcontext[None]:
        """The place among the requests that may be under way together."""
        limits = self._transport.limits
        return limits.take(self._about.get("tokens", 0)) if limits else nullcontext()

    def request(self, client: Any) -> Any:
        """The HTTP request of the next attempt."""
        if self._transport.timeout is None and client.timeout.as_dict() != _NOBODY_CHOSE:
            self._deadlines = Deadlines.of(client.timeout)
        limits = self._deadlines
        self._ends = None if limits.total is None else self._started + limits.total
        self.in_time()
        self._read = "first_byte"
        reads = {"read": self._at_most(limits.first_byte)}
        self._timeouts = {"connect": self._at_most(limits.connect), "write": limits.write, "pool": limits.pool, **reads}
        request = client.build_request(
            self._method,
            self._transport.base_url + self._path,
            headers={**self._kind(), **self._transport.headers},
            extensions={"timeout": self._timeouts},
            **self._content(),
        )
        self._secrets = secret_values(request.headers.items())
        return request

    def _content(self) -> dict[str, Any]:
        """The body as httpx takes it."""
        if isinstance(self._body, Form):
            return self._body.content()
        return {"content": self._body} if self._body else {}

    def _kind(self) -> dict[str, str]:
        return {"content-type": "application/json"} if isinstance(self._body, bytes) and self._body else {}

    def begun(self, answer: Any) -> None:
        """The answer has begun: from here on silence counts."""
        self._secrets = secret_values(answer.request.headers.items())  # a client's `auth` has had its say
        self._about.get("heard", {}).update(
            {name: mask_values(value, self._secrets) for name, value in answer.headers.items()}
        )
        # Clients read this dict once before the head of an answer and once before its body.
        self._read = "silence"
        self._timeouts["read"] = self._at_most(self._deadlines.silence)

    def masked(self, data: bytes) -> bytes:
        """What the host sent, without the secrets of the request."""
        return mask_bytes(data, self._secrets)

    def in_time(self, piece: bytes = b"") -> bytes:
        """What has just arrived. Raises APITimeoutError after the total deadline."""
        if self._ends is not None and self._transport.clock.now() >= self._ends:
            raise self._too_late("total")
        return piece

    def refused(self, answer: Any, streamed: bool) -> bool:
        """Whether what follows is no answer but an error, as JSON or as a gateway's page."""
        return answer.status_code != 200 or (
            streamed and str(answer.headers.get("content-type", "")).startswith(_NO_EVENTS)
        )

    def parsed(self, answer: Any, body: bytes, *, refused: bool = False) -> Any:
        """The parsed body of an answer; a refusal is raised."""
        if self._about.get("raw") and not refused:
            return body
        body = self.masked(body)
        try:
            parsed = surrogates.loads(body)
        except ValueError:
            parsed = body.decode("utf-8", "replace")
        if refused or not isinstance(parsed, dict):
            status = answer.status_code if answer.status_code != 200 else 502
            raise errors.from_response(
                status,
                parsed,
                host=self._host,
                headers=answer.headers,
                model=self._about.get("model", ""),
                base_path=httpx2.URL(self._transport.base_url).path,
            )
        return parsed

    def first(self, data: bytes) -> bytes:
        """The first event of a stream. An error in its place is raised: nothing was handed out yet."""
        if data.startswith((b'{"error"', b'{ "error"')):
            with suppress(orjson.JSONDecodeError):
                raise errors.from_response(
                    500, orjson.loads(data), host=self._host, headers={}, model=self._about.get("model", "")
                )
        return data

    def ended(self, last: bytes | None) -> None:
        """The stream has ended; without a single event it was no answer."""
        if last is None:
            raise errors.BrokenStreamError(f"{self._host} sent an empty answer", host=self._host)

    def wait(self, error: KimiError, *, begun: bool = False) -> float:
        """Seconds to wait before the next attempt, announced; raises the error where there is none.

        After a part of the answer was handed out it cannot be asked for again unnoticed.
        """
        cut_causes(error)
        if begun and type(error) is errors.APIConnectionError:
            text = f"the answer of {self._host} broke off; nothing of it is used. Ask again."
            raise errors.BrokenStreamError(text, host=self._host) from error
        seconds = None if begun else self._retries.wait(error)
        if seconds is None or (self._ends is not None and self._transport.clock.now() + seconds >= self._ends):
            raise error
        wait = Wait(seconds, self._retries.attempts, error)
        logger.info("attempt %d failed, the next one follows in %.1f s: %s", wait.attempt, seconds, error)
        if on_wait := self._about.get("on_wait"):
            on_wait(wait)
        return seconds

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turns the exceptions of httpx2 and of httpx into ours, by name: the two families share no base."""
        try:
            yield
        except Exception as error:
            names = {base.__name__ for base in type(error).__mro__ if base.__module__.startswith("httpx")}
            if "TimeoutException" in names:
                passed = {"ConnectTimeout": "connect", "WriteTimeout": "write", "PoolTimeout": "pool"}
                raise self._too_late(passed.get(type(error).__name__, self._read)) from error
            if is_illegal_header(error):
                raise errors.IllegalRequestError(
                    "HTTP does not take a header of this request: its name or value holds a line break or another "
                    "character that is not allowed. Check the headers of your http_client; they are not shown here."
                ) from error
            if names & {"TransportError", "StreamError", "DecodingError"}:
                raise errors.APIConnectionError(
                    f"the connection to {self._host} failed: {cause_text(error)}. Check `base_url`, "
                    "the network and HTTPS_PROXY.",
                    host=self._host,
                ) from error
            raise

    def _at_most(self, seconds: float | None) -> float | None:
        """The deadline, or what is left of the total one."""
        if self._ends is None:
            return seconds
        left = max(self._ends - self._transport.clock.now(), 0.001)
        return left if seconds is None else min(seconds, left)

    def _too_late(self, deadline: str) -> errors.APITimeoutError:
        if self._ends is not None and self._transport.clock.now() >= self._ends:
            deadline = "total"
        seconds = getattr(self._deadlines, deadline)
        error = errors.APITimeoutError(
            f"{self._host} did not answer in time: the deadline `{deadline}` of {seconds} s passed. "
            "`timeout` sets how long to wait.",
            host=self._host,
        )
        error.deadline = deadline
        return error
