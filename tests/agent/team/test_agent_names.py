"""One name for each agent, the same in the state's account, the meter and the metadata of streams."""

from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from langchain_kimi import (
    AgentLimits,
    Compaction,
    KimiState,
    TeamMember,
    UsageMeter,
    agent_as_tool,
    create_kimi_agent,
    create_kimi_team,
)
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought
from tests.agent.team.helpers import ASK, asks_for
from tests.conftest import Serve, kimi
from tests.databases import THREAD

TWO_WAYS = pytest.mark.parametrize("way", ["stream", "astream"])
COUNTED = ("requests", "input_tokens", "output_tokens", "cost_usd")


async def names(agent: Any, way: str, given: Any = ASK) -> set[str]:
    """The names of the agents of a run, which are the same everywhere, and so is what each of them used."""
    meter = UsageMeter()
    config: Any = {**THREAD, "callbacks": [meter]}
    modes = ["values", "messages"]
    if way == "stream":
        parts = list(agent.stream(given, config, stream_mode=modes, subgraphs=True))
    else:
        parts = [part async for part in agent.astream(given, config, stream_mode=modes, subgraphs=True)]
    state = [part for place, mode, part in parts if mode == "values" and not place][-1]
    streamed = {part[1]["lc_agent_name"] for _, mode, part in parts if mode == "messages" and part[0].type != "tool"}
    accounts = state["spent_by_agent"]
    asked = {name for name, spent in accounts.items() if spent.get("requests")}
    assert asked == set(meter.by_agent) == streamed
    for name in asked:
        counted = {key: getattr(meter.by_agent[name], key) for key in COUNTED}
        assert {key: accounts[name].get(key, 0) for key in COUNTED} == pytest.approx(counted)
    for key in (*COUNTED, "turns", "tool_calls"):
        assert sum(spent.get(key, 0) for spent in accounts.values()) == pytest.approx(state["spent"].get(key, 0))
    return asked


def sub(server: KimiServer, tool_name: str, tools: Any = (), name: str = "researcher") -> Any:
    return agent_as_tool(create_kimi_agent(kimi(server), tools, name=name), name=tool_name, description="Research.")


@TWO_WAYS
async def test_of_an_agent_and_its_sub_agents(serve: Serve, way: str) -> None:
    dig = sub(serve(lambda request: said("Found.")), "dig", name="digger")
    middle = sub(
        serve(lambda r: said("Sum.") if r.tool_results() else thought("m").calling("dig", task="x")), "research", [dig]
    )
    lead = create_kimi_agent(kimi(serve(asks_for("a", "b"))), [middle], checkpointer=InMemorySaver(), name="lead")
    assert await names(lead, way) == {"lead", "research", "dig"}


@TWO_WAYS
async def test_of_agents_without_names_of_their_own(serve: Serve, way: str) -> None:
    plain = create_kimi_agent(kimi(serve(lambda request: said("Found."))))
    research = agent_as_tool(plain, name="research", description="Research.")
    lead = create_kimi_agent(kimi(serve(asks_for("a"))), [research], checkpointer=InMemorySaver())
    assert await names(lead, way) == {"kimi_agent", "research"}


@TWO_WAYS
async def test_of_a_team_its_sub_agents_and_models_in_its_tools(serve: Serve, way: str) -> None:
    inner = kimi(serve(lambda request: said("An opinion.")))

    @tool("ask")
    def ask_now() -> str:
        """Ask another model."""
        return inner.invoke("?").text

    @tool("ask")
    async def ask_later() -> str:
        """Ask another model."""
        return (await inner.ainvoke("?")).text

    def lead(request: Request) -> Reply:
        if request.tool_results():
            return thought("Hand on.").calling("transfer_to_writer")
        return thought("I ask. ").calling("research", task="a").calling("ask")

    research = sub(serve(lambda request: said("Found.")), "research")
    tools = [research, ask_now if way == "stream" else ask_later]
    writer = kimi(serve(lambda request: said("Written.")))
    members = [TeamMember(name="lead", model=kimi(serve(lead)), tools=tools), TeamMember(name="writer", model=writer)]
    team = create_kimi_team(members, checkpointer=InMemorySaver())
    assert await names(team, way) == {"lead", "writer", "research"}


@TWO_WAYS
async def test_of_a_team_as_a_sub_agent(serve: Serve, way: str) -> None:
    def desk(request: Request) -> Reply:
        return thought("Hand on.").calling("transfer_to_writer")

    members = [
        TeamMember(name="desk", model=kimi(serve(desk))),
        TeamMember(name="writer", model=kimi(serve(lambda request: said("Written.")))),
    ]
    office = agent_as_tool(create_kimi_team(members), name="research", description="Research.")
    lead = create_kimi_agent(kimi(serve(asks_for("a"))), [office], checkpointer=InMemorySaver(), name="lead")
    assert await names(lead, way) == {"lead", "desk", "writer"}


@TWO_WAYS
async def test_of_an_agent_that_a_tool_runs_by_itself(serve: Serve, way: str) -> None:
    """No tool of its own makes it: it goes by its own name, whether the tool hands its config on or not."""
    own = create_kimi_agent(kimi(serve(lambda request: said("Found."))), name="researcher")

    @tool("research")
    def now(task: str) -> str:
        """Research."""
        return own.invoke({"messages": [("user", task)]})["messages"][-1].text  # type: ignore[no-any-return]

    @tool("research")
    async def later(task: str, config: Any = None) -> str:
        """Research."""
        return (await own.ainvoke({"messages": [("user", task)]}))["messages"][-1].text  # type: ignore[no-any-return]

    tools = [now if way == "stream" else later]
    lead = create_kimi_agent(kimi(serve(asks_for("a"))), tools, checkpointer=InMemorySaver(), name="lead")
    assert await names(lead, way) == {"lead", "researcher"}


@TWO_WAYS
async def test_of_agents_as_nodes(serve: Serve, way: str) -> None:
    graph = StateGraph(KimiState)
    graph.add_node("one", create_kimi_agent(kimi(serve(lambda request: said("One."))), name="first"))
    graph.add_node("two", create_kimi_agent(kimi(serve(lambda request: said("Two."))), name="second"))
    graph.add_edge(START, "one")
    graph.add_edge("one", "two")
    graph.add_edge("two", END)
    assert await names(graph.compile(checkpointer=InMemorySaver()), way) == {"first", "second"}


@TWO_WAYS
async def test_of_a_member_whose_thread_is_summarised(serve: Serve, way: str) -> None:
    @tool
    def read(page: int) -> str:
        """Read a page."""
        return f"page {page}: " + "word " * 800

    def play(request: Request) -> Reply:
        if "tools" not in request.json:
            return said("They read.")
        turn = sum(message["role"] == "assistant" for message in request.messages)
        return said("Read.") if len(server.requests) > 9 else thought("On.").calling("read", page=turn)

    server = serve(play)
    small = Compaction(window=4_000, reserve=1_000, keep_results=1, result_tokens=30)
    members = [TeamMember(name="lead", model=kimi(server), tools=[read]), TeamMember(name="other", model=kimi(server))]
    team = create_kimi_team(members, checkpointer=InMemorySaver(), compaction=small, limits=AgentLimits(turns=30))
    assert await names(team, way) == {"lead"}
    assert any("tools" not in request.json for request in server.requests)
