"""Sub-agents of any make: their own limits hold beside their caller's, after a resumption too, and nothing is lost."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from langchain_kimi import AgentLimits, KimiState, agent_as_tool, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought
from tests.agent.team.helpers import asks_for, caller, endless, look, ran, results
from tests.conftest import PAIRED, SYNC_AND_ASYNC, Serve, kimi
from tests.databases import THREAD


def tokens(*servers: KimiServer) -> int:
    """What the servers told of all answers."""
    return sum(usage["total_tokens"] for server in servers for usage in server.usages if usage)


def spent(state: dict[str, Any]) -> float:
    total: float = state["spent"]["input_tokens"] + state["spent"]["output_tokens"]
    return total


def looks_around(times: int) -> Callable[[Request], Reply]:
    def play(request: Request) -> Reply:
        turn = len(request.messages) // 2
        return said("Done.") if turn >= times else thought("On.").calling("look", turn=turn)

    return play


@SYNC_AND_ASYNC
async def test_one_may_take_as_many_steps_as_its_limits_allow(serve: Serve, way: str) -> None:
    server, own = serve(asks_for("a")), serve(looks_around(40))
    state = await ran(caller(server, create_kimi_agent(kimi(own), [look])), way)
    assert results(state) == [("Done.", "success")]
    assert len(own.requests) == 41


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize(("callers", "most"), [(None, 6), (8, 4), (100, 6)])
async def test_the_smaller_recursion_limit_holds(serve: Serve, way: str, callers: int | None, most: int) -> None:
    server, own = serve(asks_for("a")), serve(endless)
    sub = create_kimi_agent(kimi(own), [look]).with_config(recursion_limit=12)
    state = await ran(caller(server, sub), way, config=THREAD | ({"recursion_limit": callers} if callers else {}))
    assert results(state)[0][0].startswith("research was cut short (recursion_limit)")
    assert len(own.requests) == most


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize(("own_most", "callers_most"), [(2, None), (None, 2), (2, 4), (4, 2)])
async def test_the_smaller_concurrency_holds(
    serve: Serve, way: str, own_most: int | None, callers_most: int | None
) -> None:
    three = threading.Barrier(3)

    @tool("look")
    def work(turn: int) -> str:
        """Look around."""
        try:
            three.wait(0.05)
        except threading.BrokenBarrierError:
            return "never three"
        return "three"

    def play(request: Request) -> Reply:
        if seen := request.tool_results():
            return said(", ".join(sorted({str(result["content"]) for result in seen})))
        reply = thought("All.")
        for turn in range(6):
            reply = reply.calling("look", turn=turn)
        return reply

    server, own = serve(asks_for("a")), serve(play)
    sub = create_kimi_agent(kimi(own), [work], max_concurrency=own_most)
    state = await ran(caller(server, sub, max_concurrency=callers_most), way)
    assert results(state) == [("never three", "success")]


@SYNC_AND_ASYNC
async def test_what_the_caller_spends_between_its_calls_counts(serve: Serve, way: str) -> None:
    def lead(request: Request) -> Reply:
        rounds = sum(message["role"] == "assistant" for message in request.messages)
        reply = thought("word " * 3_000 if rounds else "Short.")
        return said("Done.") if rounds > 1 else reply.calling("research", task="ab"[rounds])

    def play(request: Request) -> Reply:
        return said("Quick.") if request.text_of("user") == "a" else endless(request)

    server, own = serve(lead), serve(play)
    agent = caller(server, create_kimi_agent(kimi(own), [look]), limits=AgentLimits(tokens=6_000))
    state = await ran(agent, way)
    assert [status for _, status in results(state)] == ["success", "error"]
    left = 6_000 - tokens(server) + server.usages[-1]["total_tokens"]  # type: ignore[index]
    assert tokens(own) < left + 1_500


@SYNC_AND_ASYNC
async def test_the_callers_budget_holds_after_a_resumption_too(serve: Serve, way: str) -> None:
    @tool("look")
    def ask(turn: int) -> str:
        """Look around, with leave."""
        return f"nothing at {turn}" if turn > 2 else str(interrupt("May I?"))

    server, own = serve(asks_for("a", "b")), serve(endless)
    agent = caller(server, create_kimi_agent(kimi(own), [ask]), limits=AgentLimits(tokens=3_000))
    waiting = (await ran(agent, way))["__interrupt__"]
    assert len(waiting) == 2
    state = await ran(agent, way, Command(resume={one.id: "yes" for one in waiting}))
    assert all(text.startswith("research was cut short (caller)") for text, _ in results(state))
    assert state["stop_reason"] == "tokens"
    assert spent(state) == tokens(server, own) < 6_000


@SYNC_AND_ASYNC
async def test_spending_of_a_graph_without_an_account_of_its_own_counts(serve: Serve, way: str) -> None:
    server, own = serve(asks_for("a")), serve([said("Plain.")])
    model = kimi(own)
    graph = StateGraph(KimiState)
    graph.add_node("speak", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "speak")
    graph.add_edge("speak", END)
    state = await ran(caller(server, graph.compile()), way)
    assert spent(state) == tokens(server, own)
    assert state["spent"]["requests"] == 3


@SYNC_AND_ASYNC
async def test_spending_of_hooks_counts(serve: Serve, way: str) -> None:
    server, own = serve(asks_for("a")), serve([said("A hint."), said("Done.")])
    model = kimi(own)

    def hook(state: Any) -> dict[str, Any]:
        model.invoke("A hint?")
        return {}

    state = await ran(caller(server, create_kimi_agent(model, pre_model_hook=hook)), way)
    assert spent(state) == tokens(server, own)


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize("reason", ["STOP", "end_turn", "length", "MAX_TOKENS", "content_filter"])
async def test_a_whole_answer_and_a_cut_one_are_told_apart_for_any_model(serve: Serve, way: str, reason: str) -> None:
    def model() -> Any:
        answer = AIMessage("Half", response_metadata={"finish_reason": reason})
        return GenericFakeChatModel(messages=iter([answer]))

    whole = [("Half", "success")]
    cut = [(f"research was cut short ({reason}). What it had by then: Half", "error")]
    for sub in (create_kimi_agent(model()), create_agent(model())):
        state = await ran(caller(serve(asks_for("a")), sub), way)
        assert results(state) == (whole if reason in ("STOP", "end_turn") else cut)


@SYNC_AND_ASYNC
async def test_one_that_ended_at_its_limit_of_tool_calls_was_cut_short(serve: Serve, way: str) -> None:
    sub = create_kimi_agent(kimi(serve(looks_around(9))), [look], limits=AgentLimits(tool_calls=2))
    state = await ran(caller(serve(asks_for("a")), sub), way)
    assert [status for _, status in results(state)] == ["error"]
    assert results(state)[0][0].startswith("research was cut short (tool_calls)")


@SYNC_AND_ASYNC
async def test_a_text_with_the_finish_reason_of_calls_is_a_whole_answer(serve: Serve, way: str) -> None:
    sub = create_kimi_agent(kimi(serve([said("All of it.").finish("tool_calls")])))
    assert (await ran(sub, way))["stop_reason"] == "stop"
    sub = create_kimi_agent(kimi(serve([said("All of it.").finish("tool_calls")])))
    state = await ran(caller(serve(asks_for("a")), sub), way)
    assert results(state) == [("All of it.", "success")]


@dataclass
class Pages:
    """What was found."""

    pages: int


@SYNC_AND_ASYNC
async def test_an_object_of_another_make_is_returned_as_json_too(serve: Serve, way: str) -> None:
    server, own = serve(asks_for("a")), serve([thought("Three.").calling("Pages", pages=3)])
    sub = create_agent(kimi(own, thinking=False), response_format=ToolStrategy(Pages))
    assert results(await ran(caller(server, sub), way)) == [('{"pages":3}', "success")]


def test_an_agent_whose_calls_would_share_a_thread_is_refused(serve: Serve) -> None:
    with pytest.raises(ValueError, match="checkpointer=True"):
        agent_as_tool(create_kimi_agent(kimi(serve([])), checkpointer=True), name="a", description="b")
