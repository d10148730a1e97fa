"""The loop guard: circles are broken, work is left alone."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool

from langchain_kimi import AgentLimits, create_kimi_agent
from langchain_kimi.agent.loop_guard import LoopGuard
from langchain_kimi.testing import Reply, Request, called, raw_call, said
from tests.conftest import SYNC_AND_ASYNC, Serve, kimi

ASK: Any = {"messages": [("user", "go")]}


@tool
def look(path: str) -> str:
    """Look at a file."""
    return f"nothing in {path}"


def results_sent(request: Request) -> int:
    return sum(message["role"] == "tool" for message in request.messages)


def stuck(*replies: Reply) -> Callable[[Request], Reply]:
    """A model that makes the same calls over and over, one reply after the other, until it may not."""

    def script(request: Request) -> Reply:
        if request.json.get("tool_choice") == "none":
            return said("I was going in circles.")
        turn = sum(message["role"] == "assistant" for message in request.messages)
        return replies[turn % len(replies)]

    return script


async def streamed(agent: Any, way: str) -> tuple[dict[str, Any], list[Any]]:
    """The final state, and what was told on the custom stream."""
    modes = ["values", "custom"]
    if way == "sync":
        parts = await asyncio.to_thread(lambda: list(agent.stream(ASK, stream_mode=modes)))
    else:
        parts = [part async for part in agent.astream(ASK, stream_mode=modes)]
    states = [part for mode, part in parts if mode == "values"]
    return states[-1], [part for mode, part in parts if mode == "custom"]


def results(state: dict[str, Any]) -> list[str]:
    return [str(message.content) for message in state["messages"] if isinstance(message, ToolMessage)]


@SYNC_AND_ASYNC
async def test_the_same_call_with_the_same_result_is_hinted_then_blocked_then_ends_the_turn(
    serve: Serve, way: str
) -> None:
    server = serve(stuck(called("look", path="a")))
    state, told = await streamed(create_kimi_agent(kimi(server), [look]), way)
    kinds = [
        "blocked" if "is blocked" in text else "hint" if "same result" in text else "end" if "Not run" in text else "ok"
        for text in results(state)
    ]
    assert kinds == ["ok", "ok", "hint", "hint", "hint", "blocked", "blocked", "end"]
    assert "had the same result 3 times" in results(state)[2]
    assert results(state)[0] == "nothing in a"
    assert state["stop_reason"] == "loop"
    assert state["messages"][-1].text == "I was going in circles."
    assert state["spent"]["tool_calls"] == 5
    stages = [part["stage"] for part in told if part["event"] == "guard"]
    assert stages == ["hint"] * 3 + ["block"] * 2
    assert [part["reason"] for part in told if part["event"] == "limit"] == ["loop"]
    assert set(server.statuses) == {200}
    assert "same result 3 times" in server.requests[3].tool_results()[-1]["content"]


@SYNC_AND_ASYNC
async def test_two_calls_in_alternation_are_a_circle_too(serve: Serve, way: str) -> None:
    server = serve(stuck(called("look", path="a"), called("look", path="b")))
    state, _ = await streamed(create_kimi_agent(kimi(server), [look]), way)
    assert state["stop_reason"] == "loop"
    assert len(server.requests) == 2 * 7 + 1 + 1


@SYNC_AND_ASYNC
async def test_a_tool_that_does_not_exist_is_a_circle_too(serve: Serve, way: str) -> None:
    state, _ = await streamed(create_kimi_agent(kimi(serve(stuck(called("hex", a=1)))), [look]), way)
    assert state["stop_reason"] == "loop"
    assert results(state)[0] == "hex is not a tool you have. Your tools are: look."


@SYNC_AND_ASYNC
async def test_arguments_that_are_no_json_are_a_circle_too(serve: Serve, way: str) -> None:
    state, _ = await streamed(create_kimi_agent(kimi(serve(stuck(raw_call("look", '{"path"')))), [look]), way)
    assert state["stop_reason"] == "loop"


@SYNC_AND_ASYNC
async def test_polling_whose_result_changes_is_left_alone(serve: Serve, way: str) -> None:
    progress = itertools.count()

    @tool
    def poll(job: str) -> str:
        """How far a job is."""
        return f"{next(progress)} %"

    def script(request: Request) -> Reply:
        return said("ready") if results_sent(request) == 30 else called("poll", job="x")

    state, told = await streamed(create_kimi_agent(kimi(serve(script)), [poll]), way)
    assert state["messages"][-1].text == "ready"
    assert results(state) == [f"{n} %" for n in range(30)]
    assert not [part for part in told if part["event"] == "guard"]


@SYNC_AND_ASYNC
async def test_a_result_that_changes_at_last_ends_the_suspicion(serve: Serve, way: str) -> None:
    answers = iter(["waiting", "waiting", "waiting", "waiting", "ready", "ready"])

    @tool
    def poll(job: str) -> str:
        """How far a job is."""
        return next(answers)

    def script(request: Request) -> Reply:
        return said("ready") if results_sent(request) == 6 else called("poll", job="x")

    state, _ = await streamed(create_kimi_agent(kimi(serve(script)), [poll]), way)
    assert [text.startswith(("waiting\n\nThis call", "ready\n\nThis")) for text in results(state)] == [
        *(False, False, True, True, False, False)
    ]


@SYNC_AND_ASYNC
async def test_exempt_tools_and_no_guard_at_all_are_choices(serve: Serve, way: str) -> None:
    for guard in (LoopGuard(exempt={"look"}), None):
        agent = create_kimi_agent(
            kimi(serve(stuck(called("look", path="a")))), [look], guard=guard, limits=AgentLimits(turns=20)
        )
        state, _ = await streamed(agent, way)
        assert state["stop_reason"] == "turns"
        assert set(results(state)[:-1]) == {"nothing in a"}


@SYNC_AND_ASYNC
async def test_turns_of_which_every_call_fails_are_bounded(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        if request.json.get("tool_choice") == "none":
            return said("It does not work.")
        return called("look", file=len(request.messages))

    state, _ = await streamed(create_kimi_agent(kimi(serve(script)), [look], guard=LoopGuard(errors=4)), way)
    assert state["stop_reason"] == "errors"
    assert len(results(state)) == 5
    assert "Field required" in results(state)[0]


@SYNC_AND_ASYNC
async def test_thresholds_are_parameters(serve: Serve, way: str) -> None:
    agent = create_kimi_agent(
        kimi(serve(stuck(called("look", path="a")))), [look], guard=LoopGuard(hint=2, block=2, stop=3)
    )
    state, _ = await streamed(agent, way)
    assert state["spent"]["tool_calls"] == 2
    assert "same result 2 times" in results(state)[1]


@pytest.mark.parametrize("wrong", [{"hint": 1}, {"hint": 6}, {"stop": 5}, {"errors": 0}, {"exempt": "look"}])
def test_thresholds_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="LoopGuard"):
        LoopGuard(**wrong)
