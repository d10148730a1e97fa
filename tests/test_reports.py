"""`langchain-kimi models` and `langchain-kimi doctor tools`, and what they tell."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_kimi import KimiWarning
from langchain_kimi.cli import main
from langchain_kimi.errors import IllegalRequestError, ToolChoiceError
from langchain_kimi.testing import KimiServer, said
from tests.conftest import kimi

MODULE = '''
from langchain_core.tools import tool

@tool("files.read")
def read(path: str, lines: tuple[int, int] | None = None) -> str:
    """Read a file."""
    return path

BROKEN = {"type": "function", "function": {"name": "lookup", "parameters": {
    "type": "object", "properties": {"at": {"$ref": "https://elsewhere.example/schema.json"}}}}}
GOOD = [read]
def both():
    return [read, BROKEN]
'''


@pytest.fixture
def tools_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"tools_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


def test_models_are_listed_with_successors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    k3 = next(line for line in lines if line.startswith("kimi-k3 "))
    assert "1,048,576" in k3
    assert "low/high/max" in k3
    assert "0.3 / 3 / 15" in k3
    assert any("retired 2026-08-31: use kimi-k2.6" in line for line in lines)


def test_reader_that_goes_away_is_no_failure() -> None:
    command = [sys.executable, "-m", "langchain_kimi", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_doctor_names_tool_path_and_rule(tools_module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "tools", f"{tools_module}:GOOD"]) == 0
    out = capsys.readouterr().out
    assert "✓ files.read (sent as files_read_" in out
    assert "properties.lines" in out
    assert main(["doctor", "tools", f"{tools_module}:both"]) == 1
    out = capsys.readouterr().out
    assert "✗ lookup" in out
    assert "properties.at" in out
    assert "2 tools: 1 with a rewritten schema, 1 that Kimi would refuse" in out


@pytest.mark.parametrize("target", ["nowhere:TOOLS", "nothing", "json:nothing", "json:__name__x"])
def test_doctor_tells_a_wrong_target_in_a_line(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "tools", target]) == 2
    assert capsys.readouterr().out.startswith(f"{target}: ")


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
    logged = [record.getMessage() for record in caplog.records if record.name == "langchain_kimi"]
    assert len(logged) == len(set(logged)) > 0
    assert all(f"read_{id(model)}: properties.lines" in line for line in logged)


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
