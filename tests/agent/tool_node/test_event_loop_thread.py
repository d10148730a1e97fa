"""Asynchronous tools in synchronous runs: they run on one event loop, in the context of the run, and end with it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt

from langchain_kimi import TeamMember, agent_as_tool, create_kimi_agent, create_kimi_team
from langchain_kimi.agent.tool_node.event_loop_thread import _EventLoopThread, with_sync_invoke
from langchain_kimi.agent.tool_node.tool_threads import Interruption, with_interruption
from langchain_kimi.errors import KimiWarning
from langchain_kimi.testing import FakeKimi, Reply, called, said
from tests import forks
from tests.agent.helpers import ASK, THREAD, results
from tests.databases import ROOT

CHILD = Path(__file__).with_name("exit_child.py")


def model(reply: Reply) -> FakeKimi:
    """A model that makes these calls, then says it is done."""
    return FakeKimi(lambda request: said("done") if request.tool_results() else reply)


@tool
async def where(x: int) -> str:
    """The thread of the event loop."""
    await asyncio.sleep(0)
    return str(threading.get_ident())


async def wait_for_ever() -> None:
    """Never ends by itself."""
    await asyncio.Event().wait()


def test_the_tools_of_all_runs_share_one_event_loop() -> None:
    agent = create_kimi_agent(model(called("where", x=1).calling("where", x=2)), [where])
    threads = {text for _ in range(3) for text, _ in results(agent.invoke(ASK))}
    assert len(threads) == 1
    assert threads != {str(threading.get_ident())}


class OnlyAsync(BaseTool):
    """A tool class that can only run asynchronously, which shows only when it runs."""

    name: str = "take"
    description: str = "Take."

    def _run(self, count: int) -> str:
        raise NotImplementedError("This tool is asynchronous.")

    async def _arun(self, count: int) -> str:
        return f"taken {count}"


@pytest.mark.parametrize("seconds", [None, 30])
def test_a_class_without_a_synchronous_method_runs_asynchronously(seconds: float | None) -> None:
    agent = create_kimi_agent(
        model(called("take", count=1).calling("take", count=2)), [OnlyAsync()], tool_timeout=seconds
    )
    assert results(agent.invoke(ASK)) == [("taken 1", "success"), ("taken 2", "success")]


def test_a_class_that_has_not_implemented_something_runs_once() -> None:
    ran: list[str] = []

    class Both(OnlyAsync):
        def _run(self, count: int) -> str:
            return self.fail()

        def fail(self) -> str:
            ran.append("sync")
            raise NotImplementedError("no more than two")

        async def _arun(self, count: int) -> str:
            ran.append("async")
            return "taken"

    state = create_kimi_agent(model(called("take", count=3)), [Both()]).invoke(ASK)
    assert results(state) == [("NotImplementedError: no more than two", "error")]
    assert ran == ["sync"]


def test_it_has_the_state_the_store_the_runtime_and_the_context_of_its_run() -> None:
    user: ContextVar[str] = ContextVar("user", default="nobody")
    inner = FakeKimi([said("inner answer")])

    @tool
    async def look(
        x: int,
        state: Annotated[dict[str, Any], InjectedState],
        store: Annotated[BaseStore, InjectedStore()],
        runtime: ToolRuntime,
    ) -> str:
        """Look around."""
        await store.aput(("notes",), "x", {"value": x})
        get_stream_writer()({"seen": x})
        await inner.ainvoke("Who are you?")
        return f"{len(state['messages'])} messages, {runtime.tool_call_id}, {user.get()}"

    store = InMemoryStore()
    agent = create_kimi_agent(model(called("look", x=1)), [look], store=store)
    user.set("Ann")
    parts = list(agent.stream(ASK, stream_mode=["custom", "values"]))
    state: Any = [part for mode, part in parts if mode == "values"][-1]
    assert results(state) == [("2 messages, look:0, Ann", "success")]
    assert ("custom", {"seen": 1}) in parts
    assert store.get(("notes",), "x") is not None
    assert state["spent"]["turns"] == 2
    assert user.get() == "Ann"


def test_it_may_ask_a_person_and_runs_once_if_it_is_in_once() -> None:
    asked: list[int] = []

    @tool
    async def pay(amount: int) -> str:
        """Pay."""
        await asyncio.sleep(0)
        asked.append(amount)
        return f"{interrupt(f'Pay {amount}?')}: paid {amount}"

    reply = called("pay", amount=1).calling("pay", amount=2)
    agent = create_kimi_agent(model(reply), [pay], once={"pay"}, checkpointer=InMemorySaver())
    state = agent.invoke(ASK, THREAD)
    answers = {one.id: f"yes to {one.value}" for one in state["__interrupt__"]}
    assert sorted(answers.values()) == ["yes to Pay 1?", "yes to Pay 2?"]
    state = agent.invoke(Command(resume=answers), THREAD)
    assert [text for text, _ in results(state)] == ["yes to Pay 1?: paid 1", "yes to Pay 2?: paid 2"]
    assert sorted(asked) == [1, 1, 2, 2]


@pytest.mark.parametrize("kind", ["sub-agent", "team"])
def test_sub_agents_and_teams_run_it_too(kind: str) -> None:
    if kind == "team":
        member = TeamMember(name="worker", description="Works.", model=model(called("where", x=1)), tools=[where])
        state = create_kimi_team([member]).invoke(ASK)
        assert [status for _, status in results(state)] == ["success"]
        return
    helper = agent_as_tool(create_kimi_agent(model(called("where", x=1)), [where]), name="helper", description="Help.")
    state = create_kimi_agent(model(called("helper", task="a").calling("helper", task="b")), [helper]).invoke(ASK)
    assert results(state) == [("done", "success")] * 2


def test_a_tool_may_block_its_event_loop_with_an_agent_that_has_such_tools() -> None:
    inner = create_kimi_agent(model(called("where", x=1)), [where])

    @tool
    async def delegate(x: int) -> str:
        """Run an agent synchronously."""
        return results(inner.invoke(ASK))[0][0]

    agent = create_kimi_agent(model(called("delegate", x=1).calling("where", x=1)), [delegate, where], tool_timeout=30)
    (inner_thread, inner_status), (thread, _) = results(agent.invoke(ASK))
    assert inner_status == "success"
    assert inner_thread != thread


def test_a_tool_that_exits_or_cancels_itself_disturbs_no_other_tool() -> None:
    met = threading.Event()

    @tool
    async def leave(how: str) -> str:
        """Leave."""
        if how == "exit":
            sys.exit(3)
        raise asyncio.CancelledError

    @tool
    async def stay(x: int) -> str:
        """Stay until the other tools have left."""
        await asyncio.to_thread(met.wait, 30)
        return "stayed"

    staying = create_kimi_agent(model(called("stay", x=1)), [stay])
    outcome: Future[Any] = Future()
    thread = threading.Thread(target=lambda: outcome.set_result(staying.invoke(ASK)))
    thread.start()
    with pytest.raises(SystemExit):
        create_kimi_agent(model(called("leave", how="exit")), [leave]).invoke(ASK)
    state = create_kimi_agent(model(called("leave", how="cancel")), [leave]).invoke(ASK)
    assert results(state) == [("CancelledError: the tool was cancelled", "error")]
    met.set()
    assert results(outcome.result(30)) == [("stayed", "success")]
    thread.join()


async def test_a_cancelled_run_cancels_the_tools_of_an_agent_inside_a_synchronous_tool() -> None:
    at_work, cancelled = threading.Event(), threading.Event()

    @tool
    async def hang(x: int) -> str:
        """Never end."""
        at_work.set()
        try:
            await wait_for_ever()
        finally:
            cancelled.set()
        return "never"

    inner = create_kimi_agent(model(called("hang", x=1)), [hang])

    @tool
    def delegate(x: int) -> str:
        """Run an agent."""
        return str(inner.invoke(ASK)["messages"][-1].text)

    run = asyncio.create_task(create_kimi_agent(model(called("delegate", x=1)), [delegate]).ainvoke(ASK))
    assert await asyncio.to_thread(at_work.wait, 30)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert await asyncio.to_thread(cancelled.wait, 30)


def test_a_tool_that_ignores_its_cancellation_is_left_behind_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_kimi.agent.tool_node.tool_threads.GRACE", 0.05)
    at_work, release = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    @tool
    async def stubborn(x: int) -> str:
        """Go on."""
        loops.append(asyncio.get_running_loop())
        at_work.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "at last"

    interruption = Interruption(warns=True)
    threading.Thread(target=lambda: (at_work.wait(30), interruption.end())).start()
    with pytest.warns(KimiWarning, match="stubborn was at work. It was cancelled"), pytest.raises(KeyboardInterrupt):
        with_sync_invoke(stubborn).invoke({"x": 1}, with_interruption({}, interruption))
    loops[0].call_soon_threadsafe(release.set)


def test_a_tool_that_runs_without_an_agent_is_the_same() -> None:
    @tool
    def both(x: int) -> str:
        """Synchronous."""
        return "sync"

    assert with_sync_invoke(both) is both
    copy = with_sync_invoke(where)
    assert copy is not where
    assert isinstance(copy, type(where))
    assert copy.invoke({"x": 1}) == copy.invoke({"x": 2})
    with pytest.raises(NotImplementedError):
        where.invoke({"x": 1})


def _fork() -> None:
    inherited = with_sync_invoke(where).invoke({"x": 1})
    assert inherited
    child = os.fork()
    if not child:
        os._exit(42 if with_sync_invoke(where).invoke({"x": 1}) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")
def test_a_forked_process_starts_an_event_loop_of_its_own() -> None:
    ended = forks.run(_fork)
    assert ended.status == 0, ended.output


def test_its_end_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 allows none when the interpreter exits."""
    started: list[threading.Thread] = []
    running = _EventLoopThread()
    monkeypatch.setattr(threading.Thread, "start", started.append)
    running.end()
    assert running.loop.is_closed()
    assert started == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "printed"),
    [
        ("cancelled", "exits\ncleaned up\n"),
        ("left behind", "done\n"),
        ("agent", "exits\ncleaned up\n"),
        ("agent with a synchronous tool", "exits\n"),
    ],
)
def test_an_open_call_does_not_keep_the_interpreter_from_exiting(how: str, printed: str) -> None:
    command = [sys.executable, str(CHILD), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == (printed, "", 0)


@pytest.mark.slow
def test_ctrl_c_cancels_it_and_ends_the_process() -> None:
    command = [sys.executable, str(CHILD), "ctrl-c"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert output == "cleaned up\ncleaned up\n"
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert "The run was interrupted while the tool" not in errors
