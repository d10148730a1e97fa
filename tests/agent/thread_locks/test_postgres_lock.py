"""Connections of PostgresThreadLock: pools, and a connection that the server ends."""

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from langchain_kimi import PostgresThreadLock
from langchain_kimi.agent.thread_locks.postgres_lock import _keys
from langchain_kimi.errors import ThreadBusyError, ThreadLockLostError
from tests.agent.thread_locks.conftest import Turns
from tests.conftest import SYNC_AND_ASYNC
from tests.services import POSTGRES, no_postgres

pytestmark = pytest.mark.skipif(no_postgres() is not None, reason=str(no_postgres()))

_END = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted "
    "AND (classid::bigint << 32) | objid::bigint = %s"
)


@SYNC_AND_ASYNC
async def test_a_run_whose_connection_ended_stops_and_writes_nothing_more(way: str) -> None:
    turns = Turns(way)
    first = await turns.begin(turns.agent(PostgresThreadLock(POSTGRES)))
    thread = turns.thread["configurable"]["thread_id"] + "\0"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        assert connection.execute(_END, (_keys(thread)[0],)).fetchall() == [(True,)]
    await turns.run(turns.agent(PostgresThreadLock(POSTGRES, strategy="enqueue")), "two")
    recorded = turns.messages()
    turns.go_on.set()
    with pytest.raises(ThreadLockLostError, match="no longer has its thread"):
        await first
    assert turns.messages() == recorded
    assert len(turns.requests) == 2


@SYNC_AND_ASYNC
async def test_a_connection_of_a_pool_returns_without_its_lock(way: str) -> None:
    turns = Turns(way)
    pool: Any = (ConnectionPool if way == "sync" else AsyncConnectionPool)(POSTGRES, min_size=1, max_size=2, open=False)
    await opened(pool)
    agent = turns.agent(PostgresThreadLock(pool, strategy="reject"))
    first = await turns.begin(agent)
    with pytest.raises(ThreadBusyError):
        await turns.run(agent, "two")
    turns.go_on.set()
    await first
    for _ in range(3):
        await turns.run(agent, "three")
        await turns.run(turns.agent(PostgresThreadLock(POSTGRES)), "four")
    await closed(pool)


@SYNC_AND_ASYNC
async def test_a_pool_of_the_other_kind_is_refused(way: str) -> None:
    turns = Turns(way)
    pool: Any = (AsyncConnectionPool if way == "sync" else ConnectionPool)(POSTGRES, open=False)
    needed = "ConnectionPool" if way == "sync" else "AsyncConnectionPool"
    with pytest.raises(TypeError, match=f"needs a {needed}"):
        await turns.run(turns.agent(PostgresThreadLock(pool)), "one")


def test_what_is_no_database_is_refused() -> None:
    database: Any = 5432
    with pytest.raises(TypeError, match="neither a conninfo nor a pool"):
        PostgresThreadLock(database)


async def opened(pool: Any) -> None:
    await asyncio.to_thread(pool.open) if isinstance(pool, ConnectionPool) else await pool.open()


async def closed(pool: Any) -> None:
    await asyncio.to_thread(pool.close) if isinstance(pool, ConnectionPool) else await pool.close()
