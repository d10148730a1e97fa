"""`langchain-kimi doctor tools`: what Kimi would get of tools, and modules that give none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.controls import EVIL, without_controls

TOOLS = '''
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
FUNCTIONS = '''
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

def reboot() -> str:
    """Reboot the machine."""
    raise SystemExit("a tool was run")

def make():
    return [add, reboot]

def fail():
    return 1 / 0

TOOLS = [add, reboot]
NAME = "add"
'''
Module = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """Writes a module into the working directory; its name."""

    def write(text: str) -> str:
        name = f"module_of_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.chdir(tmp_path)
        return name

    return write


def test_tools_are_shown_with_their_changes_and_problems(module: Module, run: Run) -> None:
    name = module(TOOLS)
    good = run("doctor", "tools", f"{name}:GOOD")
    assert good.status == 0
    assert "✓ files.read (sent as files_read_" in good.out
    assert "properties.lines" in good.out
    both = run("doctor", "tools", f"{name}:both")
    assert both.status == 1
    assert "✗ lookup" in both.out
    assert "properties.at" in both.out
    assert "2 tools: 1 with a rewritten schema, 1 that Kimi would refuse" in both.out


@pytest.mark.parametrize(
    ("name", "shown"),
    [("add", ["add"]), ("reboot", ["reboot"]), ("TOOLS", ["add", "reboot"]), ("make", ["add", "reboot"])],
)
def test_plain_functions_are_tools(module: Module, run: Run, name: str, shown: list[str]) -> None:
    result = run("doctor", "tools", f"{module(FUNCTIONS)}:{name}")
    assert result.status == 0
    assert result.out.splitlines() == [
        *(f"✓ {tool}" for tool in shown),
        f"{len(shown)} tool{'s' * (len(shown) > 1)}: 0 with a rewritten schema, 0 that Kimi would refuse",
    ]


def test_a_function_of_the_standard_library_needs_no_traceback(run: Run) -> None:
    result = run("doctor", "tools", "json:loads")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("✓ loads")


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("1 / 0\n", ":TOOLS", "cannot be imported: ZeroDivisionError: division by zero ("),
        ("raise SystemExit(3)\n", ":TOOLS", "cannot be imported: SystemExit: 3 ("),
        ("def\n", ":TOOLS", "cannot be imported: SyntaxError: invalid syntax"),
        ("", ":TOOLS", "has no object TOOLS. Check the name behind the colon."),
        ("", "", "is not MODULE:OBJECT. Name the object like this: my_app.tools:TOOLS"),
        (FUNCTIONS, ":NAME", "is a str, not a tool or a list of tools"),
        (FUNCTIONS, ":fail", "cannot be read: ZeroDivisionError: division by zero ("),
    ],
)
def test_a_module_that_gives_no_tools_is_an_error_of_one_line(
    module: Module, run: Run, text: str, name: str, words: str
) -> None:
    result = run("doctor", "tools", f"{module(text)}{name}")
    assert result.status == 2
    assert result.error.startswith("langchain-kimi doctor tools: ")
    assert words in result.error


def test_a_module_that_is_not_there_is_an_error_without_a_place_in_python(run: Run) -> None:
    result = run("doctor", "tools", "nowhere:TOOLS")
    assert result.status == 2
    assert "the module nowhere cannot be imported: ModuleNotFoundError: No module named 'nowhere'" in result.error
    assert "frozen" not in result.error


def test_names_and_schemas_cannot_steer_the_terminal(module: Module, run: Run) -> None:
    schema = {"type": "object", "properties": {f"p{EVIL}\n✓ forged": {}}}
    tool = {"type": "function", "function": {"name": f"n{EVIL}\n✓ forged", "parameters": schema}}
    text = without_controls(run("doctor", "tools", f"{module(f'TOOLS = [{tool!r}]')}:TOOLS"))
    assert "\\x1b" in text
    assert "\n✓ forged" not in text
