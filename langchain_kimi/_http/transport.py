"""One request and its answer, whole or streamed, synchronous or asynchronous."""

import logging
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypedDict, TypeVar, Unpack

import httpx2

from langchain_kimi import _surrogates as surrogates
from langchain_kimi import errors
from langchain_kimi._clock import CLOCK, Clock
from langchain_kimi._http.connections import Connections
from langchain_kimi._http.credentials import check_client_headers, check_headers
from langchain_kimi._http.decompression import ACCEPTED
from langchain_kimi._http.library_errors import cause_text, cut_causes
from langchain_kimi._http.multipart import Form
from langchain_kimi._http.response_body import Body
from langchain_kimi._http.response_limits import ResponseLimits
from langchain_kimi._http.retries import MAX_RETRY_WAIT, Retries, Wait
from langchain_kimi._http.sse import DONE
from langchain_kimi._http.timeouts import Timeouts
from langchain_kimi._redaction import LogFilter, mask_bytes, mask_values, secret_values
from langchain_kimi.errors import KimiError
from langchain_kimi.rate_limits import RateLimits, Turn

T = TypeVar("T")

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
    refit: Callable[[KimiError], bytes | None]
    """Makes a request that is too long for the window fit, once; None where that cannot be."""
    heard: dict[str, str]
    """Filled with the headers of the answer."""
    repeated: list[dict[str, str]]
    """Filled with the headers of each answer that began and was asked for again, since nothing of it arrived."""


_NOBODY_CHOSE = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
"""The timeout of an httpx client that was made without one; a model that thinks takes longer."""


@dataclass(frozen=True, slots=True)
class Transport:
    """Sends requests to one host. `headers` hold the key, so they are never shown."""

    base_url: str
    connections: Connections = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: Any = None
    """What `Timeouts.of` takes; None is a given client's own timeout, else the default."""
    max_retries: int | None = None
    """The most retries of one call; None is the policy of `Retries` for each kind of failure."""
    limits: RateLimits | None = None
    clock: Clock = field(default=CLOCK, repr=False)
    max_retry_wait: float = MAX_RETRY_WAIT
    """Seconds that a single wait before a retry takes at most."""
    response_limits: ResponseLimits = field(default_factory=ResponseLimits)

    def __post_init__(self) -> None:
        check_headers(self.headers)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return _parsed(self.base_url).netloc.decode()

    def post(self, path: str, body: bytes, **about: Unpack[About]) -> Any:
        """The whole answer to a POST, parsed. Raises a KimiError."""
        return self.request("POST", path, body, **about)

    async def apost(self, path: str, body: bytes, **about: Unpack[About]) -> Any:
        """`post` for asynchronous use."""
        return await self.arequest("POST", path, body, **about)

    def request(self, method: str, path: str, body: bytes | Form = b"", **about: Unpack[About]) -> Any:
        """The whole answer to a request, parsed. Raises a KimiError."""
        call = _Call(self, path, body, about, method)
        with closing(self._documents(call)) as documents:
            return call.parsed(list(documents))

    async def arequest(self, method: str, path: str, body: bytes | Form = b"", **about: Unpack[About]) -> Any:
        """`request` for asynchronous use."""
        call = _Call(self, path, body, about, method)
        async with aclosing(self._adocuments(call)) as documents:
            return call.parsed([document async for document in documents])

    def stream(self, path: str, body: bytes, **about: Unpack[About]) -> Generator[bytes, None, None]:
        """The JSON documents of an answer: the data of each event, or all of it where it comes in one piece.

        Sends the request again only while nothing has arrived.
        """
        return self._documents(_Call(self, path, body, about))

    def astream(self, path: str, body: bytes, **about: Unpack[About]) -> AsyncGenerator[bytes, None]:
        """`stream` for asynchronous use."""
        return self._adocuments(_Call(self, path, body, about))

    def _documents(self, call: "_Call") -> Generator[bytes, None, None]:
        while True:
            try:
                with (
                    call.turn(),
                    self.connections.client() as client,
                    call.failures(),
                    closing(client.send(call.request(client, _learn_secrets), stream=True)) as response,
                ):
                    for piece in call.begin(response, response.iter_raw, response.iter_bytes):
                        for document in map(call.masked, call.feed(piece)):
                            if call.answered or call.is_first(document):
                                yield document
                        if call.body.enough:
                            break
                    for document in call.end():
                        yield document
                    return
            except KimiError as error:
                if call.done:
                    return
                seconds = call.wait(error)
            self.clock.sleep(seconds)

    async def _adocuments(self, call: "_Call") -> AsyncGenerator[bytes, None]:
        while True:
            try:
                async with call.turn(), self.connections.async_client() as client:
                    with call.failures():
                        async with aclosing(
                            await client.send(call.request(client, _alearn_secrets), stream=True)
                        ) as response:
                            async for piece in call.begin(response, response.aiter_raw, response.aiter_bytes):
                                for document in map(call.masked, call.feed(piece)):
                                    if call.answered or call.is_first(document):
                                        yield document
                                if call.body.enough:
                                    break
                            for document in call.end():
                                yield document
                            return
            except KimiError as error:
                if call.done:
                    return
                seconds = call.wait(error)
            await self.clock.asleep(seconds)


def _learn_secrets(step: str, details: dict[str, Any]) -> None:
    """Remember the secrets of a request as it leaves, with what the client's `auth` and event hooks have added.

    The HTTP library logs the head of the response before anything here sees it, and a host may repeat them in it.
    """
    if step.endswith(".send_request_headers.started"):
        headers = details["request"].headers
        secret_values((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


async def _alearn_secrets(step: str, details: dict[str, Any]) -> None:
    """`_learn_secrets` for asynchronous use."""
    _learn_secrets(step, details)


@lru_cache(maxsize=256)
def _parsed(url: str) -> httpx2.URL:
    return httpx2.URL(url)


class _Call:
    """What one call decides on its way through all its attempts; it does no I/O."""

    def __init__(self, transport: Transport, path: str, body: bytes | Form, about: About, method: str = "POST") -> None:
        self._transport = transport
        self._method = method
        self._host = transport.host
        self._path = path
        self._body = body
        self._about = about
        self._retries = Retries(transport.max_retries, transport.max_retry_wait, once=about.get("once", False))
        self._deadlines = Timeouts.of(transport.timeout)
        self._started = transport.clock.now()
        self._ends: float | None = None
        self._timeouts: dict[str, float | None] = {}
        self._read = "first_byte"
        self._secrets: tuple[str, ...] = ()
        self._events = 0
        self._last_event = self._started
        self._wordless: float | None = None
        self.body: Body
        self.answered = False
        """Whether a part of the answer was handed out."""

    @property
    def done(self) -> bool:
        """Whether the answer is whole, whatever its connection does now."""
        return self.answered and self.body.done

    def turn(self) -> Turn | nullcontext[None]:
        """The place among the requests that may be under way together."""
        limits = self._transport.limits
        return limits.take(self._about.get("tokens", 0)) if limits else nullcontext()

    def request(self, client: Any, trace: Callable[[str, dict[str, Any]], Any]) -> Any:
        """The HTTP request of the next attempt. `trace` is called by the HTTP library for each step of sending it."""
        if self._transport.timeout is None and client.timeout.as_dict() != _NOBODY_CHOSE:
            self._deadlines = Timeouts.of(client.timeout)
        limits = self._deadlines
        self._ends = None if limits.total is None else self._started + limits.total
        if self._ends is not None and self._transport.clock.now() >= self._ends:
            raise self._too_late("total")
        self._read = "first_byte"
        self._about.get("heard", {}).clear()
        reads = {"read": self._at_most(limits.first_byte)}
        self._timeouts = {"connect": self._at_most(limits.connect), "write": limits.write, "pool": limits.pool, **reads}
        url = self._transport.base_url + self._path
        request = client.build_request(
            self._method,
            _parsed(url) if isinstance(client, (httpx2.Client, httpx2.AsyncClient)) else url,
            headers={**self._kind(), **self._transport.headers, "accept-encoding": ACCEPTED},
            extensions={"timeout": self._timeouts, "trace": trace},
            **self._content(),
        )
        check_client_headers(request.headers.items())
        self._secrets = secret_values(request.headers.items())
        return request

    def _content(self) -> dict[str, Any]:
        """The body as httpx takes it."""
        if isinstance(self._body, Form):
            return self._body.content()
        return {"content": self._body} if self._body else {}

    def _kind(self) -> dict[str, str]:
        return {"content-type": "application/json"} if isinstance(self._body, bytes) and self._body else {}

    def begin(self, response: Any, raw: Callable[[], T], decompressed: Callable[[], T]) -> T:
        """The answer has begun: from here on silence counts. The pieces of its body.

        A body that the client has read already, as doubles and recorders do, is decompressed; else that is done here,
        where it is bounded.
        """
        self._secrets = secret_values(response.request.headers.items())  # a client's `auth` has had its say
        self._about.get("heard", {}).update(
            {name: mask_values(value, self._secrets) for name, value in response.headers.items()}
        )
        # Clients read this dict once before the head of an answer and once before its body.
        self._read = "silence"
        self._timeouts["read"] = self._at_most(self._deadlines.silence)
        self._events, self._last_event = 0, self._transport.clock.now()
        self._wordless = None if self._about.get("raw") else self._deadlines.event
        read = bool(response.is_stream_consumed)
        self.body = Body(
            response.status_code,
            response.headers,
            self._transport.response_limits,
            self._host,
            raw=self._about.get("raw", False),
            tokens=self._about.get("tokens", 0),
            decompressed=read,
            model=self._about.get("model", ""),
            mask=self.masked,
            base_path=httpx2.URL(self._transport.base_url).path,
        )
        return decompressed() if read else raw()

    def masked(self, data: bytes) -> bytes:
        """What the host sent, without the secrets of the request."""
        return mask_bytes(data, self._secrets)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The documents that a piece completes. Raises APITimeoutError after a deadline."""
        now = self._transport.clock.now()
        if self._ends is not None and now >= self._ends:
            raise self._too_late("total")
        if self.body.events != self._events:
            self._events, self._last_event = self.body.events, now
        elif self._wordless is not None and now - self._last_event > self._wordless:
            raise self._too_late("event")
        return self.body.feed(piece)

    def is_first(self, document: bytes) -> bool:
        """Whether the answer begins with this document; one that only ends it does not. Raises the error that it is."""
        if document == DONE:
            return False
        if error := self.body.error_in(document):
            raise error
        self.answered = True
        return True

    def end(self) -> Iterator[bytes]:
        """The last document. Raises the error that the body is, also where it had nothing in it."""
        raw = self._about.get("raw")
        for document in self.body.end() if raw else map(self.masked, self.body.end()):
            if self.answered or raw or self.is_first(document):
                self.answered = True
                yield document
        if not self.answered:
            raise errors.BrokenStreamError(f"{self._host} sent an empty answer", host=self._host)

    def parsed(self, documents: list[bytes]) -> Any:
        """The result of a request that is answered by one document."""
        if self._about.get("raw"):
            return documents[0]
        return surrogates.loads(documents[0])

    def wait(self, error: KimiError) -> float:
        """Seconds to wait before the next attempt, announced; raises the error where there is none.

        After a part of the answer was handed out it cannot be asked for again unnoticed.
        """
        cut_causes(error)
        if self.answered and type(error) is errors.APIConnectionError:
            text = f"the answer of {self._host} broke off; nothing of it is used. Ask again."
            raise errors.BrokenStreamError(text, host=self._host) from error
        if self._refits(error):
            return 0.0
        seconds = None if self.answered else self._retries.wait(error)
        if seconds is None or (self._ends is not None and self._transport.clock.now() + seconds >= self._ends):
            raise error
        if (headers := self._about.get("heard")) and not self.body.is_refusal:
            self._about.get("repeated", []).append(dict(headers))
        wait = Wait(seconds, self._retries.attempts, error)
        logger.info("attempt %d failed, the next one follows in %.1f s: %s", wait.attempt, seconds, error)
        if on_wait := self._about.get("on_wait"):
            on_wait(wait)
        return seconds

    def _refits(self, error: KimiError) -> bool:
        """Whether the request was made to fit after the host refused it as too long."""
        if self.answered or not isinstance(error, errors.ContextOverflowError):
            return False
        refit = self._about.pop("refit", None)
        if refit is None or not self._retries.again() or (body := refit(error)) is None:
            return False
        self._body = body
        logger.info("the request is sent again with a smaller output cap: %s", error)
        return True

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
