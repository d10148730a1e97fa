"""Tool names that Kimi refuses travel under legal ones; the user sees only their own."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import StructuredTool

from langchain_kimi import create_kimi_agent
from langchain_kimi._request.tools import wire_name
from langchain_kimi.errors import IllegalRequestError
from langchain_kimi.testing import KimiServer, Reply, Request, called, said
from tests.conftest import kimi

LEGAL = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
ILLEGAL = ["fs.read", "21st/magic", "get weather", "查找", "naïve", "a" * 65, "-x", "9", "a:b"]


@pytest.mark.parametrize("name", ["add", "get-weather", "_x", "A1", "a" * 64, "$web_search"])
def test_legal_name_passes(name: str) -> None:
    assert wire_name(name) == name


@given(st.text(min_size=1).filter(lambda name: not name.startswith("$")))
def test_every_name_becomes_legal_and_stays_so(name: str) -> None:
    sent = wire_name(name)
    assert sent == name or (LEGAL.fullmatch(sent) and len(sent) <= 64)
    assert wire_name(sent) == sent


def test_names_that_look_alike_stay_apart() -> None:
    names = ["a.b", "a/b", "a b", "a_b", "查找", "找查", "a" * 65, "a" * 66]
    assert len({wire_name(name) for name in names}) == len(names)


def play(request: Request) -> Reply:
    results = request.tool_results()
    if results:
        return said(", ".join(result["content"] for result in results))
    reply = Reply()
    for function in request.tools:
        reply = reply.calling(function["name"], text="x")
    return reply.thinking("all")


def tools_named(names: list[str]) -> list[StructuredTool]:
    def tool_named(name: str) -> StructuredTool:
        def echo(text: str) -> str:
            return f"{name}: {text}"

        return StructuredTool.from_function(echo, name=name, description="Echo.")

    return [tool_named(name) for name in names]


class Names(BaseCallbackHandler):
    """Notes under which names tools run."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **kwargs: Any) -> None:
        self.seen.append(serialized["name"])


async def test_user_sees_only_their_own_names(serve: Callable[..., KimiServer]) -> None:
    server, names = serve(play), Names()
    agent = create_kimi_agent(kimi(server), tools_named(ILLEGAL))
    state = await agent.ainvoke({"messages": [("user", "go")]}, {"callbacks": [names]})
    answer: AIMessage = state["messages"][1]
    assert [call["name"] for call in answer.tool_calls] == ILLEGAL
    assert [message.name for message in state["messages"] if isinstance(message, ToolMessage)] == ILLEGAL
    assert sorted(names.seen) == sorted(ILLEGAL)
    assert state["messages"][-1].text == ", ".join(f"{name}: x" for name in ILLEGAL)
    sent = [function["name"] for function in server.requests[1].tools]
    assert sent == [wire_name(name) for name in ILLEGAL]
    assert [call["function"]["name"] for call in server.requests[1].messages[1]["tool_calls"]] == sent
    chunks = [chunk async for chunk in kimi(server).bind_tools(tools_named(ILLEGAL)).astream("go")]
    assert [c["name"] for chunk in chunks for c in chunk.tool_call_chunks if c["name"]] == ILLEGAL


def test_named_choice_and_calls_of_tools_that_are_gone(serve: Callable[..., KimiServer]) -> None:
    server = serve(lambda request: called(wire_name("old.tool"), text="x"))
    bound = kimi(server, thinking=False).bind_tools(tools_named(["fs.read"]), tool_choice="fs.read")
    history = [
        ("user", "go"),
        AIMessage("", tool_calls=[{"id": "old:0", "name": "old.tool", "args": {}}]),
        ToolMessage("done", tool_call_id="old:0"),
    ]
    answer = bound.invoke(history)
    assert server.requests[0].json["tool_choice"]["function"]["name"] == wire_name("fs.read")
    assert answer.tool_calls[0]["name"] == "old.tool"


def test_dollar_is_kept_for_kimis_own_functions(serve: Callable[..., KimiServer]) -> None:
    server = serve([said("ok")])
    builtin = {"type": "builtin_function", "function": {"name": "$web_search"}}
    kimi(server, thinking=False).bind(tools=[builtin]).invoke("hi")
    assert server.requests[0].json["tools"] == [builtin]
    with pytest.raises(IllegalRequestError, match="function name is invalid"):
        kimi(server).bind_tools(tools_named(["$mine"])).invoke("hi")


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_schema_with_an_odd_title(serve: Callable[..., KimiServer], method: Any) -> None:
    schema = {"title": "Box[int] of 箱", "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    def script(request: Request) -> Reply:
        return called(request.tools[0]["name"], n=1) if request.tools else said('{"n": 1}')

    assert kimi(serve(script)).with_structured_output(schema, method=method).invoke("x") == {"n": 1}
