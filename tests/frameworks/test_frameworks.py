"""LangChain's own agents and helpers on every current model: tool loops in which no request is refused."""

import json
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, SummarizationMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage, trim_messages
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from langchain_kimi.catalogue import MODELS, find
from langchain_kimi.testing import KimiServer, Reply, Request, called, said, thought
from tests.chat_model.standard.replies import sample
from tests.conftest import KEY, PAIRED, Serve, add, kimi

CURRENT = [row.id for row in MODELS if not row.is_retired()]
ASK: Any = {"messages": [("user", "How many are 2 and 3?")]}


class Sum(BaseModel):
    """A sum."""

    total: int


def play(request: Request) -> Reply:
    """Adds first; then gives the object in the form asked for, or words."""
    asked = "5"
    if request.tools and not request.tool_results():
        return thought("I add. ").calling_raw("add", '{"a": 2, "b":3}')
    if request.json.get("response_format"):
        return said(
            json.dumps(sample(request.json["response_format"]["json_schema"]["schema"], asked)), thinking="So. "
        )
    others = [function for function in request.tools if function["name"] != "add"]
    if others and request.json.get("tool_choice") != "none":
        return called(others[0]["name"], **sample(others[0]["parameters"], asked)).thinking("Now the object. ")
    return said("5", thinking="Done. ")


def assert_nothing_was_refused(server: KimiServer) -> None:
    assert set(server.statuses) == {200}
    assert server.script_errors == []


@PAIRED
@pytest.mark.filterwarnings("ignore:tool_choice:langchain_kimi.KimiWarning")
@pytest.mark.parametrize("strategy", [Sum, ProviderStrategy(Sum), ToolStrategy(Sum)], ids=["auto", "provider", "tool"])
@pytest.mark.parametrize("model", CURRENT)
async def test_create_agent_returns_an_object(serve: Serve, model: str, strategy: Any) -> None:
    server = serve(play)
    agent: Any = create_agent(kimi(server, model), [add], response_format=strategy)
    assert agent.invoke(ASK)["structured_response"] == Sum(total=5)
    assert (await agent.ainvoke(ASK))["structured_response"] == Sum(total=5)
    assert_nothing_was_refused(server)
    sent, row = server.requests[1].messages[1], find(model)
    assert sent["tool_calls"][0]["function"]["arguments"] == '{"a": 2, "b":3}'
    assert sent.get("reasoning_content") == (None if row and row.thinking == "never" else "I add. ")


@PAIRED
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("model", CURRENT)
def test_structured_output_on_every_model(serve: Serve, model: str, method: Any) -> None:
    server = serve(lambda request: play(request) if "response_format" in request.json else called("Sum", total=5))
    assert kimi(server, model).with_structured_output(Sum, method=method).invoke("2 + 3?") == Sum(total=5)
    assert_nothing_was_refused(server)


@pytest.mark.parametrize("model", CURRENT)
def test_approval_edit_and_rejection(serve: Serve, model: str) -> None:
    server = serve(play)
    middleware: Any = HumanInTheLoopMiddleware(interrupt_on={"add": True})
    agent: Any = create_agent(kimi(server, model), [add], middleware=[middleware], checkpointer=InMemorySaver())
    decisions: list[dict[str, Any]] = [
        {"type": "approve"},
        {"type": "edit", "edited_action": {"name": "add", "args": {"a": 20, "b": 30}}},
        {"type": "reject", "message": "no sums today"},
    ]
    for number, decision in enumerate(decisions):
        config = {"configurable": {"thread_id": str(number)}}
        agent.invoke(ASK, config)
        state = agent.invoke(Command(resume={"decisions": [decision]}), config)
        assert state["messages"][-1].text == "5"
    assert_nothing_was_refused(server)
    assert server.requests[1].last["content"] == "5"
    assert server.requests[3].last["content"].endswith("50")
    assert "no sums today" in server.requests[5].last["content"]


@pytest.mark.parametrize("model", CURRENT)
def test_summarised_history(serve: Serve, model: str) -> None:
    server = serve(play)
    writer = kimi(serve(lambda request: said("They added numbers.", thinking="Short. ")), model)
    middleware: Any = SummarizationMiddleware(writer, trigger=("messages", 6), keep=("messages", 3))
    agent: Any = create_agent(kimi(server, model), [add], middleware=[middleware], checkpointer=InMemorySaver())
    for _ in range(4):
        agent.invoke(ASK, {"configurable": {"thread_id": "1"}})
    assert_nothing_was_refused(server)
    assert "They added numbers." in json.dumps(server.requests[-1].messages)


@PAIRED
@pytest.mark.parametrize("model", CURRENT)
@pytest.mark.parametrize("kept", range(1, 9))
def test_trimmed_history(serve: Serve, model: str, kept: int) -> None:
    server = serve(play)
    bound = kimi(server, model).bind_tools([add])
    history: list[BaseMessage] = []
    for _ in range(2):
        history.append(HumanMessage("2 + 3?"))
        answer = bound.invoke(history)
        history += [answer, ToolMessage("5", tool_call_id=answer.tool_calls[0]["id"])]
        history.append(bound.invoke(history))
    bound.invoke([*trim_messages(history, max_tokens=kept, token_counter=len, strategy="last"), HumanMessage("So?")])
    assert_nothing_was_refused(server)


@pytest.mark.parametrize("model", CURRENT)
def test_history_made_by_chat_openai_goes_on_and_back(serve: Serve, model: str) -> None:
    server = serve(play, models=["other"])
    other = ChatOpenAI(model="other", base_url=server.url, api_key=KEY).bind_tools([add])  # type: ignore[arg-type]
    ours = kimi(server, model).bind_tools([add])
    history: list[BaseMessage] = []
    for bound in (other, ours, other, ours):
        history.append(HumanMessage("2 + 3?"))
        answer = bound.invoke(history)
        history += [answer, ToolMessage("5", tool_call_id=answer.tool_calls[0]["id"])]
        history.append(bound.invoke(history))
    assert_nothing_was_refused(server)


def test_history_of_anthropics_shape(serve: Serve) -> None:
    server = serve(play)
    history: list[BaseMessage] = [
        HumanMessage("2 + 3?"),
        AIMessage(
            content=[
                {"type": "thinking", "thinking": "Mine.", "signature": "s"},
                {"type": "text", "text": "I add."},
                {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 2, "b": 3}},
            ],
            tool_calls=[{"id": "toolu_1", "name": "add", "args": {"a": 2, "b": 3}}],
            response_metadata={"model_provider": "anthropic"},
        ),
        ToolMessage([{"type": "text", "text": "5"}], tool_call_id="toolu_1"),
    ]
    kimi(server).bind_tools([add]).invoke(history)
    assert_nothing_was_refused(server)
    sent = server.requests[0].messages
    assert (sent[1]["content"], sent[1]["reasoning_content"], sent[2]["content"]) == ("I add.", " ", "5")
    assert "Mine." not in json.dumps(sent)
