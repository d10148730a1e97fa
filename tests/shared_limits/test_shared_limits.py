"""`RateLimits(shared=…)`: what several processes do counts together. Each object counts as a process of its own."""

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from langchain_kimi import ChatKimi, RateLimits
from langchain_kimi._shared_limits import Timing
from langchain_kimi.errors import OverloadedError, QuotaExceededError, RateLimitError
from langchain_kimi.testing import said
from tests.conftest import KEY, SYNC_AND_ASYNC, Serve, kimi
from tests.shared_limits.holder import Holder, until
from tests.shared_limits.workers import QUICK, Account

MakeAccount = Callable[..., Account]
FAST = replace(QUICK, window=0.25, margin=0.02, heartbeat=0.02, poll=0.1)
"""A window that passes while a test waits."""
STEADY = replace(QUICK, lease=600.0, heartbeat=600.0)
"""No lease expires, and no report of all that is in progress mends what an event left behind."""


def queued(account: Account) -> int:
    return int(account.client().zcard(account.key("queue")))


@SYNC_AND_ASYNC
def test_concurrency_counts_over_processes(account_of: MakeAccount, way: str) -> None:
    account = account_of(concurrency=2)
    first, second = account.rate_limits(), account.rate_limits()
    holders = [Holder(first).wait_for_start(), Holder(second).wait_for_start()]
    began = threading.Event()

    async def ask() -> None:
        async with second.slot(1):
            began.set()

    def ask_in_thread() -> None:
        with second.slot(1):
            began.set()

    waiter = threading.Thread(target=ask_in_thread if way == "sync" else lambda: asyncio.run(ask()))
    waiter.start()
    until(lambda: queued(account) == 1)
    assert not began.is_set()
    holders[0].end()
    waiter.join(20)
    assert began.is_set()
    holders[1].end()
    until(lambda: account.leases() == set())


def test_requests_of_a_window_count_over_processes(account_of: MakeAccount) -> None:
    account = account_of(FAST, rpm=3)
    limits = [account.rate_limits() for _ in range(3)]
    began = []
    for number in range(9):
        with limits[number % 3].slot(1) as slot:
            slot.sent()
            began.append(time.monotonic())
    assert min(later - earlier for earlier, later in zip(began, began[3:], strict=False)) >= FAST.window


def test_tokens_of_a_window_count_and_a_request_beyond_the_limit_waits_for_an_empty_window(
    account_of: MakeAccount,
) -> None:
    account = account_of(FAST, tpm=100)
    limits = [account.rate_limits() for _ in range(2)]
    began = []
    for number, tokens in enumerate((40, 60, 500, 1)):
        with limits[number % 2].slot(tokens) as slot:
            slot.sent()
            began.append(time.monotonic())
    assert [later - earlier >= FAST.window for earlier, later in pairwise(began)] == [False, True, True]


def test_a_request_counts_from_when_it_was_sent(account_of: MakeAccount) -> None:
    account = account_of(FAST, rpm=1)
    first, second = account.rate_limits(), account.rate_limits()
    with first.slot(1) as slot:
        waiter = Holder(second)
        until(lambda: queued(account) == 1)
        assert not waiter.started.wait(1.5 * FAST.window)  # it has started, but who knows when it arrives?
        slot.sent()
        sent_at = time.monotonic()
    assert waiter.wait_for_start().started_at - sent_at >= FAST.window
    waiter.end()


def test_a_window_of_sixty_seconds_is_a_second_longer_for_the_way_to_the_host(account_of: MakeAccount) -> None:
    account = account_of(Timing(), rpm=5)
    sent_after = account.now()
    with account.rate_limits().slot(1) as slot:
        slot.sent()
    until(lambda: account.leases() == set())
    ((_, leaves_at),) = account.client().zrange(account.key("window"), 0, 0, withscores=True)
    assert sent_after + 61_000 <= leaves_at + 1  # Redis counts whole milliseconds
    assert leaves_at <= account.now() + 61_000


def test_a_process_with_few_requests_does_not_wait_for_all_of_one_with_many(account_of: MakeAccount) -> None:
    account = account_of(concurrency=1)
    busy, modest = account.rate_limits(), account.rate_limits()
    holder, order = Holder(busy).wait_for_start(), []

    def ask(limits: RateLimits, name: str) -> None:
        with limits.slot(1):
            order.append(name)

    threads = [threading.Thread(target=ask, args=(busy, "busy")) for _ in range(40)]
    for thread in threads:
        thread.start()
    until(lambda: queued(account) == 8)
    threads.append(threading.Thread(target=ask, args=(modest, "modest")))
    threads[-1].start()
    until(lambda: queued(account) == 9)
    holder.end()
    for thread in threads:
        thread.join(20)
    assert order.index("modest") == 8
    assert len(order) == 41


def test_requests_of_a_process_begin_in_order(account_of: MakeAccount) -> None:
    account = account_of(concurrency=1)
    limits = account.rate_limits()
    holder, order = Holder(limits).wait_for_start(), []

    async def ask(number: int) -> None:
        async with limits.slot(1):
            order.append(number)

    async def main() -> None:
        tasks = [asyncio.create_task(ask(number)) for number in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(holder.end)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order == list(range(20))


@pytest.mark.parametrize("limit", ["concurrency", "rpm"])
def test_a_process_is_woken_when_its_turn_comes(account_of: MakeAccount, limit: str) -> None:
    window = 600.0 if limit == "concurrency" else 0.3
    patient = Timing(window=window, margin=0.0, lease=600.0, heartbeat=600.0, poll=600.0)
    account = account_of(patient, **{limit: 1})
    first, second = account.rate_limits(), account.rate_limits()
    holder, waiter = Holder(first).wait_for_start(), Holder(second)
    until(lambda: account.listeners() == 1)
    third = Holder(account.rate_limits())
    until(lambda: account.listeners() == 2)
    for one in (holder, waiter, third):
        one.wait_for_start().end()


def test_the_place_of_a_process_that_does_not_come_is_given_to_others(account_of: MakeAccount) -> None:
    account = account_of(replace(QUICK, lease=60.0), concurrency=1)
    holder, limits = Holder(account.rate_limits()).wait_for_start(), account.rate_limits()
    if not (child := os.fork()):
        try:
            limits.slot(1).__enter__()
        finally:
            os._exit(1)
    until(lambda: queued(account) == 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    waiter = Holder(limits)
    until(lambda: queued(account) == 2)
    holder.end()
    waiter.wait_for_start().end()
    assert queued(account) == 1  # the dead process's, until its lease ends
    dead = account.client().zrange(account.key("queue"), 0, 0)[0][:16]
    woken_at = account.state(f"woken:{dead}")
    holder, waiter = Holder(account.rate_limits()).wait_for_start(), Holder(limits)
    until(lambda: queued(account) == 2)
    holder.end()
    waiter.wait_for_start().end()
    assert account.state(f"woken:{dead}") == woken_at is not None  # it is not waited for a second time


@pytest.mark.parametrize("limit", ["concurrency", "rpm", "tpm"])
def test_a_request_of_a_killed_process_ends_after_its_lease_and_leaves_the_window(
    account_of: MakeAccount, limit: str
) -> None:
    account = account_of(replace(FAST, lease=0.3), **{limit: 1})
    limits = account.rate_limits()
    if not (child := os.fork()):
        try:
            limits.slot(1).__enter__()
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    assert len(account.leases()) == 1
    Holder(limits).wait_for_start().end()


def test_what_waits_for_a_killed_process_leaves_the_queue_after_its_lease(account_of: MakeAccount) -> None:
    account = account_of(replace(QUICK, lease=0.5), concurrency=1)
    limits = account.rate_limits()
    holder = Holder(limits).wait_for_start()
    if not (child := os.fork()):
        try:
            limits.slot(1).__enter__()
        finally:
            os._exit(1)
    until(lambda: queued(account) == 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    until(lambda: queued(account) == 0)
    holder.end()


def test_a_request_that_lasts_longer_than_a_lease_stays_in_progress(account_of: MakeAccount) -> None:
    account = account_of(replace(QUICK, lease=0.4, heartbeat=0.1), concurrency=1)
    holder = Holder(account.rate_limits()).wait_for_start()
    other = Holder(account.rate_limits())
    assert not other.started.wait(0.5)
    ended_at = holder.end()
    assert other.wait_for_start().started_at >= ended_at
    other.end()


@pytest.mark.parametrize("lost", [["processes", "leases", "window", "tokens"], ["leases"], ["queue"]])
def test_what_redis_has_lost_it_hears_again(account_of: MakeAccount, lost: list[str]) -> None:
    """As when a process was stopped for longer than a lease, or a replica took over that had not all of it."""
    account = account_of(replace(QUICK, window=600.0), concurrency=1)
    holder = Holder(account.rate_limits()).wait_for_start()
    waiter = Holder(account.rate_limits())
    until(lambda: queued(account) == 1)
    leases = account.leases()
    account.client().delete(*map(account.key, lost))
    until(lambda: leases <= account.leases())
    until(lambda: queued(account) == 1 or len(account.leases()) == 2)  # it may begin before the lease is known again
    holder.end()
    waiter.wait_for_start().end()
    until(lambda: account.leases() == set())
    assert account.client().zcard(account.key("window")) == 2


async def test_cancelled_waiters_leave_nothing_behind(account_of: MakeAccount) -> None:
    account = account_of(STEADY, concurrency=1)
    limits = account.rate_limits()

    async def ask() -> str:
        async with limits.slot(1):
            return "done"

    holder = Holder(account.rate_limits()).wait_for_start()
    tasks = [asyncio.create_task(ask()) for _ in range(12)]
    await asyncio.to_thread(until, lambda: queued(account) == 8)
    for task in tasks[:11]:
        task.cancel()
    await asyncio.to_thread(until, lambda: queued(account) == 1)
    await asyncio.to_thread(holder.end)
    assert await tasks[11] == "done"
    await asyncio.to_thread(until, lambda: account.leases() == set())
    assert (queued(account), account.state("tokens")) == (0, "2")


async def test_waiters_cancelled_at_the_moment_they_begin_hold_no_lease(account_of: MakeAccount) -> None:
    account = account_of(STEADY, concurrency=1)
    limits = account.rate_limits()
    for _ in range(20):
        task = asyncio.create_task(limits.slot(1).__aenter__())
        await asyncio.to_thread(until, account.leases)
        task.cancel()  # Redis has started it, and the task has not run since
        with suppress(asyncio.CancelledError):
            await (await task).__aexit__(None, None, None)
        await asyncio.to_thread(until, lambda: account.leases() == set())


def test_ctrl_c_in_the_queue_leaves_nothing_behind(account_of: MakeAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    account = account_of(STEADY, concurrency=1)
    holder = Holder(account.rate_limits()).wait_for_start()

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            until(lambda: queued(account) == 1)
            raise KeyboardInterrupt

    monkeypatch.setattr("langchain_kimi._shared_limits.shared_slot.threading", SimpleNamespace(Event=Interrupted))
    with pytest.raises(KeyboardInterrupt):
        account.rate_limits().slot(1).__enter__()
    monkeypatch.undo()
    until(lambda: queued(account) == 0)
    holder.end()


def test_an_unfinished_stream_of_a_closed_event_loop_ends(account_of: MakeAccount) -> None:
    account = account_of(concurrency=1)
    limits = account.rate_limits()

    async def stream() -> Any:
        async with limits.slot(1):
            yield 1

    loop = asyncio.new_event_loop()
    unfinished = stream()
    assert loop.run_until_complete(anext(unfinished)) == 1
    loop.close()
    assert len(account.leases()) == 1
    del unfinished
    gc.collect()
    until(lambda: account.leases() == set())


def test_a_waiter_of_a_closed_event_loop_does_not_hold_up_the_queue(account_of: MakeAccount) -> None:
    account = account_of(STEADY, concurrency=1)
    limits = account.rate_limits()
    holder = Holder(limits).wait_for_start()
    loop = asyncio.new_event_loop()
    abandoned = limits.slot(1).__aenter__()
    task = loop.create_task(abandoned)
    loop.call_soon(loop.stop)
    loop.run_forever()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    other = Holder(account.rate_limits())
    holder.end()
    other.wait_for_start().end()
    until(lambda: account.leases() == set())
    del task, abandoned


@pytest.mark.parametrize("kind", [RateLimitError, pytest.param(OverloadedError, marks=pytest.mark.slow)])
def test_what_one_process_learns_from_a_429_slows_the_others(
    account_of: MakeAccount, kind: type[RateLimitError]
) -> None:
    account = account_of(replace(QUICK, overload_pause=0.1), concurrency=5)
    first, second = account.rate_limits(), account.rate_limits()
    with second.slot(1):
        pass
    refused_at = Holder(first, error=kind("full", status=429, retry_after=0.4)).wait_for_start().end()
    until(lambda: account.state("paused_until"))
    other = Holder(second).wait_for_start()
    assert other.started_at - refused_at >= 0.4
    other.end()


def test_after_an_overload_one_answer_after_the_other_opens_the_way_again(account_of: MakeAccount) -> None:
    account = account_of(replace(QUICK, overload_pause=0.1), concurrency=4)
    limits = account.rate_limits()
    Holder(limits, error=OverloadedError("full", status=429)).wait_for_start().end()
    holders = [Holder(limits) for _ in range(4)]

    def started() -> int:
        return sum(holder.started.is_set() for holder in holders)

    until(lambda: started() == 1)
    until(lambda: queued(account) == 3)
    assert started() == 1
    next(holder for holder in holders if holder.started.is_set()).end()
    until(lambda: started() == 3)
    assert account.state("recovery") == "2"
    for holder in holders:
        holder.wait_for_start().end()
    until(lambda: account.state("recovery") is None)


def test_a_quota_without_money_pauses_nobody(account_of: MakeAccount) -> None:
    account = account_of(concurrency=5)
    Holder(account.rate_limits(), error=QuotaExceededError("no money", status=429)).wait_for_start().end()
    Holder(account.rate_limits()).wait_for_start().end()
    assert account.state("paused_until") is None


def test_processes_with_other_limits_keep_to_their_own(account_of: MakeAccount) -> None:
    account = account_of()
    narrow, wide = account.rate_limits(concurrency=1), account.rate_limits(concurrency=3)
    holders = [Holder(wide).wait_for_start() for _ in range(2)]
    waiter = Holder(narrow)
    until(lambda: queued(account) == 1)
    holders[0].end()
    assert not waiter.started.is_set()
    holders[1].end()
    waiter.wait_for_start().end()


def test_accounts_are_counted_apart(account_of: MakeAccount) -> None:
    one, other = account_of(concurrency=1), account_of(concurrency=1)
    holder = Holder(one.rate_limits()).wait_for_start()
    Holder(other.rate_limits()).wait_for_start().end()
    holder.end()


@SYNC_AND_ASYNC
async def test_the_usage_of_an_answer_corrects_its_tokens(account_of: MakeAccount, serve: Serve, way: str) -> None:
    account = account_of(concurrency=5, tpm=1_000_000)
    model = kimi(serve([said("ok")]), rate_limits=account.rate_limits(), max_tokens=20_000)
    message = model.invoke("go") if way == "sync" else await model.ainvoke("go")
    await asyncio.to_thread(until, lambda: account.leases() == set())
    assert message.usage_metadata
    assert account.state("tokens") == str(message.usage_metadata["total_tokens"])
    assert float(account.client().zrange(account.key("window"), 0, 0, withscores=True)[0][1]) < float("inf")


def test_kimis_own_host_counts_the_output_cap(account_of: MakeAccount) -> None:
    account = account_of(tpm=1_000_000)
    usage = {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}
    choice = {"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}
    event = httpx2.Response(200, json={"id": "1", "model": "kimi-k3", "choices": [choice], "usage": usage})
    client = httpx2.Client(transport=httpx2.MockTransport(lambda request: event))
    model = ChatKimi(
        model="kimi-k3", api_key=KEY, http_client=client, max_tokens=20_000, rate_limits=account.rate_limits()
    )
    model.invoke("go")
    until(lambda: account.leases() == set())
    assert account.state("tokens") == "20030"


def test_nothing_secret_is_written_to_redis_and_everything_expires(account_of: MakeAccount, serve: Serve) -> None:
    account = account_of(concurrency=1, rpm=100, tpm=1_000_000)
    kimi(serve([said("ok")]), rate_limits=account.rate_limits()).invoke("my secret question")
    until(lambda: account.leases() == set())
    client = account.client()
    keys = client.keys(account.key("*"))
    contents = [str(client.hgetall(account.key(key))) for key in ("state", "tokens")]
    contents += [str(client.zrange(account.key(key), 0, -1)) for key in ("processes", "window")]
    assert not any(word in text for text in contents for word in (KEY, "secret"))
    assert keys
    assert all(0 < client.pttl(key) <= 60_000 for key in keys)
