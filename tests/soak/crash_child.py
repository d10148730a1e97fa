"""The process that `crash.py` kills: it runs an agent on one thread, and tells through a pipe what it is doing.

`python -m tests.soak.crash_child` imports everything once, then forks a process for each job that it reads from its
standard input, so that a start costs milliseconds. Such a process never ends by itself: the parent kills it.
"""

import asyncio
import ctypes
import functools
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Annotated, Any

import langgraph.prebuilt
import langgraph.pregel  # noqa: F401 (before forking)
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import BaseTool, InjectedToolCallId, tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi.testing import KimiServer  # noqa: F401 (what the parent needs too)

MODEL = "kimi-k2.6"
WAYS = ("invoke", "stream", "ainvoke", "astream")


class Told:
    """The pipe to the parent, and the place where the process is to stand still until it is killed."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._pipe = os.open(job["events"], os.O_WRONLY)
        self._place, self._left = job["hold"] or (None, 0)
        self._lock = threading.Lock()

    def tell(self, event: str, about: str = "") -> None:
        """One line to the parent."""
        os.write(self._pipe, f"{event} {about}\n".encode())

    def here(self, place: str) -> bool:
        """Whether this is the time and place to stand still."""
        with self._lock:
            self._left -= place == self._place
            if place != self._place or self._left != 0:
                return False
        self.tell("held")
        return True

    def hold(self, place: str) -> None:
        """Stands still here, if this is the place."""
        if self.here(place):
            threading.Event().wait()

    async def ahold(self, place: str) -> None:
        """The same on the event loop, which goes on meanwhile."""
        if self.here(place):
            await asyncio.Event().wait()


class Stream(BaseCallbackHandler):
    """Tells of each piece of an answer."""

    run_inline = True

    def __init__(self, told: Told) -> None:
        self._told = told

    def on_llm_new_token(self, token: str, **about: Any) -> None:
        self._told.tell("chunk")

    def on_llm_end(self, response: Any, **about: Any) -> None:
        self._told.tell("answer")


def tools(job: dict[str, Any], told: Told) -> list[BaseTool]:
    """A synchronous and an asynchronous tool: each call has a result of its own, which a second run would not give."""
    chance = random.Random()
    log = os.open(job["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(line: str) -> None:
        os.write(log, f"{line}\n".encode())
        os.fsync(log)

    def begin(call_id: str) -> float:
        note(f"start {call_id}")
        told.tell("tool+", call_id)
        return chance.choice([0, 0.002, 0.02])

    def end(call_id: str, text: str) -> str:
        result = f"{call_id} ran as {os.getpid()}/{time.monotonic_ns()}: {text}"
        note(f"end {call_id}")
        told.tell("tool-", call_id)
        if text.startswith("fail"):
            raise RuntimeError(result)
        return result

    def perform(text: str, call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Do something that must not be done twice."""
        seconds = begin(call_id)
        told.hold("tool")
        time.sleep(seconds)
        return end(call_id, text)

    async def aperform(text: str, call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Do something that must not be done twice."""
        seconds = begin(call_id)
        await told.ahold("tool")
        await asyncio.sleep(seconds)
        return end(call_id, text)

    return [tool("work")(perform), tool("work_async")(aperform if job["way"].startswith("a") else perform)]


def announced(saver: Any, told: Told) -> BaseCheckpointSaver[str]:
    """The saver, telling before and after each write."""

    def sync(write: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(write)
        def wrapped(*args: Any, **named: Any) -> Any:
            told.tell("write+")
            told.hold("before a write")
            outcome = write(*args, **named)
            told.hold("after a write")
            told.tell("write-")
            return outcome

        return wrapped

    def asynchronous(write: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(write)
        async def wrapped(*args: Any, **named: Any) -> Any:
            told.tell("write+")
            await told.ahold("before a write")
            outcome = await write(*args, **named)
            await told.ahold("after a write")
            told.tell("write-")
            return outcome

        return wrapped

    for name in ("put", "put_writes"):
        setattr(saver, name, sync(getattr(saver, name)))
        setattr(saver, f"a{name}", asynchronous(getattr(saver, f"a{name}")))
    checked: BaseCheckpointSaver[str] = saver
    return checked


def agent(job: dict[str, Any], told: Told, saver: Any) -> Any:
    """The agent that is killed."""
    model = ChatKimi(model=MODEL, base_url=job["url"], api_key="sk-test", max_retries=0, streaming=job["streaming"])
    return create_kimi_agent(
        model,
        tools(job, told),
        checkpointer=announced(saver, told),
        sequential_tools=["work"] if job["sequential"] else [],
    )


def config(job: dict[str, Any], told: Told) -> dict[str, Any]:
    """The run's config."""
    return {"configurable": {"thread_id": job["thread"]}, "callbacks": [Stream(told)]}


def given(job: dict[str, Any]) -> Any:
    """A new message; None resumes the thread."""
    return None if job["text"] is None else {"messages": [("user", job["text"])]}


def run(job: dict[str, Any], told: Told) -> None:
    """The turn on the synchronous path."""
    make: Any = SqliteSaver if job["database"].startswith("/") else PostgresSaver
    with ExitStack() as stack:
        runs = agent(job, told, stack.enter_context(make.from_conn_string(job["database"])))
        if job["way"] == "invoke":
            runs.invoke(given(job), config(job, told), durability=job["durability"])
        else:
            for _ in runs.stream(given(job), config(job, told), durability=job["durability"], stream_mode="messages"):
                pass


async def arun(job: dict[str, Any], told: Told) -> None:
    """The turn on the asynchronous path."""
    make: Any = AsyncSqliteSaver if job["database"].startswith("/") else AsyncPostgresSaver
    async with AsyncExitStack() as stack:
        runs = agent(job, told, await stack.enter_async_context(make.from_conn_string(job["database"])))
        if job["way"] == "ainvoke":
            await runs.ainvoke(given(job), config(job, told), durability=job["durability"])
        else:
            parts = runs.astream(given(job), config(job, told), durability=job["durability"], stream_mode="messages")
            async for _ in parts:
                pass


def go(job: dict[str, Any], told: Told) -> None:
    """The turn, synchronous or asynchronous."""
    if job["way"].startswith("a"):
        asyncio.run(arun(job, told))
    else:
        run(job, told)


def live(job: dict[str, Any], go: Callable[[dict[str, Any], Told], None]) -> None:
    """One process's life, which ends by being killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not longer than the process that forked it
    told = Told(job)
    told.tell("pid", str(os.getpid()))
    try:
        go(job, told)
        told.tell("ended")
    except BaseException:
        told.tell("failed", repr(traceback.format_exc()[-3000:]))
    while True:
        signal.pause()


def serve(go: Callable[[dict[str, Any], Told], None]) -> None:
    """Forks a process for each job on the standard input, which does the job and tells how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        if os.fork() == 0:
            sys.stdin = open(os.devnull)  # noqa: SIM115
            live(json.loads(line), go)


if __name__ == "__main__":
    serve(go)
