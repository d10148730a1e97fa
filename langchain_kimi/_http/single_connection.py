"""HTTP clients of one connection each, without what a client of many connections does for every request.

A pool looks for a connection; httpx2's clients also merge settings, follow redirects and store cookies. Nothing of it
is needed here, and it took more than half of the time of a request.
"""

import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import httpcore2
import httpx2

from langchain_kimi._http.asyncio_backend import AsyncioBackend

_LONGEST_IDLE = 5.0
"""Seconds after which a connection is not used again."""
_DEFAULTS = {"Accept": "*/*", "Connection": "keep-alive", "User-Agent": f"python-httpx2/{httpx2.__version__}"}
"""The headers that httpx2's clients add."""
_BACKEND = AsyncioBackend()


class _BaseClient:
    """What `ApiCall` needs of a client to make a request."""

    has_single_connection = True
    """Tells these clients from httpx2's and httpx's."""
    is_closed = False

    def build_request(
        self, method: str, url: httpx2.URL, headers: Mapping[str, str], extensions: dict[str, Any], **body: Any
    ) -> httpx2.Request:
        """A request with these headers behind those that httpx2's clients send."""
        merged = _with_defaults(url.netloc, tuple(headers.items()))
        content = body.get("content")
        if not isinstance(content, bytes):
            return httpx2.Request(method, url, headers=merged, extensions=extensions, **body)
        merged = merged.copy()
        merged["Content-Length"] = str(len(content))
        return httpx2.Request(method, url, headers=merged, extensions=extensions, stream=httpx2.ByteStream(content))


class Client(_BaseClient):
    """Sends requests over one connection, which it opens again where the host has closed it."""

    def __init__(self, ssl_context: ssl.SSLContext) -> None:
        self._connection = _Connection(ssl_context)
        self._transport = _Transport(self._connection)

    def send(self, request: httpx2.Request, *, stream: bool) -> httpx2.Response:
        """The response, of which the body is still to be read."""
        response = self._transport.handle_request(request)
        response.request = request
        return response

    def close(self) -> None:
        """Close the connection."""
        self.is_closed = True
        self._connection.close()


class AsyncClient(_BaseClient):
    """`Client` for asynchronous use."""

    def __init__(self, ssl_context: ssl.SSLContext) -> None:
        self._connection = _AsyncConnection(ssl_context)
        self._transport = _AsyncTransport(self._connection)

    async def send(self, request: httpx2.Request, *, stream: bool) -> httpx2.Response:
        """The response, of which the body is still to be read."""
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response

    async def aclose(self) -> None:
        """Close the connection."""
        self.is_closed = True
        await self._connection.aclose()


class _Transport(httpx2.HTTPTransport):
    """httpx2's transport, which maps exceptions and which cassettes intercept, over one connection and no pool.

    `_pool` is not public: `Connections` looks whether this version of httpx2 has it.
    """

    def __init__(self, connection: "_Connection") -> None:
        self._pool = connection  # type: ignore[assignment]


class _AsyncTransport(httpx2.AsyncHTTPTransport):
    """`_Transport` for asynchronous use."""

    def __init__(self, connection: "_AsyncConnection") -> None:
        self._pool = connection  # type: ignore[assignment]


class _Connection:
    """One connection to the host of the last request, in place of a pool of httpcore2."""

    def __init__(self, ssl_context: ssl.SSLContext) -> None:
        self._ssl_context = ssl_context
        self._open: httpcore2.HTTPConnection | None = None

    def handle_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Send a request after the response to the last one has been closed."""
        used, origin = self._open, request.url.origin
        if used is None or not used.is_available() or used.has_expired() or not used.can_handle_request(origin):
            self.close()
            used = self._open = httpcore2.HTTPConnection(
                origin, ssl_context=self._ssl_context, keepalive_expiry=_LONGEST_IDLE
            )
        return used.handle_request(request)

    def close(self) -> None:
        """Close the connection."""
        used, self._open = self._open, None
        if used is not None:
            used.close()


class _AsyncConnection:
    """`_Connection` for asynchronous use."""

    def __init__(self, ssl_context: ssl.SSLContext) -> None:
        self._ssl_context = ssl_context
        self._open: httpcore2.AsyncHTTPConnection | None = None

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Send a request after the response to the last one has been closed."""
        used, origin = self._open, request.url.origin
        if used is None or not used.is_available() or used.has_expired() or not used.can_handle_request(origin):
            await self.aclose()
            used = self._open = httpcore2.AsyncHTTPConnection(
                origin, ssl_context=self._ssl_context, keepalive_expiry=_LONGEST_IDLE, network_backend=_BACKEND
            )
        return await used.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connection."""
        used, self._open = self._open, None
        if used is not None:
            await used.aclose()


@lru_cache(maxsize=256)
def _with_defaults(host: bytes, headers: tuple[tuple[str, str], ...]) -> httpx2.Headers:
    """The headers of a request to a host, except for the length of its body."""
    merged = httpx2.Headers({"Host": host.decode("ascii"), **_DEFAULTS})
    merged.update(dict(headers))
    return merged
