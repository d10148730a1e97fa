"""What the README and the documentation say is so: their code runs, their commands are the ones CI runs."""

import os
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_kimi.testing import FakeKimi, KimiServer, Reply, Request, said
from tests import forks
from tests.chat_model.standard.replies import last_user_text, reply

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    ((?:pip|python|ruff|langchain-kimi) .*)$", README, re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
NEEDED = ("PATH", "HOME", "PYTHONPATH", "TMPDIR")
"""All that a block gets of the environment: no key, no host, no setting of LangChain."""


def blocks() -> list[object]:
    """Every block of Python, named by its page and the line on which it begins."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in CODE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match.group(1), id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def run(target: Callable[..., None], *arguments: str, folder: Path = ROOT, **variables: str) -> None:
    env = {name: os.environ[name] for name in NEEDED if name in os.environ} | variables
    ended = forks.run(target, *arguments, folder=folder, env=env)
    assert ended.status == 0, ended.output


def polite(request: Request) -> Reply:
    """Greets where a greeting is wanted."""
    return said("Hello.") if "hello" in last_user_text(request).lower() else reply(request)


@pytest.mark.parametrize("code", blocks())
def test_code_runs(code: str, serve: Callable[..., KimiServer], tmp_path: Path) -> None:
    block = tmp_path / "test_block.py"
    block.write_text(code)
    if re.search(r"\b(?:KimiServer|FakeKimi)\(", code):  # brings its own server, so it needs nothing else
        run(forks.as_script, str(block))
        return
    server = serve(polite)
    live = {"MOONSHOT_API_KEY": "sk-readme", "MOONSHOT_BASE_URL": server.url}
    if "def test_" not in code:
        run(forks.as_script, str(block), **live)
    else:  # a test with a cassette: recorded from the server, then replayed without it
        plugin = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "langchain_kimi.testing.plugin"}
        run(forks.as_pytest, "-q", block.name, "--kimi-record=once", folder=tmp_path, **plugin, **live)
        run(forks.as_pytest, "-q", block.name, folder=tmp_path, **plugin)
    assert server.script_errors == []


def test_commands_are_the_ones_that_ci_runs() -> None:
    demo, test, check, record = COMMANDS
    assert demo == 'pip install -e ".[cli]" && langchain-kimi demo'
    ci = (ROOT / ".ci" / "run").read_text()
    assert test.replace("install", "install -q") in ci
    assert check in ci
    assert record == "python -m pytest tests/testing/cassettes/test_vcrpy_cassette.py --record-mode=rewrite"


def test_every_linked_file_exists() -> None:
    linked = re.findall(r"\]\((?!http|#)([^)]*)\)", README)
    assert linked
    assert [path for path in linked if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(("place", "example"), [(0, "supervisor"), (1, "plan_execute")])
def test_a_drawing_is_that_of_the_example(place: int, example: str) -> None:
    teams = (ROOT / "docs" / "teams.md").read_text()
    drawings = re.findall(r"^```mermaid\n(.*?)^```", teams, re.DOTALL | re.MULTILINE)
    build = runpy.run_path(str(ROOT / "examples" / f"{example}.py"))["build"]
    drawn = build(FakeKimi([])).get_graph().draw_mermaid(with_styles=False)
    assert drawings[place] == drawn
