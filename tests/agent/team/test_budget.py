"""Limits bind all agents below: together, in parallel, nested, resumed, failed or given up, in all ways of running."""

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from langchain_kimi import AgentLimits, agent_as_tool, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, refused, said, thought
from tests.agent.team.helpers import ASK, asks_for, endless, look, results
from tests.conftest import FOUR_WAYS, PAIRED, TWO_OF_FOUR_WAYS, Serve, kimi
from tests.databases import THREAD

TWO_WAYS = pytest.mark.parametrize("way", ["invoke", "ainvoke"])


async def run(agent: Any, way: str, given: Any = ASK, config: Any = THREAD) -> dict[str, Any]:
    """The state after a run."""
    if way == "invoke":
        return await asyncio.to_thread(agent.invoke, given, config)  # type: ignore[no-any-return]
    if way == "ainvoke":
        return await agent.ainvoke(given, config)  # type: ignore[no-any-return]
    if way == "stream":
        return await asyncio.to_thread(lambda: [*agent.stream(given, config, stream_mode="values")][-1])
    return [state async for state in agent.astream(given, config, stream_mode="values")][-1]  # type: ignore[no-any-return]


def research(sub: Any, name: str = "research") -> Any:
    return agent_as_tool(sub, name=name, description="Research a topic.")


def turns(server: KimiServer) -> int:
    """Requests in which the model might call tools: all but last answers."""
    return sum(request.json.get("tool_choice") != "none" for request in server.requests)


class Looks:
    """A tool that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self._lock = threading.Lock()

    def tool(self) -> Any:
        @tool("look")
        def look(turn: int) -> str:
            """Look around."""
            with self._lock:
                self.runs += 1
            return f"nothing at {turn}"

        return look


@TWO_OF_FOUR_WAYS
async def test_turns_bind_sub_agents_that_run_in_parallel(serve: Serve, way: str) -> None:
    server, own = serve(asks_for("a", "b", "c")), serve(endless)
    agent = create_kimi_agent(
        kimi(server),
        [research(create_kimi_agent(kimi(own), [look]))],
        limits=AgentLimits(turns=9),
        checkpointer=InMemorySaver(),
    )
    state = await run(agent, way)
    assert turns(server) == 1
    assert turns(own) == 8
    assert len(server.requests) + len(own.requests) <= 9 + 3 + 1
    assert state["stop_reason"] == "turns"
    assert all(text.startswith("research was cut short (caller)") for text, _ in results(state))
    assert state["spent"]["turns"] == len(server.requests) + len(own.requests)


@TWO_OF_FOUR_WAYS
async def test_tool_calls_bind_sub_agents_that_run_in_parallel(serve: Serve, way: str) -> None:
    looks = Looks()
    server, own = serve(asks_for("a", "b", "c")), serve(endless)
    agent = create_kimi_agent(
        kimi(server),
        [research(create_kimi_agent(kimi(own), [looks.tool()]))],
        limits=AgentLimits(tool_calls=9),
        checkpointer=InMemorySaver(),
    )
    state = await run(agent, way)
    assert looks.runs == 6
    assert state["spent"]["tool_calls"] == 9
    assert state["messages"][-1].text == "Done."


@TWO_WAYS
async def test_a_call_for_which_a_sibling_took_the_last_room_is_not_run(serve: Serve, way: str) -> None:
    """All three agents see room for their two calls before any of these begins."""
    looks, three = Looks(), threading.Barrier(3)

    def play(request: Request) -> Reply:
        if request.json.get("tool_choice") == "none" or request.tool_results():
            return said("So far.")
        three.wait(20)
        return thought("On.").calling("look", turn=1).calling("look", turn=2)

    server, own = serve(asks_for("a", "b", "c")), serve(play)
    agent = create_kimi_agent(
        kimi(server), [research(create_kimi_agent(kimi(own), [looks.tool()]))], limits=AgentLimits(tool_calls=7)
    )
    state = await run(agent, way, config=None)
    assert looks.runs <= 4
    assert state["spent"]["tool_calls"] <= 7
    assert set(own.statuses) == {200}


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("limits", [AgentLimits(turns=10), AgentLimits(tool_calls=10)], ids=["turns", "tool_calls"])
async def test_limits_bind_agents_below_agents(serve: Serve, way: str, limits: AgentLimits) -> None:
    looks = Looks()
    server, between, own = serve(asks_for("a", "b")), serve(asks_for("x", "y")), serve(endless)
    dig = research(create_kimi_agent(kimi(own), [looks.tool()]))
    agent = create_kimi_agent(
        kimi(server), [research(create_kimi_agent(kimi(between), [dig]))], limits=limits, checkpointer=InMemorySaver()
    )
    state = await run(agent, way)
    if limits.tool_calls:
        assert state["spent"]["tool_calls"] == 2 + 4 + looks.runs == 10
    else:
        assert turns(server) + turns(between) + turns(own) == 10
        assert len(server.requests) + len(between.requests) + len(own.requests) <= 10 + 6 + 1
    assert set(own.statuses) | set(between.statuses) | set(server.statuses) == {200}


@PAIRED
@TWO_WAYS
@pytest.mark.parametrize(("own_limit", "callers", "most"), [(3, 100, 3), (100, 5, 4)])
async def test_the_smaller_limit_holds(serve: Serve, way: str, own_limit: int, callers: int, most: int) -> None:
    server, own = serve(asks_for("a")), serve(endless)
    sub = create_kimi_agent(kimi(own), [look], limits=AgentLimits(turns=own_limit))
    await run(create_kimi_agent(kimi(server), [research(sub)], limits=AgentLimits(turns=callers)), way, config=None)
    assert turns(own) == most


@TWO_WAYS
async def test_limits_bind_an_agent_that_a_tool_runs_by_itself(serve: Serve, way: str) -> None:
    """Such a tool does not even hand on its config."""
    server, own = serve(asks_for("a")), serve(endless)
    sub = create_kimi_agent(kimi(own), [look])

    @tool("research")
    def now(task: str) -> str:
        """Research a topic."""
        return sub.invoke({"messages": [("user", task)]})["messages"][-1].text  # type: ignore[no-any-return]

    @tool("research")
    async def later(task: str) -> str:
        """Research a topic."""
        return (await sub.ainvoke({"messages": [("user", task)]}))["messages"][-1].text  # type: ignore[no-any-return]

    tools = [now if way == "invoke" else later]
    state = await run(create_kimi_agent(kimi(server), tools, limits=AgentLimits(turns=6)), way, config=None)
    assert turns(own) == 5
    assert state["spent"]["turns"] == len(server.requests) + len(own.requests)


@TWO_WAYS
async def test_turns_of_a_sub_agent_that_failed_count(serve: Serve, way: str) -> None:
    def lead(request: Request) -> Reply:
        if request.json.get("tool_choice") == "none":
            return said("Enough.")
        return thought("Again.").calling("research", task=f"{len(request.messages)}")

    def play(request: Request) -> Any:
        if len(request.messages) > 4:
            return refused(401, "incorrect_api_key_error", "Incorrect API key provided")
        return endless(request)

    server, own = serve(lead), serve(play)
    sub = research(create_kimi_agent(kimi(own), [look]))
    state = await run(create_kimi_agent(kimi(server), [sub], limits=AgentLimits(turns=10)), way, config=None)
    assert state["stop_reason"] == "turns"
    assert turns(server) + turns(own) <= 10


class Down(BaseException):
    """The process goes down."""


@PAIRED
@TWO_WAYS
@pytest.mark.parametrize("side_by_side", [1, 3])
async def test_what_was_used_before_a_crash_counts_when_resumed(serve: Serve, way: str, side_by_side: int) -> None:
    """One sub-agent had finished, two were in the middle."""
    broken = {"b", "c"}

    @tool("look")
    def look(turn: int, topic: str) -> str:
        """Look around."""
        if turn >= 5 and topic in broken:
            raise Down
        return f"nothing at {turn}"

    def play(request: Request) -> Reply:
        topic = request.text_of("user")
        if request.json.get("tool_choice") == "none" or (topic == "a" and len(request.messages) >= 5):
            return said("So far.")
        return thought("On.").calling("look", turn=len(request.messages), topic=topic)

    server, own = serve(asks_for("a", "b", "c")), serve(play)
    agent = create_kimi_agent(
        kimi(server),
        [research(create_kimi_agent(kimi(own), [look]))],
        limits=AgentLimits(turns=13),
        checkpointer=InMemorySaver(),
        max_concurrency=side_by_side,
    )
    given: Any = ASK
    for healed in ("c", "b"):
        with pytest.raises(Down):
            await run(agent, way, given)
        given = None
        broken.discard(healed)
    state = await run(agent, way, None)
    assert turns(server) == 1
    # A request that was under way when the process went down has no answer in any state.
    lost = len(server.requests) + len(own.requests) - state["spent"]["turns"]
    assert 0 <= lost <= 4
    assert turns(own) == 12 + lost
    assert sum(spent.get("turns", 0) for spent in state["spent_by_agent"].values()) == state["spent"]["turns"]


@TWO_WAYS
async def test_what_was_used_before_a_person_was_asked_counts_when_resumed(serve: Serve, way: str) -> None:
    @tool("look")
    def ask(turn: int) -> str:
        """Look around, with leave."""
        return f"nothing at {turn}" if turn != 5 else str(interrupt("May I?"))

    server, own = serve(asks_for("a", "b")), serve(endless)
    sub = research(create_kimi_agent(kimi(own), [ask]))
    agent = create_kimi_agent(kimi(server), [sub], limits=AgentLimits(turns=11), checkpointer=InMemorySaver())
    waiting = (await run(agent, way))["__interrupt__"]
    state = await run(agent, way, Command(resume={one.id: "yes" for one in waiting}))
    assert turns(own) == 10
    assert state["spent"]["turns"] == len(server.requests) + len(own.requests)


@TWO_WAYS
async def test_one_whose_call_was_given_up_sends_no_further_request(serve: Serve, way: str) -> None:
    """A synchronous tool's thread goes on by itself; an agent in it does not."""
    gone, ended = threading.Event(), threading.Event()

    @tool("look")
    def wait(turn: int) -> str:
        """Look around."""
        gone.wait(20)
        return "nothing"

    server, own = serve(asks_for("a")), serve(endless)
    sub = create_kimi_agent(kimi(own), [wait])

    @tool("research")
    def now(task: str) -> str:
        """Research a topic."""
        try:
            return sub.invoke({"messages": [("user", task)]})["messages"][-1].text  # type: ignore[no-any-return]
        finally:
            ended.set()

    await run(create_kimi_agent(kimi(server), [now], tool_timeout=0.3), way, config=None)
    gone.set()
    assert await asyncio.to_thread(ended.wait, 20)
    assert len(own.requests) == 1
