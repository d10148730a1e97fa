"""`FakeKimi`: the chat model over the double in the same process, without sockets and without waiting."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from pydantic import PrivateAttr

from langchain_kimi._http import Clock
from langchain_kimi.chat_model import ChatKimi
from langchain_kimi.testing.api.api import FakeKimiAPI
from langchain_kimi.testing.api.http_request import HttpRequest
from langchain_kimi.testing.api.response import Answer, CutOff, Stalled
from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import Script

_URL = "http://fake-kimi.invalid/v1"


class FakeKimi(ChatKimi):
    """A ChatKimi that is played by a script: `FakeKimi([called("add", a=1, b=2), said("3")])`.

    Everything but the sockets is real: the request is encoded, judged and answered as KimiServer does it. `script` is
    what KimiServer takes, or a FakeKimiAPI with settings of its own; `settings` are ChatKimi's, by default those of
    `kimi-k2.6`. Waits before another attempt pass at once, and so does the deadline of an answer that stalls.
    """

    _double: FakeKimiAPI = PrivateAttr()

    def __init__(self, script: Script | FakeKimiAPI = (), **settings: Any) -> None:
        double = script if isinstance(script, FakeKimiAPI) else FakeKimiAPI(script)
        transport = InProcess(double)
        fixed: dict[str, Any] = {
            "base_url": _URL,
            "http_client": httpx2.Client(transport=transport),
            "http_async_client": httpx2.AsyncClient(transport=transport),
        }
        unnamed: dict[str, Any] = {} if "model_name" in settings else {"model": "kimi-k2.6"}
        super().__init__(**{**unnamed, "api_key": "sk-fake", **settings, **fixed})
        self._clock = _Hasty()
        self._double = double

    @property
    def requests(self) -> list[Request]:
        """Every chat request, also those refused, in order of arrival."""
        return self._double.requests

    @property
    def calls(self) -> list[HttpRequest]:
        """Every request to another endpoint than chat."""
        return self._double.calls

    @property
    def double(self) -> FakeKimiAPI:
        """What answers."""
        return self._double

    def verify(self) -> None:
        """Raises ScriptError, an AssertionError, unless the script was played to its end and fitted what was asked."""
        self._double.verify()


class InProcess(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """An httpx2 transport into a double: `httpx2.Client(transport=InProcess(double))`."""

    def __init__(self, double: FakeKimiAPI) -> None:
        self._double = double

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to a request; its body arrives piece by piece."""
        request.read()
        return _response(request, self._double.answer(*_parts(request)))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The same; functions of the script are asked in threads, as they may wait for each other."""
        await request.aread()
        if self._double.waits:
            return _response(request, await asyncio.to_thread(self._double.answer, *_parts(request)))
        return _response(request, self._double.answer(*_parts(request)))


class _Body(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The pieces of an answer, each when it is asked for."""

    def __init__(self, request: httpx2.Request, answer: Answer) -> None:
        self._request = request
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with _failures(self._request):
                piece = next(self._answer.body, None)
            if piece is None:
                return
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._answer.body
        while True:
            with _failures(self._request):
                piece = await asyncio.to_thread(next, pieces, None) if self._answer.waits else next(pieces, None)
            if piece is None:
                return
            yield piece
            await asyncio.sleep(0)  # others get their turn between two pieces, as they do with sockets

    def close(self) -> None:
        self._answer.close()

    async def aclose(self) -> None:
        self._answer.close()


class _Hasty(Clock):
    """A clock whose waits pass at once."""

    def __init__(self) -> None:
        self._slept = 0.0

    def now(self) -> float:
        return time.monotonic() + self._slept

    def sleep(self, seconds: float) -> None:
        self._slept += seconds

    async def asleep(self, seconds: float) -> None:
        self._slept += seconds
        await asyncio.sleep(0)


def _parts(request: httpx2.Request) -> tuple[str, str, dict[str, str], bytes]:
    return request.method, request.url.raw_path.decode(), dict(request.headers), request.content


def _response(request: httpx2.Request, answer: Answer) -> httpx2.Response:
    if answer.script_error is not None:
        answer.close()
        raise answer.script_error
    return httpx2.Response(answer.status, headers=answer.headers, stream=_Body(request, answer), request=request)


@contextmanager
def _failures(request: httpx2.Request) -> Iterator[None]:
    """Turns the double's faults into those of a connection, also a pause that was longer than its deadline."""
    longest = request.extensions.get("timeout", {}).get("read")
    started = time.monotonic()
    try:
        yield
    except CutOff:
        raise httpx2.RemoteProtocolError("the answer broke off", request=request) from None
    except Stalled:
        raise httpx2.ReadTimeout("the answer stalled", request=request) from None
    if longest is not None and time.monotonic() - started > longest:
        raise httpx2.ReadTimeout("the answer paused for too long", request=request)
