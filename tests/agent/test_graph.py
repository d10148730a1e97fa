"""Objects in the end, states and hooks of one's own, prompts and tools by turn, and everything a stream shows."""

import asyncio
import itertools
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from pydantic import BaseModel

from langchain_kimi import AgentLimits, KimiState, create_kimi_agent
from langchain_kimi.errors import StructuredOutputError
from langchain_kimi.testing import Reply, Request, called, overloaded, said, thought
from tests.clock import VirtualClock
from tests.conftest import SYNC_AND_ASYNC, Serve, add, kimi

ASK: Any = {"messages": [("user", "go")]}


async def ran(agent: Any, way: str, given: Any = ASK, config: Any = None, **more: Any) -> dict[str, Any]:
    if way == "sync":
        return await asyncio.to_thread(lambda: agent.invoke(given, config, **more))  # type: ignore[no-any-return]
    return await agent.ainvoke(given, config, **more)  # type: ignore[no-any-return]


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Sum(BaseModel):
    """A sum."""

    value: int


def sums(request: Request) -> Reply:
    if "response_format" in request.json:
        return said('{"value": 5}')
    told_to_stop = request.json.get("tool_choice") == "none"
    return said("It is five.") if told_to_stop or request.tool_results() else thought("A sum.").calling("add", a=2, b=3)


@SYNC_AND_ASYNC
@pytest.mark.parametrize("model", ["kimi-k2.6", "kimi-k3"])
async def test_response_format_gives_a_validated_object_and_forces_no_tool(serve: Serve, way: str, model: str) -> None:
    server = serve(sums)
    agent = create_kimi_agent(kimi(server, model), [add], response_format=Sum, checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    state = await ran(agent, way, config=thread)
    assert state["structured_response"] == Sum(value=5)
    assert state["messages"][-1].text == "It is five."
    assert state["spent"]["requests"] == 3
    last = server.requests[-1]
    assert last.json.get("tool_choice") == "none"
    assert last.body.partition(b'"messages":')[2].startswith(
        server.requests[1].body.partition(b'"messages":')[2][: -len(b"]}")]
    )
    assert last.json["tools"] == server.requests[0].json["tools"]
    assert last.messages[2]["content"] == "5"
    assert {request.json.get("tool_choice") for request in server.requests} == {None, "none"}
    again = await ran(agent, way, config=thread)
    assert again["structured_response"] == Sum(value=5)
    assert set(server.statuses) == {200}


@SYNC_AND_ASYNC
async def test_response_format_comes_after_a_limit_too(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        return (
            said('{"value": 1}') if "response_format" in request.json else called("add", a=len(request.messages), b=1)
        )

    for limits, config in ((AgentLimits(turns=2), None), (AgentLimits(), {"recursion_limit": 8})):
        agent = create_kimi_agent(kimi(serve(script)), [add], response_format=Sum, limits=limits)
        state = await ran(agent, way, config=config)
        assert state["structured_response"] == Sum(value=1)
        assert state["stop_reason"] in ("turns", "recursion_limit")


@SYNC_AND_ASYNC
async def test_response_format_that_does_not_come_raises(serve: Serve, way: str) -> None:
    server = serve(lambda request: said("no object here"))
    with pytest.raises(StructuredOutputError, match="no JSON object"):
        await ran(create_kimi_agent(kimi(server), [add], response_format=Sum), way)


@SYNC_AND_ASYNC
async def test_every_request_for_the_object_is_in_the_account(serve: Serve, way: str) -> None:
    answers = [said("Five."), said("I think it is five."), called("Sum", value=5)]
    server = serve(answers, models=["kimi-k2-thinking"])
    agent = create_kimi_agent(kimi(server, "kimi-k2-thinking"), [add], response_format=Sum)
    state = await ran(agent, way)
    assert state["structured_response"] == Sum(value=5)
    assert state["spent"]["requests"] == 3


class Notes(KimiState):
    """A state of one's own."""

    topic: str


@dataclass
class Who:
    """What a run knows of its user."""

    user: str


@SYNC_AND_ASYNC
async def test_prompts_follow_state_and_context(serve: Serve, way: str) -> None:
    server = serve(lambda request: said("ok"))

    def prompt(state: Notes, runtime: Runtime[Who]) -> str:
        return f"{runtime.context.user} asks about {state['topic']}."

    agent = create_kimi_agent(kimi(server), [add], system_prompt=prompt, state_schema=Notes, context_schema=Who)
    state = await ran(agent, way, {**ASK, "topic": "fish"}, context=Who("Ann"))
    assert server.requests[0].messages[0] == {"role": "system", "content": "Ann asks about fish."}
    assert state["topic"] == "fish"
    others = create_kimi_agent(kimi(server), system_prompt=lambda state: [SystemMessage("a"), HumanMessage("b")])
    await ran(others, way)
    assert [message["content"] for message in server.requests[1].messages] == ["a", "b", "go"]


@SYNC_AND_ASYNC
async def test_tools_are_chosen_for_each_request_and_no_other_can_be_called(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        return said("done") if len(request.messages) > 3 else called("multiply", a=2, b=3).calling("add", a=2, b=3)

    def choose(state: KimiState) -> list[Any]:
        return [add, "multiply"] if len(state["messages"]) > 1 else ["add"]

    server = serve(script)
    state = await ran(create_kimi_agent(kimi(server), [multiply, add], select_tools=choose), way)
    assert [[one["function"]["name"] for one in request.json["tools"]] for request in server.requests] == [
        ["add"],
        ["multiply", "add"],
    ]
    results = [message.content for message in state["messages"] if isinstance(message, ToolMessage)]
    assert results == ["multiply is not a tool you have. Your tools are: add.", "5"]
    wrong = create_kimi_agent(kimi(server), [add], select_tools=lambda state: ["fly"])
    with pytest.raises(ValueError, match="select_tools returned fly"):
        await ran(wrong, way)


@SYNC_AND_ASYNC
async def test_tools_join_a_k3_conversation_without_moving_its_prefix(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        if request.last["role"] == "user":
            return called("add", a=2, b=3)
        return said("done") if request.last.get("content") == "42" else called("multiply", a=6, b=7)

    def choose(state: KimiState) -> list[str]:
        return ["add"] if len(state["messages"]) == 1 else ["multiply", "add"]

    server = serve(script)
    agent = create_kimi_agent(
        kimi(server, "kimi-k3"), [multiply, add], select_tools=choose, checkpointer=InMemorySaver()
    )
    thread = {"configurable": {"thread_id": "1"}}
    for _ in range(2):
        state = await ran(agent, way, config=thread)
    assert state["messages"][-1].text == "done"
    bodies = [request.body for request in server.requests]
    assert len(bodies) == 6
    for earlier, later in itertools.pairwise(bodies):
        assert later.startswith(earlier[: -len(b"]}")])
    declared = [message["tools"] for message in server.requests[-1].messages if "tools" in message]
    assert [[tool["function"]["name"] for tool in tools] for tools in declared] == [["multiply"]]
    assert set(server.statuses) == {200}


@SYNC_AND_ASYNC
async def test_hooks_run_before_and_after_every_answer(serve: Serve, way: str) -> None:
    server = serve(sums)
    seen: list[str] = []

    def before(state: KimiState) -> Any:
        seen.append(f"before {len(state['messages'])}")
        return {"llm_input_messages": [HumanMessage("only this"), *state["messages"][1:]]}

    def after(state: KimiState) -> Any:
        seen.append(f"after {len(state['messages'])}")
        return {}

    agent = create_kimi_agent(kimi(server), [add], pre_model_hook=before, post_model_hook=after)
    state = await ran(agent, way)
    assert seen == ["before 1", "after 2", "before 3", "after 4"]
    assert [request.messages[0]["content"] for request in server.requests] == ["only this"] * 2
    assert state["messages"][0].text == "go"
    assert state["stop_reason"] == "stop"
    for limit in range(5, 12):
        limited = await ran(agent, way, config={"recursion_limit": limit})
        assert limited["messages"][-1].type == "ai"


@SYNC_AND_ASYNC
async def test_a_hook_may_rewrite_the_thread(serve: Serve, way: str) -> None:
    server = serve(lambda request: said("ok"))

    def forget(state: KimiState) -> Any:
        return {"messages": [RemoveMessage(message.id or "") for message in state["messages"][:-1]]}

    agent = create_kimi_agent(kimi(server), pre_model_hook=forget, checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    for _ in range(2):
        state = await ran(agent, way, config=thread)
    assert [message.text for message in state["messages"]] == ["go", "ok"]
    assert len(server.requests[-1].messages) == 1


@SYNC_AND_ASYNC
async def test_the_messages_stream_shows_thinking_then_text(serve: Serve, way: str) -> None:
    agent = create_kimi_agent(kimi(serve(sums)), [add], response_format=Sum)
    if way == "sync":
        parts = await asyncio.to_thread(lambda: list(agent.stream(ASK, stream_mode="messages")))
    else:
        parts = [part async for part in agent.astream(ASK, stream_mode="messages")]
    chunks = [
        chunk for chunk, about in parts if isinstance(chunk, AIMessageChunk) and about["langgraph_node"] == "model"
    ]
    assert "".join(chunk.additional_kwargs.get("reasoning_content", "") for chunk in chunks) == "A sum."
    assert "".join(chunk.text for chunk in chunks) == "It is five."


@SYNC_AND_ASYNC
async def test_waits_are_told_on_the_custom_stream(serve: Serve, way: str) -> None:
    server = serve([overloaded(), said("at last")])
    agent = create_kimi_agent(kimi(server, max_retries=1, clock=VirtualClock()))
    if way == "sync":
        told = await asyncio.to_thread(lambda: list(agent.stream(ASK, stream_mode="custom")))
    else:
        told = [part async for part in agent.astream(ASK, stream_mode="custom")]
    (wait,) = [part for part in told if part["event"] == "kimi_wait"]
    assert wait["seconds"] > 0
    assert wait["attempt"] == 1
    assert "overloaded" in wait["error"]


async def test_astream_events_name_nodes_models_and_tools(serve: Serve) -> None:
    agent = create_kimi_agent(kimi(serve(sums)), [add], name="adder")
    events = [event async for event in agent.astream_events(ASK, version="v2")]
    names = {(event["event"], event["name"]) for event in events}
    assert {("on_chain_start", "adder"), ("on_tool_end", "add"), ("on_chat_model_stream", "ChatKimi")} <= names


@SYNC_AND_ASYNC
async def test_an_agent_is_a_node_that_shares_messages_and_adds_its_account(serve: Serve, way: str) -> None:
    server = serve(sums)
    agent = create_kimi_agent(kimi(server), [add])
    graph = StateGraph(KimiState)
    graph.add_node("first", agent)
    graph.add_node("second", agent)
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    state = await ran(graph.compile(), way)
    assert state["spent"]["requests"] == len(server.requests) == 4
    assert state["messages"][-1].text == "It is five."


def test_a_state_that_does_not_extend_kimi_state_is_refused(serve: Serve) -> None:
    from typing import TypedDict

    class Bare(TypedDict):
        messages: list[Any]

    with pytest.raises(ValueError, match="let it extend KimiState"):
        create_kimi_agent(kimi(serve([])), state_schema=Bare)


def test_every_route_is_drawn(serve: Serve) -> None:
    drawn = (
        create_kimi_agent(kimi(serve([])), [add], response_format=Sum, interrupt_on={"add": True})
        .get_graph()
        .draw_mermaid()
    )
    for edge in (
        *("begin --> model", "model -.-> tools", "model -.-> unusable", "model -.-> wrap_up", "model -.-> review"),
        *("review -.-> tools", "review -.-> model", "tools --> model", "unusable --> model", "model -.-> respond"),
        *("wrap_up --> respond", "respond --> __end__"),
    ):
        assert edge in drawn
