"""One raw exchange: the bytes as they came, without the key, and no more than is wanted of them."""

import gzip
import socket
import threading
from collections.abc import Iterator

from langchain_kimi._http import RawResponse, Transport, raw_exchange, shared_connections
from langchain_kimi.errors import APIConnectionError, APITimeoutError
from tests.conftest import KEY
from tests.raw_server import RawServer, Sent, raw_server

CONNECTIONS = shared_connections()
MIB = 1024 * 1024


def sent_to(server: RawServer, timeout: float = 30.0, leave: object = None) -> RawResponse:
    transport = Transport(server.url, CONNECTIONS, {"authorization": f"Bearer {KEY}"}, timeout)
    return raw_exchange(transport, "/chat/completions", b'{"a":1}', leave)  # type: ignore[arg-type]


def test_status_headers_and_body_are_those_of_the_host_without_the_key() -> None:
    headers = {"X-Odd": f"seen {KEY}", "x-trace": "1"}
    with raw_server(Sent(f"<b>{KEY}</b>".encode(), "text/html", 502, headers)) as server:
        response = sent_to(server)
        assert (response.status, response.body, response.failure) == (502, b"<b>sk-***</b>", None)
        assert (response.headers["x-odd"], response.headers["x-trace"]) == ("seen sk-***", "1")
        assert server.requests[0].endswith(b'\r\n\r\n{"a":1}')


def test_the_connection_is_closed_as_soon_as_enough_arrived() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"data: {}\n\n"

    with raw_server(Sent(endless, "text/event-stream")) as server:
        response = sent_to(server, leave=lambda body: len(body) > 100)
        assert 100 < len(response.body) < MIB


def test_a_body_is_read_to_a_limit_after_decompression() -> None:
    bomb = gzip.compress(bytes(16 * MIB))
    with raw_server(Sent(bomb, headers={"content-encoding": "gzip"})) as server:
        assert 8 * MIB < len(sent_to(server).body) <= 9 * MIB


def test_a_host_that_cannot_be_reached_and_one_that_is_silent_are_failures() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    refused = raw_exchange(Transport(url, CONNECTIONS), "/chat/completions", b"{}", None)
    assert isinstance(refused.failure, APIConnectionError)
    assert refused.status == 0

    def silent() -> Iterator[bytes]:
        yield b"data: {}\n\n"
        release.wait(60)

    release = threading.Event()
    with raw_server(Sent(silent)) as server:
        response = sent_to(server, timeout=0.2)
        release.set()
        assert isinstance(response.failure, APITimeoutError)
        assert (response.status, response.body) == (200, b"data: {}\n\n")
