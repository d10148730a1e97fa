"""The threads of synchronous tools: used again, never by two tools at once, and none of them is left."""

import os
import threading
import weakref
from concurrent.futures import Future
from contextvars import ContextVar

import pytest

from langchain_kimi.agent.tool_node import tool_threads
from langchain_kimi.agent.tool_node.tool_threads import start_in_thread
from tests import forks

COLOUR: ContextVar[str] = ContextVar("colour", default="none")


@pytest.fixture(autouse=True)
def own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No threads of other tests."""
    monkeypatch.setattr(tool_threads, "_idle", [])


def test_tools_one_after_another_share_threads() -> None:
    threads = {start_in_thread(threading.get_ident).result(10) for _ in range(50)}
    assert len(threads) <= 2


def test_tools_side_by_side_have_threads_of_their_own() -> None:
    everyone = threading.Barrier(20)
    started = [start_in_thread(lambda: (everyone.wait(10), threading.get_ident())) for _ in range(20)]
    assert len({future.result(10)[1] for future in started}) == 20


def test_a_tool_that_raises_or_was_left_behind_takes_no_thread_from_others() -> None:
    release = threading.Event()
    left: Future[bool] = start_in_thread(lambda: release.wait(10))
    for error in (ValueError, SystemExit, KeyboardInterrupt):

        def fails(error: type[BaseException] = error) -> None:
            raise error

        with pytest.raises(error):
            start_in_thread(fails).result(10)
    assert start_in_thread(threading.get_ident).result(10)
    release.set()
    assert left.result(10)


def test_each_tool_has_the_context_of_its_caller() -> None:
    seen = []
    for colour in ("red", "blue"):
        token = COLOUR.set(colour)
        seen.append(start_in_thread(COLOUR.get).result(10))
        COLOUR.reset(token)
    assert [*seen, start_in_thread(COLOUR.get).result(10)] == ["red", "blue", "none"]


def test_an_idle_thread_ends_and_holds_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    class Result:
        pass

    monkeypatch.setattr(tool_threads, "_IDLE_SECONDS", 0.01)
    future = start_in_thread(lambda: (threading.current_thread(), Result()))
    thread, result = future.result(10)
    held = weakref.ref(result)
    thread.join(10)
    assert not thread.is_alive()
    assert tool_threads._idle == []
    del future, result
    assert held() is None


def _fork() -> None:
    assert start_in_thread(lambda: 41).result(10) == 41
    child = os.fork()
    if not child:
        os._exit(start_in_thread(lambda: 42).result(10))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    assert forks.run(_fork).status == 0
