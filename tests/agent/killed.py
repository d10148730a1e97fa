"""An agent's turn whose process kills itself in the middle.

The moment is `before the tools`, when the model's answer is in the checkpointer and no tool has begun, or `inside a
tool`, when the result of the tool beside it was recorded.
"""

import asyncio
import os
import signal
import threading
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from langchain_kimi import ChatKimi, create_kimi_agent

recorded = threading.Event()
"""Whether a tool's result was recorded."""


def die() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


@tool
def note(text: str) -> str:
    """Note something."""
    return f"noted {text}"


@tool
def crash(text: str) -> str:
    """Does not come back."""
    recorded.wait(30)
    die()
    return text


def _seen(writes: Any) -> None:
    for _, value in writes:
        if any(isinstance(message, ToolMessage) for message in (value if isinstance(value, list) else [value])):
            recorded.set()


def watched(saver: Any, moment: str) -> Any:
    put, aput, put_writes, aput_writes = saver.put, saver.aput, saver.put_writes, saver.aput_writes

    def looked(checkpoint: Any) -> None:
        if moment == "before the tools" and checkpoint["channel_values"].get("__pregel_tasks"):
            die()

    def watched_put(config: Any, checkpoint: Any, *more: Any) -> Any:
        written = put(config, checkpoint, *more)
        looked(checkpoint)
        return written

    async def watched_aput(config: Any, checkpoint: Any, *more: Any) -> Any:
        written = await aput(config, checkpoint, *more)
        looked(checkpoint)
        return written

    def watched_put_writes(config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        put_writes(config, writes, task_id, task_path)
        _seen(writes)

    async def watched_aput_writes(config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        await aput_writes(config, writes, task_id, task_path)
        _seen(writes)

    saver.put, saver.aput = watched_put, watched_aput
    saver.put_writes, saver.aput_writes = watched_put_writes, watched_aput_writes
    return saver


def begin_a_turn(database: str, url: str, way: str, moment: str) -> None:
    """One run, which ends in a crash."""
    asyncio.run(_begin_a_turn(database, url, way, moment))


async def _begin_a_turn(database: str, url: str, way: str, moment: str) -> None:
    model = ChatKimi(model="kimi-k2.6", base_url=url, api_key="sk-test", max_retries=0)
    given, config = {"messages": [("user", "go")]}, {"configurable": {"thread_id": "1"}}
    local = database.startswith("/")

    def agent(saver: Any) -> Any:
        return create_kimi_agent(model, [note, crash], checkpointer=watched(saver, moment))

    if way == "sync":
        with (SqliteSaver if local else PostgresSaver).from_conn_string(database) as saver:
            agent(saver).invoke(given, config, durability="sync")
    else:
        async with (AsyncSqliteSaver if local else AsyncPostgresSaver).from_conn_string(database) as saver:
            await agent(saver).ainvoke(given, config, durability="sync")
