"""What is reported of tools and of a repaired history: warnings, errors, and log lines."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_kimi import KimiWarning
from langchain_kimi.errors import IllegalRequestError, ToolChoiceError
from langchain_kimi.testing import KimiServer, said
from tests.conftest import kimi

BROKEN: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "lookup",
        "parameters": {"type": "object", "properties": {"at": {"$ref": "https://elsewhere.example/schema.json"}}},
    },
}


@tool
def read(path: str, lines: tuple[int, int] | None = None) -> str:
    """Read a file."""
    return path


def test_tool_that_cannot_be_made_legal_is_left_out_with_one_warning(serve: Callable[..., KimiServer]) -> None:
    server = serve(lambda request: said("ok"))
    bound = kimi(server).bind_tools([read, BROKEN])
    with pytest.warns(KimiWarning, match=r"tool 'lookup': .* 'properties\.at.* left out") as caught:
        bound.invoke("hi")
    bound.invoke("hi")
    assert len([warning for warning in caught if warning.category is KimiWarning]) == 1
    assert [[function["name"] for function in request.tools] for request in server.requests] == [["read"]] * 2


def test_strict_tools_and_a_forced_choice_raise_before_anything_is_sent(serve: Callable[..., KimiServer]) -> None:
    server = serve([])
    with pytest.raises(IllegalRequestError, match="tool 'lookup'"):
        kimi(server, strict_tools=True).bind_tools([read, BROKEN]).invoke("hi")
    with pytest.raises(ToolChoiceError, match="cannot be the forced choice"):
        kimi(server).bind_tools([read, BROKEN], tool_choice="lookup").invoke("hi")
    assert server.requests == []


def test_changes_are_reported_and_logged_once(
    serve: Callable[..., KimiServer], caplog: pytest.LogCaptureFixture
) -> None:
    @tool
    def seen_once(span: tuple[int, int]) -> str:
        """A tool of this test alone."""
        return str(span)

    model = kimi(serve(lambda request: said("ok")))
    (report,) = model.check_tools([seen_once])
    assert report.changes
    assert report.problems == ()
    with caplog.at_level(logging.DEBUG, "langchain_kimi"):
        fresh = read.model_copy(update={"name": f"read_{id(model)}"})
        for _ in range(3):
            model.bind_tools([fresh]).invoke("hi")
    messages = [record.getMessage() for record in caplog.records if record.name == "langchain_kimi"]
    logged = [message for message in messages if f"read_{id(model)}" in message]  # threads of earlier tests may log
    assert len(logged) == len(set(logged)) > 0
    assert all("properties.lines" in message for message in logged)


class Branch(BaseModel):
    """A branch with branches of its own."""

    name: str
    branches: list["Branch"] = []


def test_class_that_contains_itself_keeps_its_shape(serve: Callable[..., KimiServer]) -> None:
    @tool
    def plant(trunk: Branch) -> str:
        """Plant a tree."""
        return trunk.name

    server = serve(lambda request: said('{"name": "oak", "branches": [{"name": "twig"}]}'))
    model = kimi(server)
    model.bind_tools([plant]).invoke("hi")
    assert model.with_structured_output(Branch).invoke("An oak.") == Branch(name="oak", branches=[Branch(name="twig")])
    for schema in (
        server.requests[0].tools[0]["parameters"],
        server.requests[1].json["response_format"]["json_schema"]["schema"],
    ):
        assert schema["$defs"]["Branch"]["properties"]["branches"]["items"] == {"$ref": "#/$defs/Branch"}


def test_repairs_are_logged_once(serve: Callable[..., KimiServer], caplog: pytest.LogCaptureFixture) -> None:
    model = kimi(serve(lambda request: said("ok")))
    history: Any = [
        ("user", "go"),
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "a:0", "name": "a", "args": {}, "type": "tool_call"}],
        },
        ("user", "so?"),
    ]
    with caplog.at_level(logging.INFO, "langchain_kimi"):
        model.invoke(history)
        model.invoke(history)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "langchain_kimi"]
    assert "message 1: missing_result" in line
