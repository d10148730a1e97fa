"""Arrays and objects that the model wrote as strings."""

import asyncio
import json
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool

from langchain_kimi import create_kimi_agent
from langchain_kimi._raw_calls import raw_calls
from langchain_kimi.testing import said, thought
from tests.conftest import Serve, kimi
from tests.response.helpers import call, delta, of

ASK: Any = {"messages": [("user", "go")]}


SCHEMA = {
    "type": "object",
    "$defs": {"Point": {"type": "object"}, "Loop": {"$ref": "#/$defs/Loop"}},
    "properties": {
        "items": {"type": "array", "items": {"type": "integer"}},
        "maybe": {"anyOf": [{"type": "array"}, {"type": "null"}]},
        "point": {"$ref": "#/$defs/Point"},
        "either": {"anyOf": [{"type": "string"}, {"type": "array"}]},
        "text": {"type": "string"},
        "free": {},
        "loose": {"anyOf": [{"type": "array"}, {"description": "or whatever"}]},
        "loop": {"$ref": "#/$defs/Loop"},
    },
}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("items", "[1, 2]", [1, 2]),
        ("items", '["[1]"]', ["[1]"]),
        ("items", '"[1]"', '"[1]"'),
        ("items", '{"a": 1}', '{"a": 1}'),
        ("items", "[1", "[1"),
        ("maybe", "[]", []),
        ("maybe", "null", "null"),
        ("point", '{"x": 1}', {"x": 1}),
        ("either", "[1]", "[1]"),
        ("text", "[1]", "[1]"),
        ("free", "[1]", "[1]"),
        ("loose", "[1]", "[1]"),
        ("loop", "[1]", "[1]"),
        ("unknown", "[1]", "[1]"),
    ],
)
@pytest.mark.parametrize("v1", [False, True], ids=["v0", "v1"])
def test_strings_are_unwrapped_once_where_only_the_schema_allows(
    name: str, value: str, expected: Any, v1: bool
) -> None:
    raw = json.dumps({name: value, "other": "[]"})
    said_call = call("draw", raw, id="draw:0", index=0)
    message = of(delta(said_call), schemas={"draw": SCHEMA}, v1=v1)
    assert message.tool_calls[0]["args"] == {name: expected, "other": "[]"}
    assert raw_calls(message)[0]["arguments"] == raw
    assert of(delta(said_call), v1=v1).tool_calls[0]["args"] == {name: value, "other": "[]"}
    if v1:
        assert message.content[0]["args"] == {name: expected, "other": "[]"}  # type: ignore[index]


def test_an_unwrapped_call_that_was_edited_goes_back_as_edited() -> None:
    message = of(delta(call("draw", '{"items": "[1]"}', id="draw:0", index=0)), schemas={"draw": SCHEMA})
    message.tool_calls[0]["args"] = {"items": [1, 2]}
    assert raw_calls(message)[0]["arguments"] == '{"items":[1,2]}'
    message.tool_calls[0]["args"] = {"items": "[1]"}
    assert raw_calls(message)[0]["arguments"] == '{"items": "[1]"}'


async def test_list_written_as_a_string_reaches_the_tool_as_a_list_and_goes_back_as_it_came(serve: Serve) -> None:
    got: list[list[int]] = []

    @tool
    def total(numbers: list[int]) -> int:
        """Add numbers."""
        got.append(numbers)
        return sum(numbers)

    raw = '{"numbers": "[1, 2]"}'
    server = serve(
        lambda request: said("3") if request.tool_results() else thought("sum").calling_raw("total", raw, "total:0")
    )
    agent = create_kimi_agent(kimi(server), [total])
    for state in (await asyncio.to_thread(agent.invoke, ASK), await agent.ainvoke(ASK)):
        assert [message.status for message in state["messages"] if isinstance(message, ToolMessage)] == ["success"]
    assert got == [[1, 2]] * 2
    assert server.requests[1].messages[1]["tool_calls"][0]["function"]["arguments"] == raw
