"""`FakeKimi`: the chat model over the fake API in the same process, without sockets and without waiting."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import httpx2
from pydantic import PrivateAttr

from langchain_kimi._http import CLOCK, Clock
from langchain_kimi.catalogue import DEFAULT_MODEL
from langchain_kimi.chat_model import ChatKimi
from langchain_kimi.testing.api.fake_api import FakeKimiAPI
from langchain_kimi.testing.api.http_request import HttpRequest
from langchain_kimi.testing.api.http_response import ConnectionCut, ConnectionStalled, HttpResponse
from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import Script

_URL = "http://fake-kimi.invalid/v1"


class FakeKimi(ChatKimi):
    """A ChatKimi whose answers come from a script: `FakeKimi([called("add", a=1, b=2), said("3")])`.

    Everything except the sockets is real: the request is encoded, checked and answered as with KimiServer. `script` is
    a script as for KimiServer, or a FakeKimiAPI with its own settings. `settings` are ChatKimi's; the default model is
    `kimi-k3`. Delays before retries pass at once, and so does the timeout of a response that stalls.
    """

    _api: FakeKimiAPI = PrivateAttr()

    def __init__(self, script: Script | FakeKimiAPI = (), **settings: Any) -> None:
        api = script if isinstance(script, FakeKimiAPI) else FakeKimiAPI(script)
        transport = FakeKimiTransport(api)
        fixed: dict[str, Any] = {
            "base_url": _URL,
            "http_client": httpx2.Client(transport=transport),
            "http_async_client": httpx2.AsyncClient(transport=transport),
        }
        model: dict[str, Any] = {} if "model_name" in settings else {"model": DEFAULT_MODEL}
        super().__init__(**{**model, "api_key": "sk-fake", **settings, **fixed})
        self._clock = _InstantClock()
        self._api = api

    @property
    def requests(self) -> list[Request]:
        """Every chat request, also refused ones, in order of arrival."""
        return self._api.requests

    @property
    def calls(self) -> list[HttpRequest]:
        """Every request to an endpoint other than chat."""
        return self._api.calls

    @property
    def api(self) -> FakeKimiAPI:
        """The fake API that answers."""
        return self._api

    def verify(self) -> None:
        """Raises ScriptError, an AssertionError, if the script failed or has replies left."""
        self._api.verify()


class FakeKimiTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """An httpx2 transport into a api: `httpx2.Client(transport=FakeKimiTransport(api))`."""

    def __init__(self, api: FakeKimiAPI) -> None:
        self._api = api

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response to a request; its body arrives piece by piece."""
        request.read()
        return _to_httpx(request, self._api.respond(*_parts(request)))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The same. Functions of the script run in threads, since they may wait for each other."""
        await request.aread()
        if self._api.may_block:
            return _to_httpx(request, await asyncio.to_thread(self._api.respond, *_parts(request)))
        return _to_httpx(request, self._api.respond(*_parts(request)))


class _Body(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The pieces of a response, each produced when it is read."""

    def __init__(self, request: httpx2.Request, response: HttpResponse) -> None:
        self._request = request
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with _connection_errors(self._request):
                piece = next(self._response.body, None)
            if piece is None:
                return
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._response.body
        while True:
            with _connection_errors(self._request):
                piece = await asyncio.to_thread(next, pieces, None) if self._response.may_block else next(pieces, None)
            if piece is None:
                return
            yield piece
            await asyncio.sleep(0)  # other tasks run between two pieces, as they do with sockets

    def close(self) -> None:
        self._response.close()

    async def aclose(self) -> None:
        self._response.close()


class _InstantClock(Clock):
    """A clock whose delays pass at once."""

    def __init__(self) -> None:
        self._slept = 0.0

    def now(self) -> float:
        return time.monotonic() + self._slept

    def today(self) -> date:
        return CLOCK.today()

    def sleep(self, seconds: float) -> None:
        self._slept += seconds

    async def asleep(self, seconds: float) -> None:
        self._slept += seconds
        await asyncio.sleep(0)


def _parts(request: httpx2.Request) -> tuple[str, str, dict[str, str], bytes]:
    return request.method, request.url.raw_path.decode(), dict(request.headers), request.content


def _to_httpx(request: httpx2.Request, response: HttpResponse) -> httpx2.Response:
    if response.script_error is not None:
        response.close()
        raise response.script_error
    stream = _Body(request, response)
    return httpx2.Response(response.status, headers=response.headers, stream=stream, request=request)


@contextmanager
def _connection_errors(request: httpx2.Request) -> Iterator[None]:
    """Turns the faults of the fake API into errors of a connection, also a pause that was longer than the timeout."""
    longest = request.extensions.get("timeout", {}).get("read")
    started = time.monotonic()
    try:
        yield
    except ConnectionCut:
        raise httpx2.RemoteProtocolError("the response was cut off", request=request) from None
    except ConnectionStalled:
        raise httpx2.ReadTimeout("the response stalled", request=request) from None
    if longest is not None and time.monotonic() - started > longest:
        raise httpx2.ReadTimeout("the response paused for too long", request=request)
