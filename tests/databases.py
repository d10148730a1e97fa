"""Real databases, as checkpointers have them: SQLite always, PostgreSQL where one answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

THREAD: Any = {"configurable": {"thread_id": "1"}}
ROOT = Path(__file__).parents[1]
"""Where processes of the tests are started."""


class Database:
    """A database, and the path (sync or async) on which it is used."""

    def __init__(self, way: str, place: str) -> None:
        self.way, self.place = way, place
        self.local = place.startswith("/")

    @asynccontextmanager
    async def saver(self) -> AsyncIterator[Any]:
        """A checkpointer with a connection of its own, as another process has it."""
        if self.way == "sync":
            with (SqliteSaver if self.local else PostgresSaver).from_conn_string(self.place) as saver:
                saver.setup()
                yield saver
        else:
            async with (AsyncSqliteSaver if self.local else AsyncPostgresSaver).from_conn_string(self.place) as saver:
                await saver.setup()
                yield saver

    async def run(self, agent: Any, given: Any, **settings: Any) -> Any:
        """The state after a run on the thread."""
        if self.way == "sync":
            return await asyncio.to_thread(agent.invoke, given, THREAD, **settings)
        return await agent.ainvoke(given, THREAD, **settings)

    async def state(self, agent: Any) -> Any:
        """The thread as it is recorded."""
        return agent.get_state(THREAD) if self.way == "sync" else await agent.aget_state(THREAD)


EACH_WAY = [
    *("sqlite, sync", "sqlite, async", "postgres, async"),
    pytest.param("postgres, sync", marks=pytest.mark.slow),
]


@pytest.fixture(params=EACH_WAY)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Each database on each path."""
    kind, _, way = request.param.partition(", ")
    place = str(tmp_path / "threads.sqlite") if kind == "sqlite" else request.getfixturevalue("postgres")
    return Database(way, place)
