"""One run at a time has a thread: the second is refused, waits, or replaces the first."""

import asyncio
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.types import Command

from langchain_kimi import PostgresThreadLock, RedisThreadLock, TeamMember, agent_as_tool, create_kimi_team
from langchain_kimi import create_kimi_agent as create
from langchain_kimi.errors import ThreadBusyError, ThreadReplacedError
from langchain_kimi.testing import FakeKimi, called, said
from tests.agent.thread_locks import requests
from tests.agent.thread_locks.conftest import Locks, Turns


async def until(condition: Any) -> None:
    """Wait for something that another task brings about."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 (what is awaited is in a database)
            await asyncio.sleep(0.005)


async def test_second_run_is_refused_and_nothing_of_it_is_sent_or_recorded(locks: Locks, turns: Turns) -> None:
    first = await turns.begin(turns.agent(locks()))
    with pytest.raises(ThreadBusyError, match="Another run has this thread"):
        await turns.run(turns.agent(locks()), "two")
    assert len(turns.requests) == 1
    turns.go_on.set()
    await first
    assert turns.messages() == ["work", "", "worked", "done"]


async def test_second_run_waits_and_reads_what_the_first_recorded(locks: Locks, turns: Turns) -> None:
    first = await turns.begin(turns.agent(locks("enqueue")))
    second = asyncio.create_task(turns.run(turns.agent(locks("enqueue")), "two"))
    await asyncio.sleep(0)
    turns.go_on.set()
    await asyncio.gather(first, second)
    assert turns.messages() == ["work", "", "worked", "done", "two", "done"]


async def test_second_run_gives_up_after_its_timeout(locks: Locks, turns: Turns) -> None:
    first = await turns.begin(turns.agent(locks()))
    with pytest.raises(ThreadBusyError, match=r"after 0\.05 seconds"):
        await turns.run(turns.agent(locks("enqueue", timeout=0.05)), "two")
    turns.go_on.set()
    await first


async def test_second_run_replaces_the_first_and_goes_on_with_both(locks: Locks, turns: Turns) -> None:
    first = await turns.begin(turns.agent(locks()))
    second = asyncio.create_task(turns.run(turns.agent(locks("interrupt")), "two"))
    await until(lambda: is_asked_to_stop(locks, turns))
    turns.go_on.set()
    with pytest.raises(ThreadReplacedError):
        await first
    await second
    assert turns.messages() == ["work", "", "worked", "two", "done"]
    assert len(turns.requests) == 2


async def test_a_run_that_waits_to_replace_another_asks_for_nothing_once_it_has_given_up(
    locks: Locks, turns: Turns
) -> None:
    first = await turns.begin(turns.agent(locks()))
    with pytest.raises(ThreadBusyError):
        await turns.run(turns.agent(locks("interrupt", timeout=0.05)), "two")
    turns.go_on.set()
    await first
    assert turns.messages() == ["work", "", "worked", "done"]


async def test_a_sub_agent_runs_under_its_callers_lock_and_stops_with_it(locks: Locks, turns: Turns) -> None:
    helper = agent_as_tool(turns.agent(locks(), name="inner"), name="helper", description="Helps.")
    lead = create(
        FakeKimi(lambda request: said("end") if request.tool_results() else called("helper", task="work")),
        [helper],
        checkpointer=turns.saver,
        exclusive=locks(),
    )
    first = await turns.begin(lead, "go")
    second = asyncio.create_task(turns.run(turns.agent(locks("interrupt")), "two"))
    await until(lambda: is_asked_to_stop(locks, turns))
    turns.go_on.set()
    with pytest.raises(ThreadReplacedError):
        await first
    await second
    assert len(turns.requests) == 2  # the sub-agent's first, and that of the second run
    assert turns.messages()[-2:] == ["two", "done"]


async def test_a_sub_agent_ends_under_its_callers_lock(locks: Locks, turns: Turns) -> None:
    helper = agent_as_tool(turns.agent(locks(), name="inner"), name="helper", description="Helps.")
    script = [called("helper", task="one"), said("end")]
    lead = create(FakeKimi(script), [helper], checkpointer=turns.saver, exclusive=locks())
    state = await turns.run(lead, "go")
    assert [message.text for message in state["messages"]] == ["go", "", "done", "end"]


async def test_a_resumed_interrupt_and_an_edit_are_exclusive_too(locks: Locks, turns: Turns) -> None:
    agent = turns.agent(locks(), interrupt_on={"work": True})
    await turns.run(agent, "work")
    approval: Any = Command(resume={"decisions": [{"type": "approve"}]})
    first = await turns.begin(agent, approval)
    with pytest.raises(ThreadBusyError):
        await turns.run(agent, approval)
    with pytest.raises(ThreadBusyError):
        await edit(turns, agent, "edited")
    turns.go_on.set()
    await first
    assert turns.messages() == ["work", "", "worked", "done"]
    await edit(turns, agent, "edited")
    assert turns.messages()[-1] == "edited"


async def test_a_team_is_exclusive(locks: Locks, turns: Turns) -> None:
    members = [TeamMember(name="one", model=turns.model, tools=[turns.work])]
    team = create_kimi_team(members, checkpointer=turns.saver, exclusive=locks())
    first = await turns.begin(team)
    with pytest.raises(ThreadBusyError):
        await turns.run(team, "two")
    turns.go_on.set()
    await first


async def test_a_failed_run_releases_its_thread(locks: Locks, turns: Turns) -> None:
    @tool
    def fail() -> str:
        """Fail."""
        raise LookupError("no")

    agent = create(
        FakeKimi([called("fail"), said("well")]), [fail], tool_errors=False, checkpointer=turns.saver, exclusive=locks()
    )
    with pytest.raises(LookupError):
        await turns.run(agent, "go")
    assert (await turns.run(agent, "again"))["messages"][-1].text == "well"


async def test_a_cancelled_run_and_an_abandoned_stream_release_their_thread(locks: Locks, turns: Turns) -> None:
    agent = turns.agent(locks())
    if turns.way == "async":
        first = await turns.begin(agent)
        first.cancel()
        await asyncio.wait([first])
        parts = agent.astream({"messages": [("user", "one")]}, turns.thread)
        await anext(parts)
        with pytest.raises(ThreadBusyError):
            await turns.run(agent, "two")
        await parts.aclose()
    else:
        stream = agent.stream({"messages": [("user", "one")]}, turns.thread)
        next(stream)
        with pytest.raises(ThreadBusyError):
            await turns.run(agent, "two")
        stream.close()
    turns.go_on.set()
    assert (await turns.run(agent, "three"))["messages"][-1].text == "done"


async def test_threads_do_not_wait_for_each_other(locks: Locks, turns: Turns) -> None:
    agent = turns.agent(locks())
    first = await turns.begin(agent)
    other: Any = {"configurable": {"thread_id": turns.thread["configurable"]["thread_id"] + "other"}}
    assert (await agent.ainvoke({"messages": [("user", "two")]}, other))["messages"][-1].text == "done"
    turns.go_on.set()
    await first


async def test_a_waiting_run_can_be_cancelled(locks: Locks, turns: Turns) -> None:
    turns.way = "async"
    first = await turns.begin(turns.agent(locks()))
    second = asyncio.create_task(turns.run(turns.agent(locks("interrupt")), "two"))
    await until(lambda: is_asked_to_stop(locks, turns))
    second.cancel()
    await asyncio.wait([second])
    assert second.cancelled()
    await until(lambda: is_not_asked_to_stop(locks, turns))
    turns.go_on.set()
    await first
    assert turns.messages() == ["work", "", "worked", "done"]


@pytest.mark.parametrize("settings", [{"strategy": "replace"}, {"timeout": 0}])
def test_wrong_settings_are_refused(settings: Any) -> None:
    for make in (PostgresThreadLock, RedisThreadLock):
        with pytest.raises(ValueError, match=f"{make.__name__}: {next(iter(settings))}="):
            make("x", **settings)


def test_exclusive_takes_a_lock_only() -> None:
    exclusive: Any = True
    with pytest.raises(TypeError, match=r"create_kimi_agent: exclusive=True is no ThreadLock"):
        create(FakeKimi([]), exclusive=exclusive)


async def edit(turns: Turns, agent: Any, text: str) -> None:
    update = {"messages": [("user", text)]}
    if turns.way == "sync":
        await asyncio.to_thread(agent.update_state, turns.thread, update)
    else:
        await agent.aupdate_state(turns.thread, update)


async def is_asked_to_stop(locks: Locks, turns: Turns) -> bool:
    """Whether a run waits to replace the one that has the thread."""
    return await requests.exist(locks, turns)


async def is_not_asked_to_stop(locks: Locks, turns: Turns) -> bool:
    return not await is_asked_to_stop(locks, turns)
