"""Between the clients and the network while a cassette is open.

`intercept` patches the transports of httpx2 and httpx, synchronous and asynchronous; openai's SDK uses these too.
Transports that stay in the process (ASGI, WSGI, mocks) are not patched. `block_network` lets sockets connect to
loopback and to local files only.
"""

import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import anyio.lowlevel

from langchain_kimi._api_keys import is_loopback
from langchain_kimi.testing.cassettes.cassette_errors import NetworkBlocked
from langchain_kimi.testing.cassettes.cassette_file import Interaction
from langchain_kimi.testing.cassettes.recording import Recording, SentRequest

_CLIENT_LIBRARIES = ("httpx2", "httpx")
_lock = threading.Lock()


class Recorder(Protocol):
    """What intercepted requests need of a cassette."""

    def ignores_host(self, host: str, port: int | None) -> bool: ...

    def replay(self, sent: SentRequest) -> Interaction | None: ...

    def response_pieces(self, interaction: Interaction) -> list[bytes]: ...

    def start_recording(self, sent: SentRequest) -> Recording: ...


@contextmanager
def intercept(recorder: Recorder) -> Iterator[None]:
    """While open, the requests of all clients of the process go to the recorder; the innermost recorder comes first."""
    patched: list[tuple[type, str, Any]] = []
    with _lock:
        for library in _CLIENT_LIBRARIES:
            if find_spec(library) is not None:
                module = import_module(library)
                for owner, name, make_handler in (
                    (module.HTTPTransport, "handle_request", _sync_handler),
                    (module.AsyncHTTPTransport, "handle_async_request", _async_handler),
                ):
                    original = getattr(owner, name)
                    patched.append((owner, name, original))
                    setattr(owner, name, make_handler(recorder, module, original))
    try:
        yield
    finally:
        with _lock:
            for owner, name, original in reversed(patched):
                setattr(owner, name, original)


def _sync_handler(recorder: Recorder, module: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    replayed_stream, recorded_stream = _stream_classes(module)

    def handle_request(self: Any, request: Any) -> Any:
        if recorder.ignores_host(request.url.host, request.url.port):
            return original(self, request)
        request.read()
        sent = _sent_request(request)
        if interaction := recorder.replay(sent):
            return _replayed_response(recorder, module, interaction, replayed_stream)
        recording = recorder.start_recording(sent)
        response = original(self, request)
        return _recorded_response(recording, response, recorded_stream)

    return handle_request


def _async_handler(recorder: Recorder, module: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    replayed_stream, recorded_stream = _stream_classes(module)

    async def handle_async_request(self: Any, request: Any) -> Any:
        if recorder.ignores_host(request.url.host, request.url.port):
            return await original(self, request)
        await request.aread()
        sent = _sent_request(request)
        if interaction := recorder.replay(sent):
            await anyio.lowlevel.checkpoint()
            return _replayed_response(recorder, module, interaction, replayed_stream)
        recording = recorder.start_recording(sent)
        response = await original(self, request)
        return _recorded_response(recording, response, recorded_stream)

    return handle_async_request


def _sent_request(request: Any) -> SentRequest:
    url = request.url
    headers = [(name.lower(), value) for name, value in request.headers.multi_items()]
    return SentRequest.from_parts(request.method, url.host, url.path, url.query.decode(), headers, request.content)


def _replayed_response(recorder: Recorder, module: Any, interaction: Interaction, stream_class: type[Any]) -> Any:
    recorded = interaction.response
    error = None
    if ends := recorded.get("ends"):
        reason = "the connection broke" if ends == "cut" else "the client closed it before its end"
        error = module.RemoteProtocolError(f"the response was recorded up to here: {reason}")
    stream = stream_class(recorder.response_pieces(interaction), error)
    return module.Response(recorded["status"], headers=list(recorded["headers"].items()), stream=stream)


def _recorded_response(recording: Recording, response: Any, stream_class: type[Any]) -> Any:
    recording.status = response.status_code
    recording.headers = tuple((name.lower(), value) for name, value in response.headers.multi_items())
    response.stream = stream_class(response.stream, recording)
    return response


class _ReplayedStream:
    """A recorded body; it ends with the error if it was recorded with one."""

    def __init__(self, pieces: list[bytes], error: Exception | None) -> None:
        self._pieces = pieces
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._error:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await anyio.lowlevel.checkpoint()
            yield piece
        if self._error:
            raise self._error

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class _RecordedStream:
    """A body that is recorded while the client reads it."""

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


def _stream_classes(module: Any) -> tuple[type[Any], type[Any]]:
    """The two stream classes with the base classes that the library's clients require."""
    bases = (module.SyncByteStream, module.AsyncByteStream)
    return type("ReplayedStream", (_ReplayedStream, *bases), {}), type("RecordedStream", (_RecordedStream, *bases), {})


@contextmanager
def block_network(allowed: Collection[str] = ()) -> Iterator[None]:
    """While open, connecting to any other host raises NetworkBlocked, and so does looking up its address."""
    names = {host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host for host in allowed}
    addresses: set[str] = set()

    def is_allowed(host: Any) -> bool:
        name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
        return is_loopback(name) or name in names or name in addresses or name in ("0.0.0.0", "::")

    def checked_connect(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not is_allowed(address[0]):
                raise _network_blocked(address[0])
            return original(self, address)

        return connect

    def checked_lookup(original: Callable[..., Any]) -> Callable[..., Any]:
        def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
            if not is_allowed(host):
                raise _network_blocked(host)
            entries = original(host, *args, **kwargs)
            addresses.update(str(entry[4][0]) for entry in entries)
            return entries

        return getaddrinfo

    with (
        _patched(socket.socket, "connect", checked_connect),
        _patched(socket.socket, "connect_ex", checked_connect),
        _patched(socket, "getaddrinfo", checked_lookup),
    ):
        yield


def _network_blocked(host: Any) -> NetworkBlocked:
    name = host.decode() if isinstance(host, bytes) else host
    return NetworkBlocked(
        f"A connection to {name} was blocked: while a cassette replays, nothing leaves this machine. Only requests of "
        f'httpx2 and httpx are recorded. For another client, allow the host: allowed_hosts=["{name}"].',
        host=str(name),
    )


@contextmanager
def _patched(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Iterator[None]:
    inherited = name not in vars(owner)
    original = getattr(owner, name)
    setattr(owner, name, wrap(original))
    try:
        yield
    finally:
        if inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, original)
