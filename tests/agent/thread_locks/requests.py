"""Whether a run waits to replace another one, looked up in the database."""

from typing import Any

import psycopg
import redis.asyncio

from langchain_kimi.agent.thread_locks.postgres_lock import _keys
from tests.agent.thread_locks.conftest import REDIS
from tests.services import POSTGRES

_SHARED = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted "
    "AND (classid::bigint << 32) | objid::bigint = %s"
)


async def exist(locks: Any, turns: Any) -> bool:
    thread = turns.thread["configurable"]["thread_id"] + "\0"
    if locks.kind == "postgres":
        async with await psycopg.AsyncConnection.connect(POSTGRES) as connection:
            row = await (await connection.execute(_SHARED, (_keys(thread)[1],))).fetchone()
        return bool(row and row[0])
    async with redis.asyncio.Redis.from_url(REDIS) as client:
        return bool(await client.exists(f"{locks.prefix}{{{thread}}}:replace"))
