"""Redis goes away and comes back, refuses, does not answer, or was never there: no request waits for ever."""

import logging
import socket
import warnings
from dataclasses import replace
from typing import Any

import pytest
import redis

from langchain_kimi import KimiWarning, RateLimits
from langchain_kimi.errors import RateLimitsUnavailableError
from langchain_kimi.testing import said
from tests.conftest import SYNC_AND_ASYNC, Serve, kimi
from tests.services import OwnRedis
from tests.shared_limits.holder import Holder, until
from tests.shared_limits.workers import QUICK, Account


def account_on(server: OwnRedis, **limits: Any) -> Account:
    return Account(limits, url=server.url)


def nowhere() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"redis://user:pass-word-1@127.0.0.1:{free.getsockname()[1]}/0"


@SYNC_AND_ASYNC
async def test_without_redis_requests_raise_before_they_are_sent(serve: Serve, way: str) -> None:
    server = serve([said("ok")])
    model = kimi(server, rate_limits=RateLimits(rpm=5, shared=nowhere(), on_unavailable="raise"))
    for _ in range(2):
        with pytest.raises(RateLimitsUnavailableError, match=r"Redis at 127\.0\.0\.1:\d+ failed: .*refused") as caught:
            _ = model.invoke("go") if way == "sync" else await model.ainvoke("go")
        assert caught.value.is_retryable
        assert "pass-word-1" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert server.requests == []


@SYNC_AND_ASYNC
async def test_without_redis_a_process_goes_on_by_itself_and_warns_once(
    serve: Serve, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = kimi(serve(lambda request: said("ok")), rate_limits=RateLimits(concurrency=1, shared=nowhere()))
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.INFO, "langchain_kimi"):
        warnings.simplefilter("always")
        for _ in range(3):
            _ = model.invoke("go") if way == "sync" else await model.ainvoke("go")
    assert ["its own share" in str(one.message) for one in warned if one.category is KimiWarning] == [True]
    assert [one.filename for one in warned if one.category is KimiWarning] == [__file__]
    assert sum("are not shared" in record.getMessage() for record in caplog.records) == 1
    assert "pass-word-1" not in caplog.text


def test_without_redis_the_share_of_a_process_is_kept(own_redis: OwnRedis) -> None:
    account = account_on(own_redis, concurrency=4)
    first, second = account.rate_limits(), account.rate_limits()
    for limits in (second, first):
        Holder(limits).wait_for_start().end()
    held, second_of_two = Holder(first).wait_for_start(), first.slot(1)
    own_redis.kill()
    with pytest.warns(KimiWarning, match="its own share"):
        second_of_two.__enter__()
    waiter = Holder(first)
    assert not waiter.started.wait(0.3)
    second_of_two.__exit__(None, None, None)
    waiter.wait_for_start().end()
    held.end()


@pytest.mark.slow
@pytest.mark.parametrize("noticed", [True, False])
def test_redis_that_lost_its_data_learns_what_is_in_progress_and_was_sent(own_redis: OwnRedis, noticed: bool) -> None:
    account = account_on(own_redis, concurrency=2, rpm=3, tpm=100)
    account.timing = replace(QUICK, window=60.0, lease=60.0, heartbeat=0.15 if noticed else 3.0)
    first, second = account.rate_limits(), account.rate_limits()
    holder = Holder(first, tokens=20).wait_for_start()
    Holder(second, tokens=30).wait_for_start().end()
    until(lambda: len(account.leases()) == 1)
    own_redis.kill()
    if noticed:
        until(lambda: first._shared and first._shared._away)
    own_redis.start()
    until(lambda: len(account.leases()) == 1)  # by the next heartbeat
    assert account.state("tokens") == "20"
    paused_until = account.state("paused_until")
    assert paused_until  # nobody begins before the others could report
    last = Holder(second, tokens=1).wait_for_start()
    assert account.now() >= float(paused_until)
    assert account.state("tokens") == "51"
    for one in (holder, last):
        one.end()
    until(lambda: account.leases() == set())


@pytest.mark.slow
def test_what_begins_without_redis_is_reported_when_it_is_back(own_redis: OwnRedis) -> None:
    account = account_on(own_redis, concurrency=2, rpm=100)
    limits = account.rate_limits()
    Holder(limits).wait_for_start().end()
    own_redis.kill()
    slot = limits.slot(7)
    with pytest.warns(KimiWarning, match="its own share"):
        slot.__enter__()
    own_redis.start()
    until(lambda: len(account.leases()) == 1)
    slot.__exit__(None, None, None)
    until(lambda: account.leases() == set())
    assert account.state("tokens") == "8"
    Holder(limits).wait_for_start().end()
    assert limits._shared is not None
    assert limits._shared._share is None


def test_a_script_that_redis_forgot_is_loaded_again(own_redis: OwnRedis) -> None:
    account = account_on(own_redis, concurrency=1)
    limits = account.rate_limits(on_unavailable="raise")
    for _ in range(2):
        with limits.slot(1):
            pass
        account.client().script_flush()


def test_redis_without_memory_is_unavailable(own_redis: OwnRedis) -> None:
    account = account_on(own_redis, concurrency=1)
    account.client().config_set("maxmemory", 1)
    with pytest.raises(RateLimitsUnavailableError, match="command not allowed when used memory"):
        account.rate_limits(on_unavailable="raise").slot(1).__enter__()
    account.client().config_set("maxmemory", 0)
    with account.rate_limits(on_unavailable="raise").slot(1):
        assert len(account.leases()) == 1


def test_a_wrong_password_is_named_and_not_shown(own_redis: OwnRedis) -> None:
    account = account_on(own_redis, concurrency=1)
    account.client().config_set("requirepass", "right-password")
    limits = account.rate_limits(shared=own_redis.url.replace("://", "://:wrong-password@"), on_unavailable="raise")
    with pytest.raises(RateLimitsUnavailableError, match="invalid username-password pair") as caught:
        limits.slot(1).__enter__()
    assert "wrong-password" not in f"{caught.value!r} {limits!r}"
    with account.rate_limits(shared=own_redis.url.replace("://", "://:right-password@")).slot(1):
        pass


@pytest.mark.slow
def test_a_server_that_does_not_answer_holds_nobody_up_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        limits = RateLimits(rpm=5, shared=f"redis://127.0.0.1:{silent.getsockname()[1]}", on_unavailable="raise")
        with pytest.raises(RateLimitsUnavailableError, match=r"[Tt]imeout"):
            limits.slot(1).__enter__()


def test_a_client_of_redis_py_takes_the_place_of_a_url(own_redis: OwnRedis) -> None:
    account = account_on(own_redis, concurrency=1)
    for decode in (True, False):
        client = redis.Redis(port=own_redis.port, decode_responses=decode)
        with account.rate_limits(shared=client).slot(1):
            assert len(account.leases()) == 1
        until(lambda: account.leases() == set())
    assert f"127.0.0.1:{own_redis.port}" in repr(RateLimits(rpm=1, shared=redis.Redis("127.0.0.1", own_redis.port)))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="neither a URL nor a synchronous client"):
        RateLimits(rpm=1, shared=redis.asyncio.Redis())
    with pytest.raises(TypeError, match="shared=int is neither"):
        RateLimits(rpm=1, shared=6379)
    for url in ("redis://:pa/ss@host:6379", "localhost:6379", ""):
        with pytest.raises(ValueError, match="is no URL of a Redis server") as caught:
            RateLimits(rpm=1, shared=url)
        assert "pa" not in str(caught.value).replace("password", "")
        assert caught.value.__cause__ is None
    with pytest.raises(ValueError, match="neither 'local' nor 'raise'"):
        RateLimits(rpm=1, on_unavailable="wait")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"account='a\{b' has to be"):
        RateLimits(rpm=1, account="a{b")
