"""A database that goes away in the middle of a run: no more tools start once a write has failed."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from langchain_kimi import agent_as_tool, create_kimi_agent
from langchain_kimi.testing import Reply, Request, said, thought
from tests.conftest import PAIRED, SYNC_AND_ASYNC, Serve, kimi
from tests.databases import THREAD
from tests.services import POSTGRES

ASK: Any = {"messages": [("user", "go")]}
TOOLS = 40


async def run(agent: Any, way: str, durability: Any) -> None:
    if way == "sync":
        await asyncio.to_thread(agent.invoke, ASK, THREAD, durability=durability)
    else:
        await agent.ainvoke(ASK, THREAD, durability=durability)


class Lost:
    """A checkpointer whose database goes away, really, and which tells when a write has failed."""

    def __init__(self, saver: Any, lose: Callable[[], None]) -> None:
        self.saver, self.lose, self.failed = saver, lose, threading.Event()
        for name in ("put", "put_writes"):
            setattr(saver, name, self._telling(getattr(saver, name)))
            setattr(saver, f"a{name}", self._atelling(getattr(saver, f"a{name}")))

    def _telling(self, write: Any) -> Any:
        def telling(config: Any, *args: Any) -> Any:
            try:
                return write(config, *args)
            except Exception:
                self.failed.set()
                raise

        return telling

    def _atelling(self, write: Any) -> Any:
        async def telling(config: Any, *args: Any) -> Any:
            try:
                return await write(config, *args)
            except Exception:
                self.failed.set()
                raise

        return telling


@asynccontextmanager
async def losing(kind: str, way: str, place: str) -> AsyncIterator[Lost]:
    """A database of this kind that can be lost."""

    def drop() -> None:
        with sqlite3.connect(place) as connection:
            connection.executescript("DROP TABLE writes; DROP TABLE checkpoints;")

    def terminate() -> None:
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [backend])

    if way == "sync":
        with (SqliteSaver if kind == "sqlite" else PostgresSaver).from_conn_string(place) as saver:
            saver.setup()
            backend = 0 if kind == "sqlite" else saver.conn.info.backend_pid
            yield Lost(saver, drop if kind == "sqlite" else terminate)
    else:
        async with (AsyncSqliteSaver if kind == "sqlite" else AsyncPostgresSaver).from_conn_string(place) as saver:
            await saver.setup()
            backend = 0 if kind == "sqlite" else saver.conn.info.backend_pid
            yield Lost(saver, drop if kind == "sqlite" else terminate)


@PAIRED
@pytest.mark.parametrize("nested", [False, True], ids=["agent", "sub-agent"])
@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
@SYNC_AND_ASYNC
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_no_tool_starts_once_a_write_has_failed(
    serve: Serve, tmp_path: Path, request: pytest.FixtureRequest, kind: str, way: str, durability: Any, nested: bool
) -> None:
    place = str(tmp_path / "t.sqlite") if kind == "sqlite" else request.getfixturevalue("postgres")
    async with losing(kind, way, place) as lost:
        runs: list[int] = []

        @tool
        def step(number: int) -> str:
            """A step that takes effect."""
            runs.append(number)
            if len(runs) == 3:
                lost.lose()
            return f"did {number}"

        def script(request: Request) -> Reply:
            number = sum(message["role"] == "tool" for message in request.messages)
            if number >= 3 and durability == "async":
                assert lost.failed.wait(20)
            return said("Done.") if number == TOOLS else thought("On.").calling("step", number=number)

        agent = create_kimi_agent(kimi(serve(script)), [step], checkpointer=None if nested else lost.saver)
        if nested:
            lead = serve(
                lambda r: said("Done.") if r.tool_results() else thought("I ask.").calling("research", task="x")
            )
            research = agent_as_tool(agent, name="research", description="Research.")
            agent = create_kimi_agent(kimi(lead), [research], checkpointer=lost.saver)
        with pytest.raises((sqlite3.Error, psycopg.Error)) as caught:
            await run(agent, way, durability)
        assert len(runs) == (TOOLS if durability == "exit" else 3)
        assert durability != "async" or "the run was stopped" in "".join(caught.value.__notes__)
