"""Scripted faults, as a client of raw HTTP sees them."""

import json
import threading
from contextlib import AbstractContextManager
from typing import Any

import httpx2
import pytest

from langchain_kimi.testing import (
    FakeKimiAPI,
    KimiServer,
    Reply,
    Request,
    cut_after,
    empty,
    error_event,
    garbage,
    refused,
    said,
    slowly,
    stall,
    thought,
)

WAIT = 10.0
TEXT = "Grüße \U0001f30d and so on"


def body(*, stream: bool = True) -> dict[str, Any]:
    return {"model": "kimi-k2.6", "messages": [{"role": "user", "content": "hi"}], "stream": stream}


def client(timeout: Any = WAIT) -> httpx2.Client:
    return httpx2.Client(headers={"authorization": "Bearer sk-test"}, trust_env=False, timeout=timeout)


def asked(server: KimiServer, http: httpx2.Client, stream: bool) -> AbstractContextManager[httpx2.Response]:
    return http.stream("POST", f"{server.url}/chat/completions", json=body(stream=stream))


def sent(reply: Reply, *, stream: bool = True) -> tuple[int, bytes]:
    """Status and body of the answer to one request."""
    with KimiServer([reply]) as server, client() as http:
        answer = http.post(f"{server.url}/chat/completions", json=body(stream=stream))
        return answer.status_code, answer.content


def events(answer: bytes) -> list[bytes]:
    return [event.removeprefix(b"data: ") for event in answer.split(b"\n\n") if event]


def test_garbage_is_the_last_event_and_nothing_else() -> None:
    assert sent(garbage(b"\xff{")) == (200, b"data: \xff{\n\n")
    after = events(sent(garbage(b"{", within=said("a b"), after_events=2))[1])
    assert [len(after), after[-1]] == [3, b"{"]
    assert sent(garbage(b"{"), stream=False) == (200, b"{")
    everything = events(sent(garbage(b"{", within=said("a"), after_events=99))[1])
    assert everything[-2:] == [b"[DONE]", b"{"]


def test_error_event_is_kimi_s_error_object() -> None:
    error = {"error": {"message": "oops", "type": "server_error"}}
    answer = events(sent(error_event(said("a b"), after_events=2, message="oops"))[1])
    assert [len(answer), json.loads(answer[-1])] == [3, error]
    whole = sent(error_event(said("a b"), after_events=2, message="oops"), stream=False)
    assert json.loads(whole[1]) == error


@pytest.mark.parametrize("status", [200, 502])
def test_empty_has_no_body(status: int) -> None:
    assert sent(empty(status)) == (status, b"")


@pytest.mark.parametrize("stream", [True, False])
def test_slow_bytes_are_cut_anywhere_and_are_the_same(stream: bool) -> None:
    reply = thought("hm").saying(TEXT)
    with KimiServer([slowly(reply, bytes=3)]) as server, client() as http, asked(server, http, stream) as answer:
        pieces = list(answer.iter_raw())
    if stream:
        assert max(map(len, pieces)) <= 3
    assert "Grüße".encode() in b"".join(pieces)


@pytest.mark.parametrize("page", ["<html>down</html>", "x" * 100])
def test_pages_are_slow_too(page: str) -> None:
    assert sent(slowly(refused(502, page=page), bytes=7)) == (502, page.encode())


@pytest.mark.parametrize("stream", [True, False])
def test_a_stall_keeps_the_connection_open_until_the_client_closes_it(stream: bool) -> None:
    with KimiServer([stall(said(TEXT), after_events=2)]) as server, client(httpx2.Timeout(WAIT, read=0.2)) as http:
        arrived: list[bytes] = []
        with asked(server, http, stream) as answer, pytest.raises(httpx2.ReadTimeout):
            arrived.extend(answer.iter_raw())
        size = len(b"".join(arrived))
        assert len(arrived) == 2 if stream else 0 < size < int(answer.headers["content-length"])
        assert server._listener is not None
        for thread in list(server._listener._open):
            thread.join(1.0)
        assert not server._listener._open


def test_closing_the_server_ends_a_stall() -> None:
    fault = stall(said(TEXT), after_events=1)
    with KimiServer([fault]) as server, client() as http, asked(server, http, True) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        server.close()
        with pytest.raises(httpx2.TransportError):
            list(pieces)


def test_the_last_fault_is_the_one_that_counts() -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        sent(cut_after(stall(said(TEXT), after_events=1), events=1))


@pytest.mark.parametrize("stream", [True, False])
def test_places_are_given_back_before_the_client_can_ask_again(stream: bool) -> None:
    api = FakeKimiAPI(lambda request: said("a b"), concurrency=1)
    last = b"data: [DONE]\n\n" if stream else b"}"
    for _ in range(3):
        headers = {"authorization": "Bearer sk-test"}
        answer = api.respond("POST", "/v1/chat/completions", headers, json.dumps(body(stream=stream)).encode())
        assert answer.status == 200
        next(piece for piece in answer.body if piece.endswith(last))


@pytest.mark.parametrize(
    "fault", [refused(500), cut_after(said(TEXT), events=1), empty(), garbage(b"{"), slowly(said(TEXT))]
)
def test_places_are_given_back_after_a_fault(fault: Reply) -> None:
    with KimiServer([fault, said("x")], concurrency=1) as server, client() as http:
        try:
            http.post(f"{server.url}/chat/completions", json=body())
        except httpx2.TransportError:
            assert server._listener is not None
            for thread in list(server._listener._open):
                thread.join(WAIT)
        assert http.post(f"{server.url}/chat/completions", json=body()).status_code == 200


def test_one_too_many_is_refused_in_kimi_s_words() -> None:
    both = threading.Barrier(2)
    go_on = threading.Event()

    def wait(request: Request) -> Reply:
        both.wait(WAIT)
        go_on.wait(WAIT)
        return said("x")

    with KimiServer(wait, concurrency=1) as server, client() as http:
        first = threading.Thread(target=http.post, args=(f"{server.url}/chat/completions",), kwargs={"json": body()})
        first.start()
        both.wait(WAIT)
        answer = http.post(f"{server.url}/chat/completions", json=body())
        go_on.set()
        first.join(WAIT)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (429, "rate_limit_reached_error")
    assert error["message"].startswith("Your account org-")
    assert error["message"].endswith(
        " request reached organization max concurrency: 1, please try again after 1 seconds"
    )
    assert server.statuses == [200, 429]
