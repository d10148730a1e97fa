"""A process that runs a turn whose tool prints `started` and then waits for a line of its input.

In the end it prints the last message, or the type of the error with which the run ended.
"""

import asyncio
import sys
from typing import Any

from langchain_core.tools import tool
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from langchain_kimi import PostgresThreadLock, RedisThreadLock, create_kimi_agent
from langchain_kimi.testing import FakeKimi, called, said

THREAD: Any = {"configurable": {"thread_id": "1"}}


@tool
def work() -> str:
    """Work."""
    sys.stdout.write("started\n")
    sys.stdout.flush()
    sys.stdin.readline()
    return "worked"


def lock_of(kind: str, database: str, prefix: str, lease: float, strategy: Any = "enqueue") -> Any:
    if kind == "postgres":
        return PostgresThreadLock(database, strategy=strategy, timeout=30)
    return RedisThreadLock("redis://127.0.0.1:6379", strategy=strategy, timeout=30, lease=lease, prefix=prefix)


async def run(kind: str, database: str, prefix: str, lease: str, way: str) -> Any:
    lock = lock_of(kind, database, prefix, float(lease))
    model, ask = FakeKimi([called("work"), said("done")]), {"messages": [("user", "work")]}
    if way == "sync":
        with PostgresSaver.from_conn_string(database) as saver:
            agent = create_kimi_agent(model, [work], checkpointer=saver, exclusive=lock)
            return agent.invoke(ask, THREAD, durability="sync")
    async with AsyncPostgresSaver.from_conn_string(database) as saver:
        agent = create_kimi_agent(model, [work], checkpointer=saver, exclusive=lock)
        return await agent.ainvoke(ask, THREAD, durability="sync")


if __name__ == "__main__":
    try:
        end = asyncio.run(run(*sys.argv[1:]))["messages"][-1].text
    except Exception as error:
        end = type(error).__name__
    sys.stdout.write(f"{end}\n")
