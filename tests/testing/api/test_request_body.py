"""What the server reads of a request: never more than a request may have, never for longer than it may take."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx2
import pytest
from pydantic import SecretStr

from langchain_kimi import ChatKimi, KimiPlatform
from langchain_kimi.errors import NotFoundError
from langchain_kimi.testing import FakeKimiAPI, KimiServer, said
from langchain_kimi.testing.api import endpoints, request_body
from tests.conftest import KEY, Serve, kimi
from tests.testing.ways import WAYS, Way

WAIT = 20.0
CHAT = b'{"model": "kimi-k2.6", "messages": [{"role": "user", "content": "hi"}]}'
HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test\r\n"
MB = 1024 * 1024


def talk(server: KimiServer, *parts: bytes | str) -> bytes:
    """Sends the parts, and reads until the server closes the connection."""
    port = int(server.url.rpartition(":")[2].removesuffix("/v1"))
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as connection:
        for part in parts:
            connection.sendall(part.encode() if isinstance(part, str) else part)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize("length", ["-1", "1e3", "+5", "0x10", "five", "", "1, 2", "9" * 30])
def test_a_length_that_is_no_number_is_refused(serve: Serve, length: str) -> None:
    answer = talk(serve([]), f"{HEAD}content-length: {length}\r\n\r\n", CHAT)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Length is not a number of bytes" in answer


def test_two_lengths_are_refused(serve: Serve) -> None:
    server = serve([said("x")])
    assert talk(server, f"{HEAD}content-length: 5\r\ncontent-length: 6\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    both = f"{HEAD}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
    assert talk(server, both).startswith(b"HTTP/1.1 400 ")
    assert server.requests == []


@pytest.mark.parametrize(
    "head",
    [
        f"{HEAD}content-length: {600 * MB}\r\n\r\n",
        f"{HEAD}transfer-encoding: chunked\r\n\r\n{600 * MB:x}\r\n",
        f"{HEAD}content-length: {10**17}\r\n\r\n",
        f"{HEAD.replace('chat/completions', 'files')}content-length: {600 * MB}\r\n\r\n",
    ],
    ids=["length", "chunk", "huge", "file"],
)
def test_a_body_that_is_too_large_is_refused_before_it_is_sent(serve: Serve, head: str) -> None:
    answer = talk(serve([]), head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Request exceeds the maximum size" in answer


def test_a_file_may_be_larger_than_a_request(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (request_body, endpoints):
        monkeypatch.setattr(module, "MAX_REQUEST_BYTES", MB)
    platform = KimiPlatform(base_url=serve([]).url, api_key=SecretStr(KEY))
    assert platform.files.upload(bytes(3 * MB), purpose="image").size == 3 * MB


def test_a_client_that_sends_it_all_the_same_reads_the_refusal_and_costs_no_memory(serve: Serve) -> None:
    server = serve([])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sender = (
        "import socket, sys\n"
        "connection = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=20)\n"
        "connection.sendall(sys.argv[2].encode())\n"
        "piece = bytes(1 << 20)\n"
        "try:\n"
        "    for _ in range(600):\n"
        "        connection.sendall(piece)\n"
        "except OSError:\n"
        "    pass\n"
        "print(connection.recv(65536)[:12].decode())\n"
    )
    port = server.url.rpartition(":")[2].removesuffix("/v1")
    head = f"{HEAD}content-length: {600 * MB}\r\n\r\n"
    done = subprocess.run([sys.executable, "-c", sender, port, head], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "HTTP/1.1 413", done.stderr
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 100 * MB


def test_chunks_are_a_body(serve: Serve) -> None:
    server = serve([said("one"), said("two")])
    half = len(CHAT) // 2
    parts = [f"{len(part):x};name=value\r\n".encode() + part + b"\r\n" for part in (CHAT[:half], CHAT[half:])]
    answer = talk(server, HEAD, "connection: close\r\ntransfer-encoding: chunked\r\n\r\n", *parts, "0\r\na: b\r\n\r\n")
    assert b'"content":"one"' in answer
    with httpx2.Client(trust_env=False) as http:
        headers = {"authorization": "Bearer sk-test"}
        answered = http.post(f"{server.url}/chat/completions", content=iter([CHAT[:9], CHAT[9:]]), headers=headers)
    assert answered.json()["choices"][0]["message"]["content"] == "two"
    assert [request.body for request in server.requests] == [CHAT, CHAT]


def test_chunks_without_end_are_refused_at_the_limit(serve: Serve) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(300):
            yield b"100000\r\n" + bytes(MB) + b"\r\n"

    port = int(serve([]).url.rpartition(":")[2].removesuffix("/v1"))
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as connection:
        connection.sendall(f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode())
        try:
            for chunk in chunks():
                connection.sendall(chunk)
        except OSError:
            pass
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("chunks", ["xyz\r\n", "-5\r\n", "5\r\nhello!\r\n0\r\n\r\n", "\r\n", "1" * 2_000])
def test_chunks_that_are_none_are_refused(serve: Serve, chunks: str) -> None:
    assert talk(serve([]), HEAD, "transfer-encoding: chunked\r\n\r\n", chunks).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("part", [b"POST /v1/chat", HEAD.encode(), f"{HEAD}content-length: 50\r\n\r\nhello".encode()])
def test_a_request_that_never_ends_is_given_up(serve: Serve, part: bytes) -> None:
    started = time.monotonic()
    assert talk(serve([], request_timeout=0.3), part) == b""
    assert time.monotonic() - started < WAIT / 2


def test_a_request_that_trickles_in_is_given_up(serve: Serve) -> None:
    port = int(serve([], request_timeout=0.5).url.rpartition(":")[2].removesuffix("/v1"))
    with socket.create_connection(("127.0.0.1", port), timeout=0.05) as connection:
        started = time.monotonic()
        while time.monotonic() - started < WAIT:
            try:
                connection.sendall(b"x")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    assert time.monotonic() - started < WAIT / 2


def test_an_answer_may_take_longer_than_a_request(serve: Serve) -> None:
    def slow() -> Iterator[str]:
        for word in ("a ", "b ", "c"):
            time.sleep(0.2)
            yield word

    assert kimi(serve([said(slow())], request_timeout=0.3)).invoke("hi").text == "a b c"


@WAYS
async def test_a_base_url_without_its_version_is_named(serve: Serve, way: Way) -> None:
    server = serve([said("x")])
    model = ChatKimi(model="kimi-k2.6", base_url=server.url.removesuffix("/v1"), api_key=KEY)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match=r"base_url has no version in its path.*ends in `/v1`"):
        await way(model, "hi")
    assert server.requests == []


def test_a_body_over_100_mb_is_refused() -> None:
    api = FakeKimiAPI([said("x")])
    answer = api.respond(
        "POST",
        "/v1/chat/completions",
        {"authorization": "Bearer x"},
        b'{"a":"%b"}' % bytes(104_857_600).replace(b"\0", b"a"),
    )
    assert (answer.status, b"Request exceeds the maximum size" in b"".join(answer.body)) == (413, True)
