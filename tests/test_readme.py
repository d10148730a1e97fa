"""What the README says is so: its code runs, its commands are the ones CI runs."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_kimi.testing import FakeKimi, KimiServer
from tests.standard.replies import reply

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^    ((?:pip|python|ruff|langchain-kimi) .*)$", README, re.MULTILINE)


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.split("\n")[0])
def test_code_runs(code: str, serve: Callable[..., KimiServer]) -> None:
    server = serve(reply)
    env = {**os.environ, "MOONSHOT_API_KEY": "sk-readme", "MOONSHOT_BASE_URL": server.url}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert server.script_errors == []


def test_commands_are_the_ones_that_ci_runs() -> None:
    demo, test, check, record = COMMANDS
    assert demo == 'pip install -e ".[cli]" && langchain-kimi demo'
    ci = (ROOT / ".ci" / "run").read_text()
    assert test.replace("install", "install -q") in ci
    assert check in ci
    assert record == "python -m pytest tests/test_cassette.py --record-mode=rewrite"


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
