"""The lease of RedisThreadLock: it is renewed, and its loss stops the run."""

import asyncio
import secrets
import time
from typing import Any

import pytest
import redis
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import RedisThreadLock
from langchain_kimi.agent.thread_locks.held_thread import aholding, checked_writes, holding
from langchain_kimi.errors import ThreadLockLostError
from tests.agent.thread_locks.conftest import REDIS, Locks, Turns
from tests.conftest import SYNC_AND_ASYNC
from tests.services import OwnRedis, no_redis, own_redis

__all__ = ["own_redis"]

RECORDED = ["work", ""]
"""The thread while the tool of a run is at work."""

without_redis = pytest.mark.skipif(no_redis() is not None, reason=str(no_redis()))


def wait_for_renewal(key: str) -> None:
    """Wait until the time to live of a key has grown."""
    with redis.Redis.from_url(REDIS) as client:
        left, deadline = int(client.pttl(key)), time.monotonic() + 20  # type: ignore[arg-type]
        assert left > 0
        while (now_left := int(client.pttl(key))) <= left:  # type: ignore[arg-type]
            assert time.monotonic() < deadline
            left = now_left
            time.sleep(0.005)


async def until_recorded(turns: Turns) -> None:
    """Wait until the call of the tool is recorded, which LangGraph does beside the tool."""
    async with asyncio.timeout(30):
        while turns.messages() != RECORDED:  # noqa: ASYNC110 (what is awaited is in a checkpointer)
            await asyncio.sleep(0.005)


@without_redis
@SYNC_AND_ASYNC
async def test_the_lease_is_renewed_while_a_thread_is_held(way: str) -> None:
    prefix = f"kimi_test:{secrets.token_hex(4)}:"
    lock = RedisThreadLock(REDIS, lease=0.6, prefix=prefix)
    if way == "sync":
        with lock.hold("1"):
            wait_for_renewal(f"{prefix}{{1}}")
    else:
        async with lock.ahold("1"):
            await asyncio.to_thread(wait_for_renewal, f"{prefix}{{1}}")


@without_redis
@pytest.mark.slow
async def test_a_renewal_at_the_end_of_a_run_does_not_keep_it_from_ending() -> None:
    prefix = f"kimi_test:{secrets.token_hex(4)}:"
    lock = RedisThreadLock(REDIS, lease=0.3, prefix=prefix)
    for number in range(25):  # before Python 3.12, redis-py loses about one in seven cancellations of a renewal
        async with asyncio.timeout(30), lock.ahold(str(number)):
            await asyncio.to_thread(wait_for_renewal, f"{prefix}{{{number}}}")


@without_redis
@SYNC_AND_ASYNC
@pytest.mark.parametrize("method", ["put", "put_writes"])
async def test_each_write_is_checked(method: str, way: str) -> None:
    lock = RedisThreadLock(REDIS, prefix=f"kimi_test:{secrets.token_hex(4)}:")
    saver, thread = InMemorySaver(), {"thread_id": "1", "checkpoint_ns": "", "checkpoint_id": "1"}
    arguments: Any = (empty_checkpoint(), {}, {}) if method == "put" else ([("messages", "two")], "task")

    def lose() -> None:
        with redis.Redis.from_url(REDIS) as client:
            client.delete(f"{lock._prefix}{{1\0}}")

    if way == "sync":
        with holding(lock, {"configurable": thread}) as config:
            lose()
            with pytest.raises(ThreadLockLostError):
                getattr(checked_writes(saver, config), method)(config, *arguments)
    else:
        async with aholding(lock, {"configurable": thread}) as config:
            lose()
            with pytest.raises(ThreadLockLostError):
                await getattr(checked_writes(saver, config), f"a{method}")(config, *arguments)
    assert not saver.storage
    assert not saver.writes


@without_redis
@SYNC_AND_ASYNC
async def test_a_run_whose_lease_another_process_has_writes_nothing_more(way: str) -> None:
    turns, locks = Turns(way), Locks("redis")
    first = await turns.begin(turns.agent(locks()))
    await until_recorded(turns)
    with redis.Redis.from_url(REDIS) as client:
        client.set(f"{locks.prefix}{{{turns.thread['configurable']['thread_id']}\0}}", "another run", px=30_000)
    turns.go_on.set()
    with pytest.raises(ThreadLockLostError, match="ran out before it was renewed"):
        await first
    assert turns.messages() == RECORDED
    assert len(turns.requests) == 1


@SYNC_AND_ASYNC
async def test_a_run_whose_redis_is_gone_writes_nothing_more(own_redis: OwnRedis, way: str) -> None:
    turns = Turns(way)
    first = await turns.begin(turns.agent(RedisThreadLock(own_redis.url)))
    await until_recorded(turns)
    own_redis.kill()
    turns.go_on.set()
    with pytest.raises(ThreadLockLostError, match="does not answer"):
        await first
    assert turns.messages() == RECORDED
