"""Limits of a user turn: each ends with an answer, on a thread that goes on."""

import asyncio
from dataclasses import fields
from typing import Any, get_args

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_kimi import AgentLimits, LimitReason, create_kimi_agent
from langchain_kimi.agent.usage_limits.limits import LimitName
from langchain_kimi.errors import BrokenStreamError
from langchain_kimi.testing import Reply, Request, called, cut_after, said, thought
from tests.conftest import PAIRED, SYNC_AND_ASYNC, Serve, add, kimi

ASK: Any = {"messages": [("user", "go")]}
WRONG: list[tuple[str, Any]] = [
    *(("turns", 0), ("turns", None), ("turns", "3"), ("tool_calls", 0), ("seconds", 0), ("seconds", -1)),
    *(("tokens", True), ("cost_usd", 0), ("cost_usd", float("nan"))),
]


def for_ever(request: Request) -> Reply:
    """Calls `add` twice a turn, always with other numbers; answers where it must."""
    turn = sum(message["role"] == "assistant" for message in request.messages)
    if request.json.get("tool_choice") == "none":
        return said("That is what I have.", thinking="I must stop.")
    return thought(f"turn {turn}").calling("add", a=turn, b=1).calling("add", a=turn, b=2)


async def ran(agent: Any, way: str, given: Any = ASK, config: Any = None) -> dict[str, Any]:
    if way == "sync":
        return await asyncio.to_thread(agent.invoke, given, config)  # type: ignore[no-any-return]
    return await agent.ainvoke(given, config)  # type: ignore[no-any-return]


def not_run(state: dict[str, Any]) -> list[str]:
    texts = [str(message.content) for message in state["messages"] if isinstance(message, ToolMessage)]
    return [text for text in texts if text.startswith("Not run")]


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("limits", "reason", "words", "rounds"),
    [
        (AgentLimits(turns=3), "turns", "the limit of 3 model turns", 2),
        (AgentLimits(tool_calls=5), "tool_calls", "the limit of 5 tool calls", 2),
        (AgentLimits(tokens=2_000), "tokens", "the limit of 2,000 tokens", None),
        (AgentLimits(cost_usd=0.00001), "cost_usd", "the limit of 1e-05 US dollars", 0),
        (AgentLimits(seconds=0.000001), "seconds", "seconds", 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_limit_ends_with_a_last_answer_that_keeps_the_tools(
    serve: Serve, way: str, limits: AgentLimits, reason: str, words: str, rounds: int | None
) -> None:
    server = serve(for_ever)
    agent = create_kimi_agent(kimi(server), [add], limits=limits, checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    state = await ran(agent, way, config=thread)
    assert state["stop_reason"] == reason
    assert state["messages"][-1].text == "That is what I have."
    assert len(not_run(state)) == 2
    assert words in not_run(state)[0]
    if rounds is not None:
        assert state["spent"].get("tool_calls", 0) == 2 * rounds
    last = server.requests[-1]
    assert last.json["tool_choice"] == "none"
    assert last.json["tools"] == server.requests[0].json["tools"]
    again = await ran(agent, way, config=thread)
    assert again["stop_reason"] == reason
    assert set(server.statuses) == {200}


@SYNC_AND_ASYNC
async def test_every_user_turn_has_the_whole_budget(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        return said("done") if request.last["role"] == "tool" else called("add", a=1, b=1)

    agent = create_kimi_agent(kimi(serve(script)), [add], limits=AgentLimits(turns=2), checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    states = [await ran(agent, way, config=thread) for _ in range(3)]
    assert [state["stop_reason"] for state in states] == ["stop"] * 3
    assert [state["spent"]["turns"] for state in states] == [2, 4, 6]


@SYNC_AND_ASYNC
async def test_the_account_is_what_the_server_counted(serve: Serve, way: str) -> None:
    server = serve(for_ever)
    state = await ran(create_kimi_agent(kimi(server), [add], limits=AgentLimits(turns=4)), way)
    answers = [message for message in state["messages"] if message.type == "ai"]
    spent = state["spent"]
    assert spent["turns"] == spent["requests"] == len(server.requests) == len(answers) == 5
    assert spent["input_tokens"] == sum(message.usage_metadata["input_tokens"] for message in answers)
    assert spent["output_tokens"] == sum(message.usage_metadata["output_tokens"] for message in answers)
    assert spent["cost_usd"] > 0
    assert spent["seconds"] > 0
    assert "unpriced" not in spent


@SYNC_AND_ASYNC
async def test_an_answer_that_broke_off_without_a_word_of_usage_counts_as_one_of_unknown_cost(
    serve: Serve, way: str
) -> None:
    server = serve([cut_after(said("hello there"), events=3), said("hello there")], dialect="vllm")
    state = await ran(create_kimi_agent(kimi(server), [add]), way)
    assert state["messages"][-1].text == "hello there"
    assert state["spent"]["requests"] == 2
    assert state["spent"]["unpriced"] == 1


@SYNC_AND_ASYNC
async def test_an_answer_that_breaks_off_twice_is_an_error(serve: Serve, way: str) -> None:
    server = serve(lambda request: cut_after(said("hello there"), events=3))
    with pytest.raises(BrokenStreamError):
        await ran(create_kimi_agent(kimi(server), [add]), way)
    assert len(server.requests) == 2


@SYNC_AND_ASYNC
async def test_what_models_inside_tools_use_counts(serve: Serve, way: str) -> None:
    inner = kimi(serve(lambda request: said("inner answer")))

    @tool
    async def research(topic: str) -> str:
        """Ask another model."""
        return (await inner.ainvoke(topic)).text

    @tool("research")
    def research_now(topic: str) -> str:
        """Ask another model."""
        return inner.invoke(topic).text

    def script(request: Request) -> Reply:
        if request.json.get("tool_choice") == "none":
            return said("enough")
        return said("done") if request.tool_results() else called("research", topic="x").calling("research", topic="y")

    tools = [research_now if way == "sync" else research]
    state = await ran(create_kimi_agent(kimi(serve(script)), tools), way)
    assert state["spent"]["requests"] == 4
    outer = [message.usage_metadata for message in state["messages"] if message.type == "ai"]
    before_the_last = sum(state["spent"][key] for key in ("input_tokens", "output_tokens")) - outer[-1]["total_tokens"]
    limited = create_kimi_agent(kimi(serve(script)), tools, limits=AgentLimits(tokens=before_the_last))
    assert before_the_last > outer[0]["total_tokens"]
    assert (await ran(limited, way))["stop_reason"] == "tokens"


@SYNC_AND_ASYNC
async def test_an_answer_of_unknown_price_counts_as_reaching_the_limit_of_money(serve: Serve, way: str) -> None:
    stranger = kimi(serve(lambda request: said("for nothing?"), models=["stranger"]), "stranger")

    @tool
    async def ask_stranger(x: str) -> str:
        """Ask a model of unknown price."""
        return (await stranger.ainvoke(x)).text

    @tool("ask_stranger")
    def ask_stranger_now(x: str) -> str:
        """Ask a model of unknown price."""
        return stranger.invoke(x).text

    def script(request: Request) -> Reply:
        return said("last") if request.json.get("tool_choice") == "none" else called("ask_stranger", x="?")

    tools = [ask_stranger_now if way == "sync" else ask_stranger]
    state = await ran(create_kimi_agent(kimi(serve(script)), tools, limits=AgentLimits(cost_usd=100)), way)
    assert state["stop_reason"] == "cost_usd"
    assert state["spent"]["unpriced"] == 1


def test_money_cannot_be_limited_where_no_price_is_known(serve: Serve) -> None:
    stranger = kimi(serve([], models=["stranger"]), "stranger")
    with pytest.raises(ValueError, match="no price is known of the model 'stranger'"):
        create_kimi_agent(stranger, [add], limits=AgentLimits(cost_usd=1))


def test_every_limit_is_a_reason_to_stop() -> None:
    assert tuple(field.name for field in fields(AgentLimits)) == get_args(LimitName)
    assert set(get_args(LimitName)) < set(get_args(LimitReason))


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_limits_that_are_none_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        AgentLimits(**{name: value})


@SYNC_AND_ASYNC
async def test_the_seconds_of_tools_count_before_the_next_answer(serve: Serve, way: str) -> None:
    server = serve(for_ever)
    call = {"name": "add", "args": {"a": 1, "b": 1}, "id": "1", "type": "tool_call"}
    result = ToolMessage("2", tool_call_id="1", name="add", additional_kwargs={"kimi_seconds": 5_000.0})
    given = {"messages": [("user", "go"), AIMessage("", tool_calls=[call]), result]}
    state = await ran(create_kimi_agent(kimi(server), [add], limits=AgentLimits(seconds=3_600)), way, given)
    assert (state["stop_reason"], len(server.requests)) == ("seconds", 1)


@SYNC_AND_ASYNC
async def test_waiting_for_a_person_costs_no_seconds(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        return said("done") if request.tool_results() else called("add", a=1, b=1)

    saver, thread = InMemorySaver(), {"configurable": {"thread_id": "1"}}
    agent = create_kimi_agent(
        kimi(serve(script)), [add], limits=AgentLimits(seconds=3600), checkpointer=saver, interrupt_on={"add": True}
    )
    await ran(agent, way, config=thread)
    spent_before = agent.get_state(thread).values["spent"]["seconds"]
    state = await ran(agent, way, Command(resume={"decisions": [{"type": "approve"}]}), thread)
    assert state["messages"][-1].text == "done"
    assert state["spent"]["seconds"] < spent_before + 60


@SYNC_AND_ASYNC
async def test_limits_hold_as_a_node_of_another_graph_and_its_account_is_added_once(serve: Serve, way: str) -> None:
    from langgraph.graph import START, StateGraph

    from langchain_kimi import KimiState

    agent = create_kimi_agent(kimi(serve(for_ever)), [add], limits=AgentLimits(turns=2))
    graph = StateGraph(KimiState)
    graph.add_node("researcher", agent)
    graph.add_edge(START, "researcher")
    compiled = graph.compile(checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    first = await ran(compiled, way, config=thread)
    second = await ran(compiled, way, config=thread)
    assert [first["spent"]["turns"], second["spent"]["turns"]] == [3, 6]
    assert second["stop_reason"] == "turns"
