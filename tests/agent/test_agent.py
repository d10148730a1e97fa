"""`create_kimi_agent` on the wire and in state: parallel tools, errors, limits, persistence."""

import asyncio
import itertools
import json
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, StateGraph

from langchain_kimi import AgentLimits, KimiState, create_kimi_agent
from langchain_kimi.testing import Reply, Request, called, raw_call, said, thought
from tests.conftest import Serve, add, kimi

ASK = {"messages": [("user", "go")]}


@tool
def burn(fuel: str) -> str:
    """Always fails."""
    raise RuntimeError(f"{fuel} is wet")


def countdown(request: Request) -> Reply:
    """Calls `add` for ever, each time with thinking of its own; answers when calls are not taken."""
    turn = sum(message["role"] == "assistant" for message in request.messages)
    if request.json.get("tool_choice") == "none":
        return said(f"last words in turn {turn}", thinking="I must stop.")
    return thought(f"turn {turn}\u2028: ünï").calling_raw("add", f'{{"a": {turn},  "b":1}}')


async def both(agent: Any, given: Any, config: Any = None) -> list[dict[str, Any]]:
    """The final states of a sync and an async run."""
    return [await asyncio.to_thread(agent.invoke, given, config), await agent.ainvoke(given, config)]


async def test_loop_ends_at_stop_with_results_in_call_order(serve: Serve) -> None:
    def script(request: Request) -> Reply:
        results = [result["content"] for result in request.tool_results()]
        return said(f"sums: {results}") if results else called("add", a=1, b=2).calling("add", a=10, b=20)

    agent = create_kimi_agent(kimi(serve(script)), [add], system_prompt="Add.")
    for state in await both(agent, ASK):
        assert [type(message) for message in state["messages"]] == [
            *(HumanMessage, AIMessage, ToolMessage, ToolMessage, AIMessage)
        ]
        assert state["messages"][-1].text == "sums: ['3', '30']"
        assert state["stop_reason"] == "stop"


async def test_requests_grow_by_their_prefix_byte_for_byte(serve: Serve) -> None:
    server = serve(countdown)
    agent = create_kimi_agent(kimi(server), [add], system_prompt="Count.", limits=AgentLimits(turns=6))
    await both(agent, ASK)
    bodies = [request.body for request in server.requests]
    for run in (bodies[:6], bodies[7:13]):
        for earlier, later in itertools.pairwise(run):
            assert later.startswith(earlier[: -len(b"]}")])
    messages = [request.body.partition(b'"messages":')[2] for request in server.requests]
    assert messages[6].startswith(messages[5][: -len(b"]}")])  # the last answer changes tool_choice, not the messages
    last = server.requests[6].messages
    assert [message["reasoning_content"] for message in last if message["role"] == "assistant"] == [
        f"turn {turn}\u2028: ünï" for turn in range(6)
    ]
    assert last[2]["tool_calls"][0]["function"]["arguments"] == '{"a": 0,  "b":1}'
    assert server.requests[6].tools


async def test_failing_unknown_and_unreadable_calls_fail_alone(serve: Serve) -> None:
    def script(request: Request) -> Reply:
        if request.tool_results():
            return said("I saw the errors.")
        reply = called("burn", fuel="peat").calling("add", a=1, b=1).calling("fly")
        return reply.calling_raw("add", '{"a": 1, "b"').calling("add", a="one", b=1).calling_raw("add", "[1]")

    server = serve(script)
    for state in await both(create_kimi_agent(kimi(server), [add, burn]), ASK):
        results = [message for message in state["messages"] if isinstance(message, ToolMessage)]
        assert [result.status for result in results] == ["error", "success", "error", "error", "error", "error"]
        said_of = [str(result.content) for result in results]
        assert said_of[1] == "2"
        for text, part in zip(
            said_of,
            ("RuntimeError: peat is wet", "2", "fly", "no JSON object", "valid integer", "must be a JSON object"),
            strict=True,
        ):
            assert part in text
        assert state["messages"][-1].text == "I saw the errors."
    sent = server.requests[1].messages
    assert [call["function"]["arguments"] for call in sent[1]["tool_calls"]][
        3
    ] == '{"invalid_arguments":"{\\"a\\": 1, \\"b\\""}'
    assert [message["tool_call_id"] for message in sent[2:]] == [call["id"] for call in sent[1]["tool_calls"]]


async def test_any_chat_model_runs_and_its_unreadable_calls_fail_alone(serve: Serve) -> None:
    def script(request: Request) -> Reply:
        return said("I saw.") if request.tool_results() else raw_call("add", "nonsense").calling("add", a=1, b=1)

    server = serve(script, models=["other"])
    model = ChatOpenAI(model="other", base_url=server.url, api_key="sk-other")  # type: ignore[arg-type]
    agent = create_kimi_agent(model, [add])
    async for _ in agent.astream(ASK, stream_mode="messages"):
        pass
    assert (await agent.ainvoke(ASK))["messages"][-1].text == "I saw."
    for number in (1, 3):
        added, told = server.requests[number].tool_results()
        assert "no JSON object" in told["content"]
        assert added["content"] == "2"


async def test_answer_of_only_unreadable_calls_goes_back_to_the_model(serve: Serve) -> None:
    agent = create_kimi_agent(kimi(serve([raw_call("add", "{"), said("sorry")])), [add])
    state = await agent.ainvoke(ASK)
    assert state["messages"][-1].text == "sorry"


async def test_turn_limit_ends_with_a_last_answer(serve: Serve) -> None:
    server = serve(countdown)
    for state in await both(create_kimi_agent(kimi(server), [add], limits=AgentLimits(turns=3)), ASK):
        assert state["stop_reason"] == "turns"
        assert state["messages"][-1].text == "last words in turn 3"
        assert "Not run: the limit of 3 model turns is reached" in state["messages"][-2].content
        assert state["messages"][-2].status == "error"
    assert [request.json.get("tool_choice") for request in server.requests] == [None, None, None, "none"] * 2


@pytest.mark.parametrize("limit", range(3, 10))  # begin, the model, and one that LangGraph keeps
async def test_smaller_recursion_limit_ends_with_a_last_answer_too(serve: Serve, limit: int) -> None:
    agent = create_kimi_agent(kimi(serve(countdown)), [add])
    for state in await both(agent, ASK, {"recursion_limit": limit}):
        assert state["stop_reason"] == "recursion_limit"
        assert state["messages"][-1].text.startswith("last words")


@pytest.mark.slow
async def test_300_turns_by_default(serve: Serve) -> None:
    server = serve(countdown)
    state = await create_kimi_agent(kimi(server), [add]).ainvoke(ASK)
    assert state["stop_reason"] == "turns"
    assert sum(isinstance(message, ToolMessage) for message in state["messages"]) == 300
    assert len(server.requests) == 301


async def test_limit_counts_one_user_turn_and_the_thread_goes_on(serve: Serve) -> None:
    agent = create_kimi_agent(kimi(serve(countdown)), [add], limits=AgentLimits(turns=2), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    first, second = await both(agent, ASK, config)
    assert first["stop_reason"] == second["stop_reason"] == "turns"
    assert second["messages"][-1].text == "last words in turn 5"


async def test_calls_in_the_last_answer_are_answered_and_the_turn_ends_with_a_text_all_the_same(serve: Serve) -> None:
    """The model is asked once more; if it calls tools again, the agent says itself why there is no answer."""
    stubborn = called("add", a=1, b=1)
    server = serve(lambda request: stubborn)
    agent = create_kimi_agent(kimi(server), [add], limits=AgentLimits(turns=1), checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    state = await agent.ainvoke(ASK, config)
    assert state["stop_reason"] == "turns"
    closing = "I have to stop here without an answer: the limit of 1 model turns is reached."
    assert (state["messages"][-1].type, state["messages"][-1].text) == ("ai", closing)
    assert state["messages"][-2].content == "Not run: the turn has ended."
    assert len(server.requests) == state["spent"]["turns"] == state["spent"]["requests"] == 3
    assert state["spent"].get("tool_calls", 0) == 0
    state = await agent.ainvoke(ASK, config)  # the thread goes on, by its prefix
    assert server.statuses == [200] * len(server.requests)
    for before, after in pairwise(server.requests):
        assert after.messages[: len(before.messages)] == before.messages


async def test_a_last_answer_that_calls_tools_gets_a_second_try(serve: Serve) -> None:
    def script(request: Request) -> Reply:
        return said("what I have") if request.number == 3 else called("add", a=1, b=1)

    for way in ("sync", "async"):
        server = serve(script)
        agent = create_kimi_agent(kimi(server), [add], limits=AgentLimits(turns=1))
        state = await agent.ainvoke(ASK) if way == "async" else await asyncio.to_thread(agent.invoke, ASK)
        assert state["messages"][-1].text == "what I have"
        assert [request.json.get("tool_choice") for request in server.requests] == [None, "none", "none"]
        assert set(server.statuses) == {200}


async def test_an_empty_last_answer_is_followed_by_the_reason(serve: Serve) -> None:
    empty = thought("Hm.")
    server = serve(lambda request: empty if request.json.get("tool_choice") == "none" else called("add", a=1, b=1))
    state = await create_kimi_agent(kimi(server), [add], limits=AgentLimits(turns=1)).ainvoke(ASK)
    assert state["messages"][-1].text.startswith("I have to stop here without an answer: the limit of 1 model turns")


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AgentLimits(turns=0)


def script_of_two_turns(request: Request) -> Reply:
    if request.last["role"] == "user":
        return thought(f"« {request.last['content']} »").calling_raw("add", '{"a":1, "b": 1}')
    return said(f"answer {len(request.messages)}", thinking="so.")


async def test_thread_goes_on_from_sqlite_with_every_thought(serve: Serve, tmp_path: Path) -> None:
    server = serve(script_of_two_turns)
    path, config = str(tmp_path / "thread.sqlite"), {"configurable": {"thread_id": "1"}}
    for _ in range(2):
        with sqlite3.connect(path, check_same_thread=False) as connection:
            create_kimi_agent(kimi(server), [add], checkpointer=SqliteSaver(connection)).invoke(ASK, config)
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        state = await create_kimi_agent(kimi(server), [add], checkpointer=saver).ainvoke(ASK, config)
    assert state["messages"][-1].text == "answer 11"
    bodies = [request.body for request in server.requests]
    assert len(bodies) == 6
    for earlier, later in itertools.pairwise(bodies):
        assert later.startswith(earlier[: -len(b"]}")])
    thoughts = [m.get("reasoning_content") for m in server.requests[-1].messages if m["role"] == "assistant"]
    assert thoughts == ["« go »", "so.", "« go »", "so.", "« go »"]


async def test_cancelled_thread_takes_the_next_message(serve: Serve) -> None:
    started = asyncio.Event()

    @tool
    async def hang(a: int) -> str:
        """Never ends."""
        started.set()
        await asyncio.Event().wait()
        return "never"

    def script(request: Request) -> Reply:
        return said("here") if request.last.get("content") == "still there?" else called("hang", a=1).thinking("hm")

    server = serve(script)
    agent = create_kimi_agent(kimi(server), [hang], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    run = asyncio.create_task(agent.ainvoke(ASK, config))
    async with asyncio.timeout(20):
        await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    state = await agent.ainvoke({"messages": [("user", "still there?")]}, config)
    assert state["messages"][-1].text == "here"
    assert set(server.statuses) == {200}
    assert [message["role"] for message in server.requests[-1].messages] == ["user", "assistant", "tool", "user"]
    assert "may or may not have run" in server.requests[-1].messages[2]["content"]


async def test_messages_mode_shows_thinking_as_it_arrives(serve: Serve) -> None:
    agent = create_kimi_agent(kimi(serve(script_of_two_turns)), [add])
    sync = [part[0] for part in agent.stream(ASK, stream_mode="messages")]
    asynchronous = [part[0] async for part in agent.astream(ASK, stream_mode="messages")]
    for parts in (sync, asynchronous):
        chunks = [part for part in parts if isinstance(part, AIMessageChunk)]
        assert "".join(chunk.additional_kwargs.get("reasoning_content", "") for chunk in chunks) == "« go »so."
        assert "".join(chunk.text for chunk in chunks) == "answer 3"
        assert len(chunks) > 6


async def test_streamed_and_invoked_threads_are_equal(serve: Serve) -> None:
    agent = create_kimi_agent(kimi(serve(script_of_two_turns)), [add], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "streamed"}}
    async for _ in agent.astream(ASK, config, stream_mode="messages"):
        pass
    invoked = (await agent.ainvoke(ASK, {"configurable": {"thread_id": "invoked"}}))["messages"]

    def plain(messages: list[Any]) -> str:
        for message in messages:
            for key in ("kimi_started", "kimi_seconds"):
                message.additional_kwargs.pop(key, None)
        of_this_run = {"id", "response_metadata", "usage_metadata"}
        return json.dumps([message.model_dump(exclude=of_this_run) for message in messages], default=str)

    assert plain(agent.get_state(config).values["messages"]) == plain(invoked)


async def test_arguments_cut_short_are_not_run_when_streamed(serve: Serve) -> None:
    ran = []

    @tool
    def delete(path: str) -> str:
        """Delete a file."""
        ran.append(path)
        return "deleted"

    cut = raw_call("delete", '{"path": "/etc/pas').finish("length")
    agent = create_kimi_agent(kimi(serve([cut, said("I stop."), cut, said("I stop.")])), [delete])
    async for _ in agent.astream(ASK, stream_mode="messages"):
        pass
    for _ in agent.stream(ASK, stream_mode="messages"):
        pass
    assert ran == []


def test_agent_is_a_node_in_other_graphs(serve: Serve) -> None:
    graph = StateGraph(KimiState)
    graph.add_node("researcher", create_kimi_agent(kimi(serve(script_of_two_turns)), [add]))
    graph.add_edge(START, "researcher")
    assert graph.compile().invoke(ASK)["messages"][-1].text == "answer 3"


def test_routes_are_drawn(serve: Serve) -> None:
    drawn = create_kimi_agent(kimi(serve([])), [add]).get_graph().draw_mermaid()
    for edge in ("model -.-> tools", "model -.-> unusable", "model -.-> wrap_up", "tools --> model", "wrap_up --> "):
        assert edge in drawn


def test_agent_without_tools_is_a_chat(serve: Serve) -> None:
    server = serve([said("hello")])
    state = create_kimi_agent(kimi(server)).invoke(ASK)
    assert state["messages"][-1].text == "hello"
    assert "tools" not in server.requests[0].json


async def test_error_of_the_model_reaches_the_caller(serve: Serve) -> None:
    with pytest.raises(Exception, match="script has no reply left") as caught:
        await create_kimi_agent(kimi(serve([])), [add]).ainvoke(ASK)
    assert not isinstance(caught.value, GraphRecursionError)
