"""A thread that was left in the middle of a turn: resumed, or continued by a new message, on real databases."""

import asyncio
import json
import random
import signal
import string
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import psycopg
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.types import Command, interrupt

from langchain_kimi import AgentLimits, create_kimi_agent
from langchain_kimi.agent.thread_messages import UNKNOWN_RESULT
from langchain_kimi.testing import FakeKimi, KimiServer, Reply, Request, called, refused, said, thought
from tests import forks
from tests.agent.killed import begin_a_turn, note
from tests.conftest import kimi
from tests.databases import THREAD, Database


def new(text: str) -> dict[str, Any]:
    """A new message."""
    return {"messages": [("user", text)]}


class Broken(Exception):
    """The checkpointer does not answer any more."""


def break_down(saver: Any, when: Callable[[], bool]) -> None:
    """From some time on, the checkpointer takes no checkpoint any more, as if the process were killed there."""
    put, aput = saver.put, saver.aput

    def broken_put(*args: Any) -> Any:
        if when():
            raise Broken
        return put(*args)

    async def broken_aput(*args: Any) -> Any:
        if when():
            raise Broken
        return await aput(*args)

    saver.put, saver.aput = broken_put, broken_aput


def two_notes(request: Request) -> Reply:
    """Two calls for `go`, one result of which lacks a crash; an answer that lists what is known for anything else."""
    if request.last["role"] == "user" and request.last["content"] == "go":
        return thought("ünï\u2028 so").calling_raw("note", '{"text":  "a"}').calling_raw("crash", '{ "text": "b"}')
    return said(f"answer to {request.last['content']}", thinking="Done.")


def results(request: Request) -> list[str]:
    """The tool results that a request brings."""
    return [message["content"] for message in request.messages if message["role"] == "tool"]


async def killed(database: Database, server: KimiServer, moment: str) -> None:
    """Let a process of its own begin the thread, and kill itself."""
    async with database.saver():
        pass
    ended = forks.run(begin_a_turn, database.place, server.url, database.way, moment)
    assert ended.status == -signal.SIGKILL, ended.output


def survivor(text: str) -> str:
    """Comes back this time."""
    return f"survived {text}"


ALIVE = [note, tool("crash")(survivor)]
SAID = ("ünï\u2028 so", ['{"text":  "a"}', '{ "text": "b"}'])


def said_in(request: Request) -> tuple[Any, list[str]]:
    """What the first answer was, as it goes back."""
    message = next(message for message in request.messages if message["role"] == "assistant")
    return message["reasoning_content"], [call["function"]["arguments"] for call in message["tool_calls"]]


async def test_a_process_killed_before_its_tools_is_gone_on_with(database: Database) -> None:
    with KimiServer(two_notes) as server:
        await killed(database, server, "before the tools")
        async with database.saver() as saver:
            state = await database.run(create_kimi_agent(kimi(server), ALIVE, checkpointer=saver), None)
        assert state["stop_reason"] == "stop"
        assert len(server.requests) == 2  # the answer that was recorded is not asked for again
        assert results(server.requests[1]) == ["noted a", "survived b"]
        assert said_in(server.requests[1]) == SAID


@pytest.mark.parametrize("goes_on", ["resumed", "by a message"])
async def test_a_result_recorded_beside_a_kill_stays(database: Database, goes_on: str) -> None:
    ran = []

    def watched(text: str) -> str:
        """Note something."""
        ran.append(text)
        return f"noted again {text}"

    with KimiServer(two_notes) as server:
        await killed(database, server, "inside a tool")
        async with database.saver() as saver:
            agent = create_kimi_agent(kimi(server), [tool("note")(watched), ALIVE[1]], checkpointer=saver)
            state = await database.run(agent, None if goes_on == "resumed" else new("and?"))
            recorded = await database.state(agent)
        rest = "survived b" if goes_on == "resumed" else UNKNOWN_RESULT
        assert results(server.requests[1]) == ["noted a", rest]
        assert said_in(server.requests[1]) == SAID
        assert ran == []
        assert recorded.values["messages"] == state["messages"]
        assert state["spent"]["tool_calls"] == (2 if goes_on == "resumed" else 1)


async def test_an_answer_recorded_after_the_last_checkpoint_stays_when_a_message_comes(database: Database) -> None:
    model = FakeKimi(two_notes)
    async with database.saver() as saver:
        break_down(saver, lambda: bool(model.requests))
        with pytest.raises(Broken):
            await database.run(create_kimi_agent(model, ALIVE, checkpointer=saver), new("go"), durability="sync")
    async with database.saver() as saver:
        agent = create_kimi_agent(model, ALIVE, checkpointer=saver)
        state = await database.run(agent, new("and?"))
        recorded = await database.state(agent)
    assert [message["role"] for message in model.requests[-1].messages] == ["user", "assistant", "tool", "tool", "user"]
    assert results(model.requests[-1]) == [UNKNOWN_RESULT, UNKNOWN_RESULT]
    assert said_in(model.requests[-1]) == SAID
    assert recorded.values["messages"] == state["messages"]


@pytest.mark.parametrize("durability", ["sync", "exit"])
@pytest.mark.parametrize("goes_on", ["resumed", "by a message"])
async def test_a_message_that_was_not_taken_does_not_turn_up_later(
    database: Database, goes_on: str, durability: str
) -> None:
    model = FakeKimi(two_notes)
    async with database.saver() as saver:
        first = create_kimi_agent(model, ALIVE, checkpointer=saver)
        await database.run(first, new("hello"))
        break_down(first.checkpointer, lambda: True)  # with strict checkpoints LangGraph makes a copy of the saver
        with pytest.raises(Broken):
            await database.run(first, new("lost"), durability=durability)
    asked = len(model.requests)
    async with database.saver() as saver:
        agent = create_kimi_agent(model, ALIVE, checkpointer=saver)
        await database.run(agent, None if goes_on == "resumed" else new("found"))
        state = await database.run(agent, new("last"))
        recorded = await database.state(agent)
    spoken = ["hello", "last"] if goes_on == "resumed" else ["hello", "found", "last"]
    assert [message.content for message in recorded.values["messages"] if isinstance(message, HumanMessage)] == spoken
    assert recorded.values["messages"] == state["messages"]
    assert not any("lost" in str(request.messages) for request in model.requests[asked:])


@pytest.mark.parametrize("goes_on", ["resumed", "by a message"])
async def test_a_message_that_breaks_down_before_it_is_taken_changes_nothing(database: Database, goes_on: str) -> None:
    with KimiServer(two_notes) as server:
        await killed(database, server, "inside a tool")
        async with database.saver() as saver:
            break_down(saver, lambda: True)
            with pytest.raises(Broken):
                await database.run(create_kimi_agent(kimi(server), ALIVE, checkpointer=saver), new("lost"))
        async with database.saver() as saver:
            agent = create_kimi_agent(kimi(server), ALIVE, checkpointer=saver)
            state = await database.run(agent, None if goes_on == "resumed" else new("and?"))
            recorded = await database.state(agent)
        rest = "survived b" if goes_on == "resumed" else UNKNOWN_RESULT
        assert results(server.requests[-1]) == ["noted a", rest]
        assert "lost" not in str(server.requests[-1].messages)
        assert recorded.values["messages"] == state["messages"]
        assert state["spent"]["tool_calls"] == (2 if goes_on == "resumed" else 1)


async def test_a_cancelled_run_keeps_what_finished_and_the_thread_goes_on(database: Database) -> None:
    if database.way == "sync":
        pytest.skip("a synchronous run cannot be cancelled")
    hangs, finished, cancelled = asyncio.Event(), asyncio.Event(), []

    @tool("crash")
    async def hang(text: str) -> None:
        """Never ends."""
        await finished.wait()
        hangs.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(text)

    model = FakeKimi(two_notes)
    async with database.saver() as saver:
        put_writes = saver.aput_writes

        async def watched(config: Any, writes: Any, *more: Any) -> None:
            await put_writes(config, writes, *more)
            if any(isinstance(message, ToolMessage) for _, value in writes for message in _listed(value)):
                finished.set()

        saver.aput_writes = watched
        agent = create_kimi_agent(model, [note, hang], checkpointer=saver)
        run = asyncio.create_task(agent.ainvoke(new("go"), THREAD))
        await asyncio.wait_for(hangs.wait(), 30)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert cancelled == ["b"]
        state = await agent.ainvoke(new("and?"), THREAD)
    assert results(model.requests[-1]) == ["noted a", UNKNOWN_RESULT]
    assert state["messages"][-1].text == "answer to and?"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


async def test_results_stand_in_call_order_whichever_was_recorded(database: Database) -> None:
    def first_fails(request: Request) -> Reply:
        if request.last["content"] == "go":
            return called("burst", text="a").calling("note", text="b").calling("fly").calling("note", text="c")
        return said("Well.")

    @tool
    def burst(text: str) -> str:
        """Leaves the run in the middle."""
        return str(interrupt(text))

    model = FakeKimi(first_fails)
    async with database.saver() as saver:
        agent = create_kimi_agent(model, [note, burst], checkpointer=saver)
        await database.run(agent, new("go"))
        state = await database.run(agent, new("and?"))
    told, noted, unknown, noted_too = results(model.requests[-1])
    assert (told, noted, noted_too) == (UNKNOWN_RESULT, "noted b", "noted c")
    assert "fly is not a tool you have" in unknown
    order = [call["id"] for call in state["messages"][1].tool_calls]
    assert [message.tool_call_id for message in state["messages"][2:6]] == order


async def test_what_a_command_of_a_finished_tool_brought_stays(database: Database) -> None:
    @tool
    def burst() -> str:
        """Leaves the run in the middle."""
        return str(interrupt("?"))

    @tool("remark")
    def remarked(call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Says something beside its result."""
        result = ToolMessage("remarked", tool_call_id=call_id)
        return Command(update={"messages": [result, HumanMessage("a remark")], "spent": {"remarks": 1}})

    model = FakeKimi(
        lambda request: called("remark").calling("burst") if request.last["content"] == "go" else said("Well.")
    )
    async with database.saver() as saver:
        agent = create_kimi_agent(model, [remarked, burst], checkpointer=saver)
        await database.run(agent, new("go"))
        state = await database.run(agent, new("and?"))
    assert [message.content for message in state["messages"]] == [
        *("go", "", "remarked", UNKNOWN_RESULT, "a remark", "and?", "Well.")
    ]
    assert state["spent"]["remarks"] == 1


async def test_an_approval_left_open_is_given_up_by_a_new_message(database: Database) -> None:
    ran = []

    @tool("crash")
    def gated(text: str) -> None:
        """Needs a person."""
        ran.append(text)

    model = FakeKimi(two_notes)
    async with database.saver() as saver:
        agent = create_kimi_agent(model, [note, gated], checkpointer=saver, interrupt_on={"crash": True})
        asked = await database.run(agent, new("go"))
        assert asked["__interrupt__"]
        state = await database.run(agent, new("never mind"))
    assert all("before this call was approved" in result for result in results(model.requests[-1]))
    assert (len(results(model.requests[-1])), ran) == (2, [])
    assert state["stop_reason"] == "stop"


async def test_resuming_runs_nothing_twice(database: Database) -> None:
    ran = []

    @tool("note")
    def counted(text: str) -> str:
        """Note something."""
        ran.append(text)
        return "noted"

    @tool("crash")
    def asks(text: str) -> str:
        """Asks a person."""
        return f"person said {interrupt(text)}"

    model = FakeKimi(two_notes)
    async with database.saver() as saver:
        await database.run(create_kimi_agent(model, [counted, asks], checkpointer=saver), new("go"))
    async with database.saver() as saver:
        state = await database.run(create_kimi_agent(model, [counted, asks], checkpointer=saver), Command(resume="yes"))
    assert results(model.requests[-1]) == ["noted", "person said yes"]
    assert (ran, len(model.requests), state["stop_reason"]) == (["a"], 2, "stop")


@pytest.mark.parametrize("goes_on", ["resumed", "by a message"])
async def test_a_thread_left_during_its_last_answer_goes_on(database: Database, goes_on: str) -> None:
    fails = iter([True])

    def script(request: Request) -> Reply:
        if request.last["content"] == "and?":
            return said("Well.")
        if request.json.get("tool_choice") == "none":
            return refused(500, "server_error", "oops") if next(fails, False) else said("last words")
        return called("note", text="a")

    model = FakeKimi(script, max_retries=0)
    async with database.saver() as saver:
        agent = create_kimi_agent(model, ALIVE, checkpointer=saver, limits=AgentLimits(tool_calls=1))
        with pytest.raises(Exception, match="oops"):
            await database.run(agent, new("go"))
        state = await database.run(agent, None if goes_on == "resumed" else new("and?"))
        recorded = await database.state(agent)
    if goes_on == "resumed":
        assert (state["stop_reason"], state["messages"][-1].text) == ("tool_calls", "last words")
    else:
        assert (state["stop_reason"], results(model.requests[-1])) == ("stop", ["noted a", UNKNOWN_RESULT])
    assert recorded.next == ()


async def test_durability_exit_keeps_a_turn_and_what_finished_before_an_error(database: Database) -> None:
    def script(request: Request) -> Reply:
        if request.last["role"] == "tool" and not request.text_of("user").endswith("and?"):
            return refused(500, "server_error", "oops")
        return two_notes(request)

    model = FakeKimi(script, max_retries=0)
    async with database.saver() as saver:
        agent = create_kimi_agent(model, ALIVE, checkpointer=saver)
        await database.run(agent, new("hello"), durability="exit")
        with pytest.raises(Exception, match="oops"):
            await database.run(agent, new("go"), durability="exit")
    async with database.saver() as saver:
        agent = create_kimi_agent(model, ALIVE, checkpointer=saver)
        state = await database.run(agent, new("and?"), durability="exit")
        recorded = await database.state(agent)
    assert results(model.requests[-1]) == ["noted a", "survived b"]
    assert recorded.values["messages"] == state["messages"]


ROUNDS = 300


@pytest.mark.slow
async def test_300_rounds_take_at_most_six_times_the_transcript(database: Database) -> None:
    @tool
    def read(page: int) -> str:
        """A page of 3 kB."""
        return _words(page, 3_000)

    def script(request: Request) -> Reply:
        page = sum(message["role"] == "assistant" for message in request.messages)
        return thought(_words(-page - 1, 2_000)).calling("read", page=page) if page < ROUNDS else said("Done.")

    async with database.saver() as saver:
        agent = create_kimi_agent(FakeKimi(script, model="kimi-k3"), [read], checkpointer=saver)
        state = await database.run(agent, new("go"))
    assert sum(isinstance(message, ToolMessage) for message in state["messages"]) == ROUNDS
    transcript = len(json.dumps([_essence(message) for message in state["messages"]]).encode())
    taken = await asyncio.to_thread(_bytes_of, database)
    assert transcript > ROUNDS * 5_000
    assert taken <= 6 * transcript, f"{taken} bytes for {transcript}"


def _words(seed: int, length: int) -> str:
    """A text that no archive makes much smaller, and that has few enough tokens for a window."""
    letters = random.Random(seed).choices(string.ascii_lowercase, k=length)
    return " ".join("".join(letters[start : start + 7]) for start in range(0, length, 8))


def _essence(message: Any) -> Any:
    kept = {"content": message.content, "reasoning": message.additional_kwargs.get("reasoning_content")}
    return kept | ({"calls": message.tool_calls} if isinstance(message, AIMessage) else {"id": message.id})


def _bytes_of(database: Database) -> int:
    if database.local:
        return sum(path.stat().st_size for path in Path(database.place).parent.glob("threads.sqlite*"))
    query = (
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
    )
    with psycopg.connect(database.place) as connection:
        return int(connection.execute(query).fetchone()[0])  # type: ignore[index]
