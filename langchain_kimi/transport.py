"""Sockets, server-sent events, deadlines, retries and closing: the only room with I/O.

What a request or an answer means is decided elsewhere. The retry policy is written once (`Retries`) and driven by a
synchronous and an asynchronous loop, which differ only in how they wait.
"""

import asyncio
import random
import ssl
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn

import httpx2
import orjson

from langchain_kimi import errors
from langchain_kimi.errors import KimiError

DONE = b"[DONE]"
DEFAULT_TIMEOUT = httpx2.Timeout(600.0, connect=10.0)
"""Seconds: ten to connect; ten minutes of silence while a model thinks."""
_LIMITS = httpx2.Limits(max_connections=1_000, max_keepalive_connections=100)
_LONGEST_WAIT = 120.0


class Events:
    """Splits an event stream into the data of its events, however the bytes were cut.

    Only `\\n` and `\\r\\n` end a line: other Unicode line breaks are legal inside JSON.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The events that `piece` completes."""
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            if line:
                self._line(line)
            elif self._data:
                yield b"\n".join(self._data)
                self._data.clear()

    def end(self) -> Iterator[bytes]:
        """The last event of a stream that ends without its blank line."""
        yield from self.feed(b"\n\n")

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])


class Retries:
    """Decides after each failed try how long to wait before the next one."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._tried = 0

    def wait(self, error: KimiError) -> float | None:
        """Seconds to wait before the next try; None when the error is final or the tries are used up."""
        if not error.is_retryable or self._left <= 0:
            return None
        self._left -= 1
        self._tried += 1
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= _LONGEST_WAIT else None
        first = 5.0 if isinstance(error, errors.OverloadedError) else 0.5
        return min(first * 2.0 ** (self._tried - 1), _LONGEST_WAIT) * random.uniform(0.75, 1.25)


class Connections:
    """HTTP clients, made when first used: one for threads, one for each running event loop.

    Given clients are used as they are and never closed here; they may be of httpx2 or httpx.
    """

    def __init__(self, client: Any = None, async_client: Any = None) -> None:
        self._given = client
        self._given_async = async_client
        self._client: httpx2.Client | None = None
        self._keepers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Keeper] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def client(self) -> Any:
        """The client for synchronous use."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._client is None:
                self._client = httpx2.Client(verify=_ssl_context(), limits=_LIMITS, timeout=DEFAULT_TIMEOUT)
            return self._client

    async def async_client(self) -> Any:
        """The client of the running event loop; it is closed when the loop shuts down."""
        if self._given_async is not None:
            return self._given_async
        loop = asyncio.get_running_loop()
        keeper = self._keepers.get(loop)
        if keeper is None:
            client = httpx2.AsyncClient(verify=_ssl_context(), limits=_LIMITS, timeout=DEFAULT_TIMEOUT)
            keeper = self._keepers[loop] = _Keeper(client, _open_until_the_loop_ends(client))
            await anext(keeper.life)
        return keeper.client

    def close(self) -> None:
        """Close the synchronous client; the next use makes a new one."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the running loop's client; the next use makes a new one."""
        keeper = self._keepers.pop(asyncio.get_running_loop(), None)
        if keeper is not None:
            await keeper.life.aclose()

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Keeper:
    client: httpx2.AsyncClient
    life: AsyncGenerator[None, None]


async def _open_until_the_loop_ends(client: httpx2.AsyncClient) -> AsyncGenerator[None, None]:
    # asyncio.run closes every open asynchronous generator before its loop: the one hook a library has on that moment.
    try:
        yield
    finally:
        await client.aclose()


_shared: weakref.WeakValueDictionary[str, Connections] = weakref.WeakValueDictionary()
_shared_lock = threading.Lock()


def shared_connections() -> Connections:
    """The connections that all models of the process share while one of them lives."""
    with _shared_lock:
        found = _shared.get("")
        if found is None:
            found = _shared[""] = Connections()
        return found


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


@dataclass(frozen=True, slots=True)
class Transport:
    """Sends requests to one host. `headers` hold the key, so they are never shown."""

    base_url: str
    connections: Connections = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: Any = None
    max_retries: int = 2

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return httpx2.URL(self.base_url).netloc.decode()

    def post(self, path: str, body: bytes, *, model: str = "") -> Any:
        """The whole answer to a request, parsed. Raises a KimiError."""
        retries = Retries(self.max_retries)
        while True:
            try:
                with self._failures():
                    return self._read(self.connections.client().post(**self._request(path, body)), model)
            except KimiError as error:
                time.sleep(_or_raise(retries.wait(error), error))

    async def apost(self, path: str, body: bytes, *, model: str = "") -> Any:
        """`post` for asynchronous use."""
        retries = Retries(self.max_retries)
        while True:
            try:
                with self._failures():
                    client = await self.connections.async_client()
                    return self._read(await client.post(**self._request(path, body)), model)
            except KimiError as error:
                await asyncio.sleep(_or_raise(retries.wait(error), error))

    def stream(self, path: str, body: bytes, *, model: str = "") -> Iterator[bytes]:
        """The data of each event of a streamed answer. Tries again only while nothing has arrived."""
        retries = Retries(self.max_retries)
        last = None
        while True:
            try:
                with self._failures(), self.connections.client().stream("POST", **self._request(path, body)) as answer:
                    if answer.status_code != 200:
                        answer.read()
                        self._read(answer, model)
                    events = Events()
                    for piece in answer.iter_bytes():
                        for last in events.feed(piece):
                            yield last
                    yield from events.end()
                    return
            except KimiError as error:
                if last == DONE:
                    return
                wait = _or_raise(retries.wait(error), error) if last is None else _broken_off(error)
            time.sleep(wait)

    async def astream(self, path: str, body: bytes, *, model: str = "") -> AsyncIterator[bytes]:
        """`stream` for asynchronous use."""
        retries = Retries(self.max_retries)
        last = None
        while True:
            try:
                with self._failures():
                    client = await self.connections.async_client()
                    async with client.stream("POST", **self._request(path, body)) as answer:
                        if answer.status_code != 200:
                            await answer.aread()
                            self._read(answer, model)
                        events = Events()
                        async for piece in answer.aiter_bytes():
                            for last in events.feed(piece):
                                yield last
                        for last in events.end():
                            yield last
                        return
            except KimiError as error:
                if last == DONE:
                    return
                wait = _or_raise(retries.wait(error), error) if last is None else _broken_off(error)
            await asyncio.sleep(wait)

    def _request(self, path: str, body: bytes) -> dict[str, Any]:
        headers = {"content-type": "application/json", **self.headers}
        deadline = {} if self.timeout is None else {"timeout": self.timeout}
        return {"url": self.base_url + path, "content": body, "headers": headers, **deadline}

    def _read(self, answer: Any, model: str) -> Any:
        """The parsed body of an answer that was read; a refusal is raised."""
        try:
            body = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            body = answer.text
        if answer.status_code != 200 or not isinstance(body, dict):
            status = answer.status_code if answer.status_code != 200 else 502
            raise errors.from_response(status, body, host=self.host, headers=answer.headers, model=model)
        return body

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turns the exceptions of httpx2 and of httpx into ours, by name: the two families share no base."""
        try:
            yield
        except Exception as error:
            names = {base.__name__ for base in type(error).__mro__ if base.__module__.startswith("httpx")}
            if "TimeoutException" in names:
                raise errors.APITimeoutError(
                    f"{self.host} did not answer in time ({type(error).__name__}); `timeout` sets how long to wait",
                    host=self.host,
                ) from error
            if names & {"TransportError", "StreamError"}:
                raise errors.APIConnectionError(
                    f"the connection to {self.host} failed: {str(error) or type(error).__name__}. Check `base_url`, "
                    "the network and HTTPS_PROXY.",
                    host=self.host,
                ) from error
            raise


def _broken_off(error: KimiError) -> NoReturn:
    """Raise for an answer of which a part was already handed out: it cannot be asked for again unnoticed."""
    if isinstance(error, errors.APIConnectionError):
        raise errors.BrokenStreamError(
            f"the answer of {error.host} broke off; nothing of it is used. Ask again.", host=error.host
        ) from error
    raise error


def _or_raise(wait: float | None, error: KimiError) -> float:
    if wait is None:
        raise error
    return wait
