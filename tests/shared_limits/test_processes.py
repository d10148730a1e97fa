"""Eight processes share limits, over the real Redis and a host that counts what it sees. Some of them are killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.services import OwnRedis
from tests.shared_limits.counting_server import counting_server
from tests.shared_limits.holder import Holder, until
from tests.shared_limits.workers import QUICK, Account, start_worker, workers

MakeAccount = Callable[..., Account]
COUNT = 8


@pytest.mark.slow
def test_the_host_never_sees_more_than_the_limits_though_workers_are_killed(account_of: MakeAccount) -> None:
    account = account_of(concurrency=12, rpm=100, tpm=40_000)
    with counting_server(seconds=0.05) as server, workers(COUNT, account, server.url) as started:
        for number in range(8):
            server.wait_for(100 + 30 * number)
            victim = started[number % COUNT]
            victim.kill()
            victim.join()
            started[number % COUNT] = start_worker(number % COUNT, account, server.url)
    assert server.most_in_progress <= 12
    assert server.most_requests(account.timing.window) <= 100
    assert server.most_tokens(account.timing.window) <= 40_000
    assert len({key for _, _, key in server.arrivals}) == COUNT
    until(lambda: Holder(account.rate_limits()).wait_for_start().end() and account.leases() == set())


@pytest.mark.slow
def test_tokens_bind_and_usage_corrects_them(account_of: MakeAccount) -> None:
    account = account_of(tpm=10_000)
    with counting_server(seconds=0.02, output_tokens=20) as server, workers(COUNT, account, server.url):
        server.wait_for(50)
    # Estimates alone would let 8 out of 10 of these tokens through.
    assert 9_000 <= server.most_tokens(account.timing.window) <= 10_000


@pytest.mark.slow
def test_every_worker_has_its_share(account_of: MakeAccount) -> None:
    account = account_of(concurrency=4)
    with counting_server(seconds=0.02) as server:
        with workers(COUNT, account, server.url, at_a_time=4) as started:
            until(lambda: len({key for _, _, key in server.arrivals}) == COUNT)
            begin = len(server.arrivals)
            server.wait_for(begin + 400)
            assert len(started) == COUNT
        keys = [key for _, _, key in server.arrivals[begin : begin + 400]]
    assert min(keys.count(key) for key in set(keys)) >= 25  # half of a share
    assert len(set(keys)) == COUNT


@pytest.mark.slow
def test_redis_that_loses_its_data_lets_nobody_exceed_the_limits(own_redis: OwnRedis) -> None:
    account = Account({"concurrency": 8, "rpm": 80, "on_unavailable": "raise"}, url=own_redis.url)
    with counting_server(seconds=0.05) as server, workers(COUNT, account, server.url):
        server.wait_for(100)
        own_redis.kill()
        own_redis.start()
        server.wait_for(220)
    assert server.most_in_progress <= 8
    assert server.most_requests(account.timing.window) == 80


@pytest.mark.slow
def test_a_worker_that_was_stopped_reports_again_what_it_does(account_of: MakeAccount) -> None:
    account = account_of(concurrency=2)
    with counting_server(seconds=5) as server, workers(1, account, server.url, at_a_time=1) as (worker,):
        server.wait_for(1)
        until(account.leases)
        os.kill(worker.pid, signal.SIGSTOP)
        other = account.rate_limits()
        until(lambda: Holder(other).wait_for_start().end() and account.leases() == set())  # its lease has expired
        os.kill(worker.pid, signal.SIGCONT)
        until(lambda: len(account.leases()) == 1)


@pytest.mark.slow
def test_a_process_that_ends_leaves_no_lease(account_of: MakeAccount) -> None:
    account = account_of(concurrency=1)
    code = (
        "from langchain_kimi import RateLimits\n"
        f"limits = RateLimits(concurrency=1, shared={account.url!r}, account={account.name!r})\n"
        "with limits.slot(1): print('held')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "held\n"
    assert account.leases() == set()


def test_a_forked_child_is_a_process_of_its_own(account_of: MakeAccount) -> None:
    account = account_of(replace(QUICK, lease=15.0), concurrency=1)
    limits = account.rate_limits()
    slot = limits.slot(1)
    with slot:
        (lease,) = account.leases()
        if not (child := os.fork()):
            try:
                slot.__exit__(None, None, None)  # which is the parent's
                limits.slot(1).__enter__()
                os._exit(0)
            finally:
                os._exit(1)
        until(lambda: account.client().zcard(account.key("queue")) == 1)
        assert account.leases() == {lease}
    assert os.waitpid(child, 0)[1] == 0
    until(lambda: account.leases() != {lease})
    (of_child,) = account.leases()
    assert of_child[:16] != lease[:16]
