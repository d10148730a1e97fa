"""The HTTP clients: who opens them, who shares them, and who closes them."""

import asyncio
import os
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx2

_LIMITS = httpx2.Limits(max_connections=1_000, max_keepalive_connections=100)


class Connections:
    """HTTP clients, made when first used: one for threads, one for each running event loop.

    Given clients are used as they are and never closed here; they may be of httpx2 or httpx. After a fork the child
    makes clients of its own.
    """

    def __init__(self, client: Any = None, async_client: Any = None) -> None:
        self._given = client
        self._given_async = async_client
        self._start_afresh()
        _everywhere.add(self)

    def _start_afresh(self) -> None:
        self._client: httpx2.Client | None = None
        self._keepers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Keeper] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def client(self) -> Any:
        """The client for synchronous use."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._client is None:
                self._client = httpx2.Client(verify=_ssl_context(), limits=_LIMITS)
            return self._client

    async def async_client(self) -> Any:
        """The client of the running event loop; it is closed when the loop shuts down."""
        if self._given_async is not None:
            return self._given_async
        loop = asyncio.get_running_loop()
        with self._lock:
            keeper = self._keepers.get(loop)
            if keeper is None:
                for closed in [other for other in self._keepers if other.is_closed()]:
                    del self._keepers[closed]  # its connections refer to it, so that it would live as long as they
                client = httpx2.AsyncClient(verify=_ssl_context(), limits=_LIMITS)
                keeper = self._keepers[loop] = _Keeper(client, _open_until_the_loop_ends(client))
                await anext(keeper.life)  # runs to its yield at once: no other task gets in between
            return keeper.client

    def close(self) -> None:
        """Close the synchronous client; the next use makes a new one."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the running loop's client; the next use makes a new one."""
        with self._lock:
            keeper = self._keepers.pop(asyncio.get_running_loop(), None)
        if keeper is not None:
            await keeper.life.aclose()

    def __deepcopy__(self, memo: Any) -> "Connections":
        return self  # a model's copy uses the same connections

    def __reduce__(self) -> tuple[Any, ...]:
        return shared_connections, ()  # sockets stay in their process

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


_everywhere: "weakref.WeakSet[Connections]" = weakref.WeakSet()
_shared: weakref.WeakValueDictionary[str, Connections] = weakref.WeakValueDictionary()
_shared_lock = threading.Lock()
_of_the_parent: list[Any] = []


def shared_connections() -> Connections:
    """The connections that all models of the process share while one of them lives."""
    with _shared_lock:
        found = _shared.get("")
        if found is None:
            found = _shared[""] = Connections()
        return found


def _after_fork() -> None:
    # A child that spoke on its parent's sockets would mix their answers, and one that closed them would end their TLS
    # sessions; a lock may have been held by a thread that the child does not have. So all that is left alone.
    global _shared_lock
    _shared_lock = threading.Lock()
    for connections in list(_everywhere):
        _of_the_parent.append((connections._client, dict(connections._keepers)))
        connections._start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
