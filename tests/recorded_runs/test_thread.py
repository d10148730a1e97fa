"""Runs read from the checkpoints of threads, on real databases."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import RemoveMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_kimi import (
    AgentLimits,
    Compaction,
    LoopGuard,
    TeamMember,
    UsageMeter,
    agent_as_tool,
    create_kimi_agent,
    create_kimi_team,
)
from langchain_kimi._recorded_runs import RecordedRun, RunSourceError, read_recorded_run, read_thread
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said, thought
from tests.agent.helpers import ASK, THREAD, decisions
from tests.databases import Database

LONG = "word " * 4_000


@tool
def look(subject: str) -> str:
    """Look something up."""
    return f"{subject}: found"


@tool
def pay(amount: int) -> str:
    """Pay an amount."""
    return f"paid {amount}"


def research(request: Request) -> Reply:
    """The boss asks two researchers at once, pays and answers; each researcher looks something up."""
    results = [message for message in request.messages if message["role"] == "tool"]
    if request.text_of("system") == "Research.":
        return said("It is known.", thinking="Enough.") if results else called("look", subject="ships")
    if not results:
        return thought("Two at once.").calling("researcher", task="sails").calling("researcher", task="hulls")
    return called("pay", amount=3) if len(results) == 2 else said("Done.")


def boss(model: FakeKimi, saver: Any) -> Any:
    researcher = create_kimi_agent(model, [look], system_prompt="Research.", name="inner")
    tools = [agent_as_tool(researcher, name="researcher", description="Researches."), pay]
    return create_kimi_agent(
        model, tools, system_prompt="Lead.", interrupt_on={"pay": True}, name="boss", checkpointer=saver
    )


def texts(run: RecordedRun, agent: str) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in run.messages if message.agent == agent]


async def test_sub_agents_and_a_persons_decision(database: Database) -> None:
    model, meter = FakeKimi(research), UsageMeter()
    config: Any = {**THREAD, "callbacks": [meter]}
    async with database.saver() as saver:
        agent = boss(model, saver)
        await (agent.ainvoke(ASK, config) if database.way == "async" else asyncio.to_thread(agent.invoke, ASK, config))
        waiting = await asyncio.to_thread(read_recorded_run, database.place)
        go: Any = decisions({"type": "approve"})
        await (agent.ainvoke(go, config) if database.way == "async" else asyncio.to_thread(agent.invoke, go, config))
    run = await asyncio.to_thread(read_recorded_run, database.place, "1")

    assert waiting.status == "waiting"
    assert [(one.agent, one.status, one.answer) for one in waiting.approvals] == [("boss", "open", None)]
    assert [call.status for call in waiting.tool_calls if call.name == "pay"] == ["no result"]
    assert run.status == "finished"
    assert [(one.agent, one.status) for one in run.approvals] == [("boss", "answered")]
    assert run.approvals[0].answer == {"decisions": [{"type": "approve"}]}
    assert run.approvals[0].question["action_requests"][0]["args"] == {"amount": 3}
    assert run.agents == ("boss", "researcher")
    assert texts(run, "boss") == [
        ("user", "go"),
        ("assistant", ""),
        ("tool", "It is known."),
        ("tool", "It is known."),
        ("assistant", ""),
        ("tool", "paid 3"),
        ("assistant", "Done."),
    ]
    assert sorted(texts(run, "researcher")) == sorted(
        [
            *(("user", subject) for subject in ("sails", "hulls")),
            *[("assistant", ""), ("tool", "ships: found"), ("assistant", "It is known.")] * 2,
        ]
    )
    assert [(call.name, call.agent, call.sub_agent) for call in run.tool_calls if call.agent == "boss"] == [
        ("researcher", "boss", "researcher"),
        ("researcher", "boss", "researcher"),
        ("pay", "boss", None),
    ]
    assert all(run.message(call.result).role == "tool" for call in run.tool_calls if call.result)
    assert {call.status for call in run.tool_calls} == {"success"}
    assert run.usage == meter.total
    assert run.usage_by_agent == meter.by_agent
    assert len(run.model_calls) == 7


async def test_times_are_measured_where_it_happened_so_parallel_calls_overlap(database: Database) -> None:
    both = threading.Barrier(2, timeout=30)

    @tool
    def meet(name: str) -> str:
        """Waits for the other."""
        both.wait()
        return name

    script = [called("meet", name="a").calling("meet", name="b"), said("Met.")]
    async with database.saver() as saver:
        await database.run(create_kimi_agent(FakeKimi(script), [meet], checkpointer=saver), ASK)
    run = await asyncio.to_thread(read_recorded_run, database.place)

    one, other = (call.time for call in run.tool_calls)
    first, last = (call.time for call in run.model_calls)
    assert all(span.is_measured for span in (one, other, first, last))
    assert one.start is not None
    assert one.end is not None
    assert other.start is not None
    assert other.end is not None
    assert first.end is not None
    assert last.start is not None
    assert max(one.start, other.start) <= min(one.end, other.end)
    assert first.end <= min(one.start, other.start) + 0.001
    assert max(one.end, other.end) <= last.start + 0.001


def test_what_a_compaction_removed_is_still_in_the_run_and_its_summary_is_counted() -> None:
    def script(request: Request) -> Reply:
        if not request.tools:
            return said("A summary of it.")
        results = sum(message["role"] == "tool" for message in request.messages)
        return called("read", page=results) if request.number < 8 else said("Done.")

    @tool
    def read(page: int) -> str:
        """Read a page."""
        return f"{page} {LONG}"

    saver = InMemorySaver()
    compaction = Compaction(window=20_000, reserve=1_000, keep_results=1)
    agent = create_kimi_agent(FakeKimi(script), [read], compaction=compaction, checkpointer=saver)
    state = agent.invoke(ASK, THREAD)
    run = read_thread(saver, "1")
    assert "compaction" in {event.kind for event in run.events}
    assert len(run.messages) > len(state["messages"])
    assert run.usage.input_tokens == state["spent"]["input_tokens"]
    assert run.usage.requests == state["spent"]["requests"]
    assert run.usage.cost_usd == pytest.approx(state["spent"]["cost_usd"])


def test_a_limit_and_the_loop_guard_are_events_and_calls_that_did_not_run_have_no_time() -> None:
    script = [*[called("look", subject="x")] * 3, said("Stopped.")]
    saver = InMemorySaver()
    agent = create_kimi_agent(
        FakeKimi(script), [look], limits=AgentLimits(tool_calls=2), guard=LoopGuard(hint=2), checkpointer=saver
    )
    agent.invoke(ASK, THREAD)
    run = read_thread(saver, "1")
    assert [event.kind for event in run.events] == ["guard", "limit"]
    assert [event.message for event in run.events] == [run.tool_calls[1].result, None]
    assert [call.status for call in run.tool_calls] == ["success", "success", "not run"]
    assert run.tool_calls[2].time.seconds is None


def test_a_branch_that_was_left_is_not_part_of_the_run() -> None:
    saver = InMemorySaver()
    agent = create_kimi_agent(FakeKimi([said("One."), said("Two."), said("Three.")]), [look], checkpointer=saver)
    agent.invoke(ASK, THREAD)
    end = agent.get_state(THREAD).config
    agent.invoke({"messages": [("user", "left")]}, THREAD)
    agent.invoke({"messages": [("user", "again")]}, end)
    run = read_thread(saver, "1")
    assert [message.text for message in run.messages] == ["go", "One.", "again", "Three."]
    assert run.usage.requests == 2


def test_a_removed_message_is_an_edit() -> None:
    saver = InMemorySaver()
    agent = create_kimi_agent(FakeKimi([said("One."), said("Two.")]), [look], checkpointer=saver)
    state = agent.invoke(ASK, THREAD)
    agent.update_state(THREAD, {"messages": [RemoveMessage(id=state["messages"][0].id)]})
    agent.invoke({"messages": [("user", "again")]}, THREAD)
    run = read_thread(saver, "1")
    assert [(event.kind, event.text) for event in run.events] == [
        ("edit", "The thread was edited: 1 messages removed.")
    ]
    assert run.model_calls[-1].inputs == (2, 3)


def test_the_members_of_a_team_are_agents() -> None:
    def script(request: Request) -> Reply:
        handed = any(message.get("tool_calls") for message in request.messages)
        if request.text_of("system") == "Plan." and not handed:
            return called("transfer_to_doer")
        return said(f"{request.text_of('system')} answers.")

    model, saver = FakeKimi(script), InMemorySaver()
    members = [
        TeamMember(name="planner", model=model, system_prompt="Plan."),
        TeamMember(name="doer", model=model, system_prompt="Do."),
    ]
    create_kimi_team(members, checkpointer=saver).invoke(ASK, THREAD)
    run = read_thread(saver, "1")
    assert [call.agent for call in run.model_calls] == ["planner", "doer"]
    assert {name: usage.requests for name, usage in run.usage_by_agent.items()} == {"planner": 1, "doer": 1}
    assert run.model_calls[0].tools == ("transfer_to_doer",)


def test_a_thread_of_langchains_agent(tmp_path: Path) -> None:
    path = str(tmp_path / "threads.sqlite")
    script = [thought("Hm.").calling("look", subject="x"), said("Done."), said("Again.")]
    with SqliteSaver.from_conn_string(path) as saver:
        agent = create_agent(FakeKimi(script), [look], checkpointer=saver, name="other")
        agent.invoke(ASK, THREAD)
        agent.invoke({"messages": [("user", "more")]}, THREAD)
    run = read_recorded_run(path)
    assert [(message.role, message.text) for message in run.messages] == [
        ("user", "go"),
        ("assistant", ""),
        ("tool", "x: found"),
        ("assistant", "Done."),
        ("user", "more"),
        ("assistant", "Again."),
    ]
    assert [(call.agent, call.inputs) for call in run.model_calls] == [
        ("other", (1,)),
        ("other", (1, 2, 3)),
        ("other", (1, 2, 3, 4, 5)),
    ]
    assert run.events == ()
    assert run.message(2).reasoning == "Hm."
    assert run.tool_calls[0].result == 3
    assert run.usage.requests == 3


def test_a_tool_that_crashed_the_run_is_an_event() -> None:
    @tool
    def crash() -> str:
        """Crashes."""
        raise KeyError("no such thing")

    saver = InMemorySaver()
    agent = create_kimi_agent(FakeKimi([called("crash")]), [crash], tool_errors=False, checkpointer=saver)
    with pytest.raises(KeyError):
        agent.invoke(ASK, THREAD)
    run = read_thread(saver, "1")
    assert run.status == "interrupted"
    assert [event.kind for event in run.events] == ["error"]
    assert "no such thing" in run.events[0].text
    assert run.tool_calls[0].status == "no result"


def test_a_thread_whose_checkpoints_were_written_at_its_exit() -> None:
    saver = InMemorySaver()
    agent = create_kimi_agent(FakeKimi([called("look", subject="x"), said("Done.")]), [look], checkpointer=saver)
    agent.invoke(ASK, THREAD, durability="exit")
    run = read_thread(saver, "1")
    assert [message.text for message in run.messages] == ["go", "", "x: found", "Done."]
    assert [call.time.is_measured for call in (*run.model_calls, *run.tool_calls)] == [True] * 3


def test_a_dropped_question() -> None:
    saver = InMemorySaver()
    agent = create_kimi_agent(
        FakeKimi([called("pay", amount=1), said("As you like.")]), [pay], interrupt_on={"pay": True}, checkpointer=saver
    )
    agent.invoke(ASK, THREAD)
    agent.invoke({"messages": [("user", "never mind")]}, THREAD)
    run = read_thread(saver, "1")
    assert [approval.status for approval in run.approvals] == ["dropped"]
    assert run.status == "finished"


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00broken", b"no YAML: [", b'{"time": 1, "run_id": '])
def test_files_that_hold_no_run(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run"
    path.write_bytes(content)
    with pytest.raises(RunSourceError) as caught:
        read_recorded_run(str(path))
    assert str(path) in str(caught.value)


def test_which_thread_of_several(tmp_path: Path) -> None:
    path = str(tmp_path / "threads.sqlite")
    with SqliteSaver.from_conn_string(path) as saver:
        agent = create_kimi_agent(FakeKimi([said("One."), said("Two.")]), [look], checkpointer=saver)
        for thread in ("a", "b"):
            agent.invoke(ASK, {"configurable": {"thread_id": thread}})
    before = Path(path).read_bytes()
    with pytest.raises(RunSourceError, match=r"holds 2 threads\. Choose one with --thread: b, a\."):
        read_recorded_run(path)
    with pytest.raises(RunSourceError, match="There is no thread 'c'"):
        read_recorded_run(path, "c")
    assert [message.text for message in read_recorded_run(path, "a").messages] == ["go", "One."]
    assert Path(path).read_bytes() == before


def test_a_database_that_does_not_answer_is_one_line_without_its_password() -> None:
    with pytest.raises(RunSourceError) as caught:
        read_recorded_run("postgresql://me:secret-word@127.0.0.1:1/none?password=other-word")
    text = str(caught.value)
    assert text.startswith("postgresql://127.0.0.1:1/none holds no threads that can be read: ")
    assert "word" not in text
    assert "\n" not in text
