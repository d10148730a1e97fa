"""Gives up tools that are at work in a thread: after their timeout, with a cancelled run, and at Ctrl-C.

A thread cannot be stopped, LangGraph waits for the threads of a superstep before it passes a KeyboardInterrupt on, and
the interpreter waits for the threads of pools before it exits. So a tool that may have to be given up runs in a daemon
thread, and everything that waits for it lets go.
"""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig

from langchain_kimi.errors import warn

_KEY = "__kimi_interruption"
"""Where a run's config holds its Interruption; LangGraph keeps keys that begin so out of checkpoints and traces."""

T = TypeVar("T")

_running: set["Interruption"] = set()
_presses: SimpleQueue[None] = SimpleQueue()
_watcher = threading.Thread()


class ToolTimeoutError(Exception):
    """A tool gave no result within its `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no result within {seconds:g} seconds")
        self.seconds = seconds


class Interruption:
    """Lets go of all that wait for a tool, once nobody wants its result any more; with `warns`, it says so."""

    def __init__(self, *, warns: bool = False) -> None:
        self._ended: Future[None] = Future()
        self._warns = warns
        self._below: set[Interruption] = set()

    @contextmanager
    def below(self) -> Iterator["Interruption"]:
        """One for a single tool call: it ends with the block, and with this one."""
        interruption = Interruption(warns=self._warns)
        self._below.add(interruption)
        if self._ended.done():
            interruption.end()
        try:
            yield interruption
        finally:
            self._below.discard(interruption)
            interruption.end()

    def end(self) -> None:
        """Let go of everything that waits."""
        if not self._ended.done():
            self._ended.set_result(None)
        for interruption in list(self._below):
            interruption.end()

    def check(self) -> None:
        """Raise KeyboardInterrupt after the end."""
        if self._ended.done():
            raise KeyboardInterrupt

    def result(self, work: Future[T], seconds: float | None, tool: str) -> T:
        """The result of a tool's work. Raises ToolTimeoutError after so many seconds, KeyboardInterrupt at the end."""
        both: tuple[Future[Any], Future[Any]] = (work, self._ended)
        try:
            finished, _ = wait(both, timeout=seconds, return_when=FIRST_COMPLETED)
            if work not in finished:
                self.check()
                raise ToolTimeoutError(seconds or 0)
        except KeyboardInterrupt:
            if self._warns:
                warn(
                    f"The run was interrupted while the tool {tool} was at work. A thread cannot be stopped: the tool "
                    "goes on until it returns or the process ends, and may still take effect."
                )
            raise
        return work.result()


def with_interruption(config: RunnableConfig | None, interruption: Interruption) -> RunnableConfig:
    """The config of a run or a call that the interruption ends."""
    return {**(config or {}), "configurable": {**(config or {}).get("configurable", {}), _KEY: interruption}}


def interruption_of(config: RunnableConfig | None) -> Interruption | None:
    """The interruption of the run that a config belongs to; None where Ctrl-C is not ours to handle."""
    found: Any = (config or {}).get("configurable", {}).get(_KEY)
    return found if isinstance(found, Interruption) else None


@contextmanager
def ended_by_ctrl_c(config: RunnableConfig | None) -> Iterator[RunnableConfig | None]:
    """The config for a run that Ctrl-C ends at once: in the main thread, where Python's own handler is in place."""
    handler = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread() and handler in (signal.default_int_handler, _pressed)
    if not ours or interruption_of(config):
        yield config
        return
    interruption = Interruption(warns=True)
    _running.add(interruption)
    _start_watching()
    signal.signal(signal.SIGINT, _pressed)
    try:
        yield with_interruption(config, interruption)
    finally:
        _running.discard(interruption)
        here = threading.current_thread() is threading.main_thread()
        if not _running and here and signal.getsignal(signal.SIGINT) is _pressed:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _pressed(number: int, frame: Any) -> None:
    # The code that a signal interrupts may hold any lock: only SimpleQueue.put is safe here.
    _presses.put(None)
    signal.default_int_handler(number, frame)


def _watch() -> None:
    while True:
        _presses.get()
        for interruption in list(_running):
            interruption.end()


def _start_watching() -> None:
    global _watcher
    if not _watcher.is_alive():  # the first time, or after a fork
        _watcher = threading.Thread(target=_watch, name="kimi-ctrl-c", daemon=True)
        _watcher.start()
