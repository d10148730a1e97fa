"""Tools that join a conversation in its middle, on the K3 family."""

from typing import Any

import pytest
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from langchain_kimi import KimiWarning, create_kimi_agent, dynamic_tools_message
from langchain_kimi.errors import IllegalRequestError
from langchain_kimi.testing import Reply, Request, called, said, thought
from tests.conftest import Serve, add, kimi


class Point(BaseModel):
    """A point."""

    x: float
    y: float


@tool("map.route")
def route(via: list[Point], speed: int | None = None) -> str:
    """A route over some points."""
    return f"{len(via)} points"


TALK: list[BaseMessage] = [HumanMessage("Hello."), AIMessage("Hello."), HumanMessage("Where to?")]


async def test_tools_that_join_are_declared_where_they_join_and_called_like_others(serve: Serve) -> None:
    def reply(request: Request) -> Reply:
        name = request.messages[2]["tools"][0]["function"]["name"]
        return thought("A route.").calling(name, via='[{"x": 1, "y": 2}]')

    server = serve(reply)
    model = kimi(server, "kimi-k3").bind_tools([add])
    given = [*TALK[:2], dynamic_tools_message([route]), TALK[2]]
    answers = [model.invoke(given), await model.ainvoke(given)]
    chunks = None
    for chunk in model.stream(given):
        chunks = chunk if chunks is None else chunks + chunk
    answers.append(chunks)
    for answer in answers:
        assert [call["name"] for call in answer.tool_calls] == ["map.route"]
    assert answers[0].tool_calls[0]["args"] == {"via": [{"x": 1, "y": 2}]}  # unwrapped by the schema that joined
    for request in server.requests:
        box = request.messages[2]
        assert sorted(box) == ["role", "tools"]
        assert box["role"] == "system"
        function = box["tools"][0]["function"]
        assert "." not in function["name"]
        assert [tool["name"] for tool in request.tools] == ["add"]


def test_what_was_sent_before_keeps_its_bytes(serve: Serve) -> None:
    server = serve([said("Hello."), said("On foot.")])
    model = kimi(server, "kimi-k3").bind_tools([add])
    model.invoke(TALK[:1])
    model.invoke([TALK[0], AIMessage("Hello."), dynamic_tools_message([route]), TALK[2]])
    first, second = (request.body for request in server.requests)
    assert second.startswith(first.removesuffix(b"]}"))


def test_the_message_survives_checkpoints_and_needs_no_repair(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve([said("Hello."), said("On foot."), said("Yes.")])
    agent = create_kimi_agent(kimi(server, "kimi-k3"), [add], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": TALK[:1]}, config)
    with caplog.at_level("INFO", "langchain_kimi"):
        agent.invoke({"messages": [dynamic_tools_message([route]), TALK[2]]}, config)
        agent.invoke({"messages": [HumanMessage("Sure?")]}, config)
    assert "repaired" not in caplog.text
    assert [message["role"] for message in server.requests[2].messages] == [
        *("user", "assistant", "system", "user", "assistant", "user")
    ]
    assert server.requests[2].body.startswith(server.requests[1].body.removesuffix(b"]}"))
    message = dynamic_tools_message([route])
    assert load(dumpd(message), allowed_objects="messages") == message


def test_it_may_come_last_and_between_calls_and_results(serve: Serve) -> None:
    server = serve([said("Then I route."), said("Done.")])
    model = kimi(server, "kimi-k3")
    model.invoke([*TALK, dynamic_tools_message([route])])
    asked = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "add:0"}])
    model.bind_tools([add]).invoke(
        [TALK[0], asked, dynamic_tools_message([route]), ToolMessage("3", tool_call_id="add:0")]
    )
    assert [message["role"] for message in server.requests[1].messages] == ["user", "assistant", "tool", "system"]


def test_it_satisfies_a_forced_choice(serve: Serve) -> None:
    server = serve([called("x")])
    kimi(server, "kimi-k3").invoke([*TALK, dynamic_tools_message([route])], tool_choice="required")
    assert server.requests[0].json["tool_choice"] == "required"
    assert "tools" not in server.requests[0].json


def weather(city: str) -> str:
    """The weather."""
    return city


SCHEMA = {"title": "f", "description": "d", "type": "object", "properties": {}}


@pytest.mark.parametrize("form", [route, Point, weather, SCHEMA])
def test_any_form_that_bind_tools_takes_is_taken(serve: Serve, form: Any) -> None:
    server = serve([said("Yes.")])
    kimi(server, "kimi-k3").invoke([*TALK, dynamic_tools_message([form])])
    assert server.requests[0].messages[-1]["tools"][0]["type"] == "function"


@pytest.mark.parametrize("model", ["kimi-k2.6", "kimi-k2.7-code"])
async def test_models_that_read_tools_in_the_request_only_say_so(serve: Serve, model: str) -> None:
    server = serve([])
    with pytest.raises(IllegalRequestError, match=r"messages\[3\].tools.*Bind the tools .*K3 family"):
        kimi(server, model).invoke([*TALK, dynamic_tools_message([route])])
    with pytest.raises(IllegalRequestError, match="K3 family"):
        await kimi(server, model).ainvoke([*TALK, dynamic_tools_message([route])])
    assert server.requests == []


@pytest.mark.parametrize("tools", ["search", ["search"], [], {"a": 1}])
def test_what_another_program_keeps_under_tools_is_no_declaration(serve: Serve, tools: Any) -> None:
    server = serve([said("Hello.")])
    kimi(server).invoke([SystemMessage("Be brief.", additional_kwargs={"tools": tools}), *TALK])
    assert server.requests[0].messages[0] == {"role": "system", "content": "Be brief."}


def test_a_name_is_declared_once(serve: Serve) -> None:
    server = serve([])
    model = kimi(server, "kimi-k3")
    with pytest.raises(IllegalRequestError, match="function name add is duplicated"):
        model.bind_tools([add]).invoke([*TALK, dynamic_tools_message([add])])
    with pytest.raises(IllegalRequestError, match="duplicated"):
        model.invoke([dynamic_tools_message([route]), *TALK, dynamic_tools_message([route])])


def test_tools_and_words_are_two_messages(serve: Serve) -> None:
    both = dynamic_tools_message([add]).model_copy(update={"content": "New tools."})
    with pytest.raises(IllegalRequestError, match="Leave `content` out"):
        kimi(serve([]), "kimi-k3").invoke([*TALK, both])


HOPELESS = {
    "type": "function",
    "function": {
        "name": "tree",
        "parameters": {
            "type": "object",
            "properties": {"children": {"$ref": "#/$defs/tree"}},
            "required": ["children"],
            "$defs": {
                "tree": {
                    "type": "object",
                    "properties": {"children": {"$ref": "#/$defs/tree"}},
                    "required": ["children"],
                }
            },
        },
    },
}


def test_a_tool_that_cannot_be_legal_is_left_out_and_told(serve: Serve) -> None:
    with pytest.warns(KimiWarning, match=r"tool 'tree': Kimi would refuse its schema.*left out"):
        message = dynamic_tools_message([add, HOPELESS])
    assert [one["function"]["name"] for one in message.additional_kwargs["tools"]] == ["add"]
    with pytest.warns(KimiWarning), pytest.raises(IllegalRequestError, match="at least one"):
        dynamic_tools_message([HOPELESS])
    with pytest.raises(IllegalRequestError, match="tool 'tree': Kimi would refuse"):
        kimi(serve([]), "kimi-k3").invoke([*TALK, SystemMessage("", additional_kwargs={"tools": [HOPELESS]})])
