"""Between the clients and the network: the transports of httpx2 and httpx, synchronous and asynchronous.

openai's SDK sends through these too. Transports that stay in the process (ASGI, WSGI, mocks) are not touched.
"""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from langchain_kimi.testing.cassettes.recording import Recording, Sent

if TYPE_CHECKING:
    from langchain_kimi.testing.cassettes.cassette import Cassette

_FAMILIES = ("httpx2", "httpx")
_lock = threading.Lock()


@contextmanager
def intercepting(cassette: "Cassette") -> Iterator[None]:
    """While open, requests of all clients of the process come to the cassette, one opened within another first."""
    restored: list[tuple[type, str, Any]] = []
    with _lock:
        for family in _FAMILIES:
            if find_spec(family) is not None:
                module = import_module(family)
                for owner, name, made in (
                    (module.HTTPTransport, "handle_request", _sync),
                    (module.AsyncHTTPTransport, "handle_async_request", _async),
                ):
                    original = getattr(owner, name)
                    restored.append((owner, name, original))
                    setattr(owner, name, made(cassette, module, original))
    try:
        yield
    finally:
        with _lock:
            for owner, name, original in reversed(restored):
                setattr(owner, name, original)


def _sync(cassette: "Cassette", module: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    played, recorded = _streams(module)

    def handle_request(self: Any, request: Any) -> Any:
        if cassette.passes(request.url.host, request.url.port):
            return original(self, request)
        request.read()
        sent = _sent(request)
        if interaction := cassette.answer(sent):
            return _answer(cassette, module, interaction, played)
        recording = cassette.begin(sent)
        response = original(self, request)
        return _recording(recording, response, recorded)

    return handle_request


def _async(cassette: "Cassette", module: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    played, recorded = _streams(module)

    async def handle_async_request(self: Any, request: Any) -> Any:
        if cassette.passes(request.url.host, request.url.port):
            return await original(self, request)
        await request.aread()
        sent = _sent(request)
        if interaction := cassette.answer(sent):
            await anyio.lowlevel.checkpoint()
            return _answer(cassette, module, interaction, played)
        recording = cassette.begin(sent)
        response = await original(self, request)
        return _recording(recording, response, recorded)

    return handle_async_request


def _sent(request: Any) -> Sent:
    url = request.url
    headers = [(name.lower(), value) for name, value in request.headers.multi_items()]
    return Sent.of(request.method, url.host, url.path, url.query.decode(), headers, request.content)


def _answer(cassette: "Cassette", module: Any, interaction: Any, played: type[Any]) -> Any:
    recorded = interaction.response
    failure = None
    if ends := recorded.get("ends"):
        text = "the answer was recorded up to here: " + (
            "the connection broke" if ends == "cut" else "the client closed it before its end"
        )
        failure = module.RemoteProtocolError(text)
    stream = played(cassette.pieces(interaction), failure)
    return module.Response(recorded["status"], headers=list(recorded["headers"].items()), stream=stream)


def _recording(recording: Recording, response: Any, recorded: type[Any]) -> Any:
    recording.status = response.status_code
    recording.headers = tuple((name.lower(), value) for name, value in response.headers.multi_items())
    response.stream = recorded(response.stream, recording)
    return response


class _Played:
    """A recorded body; it ends with the failure where there was one."""

    def __init__(self, pieces: list[bytes], failure: Exception | None) -> None:
        self._pieces = pieces
        self._failure = failure

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._failure:
            raise self._failure

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await anyio.lowlevel.checkpoint()
            yield piece
        if self._failure:
            raise self._failure

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class _Recorded:
    """A body on its way to the client, which gets each piece when it comes."""

    def __init__(self, stream: Any, recording: Recording) -> None:
        self._stream = stream
        self._recording = recording

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._stream:
                self._recording.pieces.append(piece)
                yield piece
        except Exception:
            self._recording.ends = "cut"
            raise
        self._recording.ends = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                self._recording.pieces.append(piece)
                yield piece
        except Exception:
            self._recording.ends = "cut"
            raise
        self._recording.ends = None

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _streams(module: Any) -> tuple[type[Any], type[Any]]:
    """The two bodies as the family's clients want them."""
    bases = (module.SyncByteStream, module.AsyncByteStream)
    return type("Played", (_Played, *bases), {}), type("Recorded", (_Recorded, *bases), {})
