"""Failures over real sockets: what is tried again, what is waited for, what ends when, and what is left behind."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

from langchain_kimi import errors
from langchain_kimi._http import Connections, RateLimits, RetryWait, Timeouts, Transport, shared_connections
from langchain_kimi.testing import (
    KimiServer,
    Reply,
    Request,
    called,
    cut_after,
    empty,
    error_event,
    garbage,
    overloaded,
    rate_limited,
    refused,
    said,
    slowly,
    stall,
)
from tests.clock import VirtualClock
from tests.conftest import KEY, PAIRED, Serve, kimi

CHAT = "/chat/completions"
WAYS = ["post", "apost", "stream", "astream"]
SHORT = 0.2
"""Seconds of a deadline that is to pass; the only real time in these tests."""
LONG = 30.0


def transport(server: KimiServer, **settings: Any) -> Transport:
    given = {"timeout": LONG, "clock": VirtualClock(), **settings}
    return Transport(
        server.url, given.pop("connections", None) or CONNECTIONS, {"authorization": f"Bearer {KEY}"}, **given
    )


CONNECTIONS = shared_connections()


def body(*, stream: bool) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": "kimi-k2.6", "messages": messages, "stream": stream}).encode()


async def ask(way: str, asked: Transport, **settings: Any) -> str:
    """The text of the answer, got in one of four ways."""
    if way == "post":
        answer = await asyncio.to_thread(lambda: asked.post(CHAT, body(stream=False), **settings))
        return str(answer["choices"][0]["message"]["content"])
    if way == "apost":
        answer = await asked.apost(CHAT, body(stream=False), **settings)
        return str(answer["choices"][0]["message"]["content"])
    if way == "stream":
        return text(await asyncio.to_thread(lambda: list(asked.stream(CHAT, body(stream=True), **settings))))
    return text([data async for data in asked.astream(CHAT, body(stream=True), **settings)])


def text(events: list[bytes]) -> str:
    parsed = [json.loads(data) for data in events if data != b"[DONE]"]
    deltas = [choice["delta"] for event in parsed for choice in event["choices"]]
    return "".join(delta.get("content", "") for delta in deltas)


# What is tried again.


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("failure", "least", "most"),
    [
        (overloaded(), 7.5, 12.5),
        (refused(503, "server_unavailable", "maintenance"), 7.5, 12.5),
        (rate_limited(7), 7.0, 7.3),
        (refused(500, "server_error", "oops"), 0.3, 0.7),
        (refused(504, page="<html><h1>504 Gateway Time-out</h1></html>"), 0.3, 0.7),
        (refused(200, page="<html>Sign in</html>"), 0.3, 0.7),
        (empty(), 0.3, 0.7),
        (empty(502), 0.3, 0.7),
        (refused(200, page="", headers={"content-type": "text/event-stream"}), 0.3, 0.7),
        (cut_after(said("never seen"), events=0), 0.3, 0.7),
        (refused(400, "invalid_request_error", "missing required header Kimi-Api-Version"), 0.3, 0.7),
    ],
)
async def test_passing_failures_are_waited_for(
    serve: Serve, way: str, failure: Reply, least: float, most: float
) -> None:
    server = serve([failure, said("at last")])
    clock, waits = VirtualClock(), list[RetryWait]()
    assert await ask(way, transport(server, clock=clock), on_wait=waits.append) == "at last"
    assert [wait.seconds for wait in waits] == clock.waited
    assert least <= clock.waited[0] <= most
    assert waits[0].attempt == 1
    assert waits[0].error.is_retryable


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_an_error_in_place_of_the_first_event_is_tried_again(serve: Serve, way: str) -> None:
    failure = error_event(said("x"), after_events=0, type="engine_overloaded_error", message="overloaded")
    clock = VirtualClock()
    assert await ask(way, transport(serve([failure, said("at last")]), clock=clock)) == "at last"
    assert clock.waited[0] > 7


@pytest.mark.parametrize("way", WAYS)
async def test_a_page_in_place_of_an_answer_is_quoted(serve: Serve, way: str) -> None:
    server = serve([refused(200, page="<html><h1>Sign in</h1> to the hotel</html>")])
    with pytest.raises(errors.ServerError, match="Sign in to the hotel"):
        await ask(way, transport(server, max_retries=0))


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_broken_json_in_place_of_the_first_event_is_handed_on(serve: Serve, way: str) -> None:
    server = serve([garbage(b'{"error"')])
    with pytest.raises(json.JSONDecodeError):  # the reader's own
        await ask(way, transport(server))


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (refused(429, "exceeded_current_quota_error", "insufficient balance"), errors.QuotaExceededError),
        (refused(401, "invalid_authentication_error", "Invalid Authentication"), errors.AuthenticationError),
        (refused(400, "invalid_request_error", "no"), errors.BadRequestError),
        (refused(404, "resource_not_found_error", "no"), errors.NotFoundError),
    ],
)
async def test_final_failures_are_not_repeated(
    serve: Serve, way: str, failure: Reply, error: type[errors.KimiError]
) -> None:
    server = serve([failure, said("never")])
    with pytest.raises(error):
        await ask(way, transport(server, max_retries=9))
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_overload_ends_with_patience_and_faults_with_retries(serve: Serve, way: str) -> None:
    clock = VirtualClock()
    with pytest.raises(errors.OverloadedError):
        await ask(way, transport(serve(lambda request: overloaded()), clock=clock))
    assert 200 < clock.now() <= 300
    server = serve(lambda request: refused(500, "server_error", "oops"))
    with pytest.raises(errors.ServerError):
        await ask(way, transport(server, max_retries=2))
    assert len(server.requests) == 3


@pytest.mark.parametrize("way", WAYS)
async def test_a_wait_beyond_the_total_deadline_is_not_begun(serve: Serve, way: str) -> None:
    clock = VirtualClock()
    asked = transport(serve(lambda request: overloaded()), clock=clock, timeout=Timeouts(total=100))
    with pytest.raises(errors.OverloadedError):
        await ask(way, asked)
    assert 15 < clock.now() < 100


@PAIRED
@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (cut_after(said("a b c d e"), events=3), errors.BrokenStreamError),
        (stall(said("a b c d e"), after_events=3), errors.APITimeoutError),
    ],
)
async def test_nothing_is_repeated_after_the_first_event(
    serve: Serve, way: str, failure: Reply, error: type[errors.KimiError]
) -> None:
    server = serve([failure, said("never")])
    with pytest.raises(error) as raised:
        await ask(way, transport(server, timeout=Timeouts(silence=SHORT)))
    assert raised.value.is_retryable
    assert len(server.requests) == 1


async def test_waits_are_logged_without_secrets(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "langchain_kimi")
    await ask("astream", transport(serve([rate_limited(2), said("x")])))
    lines = [record.getMessage() for record in caplog.records if record.name == "langchain_kimi"]
    assert len(lines) == 1
    assert "attempt 1 failed, the next one follows in 2." in lines[0]
    assert "4f1d0c2be5" not in lines[0]


async def test_a_wait_can_be_cancelled(serve: Serve) -> None:
    clock = VirtualClock(stopped=True)
    server = serve([overloaded(), said("never")])
    task = asyncio.create_task(ask("astream", transport(server, clock=clock)))
    await clock.somebody_waits()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(server.requests) == 1


def test_a_wait_can_be_interrupted(serve: Serve) -> None:
    def interrupt(wait: RetryWait) -> None:
        raise KeyboardInterrupt

    server = serve([overloaded(), said("never")])
    with pytest.raises(KeyboardInterrupt):
        transport(server).post(CHAT, body(stream=False), on_wait=interrupt)
    assert len(server.requests) == 1


# Timeouts.


def late(error: BaseException, deadline: str) -> None:
    assert isinstance(error, errors.APITimeoutError)
    assert error.timeout == deadline
    assert f"`{deadline}`" in str(error)
    assert error.host
    assert error.host in str(error)
    assert error.is_retryable


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_does_not_begin(serve: Serve, way: str) -> None:
    closing = threading.Event()

    def wait(request: Request) -> Reply:
        closing.wait(LONG)
        return said("too late")

    server = serve(wait)
    with pytest.raises(errors.APITimeoutError) as raised:
        await ask(way, transport(server, timeout=Timeouts(first_byte=SHORT), max_retries=0))
    closing.set()
    late(raised.value, "first_byte")


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_falls_silent(serve: Serve, way: str) -> None:
    server = serve([stall(said("a b c d e"), after_events=2)])
    with pytest.raises(errors.APITimeoutError) as raised:
        await ask(way, transport(server, timeout=Timeouts(silence=SHORT), max_retries=0))
    late(raised.value, "silence")


@pytest.mark.parametrize("way", WAYS)
async def test_the_first_byte_may_take_longer_than_silence(serve: Serve, way: str) -> None:
    waited = threading.Event()

    def slow(request: Request) -> Reply:
        waited.wait(2 * SHORT)
        return said("worth it")

    asked = transport(serve(slow), timeout=Timeouts(first_byte=LONG, silence=SHORT), max_retries=0)
    assert await ask(way, asked) == "worth it"


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_an_answer_that_goes_on_and_on(serve: Serve, way: str) -> None:
    clock = VirtualClock()

    def words() -> Iterator[str]:
        while True:
            clock.sleep(7)
            yield "on and "

    server = serve([said(words())])
    with pytest.raises(errors.APITimeoutError) as raised:
        await ask(way, transport(server, timeout=Timeouts(total=60), clock=clock))
    late(raised.value, "total")
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_silence_that_outlasts_the_total_deadline(serve: Serve, way: str) -> None:
    server = serve([stall(said("a b c d e"), after_events=2)])
    asked = Transport(server.url, CONNECTIONS, {"authorization": f"Bearer {KEY}"}, Timeouts(total=SHORT), max_retries=5)
    with pytest.raises(errors.APITimeoutError) as raised:
        await ask(way, asked)
    late(raised.value, "total")
    assert len(server.requests) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_host_that_cannot_be_reached(way: str) -> None:
    # A socket that listens and does not accept takes so many connections; the next one gets no answer.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as waiting:
        for _ in range(8):
            taken = waiting.enter_context(socket.socket())
            taken.setblocking(False)
            taken.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        asked = Transport(url, CONNECTIONS, timeout=Timeouts(connect=SHORT), max_retries=0)
        with pytest.raises(errors.APITimeoutError) as raised:
            await ask(way, asked)
    late(raised.value, "connect")


@pytest.mark.parametrize("way", WAYS)
async def test_a_refused_connection_is_an_error_without_an_error_number(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    with pytest.raises(
        errors.APIConnectionError, match=r"^The connection to 127\.0\.0\.1:\d+ failed: [^[]+\. "
    ) as raised:
        await ask(way, Transport(url, CONNECTIONS, max_retries=0))
    assert "Errno" not in str(raised.value)


@PAIRED
@pytest.mark.parametrize("family", [httpx, httpx2])
@pytest.mark.parametrize("way", WAYS)
async def test_given_clients_keep_their_own_deadlines_if_they_have_any(serve: Serve, way: str, family: Any) -> None:
    chosen = family.Timeout(LONG, read=SHORT)
    with family.Client(timeout=chosen) as client:
        async with family.AsyncClient(timeout=chosen) as async_client:
            connections = Connections(client, async_client)
            server = serve([stall(said("a b c"), after_events=2), said("x")])
            with pytest.raises(errors.APITimeoutError) as raised:
                await ask(way, transport(server, connections=connections, timeout=None, max_retries=0))
            late(raised.value, "silence")
            assert await ask(way, transport(server, connections=connections, timeout=None)) == "x"
    with family.Client() as client:
        async with family.AsyncClient() as async_client:
            seen: list[Any] = []
            client.event_hooks = {"request": [lambda request: seen.append(dict(request.extensions["timeout"]))]}

            async def look(request: Any) -> None:
                seen.append(dict(request.extensions["timeout"]))

            async_client.event_hooks = {"request": [look]}
            connections = Connections(client, async_client)
            assert await ask(way, transport(serve([said("x")]), connections=connections, timeout=None)) == "x"
            assert (seen[0]["read"], seen[0]["connect"]) == (600, 10)


# AgentLimits.


@pytest.mark.parametrize("way", WAYS)
async def test_parallel_calls_do_not_drive_each_other_into_429(serve: Serve, way: str) -> None:
    server = serve(lambda request: said("one two three"), concurrency=2)
    asked = transport(server, rate_limits=RateLimits(concurrency=2), max_retries=0)
    answers = await asyncio.gather(*(ask(way, asked) for _ in range(20)))
    assert answers == ["one two three"] * 20
    assert set(server.statuses) == {200}


async def test_the_server_refuses_one_request_too_many(serve: Serve) -> None:
    server = serve([stall(said("a b c"), after_events=1), said("x")], concurrency=1)
    clock = VirtualClock(stopped=True)
    asked = transport(server, clock=clock)
    held = asked.astream(CHAT, body(stream=True))
    await anext(held)
    waits: list[RetryWait] = []
    second = asyncio.create_task(ask("astream", asked, on_wait=waits.append))
    await clock.somebody_waits()
    assert isinstance(waits[0].error, errors.RateLimitError)
    assert "request reached organization max concurrency: 1, please try again after 1 seconds" in str(waits[0].error)
    assert 1 <= waits[0].seconds < 1.3
    await held.aclose()  # type: ignore[attr-defined]
    await gone(server, 1)
    clock.advance(2)
    assert await second == "x"


async def test_a_place_is_held_until_the_answer_is_closed_and_not_while_waiting(serve: Serve) -> None:
    clock = VirtualClock(stopped=True)
    limits = RateLimits(concurrency=1, tpm=100, clock=VirtualClock())
    server = serve([overloaded(), stall(said("a b c"), after_events=1), said("x")])
    asked = transport(server, clock=clock, rate_limits=limits)
    answer = asked.astream(CHAT, body(stream=True), tokens=40)
    first = asyncio.ensure_future(anext(answer))
    await clock.somebody_waits()
    assert limits._in_progress == 0
    clock.advance(20)
    await first
    assert limits._in_progress == 1
    await answer.aclose()  # type: ignore[attr-defined]
    assert limits._in_progress == 0
    assert [size for _, size in limits._recent] == [40, 40]


# Cancelling, and what is left behind.


async def gone(server: KimiServer, left: int = 0) -> None:
    """Waits until the server has no more than so many connections; 20 seconds at most."""
    assert server._listener is not None
    served = server._listener._open

    def wait() -> None:
        end = time.monotonic() + 20
        for thread in list(served):
            if len(served) > left:
                thread.join(max(0.0, end - time.monotonic()))

    await asyncio.to_thread(wait)
    assert len(served) <= left, "a connection stays open"


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def own() -> Iterator[Connections]:
    """Connections of the test's own, so that it can count."""
    connections = Connections()
    yield connections
    connections.close()


async def cancelled(asked: Transport) -> None:
    """A stream, cancelled in the middle by one of three ways."""
    arrived = asyncio.Event()

    async def read() -> None:
        async for _ in asked.astream(CHAT, body(stream=True)):
            arrived.set()

    task = asyncio.create_task(read())
    await arrived.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


MANY = pytest.mark.parametrize("many", [50, pytest.param(500, marks=pytest.mark.slow)])


@MANY
async def test_cancelled_streams_leave_nothing(serve: Serve, own: Connections, many: int) -> None:
    server = serve(lambda request: stall(said("a b c d e"), after_events=3))
    asked = transport(server, connections=own, clock=VirtualClock())
    await cancelled(asked)
    await gone(server)
    before = (files(), threading.active_count(), len(asyncio.all_tasks()))
    for _ in range(many // 50):
        await asyncio.gather(*(cancelled(asked) for _ in range(50)))
    await gone(server)
    assert (files(), threading.active_count(), len(asyncio.all_tasks())) == before
    assert len(server.requests) == many + 1
    await own.aclose()


@MANY
async def test_closed_generators_leave_nothing(serve: Serve, own: Connections, many: int) -> None:
    server = serve(lambda request: stall(said("a b c d e"), after_events=3))
    asked = transport(server, connections=own)
    next(stream := asked.stream(CHAT, body(stream=True)))
    stream.close()  # type: ignore[attr-defined]
    await gone(server)
    before = (files(), threading.active_count())
    for _ in range(many):
        next(stream := asked.stream(CHAT, body(stream=True)))
        stream.close()  # type: ignore[attr-defined]
    await gone(server)
    assert (files(), threading.active_count()) == before


async def test_timeouts_and_dropped_generators_close_the_stream(serve: Serve, own: Connections) -> None:
    server = serve(lambda request: stall(said("a b c d e"), after_events=3))
    asked = transport(server, connections=own)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask("astream", asked), SHORT)
    await gone(server)
    stream = asked.astream(CHAT, body(stream=True))
    await anext(stream)
    del stream
    await gone(server)
    await own.aclose()


async def test_closing_does_not_wait_for_the_collector(serve: Serve, own: Connections) -> None:
    server = serve(lambda request: stall(said("a b c d e"), after_events=3))
    asked = transport(server, connections=own)
    stream = asked.astream(CHAT, body(stream=True))
    await anext(stream)
    with pytest.raises(RuntimeError, match="stop") as raised:
        await stream.athrow(RuntimeError("stop"))  # type: ignore[attr-defined]
    async with own.async_client(asked.host) as client:
        assert client._connection._open.is_closed()
    later = asked.stream(CHAT, body(stream=True))
    next(later)
    with pytest.raises(KeyboardInterrupt) as interrupted:
        later.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    with own.client(asked.host) as client:
        assert client._connection._open.is_closed()
    del raised, interrupted  # until here their tracebacks kept the frames alive
    await own.aclose()


async def test_the_model_s_own_streams_close_too(serve: Serve) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def script(request: Request) -> Reply:
        loop.call_soon_threadsafe(asked.set)
        return stall(said("a b c d e"), after_events=3)

    server = serve(script)
    model = kimi(server)
    stream = model.stream("hi")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    await gone(server)
    await asked.wait()
    asked.clear()
    task = asyncio.create_task(model.ainvoke("hi"))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(server)
    await model.aclose()


def test_one_model_in_many_loops_and_threads_reuses_and_closes_its_connections(serve: Serve) -> None:
    server = serve(lambda request: said("x"))
    asked = transport(server, connections=Connections())
    assert server._listener is not None
    accepted: list[object] = []
    accept = server._listener.process_request
    server._listener.process_request = lambda *request: (accepted.append(request), accept(*request))[1]  # type: ignore

    async def three() -> None:
        for _ in range(3):
            assert await ask("astream", asked) == "x"

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        files_before = files()
        asyncio.run(three())
        asyncio.run(three())
        assert len(accepted) == 2
        runners = [threading.Thread(target=lambda: asyncio.run(three())) for _ in range(4)]
        for runner in runners:
            runner.start()
        for runner in runners:
            runner.join()
        assert len(accepted) == 6
        for _ in range(3):
            assert asked.post(CHAT, body(stream=False))
        assert len(accepted) == 7
        asked.connections.close()
        asyncio.run(gone(server))
        gc.collect()
        assert files() <= files_before + 1  # httpx2's TLS context may have been made


def test_a_loop_closed_without_its_rites_harms_no_later_one(serve: Serve) -> None:
    server = serve(lambda request: said("x"))
    asked = transport(server, connections=Connections())
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(ask("astream", asked)) == "x"
    loop.close()
    del loop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio's own, of the socket that nobody closed
        assert asyncio.run(ask("astream", asked)) == "x"
        gc.collect()
        asyncio.run(gone(server))
    assert len(asked.connections._loops) <= 1


def test_unfinished_streams_end_with_their_loop(serve: Serve) -> None:
    server = serve(lambda request: stall(said("a b c d e"), after_events=3))
    asked = transport(server, connections=Connections())
    held = []

    async def leave() -> None:
        for _ in range(5):
            held.append(asked.astream(CHAT, body(stream=True)))
            await anext(held[-1])

    asyncio.run(leave())
    asyncio.run(gone(server))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_connections_of_its_own(serve: Serve) -> None:
    server = serve(lambda request: said("x"))
    asked = transport(server, connections=Connections())
    asked.post(CHAT, body(stream=False))
    with asked.connections.client(asked.host) as mine:
        pass
    locks = asked.connections._lock, asked.connections._clients._lock
    for lock in locks:
        lock.acquire()  # as another thread of the parent may have
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = os.fork()
    if child == 0:
        with asked.connections.client(asked.host) as client:
            fresh = client is not mine
        os._exit(0 if fresh and asked.post(CHAT, body(stream=False)) else 1)
    for lock in locks:
        lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with asked.connections.client(asked.host) as client:
        assert client is mine
    asked.post(CHAT, body(stream=False))
    assert len(server.requests) == 3


# The faults, on ChatKimi.


async def both_ways(model: Any) -> list[Any]:
    """What `invoke` and `ainvoke` come to: the text, or the error."""
    asks = [asyncio.to_thread(model.invoke, "hi"), model.ainvoke("hi")]
    answers = await asyncio.gather(*asks, return_exceptions=True)
    return [answer.text if hasattr(answer, "text") else answer for answer in answers]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_slow_bytes_make_the_same_answer(serve: Serve, streaming: bool, size: int) -> None:
    reply = slowly(said("Grüße, 世界 \u2028 🌍", thinking="hm\r\n"), bytes=size)
    assert await both_ways(kimi(serve([reply] * 2), streaming=streaming)) == ["Grüße, 世界 \u2028 🌍"] * 2


@PAIRED
@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (stall(said("a b c d e"), after_events=3), errors.APITimeoutError),
        (stall(called("add", a=1), after_events=0), errors.APITimeoutError),
        (garbage(b"{nonsense"), errors.KimiError),
        (garbage(b"\xff\x00", within=said("a b c"), after_events=2), errors.KimiError),
        (garbage(b""), errors.KimiError),
        (garbage(b"[]"), errors.KimiError),
        (garbage(b'{"error"'), errors.KimiError),
        (error_event(said("a b c"), after_events=2, type="server_error", message="oops"), errors.ServerError),
        (empty(), errors.KimiError),
        (refused(504, page="<html>504 Gateway Time-out</html>"), errors.ServerError),
        (cut_after(said("a b c d e"), events=3), errors.APIConnectionError),
    ],
)
async def test_each_fault_is_a_typed_error(
    serve: Serve, fault: Reply, error: type[errors.KimiError], streaming: bool
) -> None:
    model = kimi(serve([fault] * 2), streaming=streaming, timeout=Timeouts(silence=SHORT))
    for raised in await both_ways(model):
        assert isinstance(raised, error)
