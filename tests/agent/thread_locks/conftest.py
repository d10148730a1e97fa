"""Locks on PostgreSQL and Redis, and a run that stops in the middle until a test lets it go on."""

import asyncio
import secrets
import threading
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import PostgresThreadLock, RedisThreadLock, ThreadLock, create_kimi_agent
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said
from tests.services import POSTGRES, no_postgres, no_redis

REDIS = "redis://127.0.0.1:6379"


class Locks:
    """Makes locks of one kind, as processes have them: an object for each run."""

    def __init__(self, kind: str) -> None:
        self.kind, self.prefix = kind, f"kimi_test:{secrets.token_hex(4)}:"

    def __call__(self, strategy: Any = "reject", timeout: float = 30.0) -> ThreadLock:
        if self.kind == "postgres":
            return PostgresThreadLock(POSTGRES, strategy=strategy, timeout=timeout)
        return RedisThreadLock(REDIS, strategy=strategy, timeout=timeout, prefix=self.prefix)


EACH_KIND_AND_WAY = [
    *("postgres, async", "redis, sync"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("postgres, sync", "redis, async")),
]


@pytest.fixture(params=EACH_KIND_AND_WAY)
def kind_and_way(request: pytest.FixtureRequest) -> str:
    """The kind of the locks, and the path (sync or async) of the runs."""
    return str(request.param)


@pytest.fixture
def locks(kind_and_way: str) -> Locks:
    kind = kind_and_way.partition(", ")[0]
    if reason := (no_postgres() if kind == "postgres" else no_redis()):
        pytest.skip(reason)
    return Locks(kind)


class Turns:
    """An agent whose model calls a tool that waits, when the user asks it to work, and otherwise answers at once."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.thread: Any = {"configurable": {"thread_id": secrets.token_hex(8)}}
        self.saver = InMemorySaver()
        self.started, self.go_on = threading.Event(), threading.Event()
        self.requests: list[Request] = []

        @tool
        def work() -> str:
            """Work."""
            self.started.set()
            assert self.go_on.wait(30)
            return "worked"

        self.work = work
        self.model = FakeKimi(self.reply)

    def reply(self, request: Request) -> Reply:
        self.requests.append(request)
        last = request.messages[-1]
        return called("work") if last["role"] == "user" and last["content"].startswith("work") else said("done")

    def agent(self, lock: ThreadLock | None, **settings: Any) -> Any:
        return create_kimi_agent(self.model, [self.work], checkpointer=self.saver, exclusive=lock, **settings)

    async def run(self, agent: Any, value: Any) -> Any:
        value = {"messages": [("user", value)]} if isinstance(value, str) else value
        if self.way == "sync":
            return await asyncio.to_thread(agent.invoke, value, self.thread)
        return await agent.ainvoke(value, self.thread)

    async def begin(self, agent: Any, value: Any = "work") -> "asyncio.Task[Any]":
        """A run whose tool is at work."""
        run = asyncio.create_task(self.run(agent, value))
        assert await asyncio.to_thread(self.started.wait, 30)
        return run

    def messages(self) -> list[str]:
        return [message.text for message in self.agent(None).get_state(self.thread).values.get("messages", [])]


@pytest.fixture
def turns(kind_and_way: str) -> Turns:
    return Turns(kind_and_way.partition(", ")[2])
