"""`RateLimits` bounds requests and tokens over all threads, tasks and event loops."""

import asyncio
import copy
import threading
from collections.abc import Callable

import pytest
from langchain_core.rate_limiters import BaseRateLimiter

from langchain_kimi._http import RateLimits
from langchain_kimi.errors import RateLimitError
from langchain_kimi.testing import Reply, Request, said
from tests.clock import VirtualClock
from tests.conftest import Serve, kimi


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


async def test_models_that_share_limits_do_not_drive_each_other_into_429(serve: Serve) -> None:
    server = serve(lambda request: said("ok"), concurrency=2)
    limits = RateLimits(concurrency=2)
    models = [kimi(server, name, rate_limits=limits) for name in ("kimi-k2.6", "kimi-k3")]
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            model = models[number % 2]
            group.create_task(model.ainvoke("go") if number % 3 else asyncio.to_thread(model.invoke, "go"))  # type: ignore[arg-type]
    assert set(server.statuses) == {200}


def test_without_limits_the_same_crowd_is_refused(serve: Serve) -> None:
    arrived, gate = threading.Event(), threading.Event()

    def script(request: Request) -> Reply:
        arrived.set()
        gate.wait(20)
        return said("ok")

    server = serve(script, concurrency=1)
    first = threading.Thread(target=kimi(server).invoke, args=("go",))
    first.start()
    assert arrived.wait(20)
    with pytest.raises(RateLimitError, match="max concurrency: 1"):
        kimi(server).invoke("go")
    gate.set()
    first.join()


class Counting(BaseRateLimiter):
    """LangChain's own kind of limiter."""

    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.asked += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire()


async def test_langchains_rate_limiter_works(serve: Serve) -> None:
    limiter = Counting()
    model = kimi(serve(lambda request: said("ok")), rate_limiter=limiter)
    model.invoke("a")
    await model.ainvoke("b")
    list(model.stream("c"))
    assert limiter.asked == 3
