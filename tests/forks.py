"""Processes of their own that begin at once: each is a fork of one which has imported what most of them need."""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "langchain_kimi.agent.create_agent",
        "langchain_kimi.agent.team.create_team",
        "langchain_kimi.chat_model",
        "langchain_kimi.platform",
        "langchain_kimi.testing.cassettes",
        "langchain_kimi.testing.fake_model",
        "langchain_kimi.testing.server",
        "langgraph.checkpoint.postgres.aio",
        "langgraph.checkpoint.sqlite.aio",
        "pytest_asyncio.plugin",
        "hypothesis",
        "langsmith.pytest_plugin",
        "langgraph_supervisor",
    ]
)


ROOT = Path(__file__).parents[1]


class Ended(NamedTuple):
    """How a process ended, and what it printed."""

    status: int
    output: str


def run(
    target: Callable[..., object], *arguments: str, folder: Path = ROOT, env: Mapping[str, str] | None = None
) -> Ended:
    """Call a function of a module in a process of its own, in this folder and with these environment variables only."""
    with tempfile.NamedTemporaryFile("r") as output:
        variables = dict(os.environ if env is None else env)
        process = _FORKS.Process(target=_run, args=(target, arguments, output.name, str(folder), variables))
        process.start()
        process.join(60)
        if process.exitcode is None:
            process.kill()
            process.join()
            pytest.fail(f"The process did not end within 60 s. It printed:\n{output.read()}")
        return Ended(process.exitcode, output.read())


def as_script(path: str, *arguments: str) -> None:
    """Do what `python PATH ARGUMENTS` does."""
    sys.argv = [path, *arguments]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")


def as_pytest(*arguments: str) -> None:
    """Do what `python -m pytest ARGUMENTS` does."""
    sys.path.insert(0, os.getcwd())
    sys.exit(pytest.main(list(arguments)))


def _run(target: Callable[..., object], arguments: Any, output: str, folder: str, env: dict[str, str]) -> None:
    with open(output, "w") as printed:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(printed.fileno(), stream.fileno())
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    target(*arguments)
