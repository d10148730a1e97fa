"""One connection over real sockets: its bytes, TLS, proxies, timeouts, cancelling, and hosts that close it."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import trustme

from langchain_kimi import errors
from langchain_kimi._http import Connections, Timeouts, Transport, connections, single_connection
from langchain_kimi._http.asyncio_backend import AsyncioBackend
from langchain_kimi._http.connections import ssl_context
from tests.conftest import SYNC_AND_ASYNC
from tests.raw_server import Sent, raw_server

CHAT = "/chat/completions"
BODY = b'{"model": "kimi-k3", "messages": []}'
ANSWER = Sent(b'{"choices": []}')
SHORT, LONG = 0.2, 30.0
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """Of a host that is called localhost and api.kimi.test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "api.kimi.test").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of SSL_CERT_FILE, which names the authority."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    ssl_context.cache_clear()
    yield path
    ssl_context.cache_clear()


async def ask(url: str, way: str, body: bytes = BODY, used: Connections | None = None, **timeouts: Any) -> Any:
    """The answer to one request, over connections of its own that are closed after it."""
    own = used or Connections()
    limits = Timeouts(**{"first_byte": LONG, "silence": LONG, **timeouts})
    headers = {"authorization": "Bearer sk-test-0123456789"}
    asked = Transport(url, own, headers, timeout=limits, max_retries=0)
    try:
        return await (asked.apost(CHAT, body) if way == "async" else asyncio.to_thread(asked.post, CHAT, body))
    finally:
        own.close()
        await own.aclose()


def listener(backlog: int = 8) -> socket.socket:
    """A socket that listens on loopback."""
    return socket.create_server(("127.0.0.1", 0), backlog=backlog)


@contextmanager
def served(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that calls `serve` with each connection, in a thread, and closes it afterwards."""

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(LONG)
            serve(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=handle, args=(open_to.accept()[0],), daemon=True).start()

    with listener() as open_to:
        threading.Thread(target=accept, daemon=True).start()
        yield open_to.getsockname()[1]
        with suppress(OSError):
            open_to.shutdown(socket.SHUT_RDWR)


# The bytes.


@SYNC_AND_ASYNC
@pytest.mark.parametrize("body", [BODY, b'{"text": "' + b"x" * 5_000_000 + b'"}', b""])
async def test_a_request_has_the_same_bytes_as_over_a_client_of_httpx2(way: str, body: bytes) -> None:
    with raw_server(ANSWER) as server, httpx2.Client() as client:
        async with httpx2.AsyncClient() as async_client:
            await ask(server.url, way, body)
            await ask(server.url, way, body, Connections(client, async_client))
    own, httpx2s = server.requests
    assert own == httpx2s
    assert own.endswith(body)


@SYNC_AND_ASYNC
async def test_headers_of_the_user_replace_those_of_the_client(way: str) -> None:
    own = Connections()
    with raw_server(ANSWER) as server:
        asked = Transport(server.url, own, {"user-agent": "mine/1", "X-Team": "blue"}, max_retries=0)
        await (asked.apost(CHAT, BODY) if way == "async" else asyncio.to_thread(asked.post, CHAT, BODY))
    head = server.requests[0].lower()
    assert head.count(b"user-agent:") == 1
    assert b"user-agent: mine/1\r\n" in head
    assert b"x-team: blue\r\n" in head
    own.close()
    await own.aclose()


@SYNC_AND_ASYNC
async def test_no_cookie_is_sent_back(way: str) -> None:
    own = Connections()
    answer = Sent(b'{"choices": []}', headers={"set-cookie": "session=1", "content-length": "15"})
    with raw_server(answer) as server:
        asked = Transport(server.url, own, max_retries=0)
        for _ in range(2):
            await (asked.apost(CHAT, BODY) if way == "async" else asyncio.to_thread(asked.post, CHAT, BODY))
    assert b"cookie" not in server.requests[1].lower()
    own.close()
    await own.aclose()


# TLS.


@SYNC_AND_ASYNC
async def test_a_host_whose_authority_a_file_names(way: str, server_tls: ssl.SSLContext, trusted: Path) -> None:
    large = b'{"choices": [], "text": "' + b"y" * 3_000_000 + b'"}'
    with raw_server(ANSWER, Sent(large), tls=server_tls) as server:
        assert await ask(server.url, way) == {"choices": []}
        answer = await ask(server.url, way, b'{"text": "' + b"x" * 3_000_000 + b'"}')
    assert len(answer["text"]) == 3_000_000
    assert server.requests[1].endswith(b'x"}')


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl names the files of such a folder")
@SYNC_AND_ASYNC
async def test_a_host_whose_authority_a_folder_names(
    way: str, server_tls: ssl.SSLContext, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_by_hash(trusted)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(trusted.parent))
    with raw_server(ANSWER, tls=server_tls) as server:
        assert await ask(server.url, way) == {"choices": []}


@SYNC_AND_ASYNC
async def test_a_host_that_nobody_vouches_for(way: str, server_tls: ssl.SSLContext) -> None:
    with (
        raw_server(ANSWER, tls=server_tls) as server,
        pytest.raises(errors.APIConnectionError, match="certificate verify failed"),
    ):
        await ask(server.url, way)


@SYNC_AND_ASYNC
async def test_a_host_with_the_certificate_of_another(way: str, server_tls: ssl.SSLContext, trusted: Path) -> None:
    with (
        raw_server(ANSWER, tls=server_tls) as server,
        pytest.raises(errors.APIConnectionError, match=r"not valid for '127\.0\.0\.1'"),
    ):
        await ask(server.url.replace("localhost", "127.0.0.1"), way)


@SYNC_AND_ASYNC
async def test_a_host_that_never_answers_the_handshake(way: str) -> None:
    with listener() as silent, pytest.raises(errors.APITimeoutError) as raised:
        await ask(f"https://localhost:{silent.getsockname()[1]}/v1", way, connect=SHORT)
    assert raised.value.timeout == "connect"


@SYNC_AND_ASYNC
async def test_a_host_that_closes_during_the_handshake(way: str) -> None:
    with served(lambda connection: None) as port, pytest.raises(errors.APIConnectionError):
        await ask(f"https://localhost:{port}/v1", way)


async def test_a_cancelled_handshake_closes_the_socket() -> None:
    with listener() as silent:
        silent.settimeout(LONG)
        task = asyncio.create_task(ask(f"https://localhost:{silent.getsockname()[1]}/v1", "async"))
        connection = (await asyncio.to_thread(silent.accept))[0]
        with connection:
            await asyncio.to_thread(connection.recv, 65536)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(read_to_the_end, connection) is not None


def read_to_the_end(connection: socket.socket) -> bytes:
    """What still arrives; fails if the other side does not close."""
    connection.settimeout(LONG)
    read = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            read += piece
    return read


def name_by_hash(certificate: Path) -> None:
    """Give the file the name by which OpenSSL looks for its subject in a folder."""
    command = ["openssl", "x509", "-hash", "-noout", "-in", certificate]
    hashed = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    certificate.rename(certificate.parent / f"{hashed}.0")


# Proxies.


@SYNC_AND_ASYNC
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_a_proxy_gets_the_request(way: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(ANSWER) as proxy:
        monkeypatch.setenv(variable, f"http://user:proxy-password-1@127.0.0.1:{proxy.port}")
        assert await ask("http://api.kimi.test/v1", way) == {"choices": []}
    head = proxy.requests[0]
    assert head.startswith(b"POST http://api.kimi.test/v1/chat/completions HTTP/1.1\r\n")
    assert b"proxy-authorization: basic" in head.lower()


@SYNC_AND_ASYNC
async def test_a_proxy_is_not_asked_for_hosts_that_it_is_not_for(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(ANSWER) as server, raw_server(ANSWER) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await ask(server.url, way)
    assert (len(server.requests), len(proxy.requests)) == (1, 0)


@SYNC_AND_ASYNC
async def test_a_tunnel_through_a_proxy(
    way: str, server_tls: ssl.SSLContext, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    with raw_server(ANSWER, tls=server_tls) as server:

        def tunnel(connection: socket.socket) -> None:
            asked.append(connection.recv(65536))
            with socket.create_connection(("127.0.0.1", server.port)) as host:
                connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=pump, args=(host, connection), daemon=True)
                back.start()
                pump(connection, host)
                back.join(LONG)

        with served(tunnel) as port:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            assert await ask("https://api.kimi.test/v1", way) == {"choices": []}
    assert asked[0].startswith(b"CONNECT api.kimi.test:443 HTTP/1.1\r\n")
    assert b"authorization" not in asked[0].lower()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


# Timeouts, and hosts that break off.


@SYNC_AND_ASYNC
async def test_a_host_that_does_not_read_the_request(way: str) -> None:
    with listener() as silent, pytest.raises(errors.APITimeoutError) as raised:
        await ask(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", way, b"x" * 30_000_000, write=SHORT)
    assert raised.value.timeout == "write"


@SYNC_AND_ASYNC
async def test_a_reset_connection_is_a_connection_error(way: str) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    with served(reset) as port, pytest.raises(errors.APIConnectionError, match=r"reset|broke|without|peer closed"):
        await ask(f"http://127.0.0.1:{port}/v1", way)


@SYNC_AND_ASYNC
async def test_a_refusal_before_the_whole_request_was_read(way: str) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(1024)
        body = b'{"error": {"message": "too large", "type": "invalid_request_error"}}'
        connection.sendall(
            b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with served(refuse) as port, pytest.raises(errors.KimiError, match="too large") as raised:
        await ask(f"http://127.0.0.1:{port}/v1", way, b"x" * 30_000_000)
    assert raised.value.status == 413


@SYNC_AND_ASYNC
async def test_a_connection_that_the_host_closed_while_it_was_idle_is_not_used_again(way: str) -> None:
    closed = threading.Event()

    def once(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"choices": []}')
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    own = Connections()
    with served(once) as port:
        asked = Transport(f"http://127.0.0.1:{port}/v1", own, max_retries=0)
        for _ in range(3):
            await (asked.apost(CHAT, BODY) if way == "async" else asyncio.to_thread(asked.post, CHAT, BODY))
            await asyncio.to_thread(closed.wait, LONG)
            closed.clear()
    own.close()
    await own.aclose()


async def test_what_nobody_reads_is_not_read_from_the_socket() -> None:
    def send(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"x" * 65536)

    with served(send) as port:
        stream: Any = await AsyncioBackend().connect_tcp("127.0.0.1", port, LONG)
        while stream._transport.is_reading():  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert len(stream._unread) < 1_000_000
        assert len(await stream.read(100)) == 100
        read = 0
        while read < 3_000_000:
            read += len(await stream.read(65536, LONG))
        await stream.aclose()


async def test_a_name_with_several_addresses_is_tried_at_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(ANSWER) as server:
        loop = asyncio.get_running_loop()
        lookup = loop.getaddrinfo

        async def two_addresses(host: Any, port: Any, **options: Any) -> Any:
            found = await lookup("127.0.0.1", port, **options)
            return [(*found[0][:4], ("127.0.0.2", 9)), *found]

        monkeypatch.setattr(loop, "getaddrinfo", two_addresses)
        assert await ask(server.url.replace("127.0.0.1", "api.kimi.test"), "async") == {"choices": []}


def test_an_event_loop_that_is_not_asyncios_own(server_tls: ssl.SSLContext, trusted: Path) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop does not run on Windows")
    large = b'{"choices": [], "text": "' + b"y" * 3_000_000 + b'"}'

    async def both(plain: str, secure: str) -> list[Any]:
        return [await ask(url.replace("127.0.0.1", "localhost"), "async") for url in (plain, secure)]

    with raw_server(ANSWER) as plain, raw_server(Sent(large), tls=server_tls) as secure:
        first, second = uvloop.run(both(plain.url, secure.url))
    assert (first, len(second["text"])) == ({"choices": []}, 3_000_000)


@SYNC_AND_ASYNC
async def test_a_version_of_httpx2_with_other_transports_gets_its_own_clients(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Renamed(httpx2.HTTPTransport):
        def __init__(self, **settings: Any) -> None:
            """Keeps no `_pool`."""

    used: list[Any] = []
    monkeypatch.setattr(connections, "httpx2", SimpleNamespace(**vars(httpx2) | {"HTTPTransport": Renamed}))
    monkeypatch.setattr(single_connection._BaseClient, "build_request", lambda *_, **__: used.append(1))
    connections._have_pools.cache_clear()
    try:
        with raw_server(ANSWER) as server:
            assert await ask(server.url, way) == {"choices": []}
    finally:
        connections._have_pools.cache_clear()
    assert used == []
