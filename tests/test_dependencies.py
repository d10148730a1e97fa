"""Every package that is imported is declared, where it is needed, and the extras are needed only where they say."""

import ast
import builtins
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tests import forks

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "langchain_kimi"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "testing": ["testing"],
    "cli": ["cli"],
    "postgres": ["agent/thread_locks"],
    "redis": ["_shared_limits", "agent/thread_locks"],
    "report": ["_recorded_runs", "_run_report"],
}
"""The extras of users, each for some folders of the package."""
distributions = cache(packages_distributions)
PEERS = {"langchain"}
"""What only a user imports who has it: `register_with_langchain` adds to its table."""

USE_OF_THE_CORE = """
import langchain_kimi
from langchain_core.tools import tool
from langchain_kimi import *
from langchain_kimi.testing import FakeKimi, KimiServer, called, said

@tool
def add(a: int, b: int) -> int:
    "Add."
    return a + b

script = [called("add", a=1, b=2), said("3")]
with KimiServer(script) as server:
    agent = create_kimi_agent(ChatKimi(model="kimi-k2.6", base_url=server.url), [add])
    assert agent.invoke({"messages": [("user", "1 + 2?")]})["messages"][-1].text == "3"
assert agent_as_tool(create_kimi_agent(FakeKimi(script), [add], name="a"), name="a", description="A.")
"""


def pins(versions: str) -> dict[str, str]:
    """The versions that a constraints file pins."""
    lines = (ROOT / "tests" / "versions" / f"{versions}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_the_lowest_versions_in_ci_are_the_floors_of_the_project() -> None:
    floors = dict(re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(PROJECT["dependencies"]), re.MULTILINE))
    assert pins("lowest") == {name: floors[name] for name in ("langchain-core", "langgraph")}
    assert pins("newest").keys() == pins("lowest").keys()


def name(distribution: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def declared(requirements: list[str]) -> set[str]:
    return {name(re.split(r"[\[<>=!~ ;]", requirement)[0]) for requirement in requirements}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def third_parties(folder: Path) -> dict[str, set[Path]]:
    """The modules of others that files import, with the files."""
    found: dict[str, set[Path]] = {}
    for path in folder.rglob("*.py"):
        for module in imported_by(path):
            if module not in sys.stdlib_module_names and module != PACKAGE.name:
                found.setdefault(module, set()).add(path)
    return found


def test_every_import_is_declared() -> None:
    core = declared(PROJECT["dependencies"])
    undeclared = []
    for module, paths in third_parties(PACKAGE).items():
        names = {name(distribution) for distribution in distributions()[module]} | {name(module)}
        for path in paths:
            parents = [parent.as_posix() for parent in path.relative_to(PACKAGE).parents]
            extras = [extra for extra, folders in EXTRAS.items() if not set(folders).isdisjoint(parents)]
            allowed = core.union(*(declared(PROJECT["optional-dependencies"][extra]) for extra in extras))
            if not names & (allowed | PEERS):
                undeclared.append(f"{path.relative_to(ROOT)} imports {module}")
    assert undeclared == []


def test_every_declared_package_is_imported() -> None:
    used = {name(distribution) for module in third_parties(PACKAGE) for distribution in distributions()[module]}
    wanted = declared(PROJECT["dependencies"]).union(
        *(declared(PROJECT["optional-dependencies"][extra]) for extra in EXTRAS)
    )
    assert wanted - used == set()


def test_the_core_runs_without_the_extras() -> None:
    ended = forks.run(run_without, "anyio, pytest, rich, yaml", USE_OF_THE_CORE)
    assert ended.status == 0, ended.output


@pytest.mark.parametrize(
    "use",
    [
        "from langchain_kimi.testing import Cassette",
        "from langchain_kimi.testing import conversation; conversation('talk.yaml')",
        "from langchain_kimi.testing import KimiServer; import pathlib; KimiServer(pathlib.Path('talk.yaml'))",
        "from langchain_kimi.cli import run_command_line as r; raise SystemExit(r(['serve', '--script', 'talk.yaml']))",
        "from langchain_kimi.cli import run_command_line as r; raise SystemExit(r(['cassettes', 'check', '.']))",
    ],
)
def test_without_pyyaml_its_users_say_what_to_install(use: str, tmp_path: Path) -> None:
    (script := tmp_path / "talk.yaml").write_text("- said: Hello.\n")
    use = use.replace("talk.yaml", str(script))
    ended = forks.run(run_without, "yaml", use)
    assert ended.status != 0
    last = ended.output.strip().splitlines()[-1]
    assert "need PyYAML. Install it with `pip install 'langchain-kimi-agent[testing]'`." in last
    assert "cli" not in use or ended.output.count("\n") == 1


def test_without_redis_py_shared_limits_say_what_to_install() -> None:
    use = "from langchain_kimi import RateLimits; RateLimits(rpm=1); RateLimits(shared='redis://127.0.0.1')"
    ended = forks.run(run_without, "redis", use)
    assert ended.output.strip().splitlines()[-1] == (
        "ImportError: Shared rate limits need redis-py. Install it with `pip install 'langchain-kimi-agent[redis]'`."
    )


def run_without(names: str, code: str) -> None:
    """Run code that imports this package anew and does not find some modules; other packages may import theirs."""
    missing, find = names.split(", "), builtins.__import__

    def without(name: str, globals: Any = None, *rest: Any, **named: Any) -> Any:
        importer = (globals or {}).get("__name__", "")
        if name.partition(".")[0] in missing and importer.partition(".")[0] == PACKAGE.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return find(name, globals, *rest, **named)

    for module in [module for module in sys.modules if module.partition(".")[0] == PACKAGE.name]:
        del sys.modules[module]
    builtins.__import__ = without
    exec(code, {"__name__": "__main__"})
