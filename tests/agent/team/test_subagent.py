"""Agents as tools of agents: isolated, in parallel, accounted for, and never the end of their caller."""

import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from langchain_kimi import AgentLimits, Compaction, UsageMeter, agent_as_tool, create_kimi_agent
from langchain_kimi.agent.usage_limits.budget import RunBudget
from langchain_kimi.testing import FakeKimi, Reply, Request, called, refused, said, thought
from tests.agent.team.helpers import ASK, asks_for, caller, endless, look, ran, results
from tests.conftest import PAIRED, SYNC_AND_ASYNC, Serve, kimi
from tests.databases import THREAD


class Finding(BaseModel):
    """What was found."""

    pages: int


@SYNC_AND_ASYNC
async def test_several_work_in_parallel_each_in_a_thread_of_its_own(serve: Serve, way: str) -> None:
    server, barrier = serve(asks_for("a", "b", "c")), threading.Barrier(3)

    @tool
    def search(topic: str) -> str:
        """Search."""
        barrier.wait(20)
        return f"pages on {topic}"

    def play(request: Request) -> Reply:
        topic = request.text_of("user")
        return said(f"All about {topic}.") if request.tool_results() else thought(topic).calling("search", topic=topic)

    own = serve(play)
    state = await ran(caller(server, create_kimi_agent(kimi(own), [search])), way)
    assert results(state) == [(f"All about {topic}.", "success") for topic in "abc"]
    assert len(own.requests) == 6
    assert all(len([m for m in request.messages if m["role"] == "user"]) == 1 for request in own.requests)
    assert state["spent"]["turns"] == 8
    assert state["spent"]["tool_calls"] == 6


@SYNC_AND_ASYNC
async def test_the_transcript_is_kept_under_the_calls_own_namespace(serve: Serve, way: str) -> None:
    server, own = serve(asks_for("a", "b")), serve(lambda request: said(request.text_of("user") * 2, thinking="Hm."))
    sub = create_kimi_agent(kimi(own))
    agent = caller(server, sub)
    state = await ran(agent, way)
    kept = []
    for result in state["messages"][2:4]:
        place = {"thread_id": "1", "checkpoint_ns": result.additional_kwargs["kimi_namespace"]}
        own_state = sub.get_state({"configurable": {**place, "__pregel_checkpointer": agent.checkpointer}})
        kept.append([(m.type, m.text) for m in own_state.values["messages"]])
        assert own_state.values["messages"][-1].additional_kwargs["reasoning_content"] == "Hm."
    assert kept == [[("human", "a"), ("ai", "aa")], [("human", "b"), ("ai", "bb")]]


@SYNC_AND_ASYNC
async def test_an_object_is_returned_as_json_and_as_the_artifact(serve: Serve, way: str) -> None:
    server, own = serve(asks_for("a")), serve([said("Three."), said('{"pages": 3}')])
    state = await ran(caller(server, create_kimi_agent(kimi(own), response_format=Finding)), way)
    result = state["messages"][2]
    assert (result.content, result.artifact) == ('{"pages":3}', Finding(pages=3))


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("play", "settings", "words"),
    [
        ([refused(401, "incorrect_api_key_error", "Incorrect API key provided")], {}, "research failed: "),
        (
            lambda request: said("Half").finish("length"),
            {},
            "research was cut short (length). What it had by then: Half",
        ),
        (
            lambda request: (
                said("So far.") if request.json.get("tool_choice") == "none" else thought("On.").calling("look")
            ),
            {"limits": AgentLimits(turns=2)},
            "research was cut short (turns). What it had by then: So far.",
        ),
    ],
    ids=["failed", "cut answer", "limit"],
)
async def test_one_that_fails_or_is_cut_short_is_a_tool_error(
    serve: Serve, way: str, play: Any, settings: Any, words: str
) -> None:
    @tool
    def look() -> str:
        """Look around."""
        return "nothing"

    server, own = serve(asks_for("a")), serve(play)
    state = await ran(caller(server, create_kimi_agent(kimi(own), [look], **settings)), way)
    [(content, status)] = results(state)
    assert content.startswith(words)
    assert status == "error"
    assert state["messages"][-1].text == "Done."
    told = [usage for usage in own.usages if usage]
    total = sum(usage["total_tokens"] for usage in [*told, *filter(None, server.usages)])
    assert state["spent"]["input_tokens"] + state["spent"]["output_tokens"] == total


@SYNC_AND_ASYNC
async def test_all_that_wait_for_people_are_shown_together_and_nothing_runs_twice(serve: Serve, way: str) -> None:
    done: list[str] = []

    @tool
    def prepare(topic: str) -> str:
        """Prepare."""
        done.append(f"prepare {topic}")
        return "ready"

    @tool
    def ask(topic: str) -> str:
        """Ask a person."""
        answer = str(interrupt(f"May I read {topic}?"))
        done.append(f"read {topic}: {answer}")
        return answer

    def play(request: Request) -> Reply:
        topic, turn = request.text_of("user"), len(request.messages) // 2
        steps = [thought("p").calling("prepare", topic=topic), thought("a").calling("ask", topic=topic)]
        return steps[turn] if turn < 2 else said(f"{topic}: {request.last['content']}.")

    server, own = serve(asks_for("a", "b")), serve(play)
    agent = caller(server, create_kimi_agent(kimi(own), [prepare, ask]))
    state = await ran(agent, way)
    waiting = {one.value: one.id for one in state["__interrupt__"]}
    assert set(waiting) == {"May I read a?", "May I read b?"}
    answers = {waiting["May I read a?"]: "yes", waiting["May I read b?"]: "no"}
    state = await ran(agent, way, Command(resume=answers))
    assert results(state) == [("a: yes.", "success"), ("b: no.", "success")]
    assert sorted(done) == ["prepare a", "prepare b", "read a: yes", "read b: no"]
    assert len(own.requests) == 6
    assert state["spent"]["requests"] == 8


@SYNC_AND_ASYNC
async def test_progress_reaches_the_callers_stream_under_its_name(serve: Serve, way: str) -> None:
    @tool
    def search(topic: str) -> str:
        """Search."""
        return f"pages on {topic}"

    server = serve(asks_for("a"))
    own = serve([thought("I look. ").calling("search", topic="a"), said("All about a.")])
    agent = caller(server, create_kimi_agent(kimi(own), [search]))
    parts: list[Any] = []
    if way == "sync":
        parts = list(agent.stream(ASK, THREAD, stream_mode=["custom", "messages"], subgraphs=True))
    else:
        parts = [part async for part in agent.astream(ASK, THREAD, stream_mode=["custom", "messages"], subgraphs=True)]
    own_parts = [(mode, part) for place, mode, part in parts if place]
    started = [part["name"] for mode, part in own_parts if mode == "custom" and part["event"] == "tool_started"]
    assert started == ["search"]
    chunks = [part for mode, part in own_parts if mode == "messages" and part[1]["lc_agent_name"] == "research"]
    assert "".join(chunk.additional_kwargs.get("reasoning_content", "") for chunk, _ in chunks) == "I look. "
    assert "".join(chunk.text for chunk, _ in chunks if isinstance(chunk, AIMessage)) == "All about a."
    assert all(place[0].startswith("tools:") for place, *_ in parts if place)


@SYNC_AND_ASYNC
async def test_what_agents_below_agents_spent_is_counted_once(serve: Serve, way: str) -> None:
    def middle(request: Request) -> Reply:
        return (
            said("Sum.") if request.tool_results() else thought("m").calling("dig", task="x").calling("dig", task="y")
        )

    server, between, below = (
        serve(asks_for("a", "b")),
        serve(middle),
        serve(lambda request: said("Found.", thinking="f")),
    )
    dig = agent_as_tool(create_kimi_agent(kimi(below, "kimi-k3")), name="dig", description="Dig.")
    meter = UsageMeter()
    agent = caller(server, create_kimi_agent(kimi(between), [dig]))
    state = await ran(agent, way, config=THREAD | {"callbacks": [meter]})
    told = [usage for one in (server, between, below) for usage in one.usages if usage]
    assert len(told) == 10
    spent = state["spent"]
    for ours, theirs in [("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")]:
        assert spent[ours] == sum(usage[theirs] for usage in told) == getattr(meter.total, ours)
    assert (spent["requests"], spent["turns"], spent["tool_calls"]) == (10, 10, 6)
    assert spent["cost_usd"] == pytest.approx(meter.total.cost_usd)
    assert set(meter.by_agent) == {"kimi_agent", "research", "dig"}


@SYNC_AND_ASYNC
async def test_an_agent_of_another_make_can_be_one(serve: Serve, way: str) -> None:
    server, own = serve(asks_for("a")), serve([said("From elsewhere.")])
    state = await ran(caller(server, create_agent(kimi(own))), way)
    assert results(state) == [("From elsewhere.", "success")]
    assert state["spent"]["requests"] == 3


@SYNC_AND_ASYNC
async def test_they_end_when_their_callers_budget_is_used_up(serve: Serve, way: str) -> None:
    server, own = serve(asks_for("a", "b")), serve(endless)
    agent = caller(server, create_kimi_agent(kimi(own), [look]), limits=AgentLimits(tokens=3_000))
    state = await ran(agent, way)
    assert [status for _, status in results(state)] == ["error", "error"]
    assert all("research was cut short (caller). What it had by then: So far." in text for text, _ in results(state))
    assert state["stop_reason"] == "tokens"
    # Both saw what the other used: neither came near to the whole for itself.
    assert state["spent"]["input_tokens"] + state["spent"]["output_tokens"] < 6_000


@SYNC_AND_ASYNC
async def test_one_that_begins_when_nothing_is_left_sends_no_request(serve: Serve, way: str) -> None:
    server, own = serve(asks_for("a", "b")), serve(endless)
    agent = caller(server, create_kimi_agent(kimi(own), [look]), limits=AgentLimits(tokens=3_000), max_concurrency=1)
    state = await ran(agent, way)
    assert [status for _, status in results(state)] == ["error", "error"]
    assert [request for request in own.requests if request.text_of("user") == "b"] == []
    assert "I have to stop here without an answer: a limit of the calling agent is reached." in results(state)[1][0]
    assert "a limit of the calling agent is reached" in str(own.requests[-1].messages)


@SYNC_AND_ASYNC
async def test_what_the_caller_had_spent_before_counts(serve: Serve, way: str) -> None:
    def lead(request: Request) -> Reply:
        return said("Done.") if request.tool_results() else thought("word " * 3_000).calling("research", task="a")

    server, own = serve(lead), serve(endless)
    agent = caller(server, create_kimi_agent(kimi(own), [look]), limits=AgentLimits(tokens=4_000))
    state = await ran(agent, way)
    sub = state["messages"][2].additional_kwargs["kimi_spent"]
    assert 0 < sub["input_tokens"] + sub["output_tokens"] < 2_000
    assert state["stop_reason"] == "tokens"


def test_the_seconds_of_the_caller_go_on_while_they_work() -> None:
    now = 100.0
    call = RunBudget(None, lambda: now).start_call({"seconds": 3.0})
    below = RunBudget(call, lambda: now).start_call({})
    assert not call.exhausted()
    now += 2.9
    assert not below.exhausted()
    now += 0.2
    assert call.exhausted()
    assert below.exhausted()


@SYNC_AND_ASYNC
async def test_the_callers_thread_takes_the_next_message_after_a_crash_inside_one(serve: Serve, way: str) -> None:
    class Down(BaseException):
        """The process goes down."""

    broken = [True]

    @tool
    def search(topic: str) -> str:
        """Search."""
        if broken:
            raise Down
        return "pages"

    def play(request: Request) -> Reply:
        return said("Found.") if request.tool_results() else thought("s").calling("search", topic="a")

    server, own = serve(asks_for("a")), serve(play)
    agent = caller(server, create_kimi_agent(kimi(own), [search]))
    with pytest.raises(Down):
        await ran(agent, way)
    broken.clear()
    state = await ran(agent, way, {"messages": [HumanMessage("and?")]})
    assert state["messages"][-1].text == "Done."
    assert set(server.statuses) == {200}


async def test_one_that_waits_for_a_person_where_it_cannot_is_an_error() -> None:
    @tool
    def ask() -> str:
        """Ask a person."""
        return str(interrupt("?"))

    sub = create_kimi_agent(FakeKimi(lambda request: called("ask")), [ask], checkpointer=InMemorySaver())
    research = agent_as_tool(sub, name="research", description="Research.")
    call: Any = {"name": "research", "args": {"task": "a"}, "id": "1", "type": "tool_call"}
    result = await research.ainvoke(call, THREAD)
    assert (result.content, result.status) == (
        "research waits for a person, and without a checkpointer of its caller it cannot.",
        "error",
    )
    result = research.invoke(call)
    assert "thread_id" in result.content
    with pytest.raises(ValueError, match="thread_id"):
        sub.invoke(ASK)


@SYNC_AND_ASYNC
async def test_what_is_archived_of_them_is_not_mixed_up_with_their_callers(serve: Serve, way: str) -> None:
    @tool
    def read(page: int) -> str:
        """Read a page."""
        return f"page {page}: " + "word " * 800

    def play(request: Request) -> Reply:
        turn = sum(message["role"] == "assistant" for message in request.messages)
        return thought("On.").calling("read", page=turn) if turn < 4 else said("Read.")

    small = Compaction(window=4_000, reserve=1_000, keep_results=1, result_tokens=30, summarise=False, archive=True)
    store = InMemoryStore()
    sub = create_kimi_agent(kimi(serve(play)), [read], compaction=small)
    state = await ran(caller(serve(asks_for("a", "b")), sub, store=store), way)
    spaces = {result.additional_kwargs["kimi_namespace"] for result in state["messages"][2:4]}
    assert {space[1] for space in store.list_namespaces()} == {f"1 {space}" for space in spaces}
    kept = store.list_namespaces()
    plain = create_kimi_agent(
        kimi(serve(asks_for("c"))), [agent_as_tool(sub, name="research", description="R.")], store=store
    )
    assert results(await ran(plain, way, config=None)) == [("Read.", "success")]
    assert store.list_namespaces() == kept  # without a thread there is no place that others would not share
