"""The sockets of asynchronous connections: asyncio's own, without the layers that also serve other event loops."""

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import httpcore2

from langchain_kimi._pacing import pace

_READ_AHEAD = 256 * 1024
"""The most bytes that are kept unread before the socket is not read any more."""
_HEAD = 4 * 1024
"""The most bytes that wait for more to be sent with them."""
_JOINED = 64 * 1024
"""The most bytes that are copied behind those that wait."""
_NEXT_ADDRESS = 0.25
"""Seconds after which the next address of a host is tried as well (RFC 8305)."""


class AsyncioBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections on the running event loop of asyncio."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to a host. Raises httpcore2.ConnectTimeout or httpcore2.ConnectError."""
        local = (local_address, 0) if local_address else None
        loop = asyncio.get_running_loop()
        # Other loops than asyncio's own, such as uvloop's, try the addresses one after the other.
        by_turns = isinstance(loop, asyncio.BaseEventLoop) and not _is_address(host)
        delay: dict[str, Any] = {"happy_eyeballs_delay": _NEXT_ADDRESS} if by_turns else {}
        async with _connecting(timeout):
            _, stream = await loop.create_connection(_Stream, host, port, local_addr=local, **delay)
        for option in socket_options or ():
            stream.get_extra_info("socket").setsockopt(*option)
        return stream

    async def sleep(self, seconds: float) -> None:
        """Wait in this task."""
        await asyncio.sleep(seconds)


class _Stream(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """One connection. One task at a time reads or writes."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._unsent = b""
        """The head of a request, which is sent together with what follows it, or before the response is read."""
        self._begins = False
        """Whether the next bytes are the first after a request."""
        self._unread = bytearray()
        self._ended = False
        """Whether nothing more will arrive."""
        self._lost = False
        self._error: Exception | None = None
        """Why the connection was lost; None if one of the two sides closed it."""
        self._arrival: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > _READ_AHEAD:
            self._transport.pause_reading()
        _wake(self._arrival)

    def eof_received(self) -> None:
        self._ended = True
        _wake(self._arrival)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._lost = True
        self._error = exc
        _wake(self._arrival)
        self.resume_writing()

    def pause_writing(self) -> None:
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        _wake(self._drained)
        self._drained = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The bytes that have arrived, or that arrive next; none at the end. Raises ReadTimeout or ReadError."""
        if self._unsent:
            await self._send(timeout)
        if not self._unread and not self._ended:
            await self._arrives(timeout)
            if self._begins:
                await pace()
        self._begins = False
        if not self._unread:
            if self._error is not None:
                raise httpcore2.ReadError(str(self._error)) from self._error
            return b""
        data = bytes(self._unread[:max_bytes])
        del self._unread[:max_bytes]
        if len(self._unread) <= _READ_AHEAD and not self._transport.is_reading():
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes, and wait while too many are unsent. Raises WriteTimeout or WriteError."""
        if len(buffer) > _JOINED:
            await self._send(timeout)
        self._unsent += buffer
        if len(self._unsent) > _HEAD:
            await self._send(timeout)

    async def _send(self, timeout: float | None) -> None:
        if self._ended or self._transport.is_closing():
            raise httpcore2.WriteError(str(self._error or "the connection is closed"))
        unsent, self._unsent = self._unsent, b""
        if unsent:
            self._transport.write(unsent)
        self._begins = True
        if self._drained is not None:
            try:
                async with asyncio.timeout(timeout):
                    await self._drained
            except TimeoutError as error:
                raise httpcore2.WriteTimeout() from error
            if self._error is not None:
                raise httpcore2.WriteError(str(self._error)) from self._error

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Encrypt the connection. Raises ConnectTimeout or ConnectError, and closes it then."""
        loop = asyncio.get_running_loop()
        try:
            async with _connecting(timeout):
                transport = await loop.start_tls(
                    self._transport,
                    self,
                    ssl_context,
                    server_hostname=server_hostname,
                    ssl_handshake_timeout=None if timeout is None else timeout + 1,
                )
                if transport is None:
                    raise ConnectionResetError("the host closed the connection during the TLS handshake")
                self._transport = transport
        except BaseException:
            await self.aclose()
            raise
        return self

    async def aclose(self) -> None:
        """Close the socket, with a TLS farewell for which the host's is not awaited."""
        self._transport.close()
        try:
            await asyncio.sleep(0)
        finally:
            if not self._lost:
                self._transport.abort()

    def get_extra_info(self, info: str) -> Any:
        """A detail of the connection: `is_readable`, `ssl_object`, `socket`, `client_addr` or `server_addr`."""
        if info == "is_readable":
            return self._ended or bool(self._unread) or self._transport.is_closing()
        return self._transport.get_extra_info({"client_addr": "sockname", "server_addr": "peername"}.get(info, info))

    async def _arrives(self, timeout: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._arrival = arrival = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, _expire, arrival)
        try:
            await arrival
        finally:
            self._arrival = None
            if timer is not None:
                timer.cancel()


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(httpcore2.ReadTimeout())


@asynccontextmanager
async def _connecting(timeout: float | None) -> Any:
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise httpcore2.ConnectTimeout() from error
    except OSError as error:  # ssl.SSLError among them
        raise httpcore2.ConnectError(str(error)) from error


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
