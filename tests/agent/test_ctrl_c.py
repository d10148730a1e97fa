"""Ctrl-C while a synchronous tool is at work: the process ends at once and says so, and the thread can be resumed."""

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import create_kimi_agent
from langchain_kimi.agent.tool_node.tool_threads import ended_by_ctrl_c, interruption_of
from langchain_kimi.testing import FakeKimi, called, said
from tests import forks
from tests.databases import ROOT

CHILD = Path(__file__).with_name("ctrl_c_child.py")
QUICK = ["invoke two", "ainvoke"]
SLOW = ["invoke", "invoke helper", "stream", "stream two", "batch", "ainvoke two"]
WAYS = [*QUICK, *(pytest.param(way, marks=pytest.mark.slow) for way in SLOW)]


def start(database: Path, way: str, stage: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILD), str(database), way, stage]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_ends_the_process_and_the_thread_can_be_resumed(way: str, tmp_path: Path) -> None:
    first = start(tmp_path / "threads.sqlite", way, "first")
    assert first.stdout is not None
    assert first.stdout.readline().startswith("at work")
    first.send_signal(signal.SIGINT)
    _, errors = first.communicate(timeout=60)  # the tool never returns
    assert first.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert "The run was interrupted while the tool" in errors
    resumed = forks.run(forks.as_script, str(CHILD), str(tmp_path / "threads.sqlite"), way, "second")
    assert resumed.output.splitlines()[-1] == "done", resumed.output


def test_the_handler_of_somebody_else_is_left_alone() -> None:
    default = signal.getsignal(signal.SIGINT)
    handled: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: handled.append(number))
    try:
        with ended_by_ctrl_c({}) as config:
            assert interruption_of(config) is None
            signal.raise_signal(signal.SIGINT)
        assert handled == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, default)


def test_pythons_handler_is_put_back() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ended_by_ctrl_c({}) as config:
            assert interruption_of(config) is not None
            with ended_by_ctrl_c({}) as other, ended_by_ctrl_c(config) as inner:
                assert interruption_of(other) not in (None, interruption_of(config))
                assert interruption_of(inner) is interruption_of(config)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


async def test_a_run_that_is_cancelled_otherwise_gives_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    at_work, done = threading.Event(), threading.Event()

    def block() -> str:
        """Block."""
        at_work.set()
        done.wait(30)
        return "done"

    run = asyncio.create_task(create_kimi_agent(FakeKimi([called("block")]), [block]).ainvoke({"messages": "go"}))
    await asyncio.to_thread(at_work.wait, 30)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    done.set()
    assert not recwarn.list


def test_a_missing_thread_is_named_by_langgraph() -> None:
    agent = create_kimi_agent(FakeKimi([]), checkpointer=InMemorySaver())
    asked: Any = {"messages": [("user", "go")]}
    for run in (lambda: agent.invoke(asked), lambda: list(agent.stream(asked)), lambda: agent.batch([asked, asked])):
        with pytest.raises(ValueError, match="thread_id"):
            run()


def test_a_batch_is_ordered_and_takes_every_form_of_config() -> None:
    agent = create_kimi_agent(FakeKimi(lambda request: said(f"to {request.text_of('user')}")))
    asked: Any = [{"messages": [("user", name)]} for name in "abc"]
    for config in (None, {"max_concurrency": 1}, [{"tags": [name]} for name in "abc"]):
        states: Any = agent.batch(asked, config)
        assert [state["messages"][-1].text for state in states] == ["to a", "to b", "to c"]
    assert agent.batch([]) == []
