"""A second message while a turn is under way: refused, queued, or taken in by a run that replaces the first.

Needs PostgreSQL: python examples/exclusive/exclusive_thread.py postgresql://127.0.0.1:5432/test
"""

import asyncio
import os
import sys
from typing import Any

from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import PostgresThreadLock, create_kimi_agent
from langchain_kimi.errors import ThreadBusyError, ThreadReplacedError
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said

DATABASE = sys.argv[1] if len(sys.argv) > 1 else "postgresql://127.0.0.1:5432/test"
THREAD: Any = {"configurable": {"thread_id": f"trip {os.getpid()}"}}
TURNS = {"a train to Bern": [("a hotel", "reject"), ("a seat", "interrupt")], "a train back": [("a coffee", "enqueue")]}
SAVER, SEARCHING = InMemorySaver(), asyncio.Event()  # in production PostgresSaver, on the same database


@tool
async def search(city: str) -> str:
    """Search for trains."""
    SEARCHING.set()
    await asyncio.sleep(1)
    return f"trains to {city}: 9:00, 11:00"


def script(request: Request) -> Reply:
    """Plays the model."""
    wishes = [str(message["content"]) for message in request.messages if message["role"] == "user"]
    searches = request.messages[-1]["role"] == "user" and "train" in wishes[-1]
    return called("search", city="Bern") if searches else said(f"I know: {', '.join(wishes)}.")


async def run(message: str, strategy: Any) -> None:
    """One request of a user, as any process of a server takes it."""
    lock = PostgresThreadLock(DATABASE, strategy=strategy)
    agent = create_kimi_agent(FakeKimi(script), [search], checkpointer=SAVER, exclusive=lock)
    try:
        state = await agent.ainvoke({"messages": [("user", message)]}, THREAD)
        print(f"{message}: {state['messages'][-1].text}")
    except (ThreadBusyError, ThreadReplacedError) as error:
        print(f"{message}: {type(error).__name__}")


async def main() -> None:
    for train, others in TURNS.items():
        SEARCHING.clear()
        turn = asyncio.create_task(run(train, "reject"))
        await SEARCHING.wait()
        for message, strategy in others:
            await run(message, strategy)
        await turn


asyncio.run(main())
