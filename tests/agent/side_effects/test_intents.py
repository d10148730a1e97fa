"""The record of a call that is about to start is in the database before the tool begins, whatever the durability."""

import asyncio
import threading
from contextlib import ExitStack
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_kimi import agent_as_tool, create_kimi_agent
from langchain_kimi.agent.side_effects import intents
from langchain_kimi.errors import DurabilityError
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said
from tests.agent.helpers import ASK, THREAD, ran
from tests.conftest import PAIRED, SYNC_AND_ASYNC
from tests.databases import Database


def mails(request: Request) -> Reply:
    """One call of `send`."""
    return said("done") if request.tool_results() else called("send", to="a")


def asks_for_help(request: Request) -> Reply:
    """One call of `helper`."""
    return said("done") if request.tool_results() else called("helper", task="mail")


def agent_around(send: Any, saver: Any, *, nested: bool) -> Any:
    """An agent with the tool in `once`, or one with a sub-agent that has it."""
    own = create_kimi_agent(FakeKimi(mails), [send], once={"send"}, checkpointer=None if nested else saver)
    if not nested:
        return own
    helper = agent_as_tool(own, name="helper", description="Help.")
    return create_kimi_agent(FakeKimi(asks_for_help), [helper], checkpointer=saver)


@PAIRED
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("durability", ["async", "sync"])
async def test_another_connection_finds_it_when_the_tool_begins(
    database: Database, durability: Any, nested: bool
) -> None:
    found: list[tuple[bool, int]] = []

    @tool
    def send(to: str) -> str:
        """Send a mail."""
        with ExitStack() as stack:
            kind: Any = SqliteSaver if database.local else PostgresSaver
            saver = stack.enter_context(kind.from_conn_string(database.place))
            checkpoints: list[CheckpointTuple] = list(saver.list(THREAD))
        latest: dict[str, CheckpointTuple] = {}
        for checkpoint in checkpoints:
            latest.setdefault(checkpoint.config["configurable"]["checkpoint_ns"], checkpoint)
        waiting = [one for one in latest.values() if one.checkpoint["channel_values"].get("__pregel_tasks")]
        found.append((len(waiting) == 1 + nested, sum(len(intents.open_intents(one)) for one in waiting)))
        return "sent"

    async with database.saver() as saver:
        await database.run(agent_around(send, saver, nested=nested), ASK, durability=durability)
    assert found == [(True, 1)]


class Late(InMemorySaver):
    """Writes a checkpoint with open calls only after somebody has looked for it in vain, or fails to."""

    def __init__(self, order: list[str], error: Exception | None = None) -> None:
        super().__init__()
        self._order, self._error, self._missed = order, error, threading.Event()

    def put(self, config: Any, checkpoint: Any, *args: Any) -> Any:
        if not checkpoint["channel_values"].get("__pregel_tasks"):
            return super().put(config, checkpoint, *args)
        assert self._missed.wait(300)
        if self._error:
            raise self._error
        self._order.append("written")
        return super().put(config, checkpoint, *args)

    async def aput(self, *args: Any) -> Any:
        return await asyncio.to_thread(self.put, *args)

    def get_tuple(self, config: Any) -> CheckpointTuple | None:
        found = super().get_tuple(config)
        if found is None and config["configurable"].get("checkpoint_id"):
            self._missed.set()
        return found


@SYNC_AND_ASYNC
@pytest.mark.parametrize("nested", [False, True])
async def test_the_tool_waits_for_checkpoints_that_are_written_in_the_background(way: str, nested: bool) -> None:
    order: list[str] = []

    @tool
    def send(to: str) -> str:
        """Send a mail."""
        order.append("started")
        return "sent"

    await ran(agent_around(send, Late(order), nested=nested), way)
    assert order == ["written"] * (1 + nested) + ["started"]


@SYNC_AND_ASYNC
async def test_the_tool_does_not_start_without_its_checkpoint(way: str) -> None:
    order: list[str] = []

    @tool
    def send(to: str) -> str:
        """Send a mail."""
        order.append("started")
        return "sent"

    with pytest.raises(OSError, match="the disk is full"):
        await ran(agent_around(send, Late(order, OSError("the disk is full")), nested=False), way)
    assert order == []


class Forgetful(InMemorySaver):
    """Loses every checkpoint with open calls."""

    def put(self, config: Any, checkpoint: Any, *args: Any) -> Any:
        lost = checkpoint["channel_values"].get("__pregel_tasks")
        return config if lost else super().put(config, checkpoint, *args)


@SYNC_AND_ASYNC
async def test_waiting_for_a_checkpoint_ends(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    @tool
    def send(to: str) -> str:
        """Send a mail."""
        started.append(to)
        return "sent"

    monkeypatch.setattr(intents, "_PATIENCE", 0.01)
    with pytest.raises(DurabilityError, match="The tool send was not run: its checkpoint was not written within"):
        await ran(agent_around(send, Forgetful(), nested=False), way)
    assert started == []


class Meeting(InMemorySaver):
    """Lets two runs write their intents before either reads, if there is a barrier."""

    def __init__(self, barriers: list[threading.Barrier]) -> None:
        super().__init__()
        self._barriers = barriers

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        super().put_writes(config, writes, task_id, task_path)
        if any(channel == "kimi_intent" for channel, _ in writes):
            for barrier in self._barriers:
                barrier.wait(300)


@pytest.mark.parametrize("together", [True, False])
async def test_two_runs_that_resume_one_thread_start_it_at_most_once(together: bool) -> None:
    started: list[str] = []

    @tool
    def send(to: str) -> str:
        """Send a mail."""
        started.append(to)
        return "sent"

    agent = agent_around(send, Meeting([threading.Barrier(2)] if together else []), nested=False)
    agent.invoke(ASK, THREAD, interrupt_before=["tools"])
    states = await asyncio.gather(*(asyncio.to_thread(agent.invoke, None, THREAD) for _ in range(2)))
    assert len(started) <= (0 if together else 1)
    assert len(started) + sum("__interrupt__" in state for state in states) >= 1
