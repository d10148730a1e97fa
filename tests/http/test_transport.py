"""The transport's policies without a socket: splitting streams, waiting, deadlines, shared limits."""

import asyncio
import copy
import itertools
import threading
from collections.abc import Callable

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_kimi import errors
from langchain_kimi._http import RateLimits, RetryPolicy, SSEParser, Timeouts
from langchain_kimi.errors import KimiError, OverloadedError, RateLimitError, ServerError, from_response
from tests.clock import VirtualClock

TEXTS = st.text(st.characters(blacklist_characters="\r\n", codec="utf-8"), min_size=1).filter(
    lambda text: not text.encode().isspace()  # such events are skipped as empty
)


@given(st.lists(TEXTS), st.lists(st.integers(0, 200)), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_events_come_out_as_they_went_in_however_they_are_cut(
    texts: list[str], cuts: list[int], newline: str, ended: bool
) -> None:
    body = "".join(f": ping{newline}id: 1{newline}data: {text}{newline}{newline}" for text in texts).encode()
    if not ended:
        body = body.removesuffix(newline.encode() * 2)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    events = SSEParser()
    out = [data for a, b in itertools.pairwise(edges) for data in events.feed(body[a:b])]
    assert [*out, *events.end()] == [text.encode() for text in texts if not text.encode().isspace()]


def test_data_of_several_lines_is_one_event() -> None:
    assert list(SSEParser().feed(b'data: {"a":\ndata: 1}\n\n')) == [b'{"a":\n1}']


def waits(error: KimiError, most: int | None, tries: int = 40) -> list[float]:
    """The waits of one call that meets nothing but this error."""
    retries = RetryPolicy(most)
    given = itertools.takewhile(lambda wait: wait is not None, (retries.delay(error) for _ in range(tries)))
    return [wait for wait in given if wait is not None]


def test_passing_failures_are_repeated_soon_and_few_times() -> None:
    for error in (ServerError("x"), errors.APIConnectionError("x"), errors.APITimeoutError("x")):
        first, second, third = waits(error, 3)
        assert 0.3 < first < 0.7 < second < 1.3 < third < 2.6


def test_overload_is_waited_for_long_and_longer_until_patience_ends() -> None:
    seconds = waits(OverloadedError("x"), None)
    assert 7 < seconds[0] < 13 < seconds[1] < 26 < seconds[2] < 51
    assert 200 < sum(seconds) <= 300
    assert len({*waits(OverloadedError("x"), 2)[:1], seconds[0]}) == 2  # parallel agents do not come back together
    assert waits(ServerError("x", type="server_unavailable"), 1)[0] > 7


def test_overload_and_rate_limit_do_not_use_up_the_few_retries() -> None:
    retries = RetryPolicy()
    assert all(retries.delay(RateLimitError("x", retry_after=1)) for _ in range(5))
    assert retries.delay(ServerError("x")) is not None
    assert retries.delay(ServerError("x")) is not None
    assert retries.delay(ServerError("x")) is None


def test_a_number_of_retries_bounds_all_of_them_together() -> None:
    retries = RetryPolicy(3)
    failures = [OverloadedError("x"), ServerError("x"), RateLimitError("x"), OverloadedError("x")]
    assert [retries.delay(error) is not None for error in failures] == [True, True, True, False]
    assert len(waits(OverloadedError("x"), 20)) == 20  # more than the default would wait for


def test_no_wait_is_longer_than_the_user_agrees_to() -> None:
    assert max(waits(OverloadedError("x"), 9)) <= 60
    assert max(waits(OverloadedError("x", retry_after=60), 9)) == 60
    retries = RetryPolicy(9, 5)
    assert [retries.delay(OverloadedError("x")) for _ in range(3)] == [5, 5, 5]
    for most in (None, 9):
        error = RateLimitError("x", retry_after=61)
        assert RetryPolicy(most).delay(error) is None
        assert error.retry_after == 61
        assert "longer than max_retry_wait=60" in error.__notes__[0]
        assert 3600 <= (RetryPolicy(most, 3600).delay(RateLimitError("x", retry_after=3600)) or 0) <= 3600


@pytest.mark.parametrize("asked", [0.0, 7.0, 55.0])
def test_rate_limit_waits_as_long_as_it_says_and_a_little_more(asked: float) -> None:
    first, other = (waits(RateLimitError("x", retry_after=asked), 1)[0] for _ in range(2))
    assert asked <= first <= asked + 0.25
    assert first != other  # those who were refused together do not come back together


def test_a_host_is_never_asked_before_the_moment_it_named() -> None:
    for error in (OverloadedError("x", retry_after=20), ServerError("x", retry_after=20)):
        assert all(20 <= waits(error, 1)[0] <= 25 for _ in range(50))


@pytest.mark.parametrize("nonsense", [-1.0, float("nan")])
def test_a_nonsensical_moment_is_ignored(nonsense: float) -> None:
    assert 5 <= waits(RateLimitError("x", retry_after=nonsense), 1)[0] < 6
    assert 0.3 < waits(ServerError("x", retry_after=nonsense), 1)[0] < 0.7


def test_rate_limit_that_says_nothing_is_waited_for() -> None:
    first, second, *_ = waits(RateLimitError("x"), None)
    assert 5 <= first < 6
    assert 10 <= second < 11


@pytest.mark.parametrize(
    "error",
    [
        errors.QuotaExceededError("x"),
        errors.AuthenticationError("x"),
        errors.BadRequestError("x"),
        errors.NotFoundError("x"),
        errors.ContextOverflowError("x"),
        RateLimitError("x", retry_after=3600),
        from_response(429, {"error": {"message": "request reached organization TPD rate limit"}}, host="h", headers={}),
    ],
)
def test_final_errors_are_not_waited_for(error: KimiError) -> None:
    assert waits(error, 3) == []


def test_nothing_is_repeated_without_retries() -> None:
    assert waits(OverloadedError("x"), 0) == waits(ServerError("x"), 0) == []


def test_the_incident_of_the_missing_header_passes() -> None:
    said = {"error": {"type": "invalid_request_error", "message": "missing required header Kimi-Api-Version"}}
    error = from_response(400, said, host="h", headers={})
    assert error.status == 400
    assert len(waits(error, 2)) == 2


@pytest.mark.parametrize(
    ("timeout", "deadlines"),
    [
        (None, Timeouts(connect=10, first_byte=600, silence=300, total=None)),
        (30, Timeouts(connect=10, first_byte=30, silence=30)),
        (0.5, Timeouts(connect=0.5, first_byte=0.5, silence=0.5)),
        ((1, 2, 3, 4), Timeouts(connect=1, first_byte=2, silence=2, write=3, pool=4)),
        (httpx2.Timeout(5, connect=1), Timeouts(connect=1, first_byte=5, silence=5, write=5, pool=5)),
        (httpx2.Timeout(None), Timeouts(None, None, None, None, None, None)),
        (Timeouts(total=9), Timeouts(total=9)),
    ],
)
def test_deadlines_are_what_the_user_meant(timeout: object, deadlines: Timeouts) -> None:
    assert Timeouts.of(timeout) == deadlines


# RateLimits. Nobody sleeps: time is virtual, threads and tasks meet at events.


def test_a_minute_takes_so_many_requests_and_tokens() -> None:
    clock = VirtualClock()
    limits = RateLimits(rpm=2, tpm=100, clock=clock)
    began = []
    for tokens in (10, 20, 80, 10, 500, 1):
        with limits.slot(tokens):
            began.append(clock.now())
    assert began == [0, 0, 60, 60, 120, 180]
    assert clock.waited == [60, 60, 60]  # no busy waiting
    assert len(limits._recent) == 1


def test_sums_of_floats_that_miss_the_moment_do_not_make_it_spin() -> None:
    for start in range(1, 300):
        clock = VirtualClock()
        clock.sleep(start * 0.1)
        limits = RateLimits(rpm=1, clock=clock)
        for _ in range(4):
            with limits.slot():
                pass
        assert len(clock.waited) <= 1 + 2 * 3


async def test_tasks_wait_by_the_clock_too() -> None:
    clock = VirtualClock()
    limits = RateLimits(rpm=1, clock=clock)
    began = []

    async def ask() -> None:
        async with limits.slot():
            began.append(clock.now())

    await asyncio.gather(*(ask() for _ in range(4)))
    assert began == [0, 60, 120, 180]


async def test_places_go_first_come_first_served_over_tasks_and_threads() -> None:
    limits = RateLimits(concurrency=1)
    order: list[int] = []

    async def in_task(number: int) -> None:
        async with limits.slot():
            order.append(number)

    def in_thread(number: int) -> None:
        with limits.slot():
            order.append(number)

    async def queued(count: int) -> None:
        while len(limits._queue) < count:  # noqa: ASYNC110 - a thread has no way to set an asyncio.Event
            await asyncio.sleep(0)

    tasks: list[asyncio.Future[None]] = []
    async with limits.slot():
        for number in range(10):
            job = asyncio.to_thread(in_thread, number) if number % 2 else in_task(number)
            tasks.append(asyncio.ensure_future(job))
            await queued(number + 1)
        assert order == []
    await asyncio.gather(*tasks)
    assert order == list(range(10))


async def test_never_more_than_so_many_at_once() -> None:
    limits = RateLimits(concurrency=3)
    now, most = 0, 0

    async def ask() -> None:
        nonlocal now, most
        async with limits.slot():
            now += 1
            most = max(most, now)
            for _ in range(5):
                await asyncio.sleep(0)
            now -= 1

    await asyncio.gather(*(ask() for _ in range(50)))
    assert (most, now, limits._in_progress) == (3, 0, 0)


async def test_cancelled_waiters_leave_nothing_behind() -> None:
    limits = RateLimits(concurrency=1)

    async def ask() -> str:
        async with limits.slot():
            return "done"

    holder = limits.slot()
    await holder.__aenter__()
    first, second, third = (asyncio.create_task(ask()) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(limits._queue) == 2
    await holder.__aexit__(None, None, None)
    first.cancel()  # it was called just now, and has not begun
    assert await third == "done"
    assert (len(limits._queue), limits._in_progress) == (0, 0)


async def test_a_waiter_cancelled_while_the_minute_is_full_lets_the_next_one_wait() -> None:
    clock = VirtualClock(stopped=True)
    limits = RateLimits(rpm=1, clock=clock)
    async with limits.slot():
        pass
    waiting = [asyncio.ensure_future(limits.slot().__aenter__()) for _ in range(2)]
    await clock.somebody_waits()
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    await clock.somebody_waits()
    clock.advance(60)
    assert await waiting[1]
    assert limits._in_progress == 1


def test_a_loop_that_is_gone_does_not_hold_up_the_queue() -> None:
    limits = RateLimits(concurrency=1)
    holder = limits.slot()
    holder.__enter__()
    loop = asyncio.new_event_loop()
    abandoned = limits.slot().__aenter__()
    task = loop.create_task(abandoned)
    loop.call_soon(loop.stop)
    loop.run_forever()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    holder.__exit__(None, None, None)
    with limits.slot():
        assert limits._in_progress == 1
    del task, abandoned
    assert (len(limits._queue), limits._in_progress) == (0, 0)


def test_an_interrupted_thread_gives_its_place_back() -> None:
    class Interrupting(VirtualClock):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    limits = RateLimits(rpm=1, clock=Interrupting())
    with limits.slot():
        pass
    with pytest.raises(KeyboardInterrupt):
        limits.slot().__enter__()
    assert (len(limits._queue), limits._in_progress) == (0, 0)


def test_one_limiter_serves_many_loops_and_threads() -> None:
    limits = RateLimits(concurrency=2)
    under_way: list[int] = []

    async def in_loop() -> None:
        async def ask() -> None:
            async with limits.slot():
                under_way.append(limits._in_progress)

        await asyncio.gather(*(ask() for _ in range(50)))

    def in_thread() -> None:
        for _ in range(50):
            with limits.slot():
                under_way.append(limits._in_progress)

    jobs: list[Callable[[], None]] = [in_thread, lambda: asyncio.run(in_loop())] * 3
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(under_way) == 300
    assert max(under_way) <= 2
    assert limits._in_progress == 0


def test_copies_are_under_the_same_limits_and_nonsense_is_refused() -> None:
    limits = RateLimits(concurrency=1)
    assert copy.deepcopy(limits) is limits
    with pytest.raises(ValueError, match="rpm=0 would let no request through"):
        RateLimits(rpm=0)
