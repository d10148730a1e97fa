"""Opens, shares and closes HTTP clients."""

import asyncio
import os
import ssl
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any
from urllib.request import getproxies

import httpx2

_LIMITS = httpx2.Limits(max_connections=1)
_MOST_IN_USE = 1_000
"""The most requests in progress at the same time, for all threads and for each event loop; further ones wait."""
_ALL_IN_USE = f"{_MOST_IN_USE:,} requests are in progress"
_MOST_IDLE = 1_000
_LONGEST_IDLE = 5.0
"""Seconds after which an unused connection is closed."""


class Connections:
    """HTTP clients, made when first needed, of which each has one connection and serves one request at a time.

    A pool of many connections looks at all of them for every request. Here, the next request to a host gets the client
    that was used last for that host. Threads share their clients; each event loop has its own, which are closed when it
    shuts down. Where the environment names a proxy, they are httpx2's, which know for which hosts it is. The user's own
    clients, of httpx2 or httpx, are used as they are and never closed here. After a fork the child makes clients of its
    own.
    """

    def __init__(self, client: Any = None, async_client: Any = None) -> None:
        self._own_client = client
        self._own_async_client = async_client
        self._reset()
        _everywhere.add(self)

    def _reset(self) -> None:
        self._clients = _Clients(threading.Semaphore(_MOST_IN_USE))
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopClients] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    @contextmanager
    def client(self, host: str, timeout: float | None = None) -> Iterator[Any]:
        """A client for one synchronous request to a host. Raises httpx2.PoolTimeout if none is free in `timeout` s."""
        if self._own_client is not None:
            yield self._own_client
            return
        clients = self._clients
        if not clients.in_use.acquire(timeout=timeout):
            raise httpx2.PoolTimeout(_ALL_IN_USE)
        try:
            client = clients.pop_idle(host) or _new_client()
            try:
                yield client
            finally:
                for unused in clients.release(client, host):
                    unused.close()
        finally:
            clients.in_use.release()

    @asynccontextmanager
    async def async_client(self, host: str, timeout: float | None = None) -> AsyncIterator[Any]:
        """`client` for one request on the running event loop."""
        if self._own_async_client is not None:
            yield self._own_async_client
            return
        clients = await self._of_running_loop()
        try:
            async with asyncio.timeout(timeout):
                await clients.in_use.acquire()
        except TimeoutError:
            raise httpx2.PoolTimeout(_ALL_IN_USE) from None
        try:
            client = clients.pop_idle(host) or _new_async_client()
            try:
                yield client
            finally:
                for unused in clients.release(client, host):
                    await unused.aclose()
        finally:
            clients.in_use.release()

    async def _of_running_loop(self) -> "_Clients":
        loop = asyncio.get_running_loop()
        known = self._loops.get(loop)
        if known is None:
            with self._lock:
                for closed in [other for other in self._loops if other.is_closed()]:
                    del self._loops[closed]  # its connections refer to it, so that it would live as long as they
                clients = _Clients(asyncio.Semaphore(_MOST_IN_USE))
                known = self._loops[loop] = _LoopClients(clients, _open_until_the_loop_ends(clients))
            await anext(known.life)  # runs to its yield at once: no other task gets in between
        return known.clients

    def close(self) -> None:
        """Close the synchronous clients; the next request makes a new one."""
        with self._lock:
            clients, self._clients = self._clients, _Clients(threading.Semaphore(_MOST_IN_USE))
        for client in clients.close():
            client.close()

    async def aclose(self) -> None:
        """Close the running loop's clients; the next request makes a new one."""
        with self._lock:
            known = self._loops.pop(asyncio.get_running_loop(), None)
        if known is not None:
            await known.life.aclose()

    def __deepcopy__(self, memo: Any) -> "Connections":
        return self  # a model's copy uses the same connections

    def __reduce__(self) -> tuple[Any, ...]:
        return shared_connections, ()  # sockets stay in their process

    def __del__(self, _is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _is_finalizing():  # the HTTP library's modules may be gone, and the sockets close with the process
            self.close()


class _Clients:
    """The clients of all threads, or of one event loop."""

    def __init__(self, in_use: Any) -> None:
        self.in_use = in_use
        """The semaphore that a request holds."""
        self._idle: deque[tuple[Any, str, float]] = deque()
        """Clients with their hosts and the times of their last use, in the order of these."""
        self._lock = threading.Lock()
        self._closed = False

    def pop_idle(self, host: str) -> Any:
        """The idle client that was used last for a host; None if there is none."""
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index][1] == host:
                    client = self._idle[index][0]
                    del self._idle[index]
                    return client
        return None

    def release(self, client: Any, host: str) -> list[Any]:
        """Store a client for the next request to its host. Returns the clients to close."""
        with self._lock:
            if self._closed:
                return [client]
            now = time.monotonic()
            self._idle.append((client, host, now))
            unused = []
            while len(self._idle) > _MOST_IDLE or (self._idle and self._idle[0][2] < now - _LONGEST_IDLE):
                unused.append(self._idle.popleft()[0])
            return unused

    def close(self) -> list[Any]:
        """Store no client any more. Returns the idle ones, which are to be closed."""
        with self._lock:
            self._closed = True
            idle = [client for client, _, _ in self._idle]
            self._idle.clear()
            return idle


@dataclass(frozen=True, slots=True)
class _LoopClients:
    clients: _Clients
    life: AsyncGenerator[None, None]


async def _open_until_the_loop_ends(clients: _Clients) -> AsyncGenerator[None, None]:
    # asyncio.run closes every open asynchronous generator before its loop: the one hook a library has on that moment.
    try:
        yield
    finally:
        for client in clients.close():
            await client.aclose()


_everywhere: "weakref.WeakSet[Connections]" = weakref.WeakSet()
_shared: weakref.WeakValueDictionary[str, Connections] = weakref.WeakValueDictionary()
_shared_lock = threading.Lock()
_of_the_parent: list[Any] = []


def shared_connections() -> Connections:
    """The connections that all models of the process share while one of them lives."""
    with _shared_lock:
        connections = _shared.get("")
        if connections is None:
            connections = _shared[""] = Connections()
        return connections


def _after_fork() -> None:
    # If a child used its parent's sockets, it would mix up their responses; if it closed them, it would end their TLS
    # sessions. A lock may be held by a thread that does not exist in the child. So the child leaves all of them alone.
    global _shared_lock
    _shared_lock = threading.Lock()
    for connections in list(_everywhere):
        _of_the_parent.append((connections._clients, dict(connections._loops)))
        connections._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _new_client() -> Any:
    if _has_proxy() or not _have_pools():
        return httpx2.Client(verify=ssl_context(), limits=_LIMITS)
    return _single_connection().Client(ssl_context())


def _new_async_client() -> Any:
    if _has_proxy() or not _have_pools():
        return httpx2.AsyncClient(verify=ssl_context(), limits=_LIMITS)
    return _single_connection().AsyncClient(ssl_context())


def _single_connection() -> Any:
    """The module of these clients. Imported with the first client: httpcore2 takes a tenth of the time of ChatKimi."""
    return import_module("langchain_kimi._http.single_connection")


def _has_proxy() -> bool:
    """Whether a proxy is set for some hosts. httpx2's own clients know for which."""
    return any(scheme in ("http", "https", "all") for scheme in getproxies())


@lru_cache(maxsize=1)
def _have_pools() -> bool:
    """Whether httpx2's transports keep their pools where `single_connection` puts its connection, which is not public.

    If a version of httpx2 does not, its own clients are used.
    """
    transports = httpx2.HTTPTransport(verify=ssl_context()), httpx2.AsyncHTTPTransport(verify=ssl_context())
    return all(hasattr(transport, "_pool") for transport in transports)


@lru_cache(maxsize=1)
def ssl_context() -> ssl.SSLContext:
    """The TLS settings of all connections, with the certificates that SSL_CERT_FILE or SSL_CERT_DIR names."""
    return httpx2.create_ssl_context()
