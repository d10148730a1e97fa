"""Processes that are killed or suspended while they have a thread."""

import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langgraph.checkpoint.postgres import PostgresSaver

from langchain_kimi import create_kimi_agent
from langchain_kimi.testing import FakeKimi, said
from tests.agent.thread_locks.holder import THREAD, lock_of
from tests.databases import ROOT
from tests.services import no_redis

Begin = Callable[..., "subprocess.Popen[str]"]
LEASE = 1.0


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a process with a turn, and returns it when its tool is at work."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.agent.thread_locks.holder", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def next_turn(kind: str, database: str, prefix: str) -> list[str]:
    with PostgresSaver.from_conn_string(database) as saver:
        lock = lock_of(kind, database, prefix, LEASE)
        agent = create_kimi_agent(FakeKimi([said("well")]), checkpointer=saver, exclusive=lock)
        state: dict[str, Any] = agent.invoke({"messages": [("user", "two")]}, THREAD)
        return [message.text for message in state["messages"]]


def recorded(database: str) -> list[str]:
    with PostgresSaver.from_conn_string(database) as saver:
        state = create_kimi_agent(FakeKimi([]), checkpointer=saver).get_state(THREAD)
        return [message.text for message in state.values["messages"]]


@pytest.fixture
def threads(postgres: str) -> str:
    """A database with the tables of a checkpointer."""
    with PostgresSaver.from_conn_string(postgres) as saver:
        saver.setup()
    return postgres


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "way"), [("postgres", "async"), ("redis", "sync")])
def test_the_thread_of_a_killed_process_is_free_at_once_or_after_its_lease(
    kind: str, way: str, threads: str, begin: Begin
) -> None:
    if kind == "redis" and (reason := no_redis()):
        pytest.skip(reason)
    prefix = f"kimi_test:{secrets.token_hex(4)}:"
    process = begin(kind, threads, prefix, str(LEASE), way)
    process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    texts = next_turn(kind, threads, prefix)
    assert texts[:2] == ["work", ""]
    assert texts[3:] == ["two", "well"]
    assert time.monotonic() - killed < 10  # both are far below the lock's timeout of 30 seconds


@pytest.mark.slow
def test_a_process_that_was_suspended_for_longer_than_its_lease_writes_nothing_more(threads: str, begin: Begin) -> None:
    if reason := no_redis():
        pytest.skip(reason)
    prefix = f"kimi_test:{secrets.token_hex(4)}:"
    process = begin("redis", threads, prefix, str(LEASE), "async")
    process.send_signal(signal.SIGSTOP)
    texts = next_turn("redis", threads, prefix)
    assert texts[3:] == ["two", "well"]
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate("go on\n", timeout=30)
    assert output == "ThreadLockLostError\n"
    assert recorded(threads) == texts


@pytest.mark.slow
def test_a_process_renews_its_lease_as_long_as_its_turn_takes(threads: str, begin: Begin) -> None:
    if reason := no_redis():
        pytest.skip(reason)
    prefix = f"kimi_test:{secrets.token_hex(4)}:"
    process = begin("redis", threads, prefix, str(LEASE), "sync")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2.5 * LEASE)
    output, _ = process.communicate("go on\n", timeout=30)
    assert output == "done\n"


@pytest.mark.slow
def test_the_example_refuses_a_second_message_replaces_the_turn_or_waits(postgres: str) -> None:
    command = [sys.executable, "examples/exclusive/exclusive_thread.py", postgres]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines() == [
        "a hotel: ThreadBusyError",
        "a train to Bern: ThreadReplacedError",
        "a seat: I know: a train to Bern, a seat.",
        "a train back: I know: a train to Bern, a seat, a train back.",
        "a coffee: I know: a train to Bern, a seat, a train back, a coffee.",
    ], done.stderr
