"""Gives up tools that are at work in a thread: after their timeout, with a cancelled run, and at Ctrl-C.

A thread cannot be stopped, LangGraph waits for the threads of a superstep before it passes a KeyboardInterrupt on, and
the interpreter waits for the threads of pools before it exits. So a tool that may have to be given up runs in a daemon
thread, and everything that waits for it lets go.
"""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from contextlib import contextmanager, suppress
from socket import socket, socketpair
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig

from langchain_kimi.errors import warn

_KEY = "__kimi_interruption"
"""Where a run's config holds its Interruption; LangGraph keeps keys that begin so out of checkpoints and traces."""

_GRACE = 2.0
"""Seconds that an agent in a tool call gets to end, after its own tools were given up."""

T = TypeVar("T")

_running: set["Interruption"] = set()
_watcher = threading.Thread()
_wake = socket()


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
        self._runs = 0

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

    @contextmanager
    def run(self) -> Iterator[None]:
        """An agent runs in the tool call: it ends by itself soon after this does."""
        self._runs += 1
        try:
            yield
        finally:
            self._runs -= 1

    def end(self) -> None:
        """Let go of everything that waits."""
        with suppress(InvalidStateError):  # it has ended already
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
                if self._runs:  # what an agent still writes must not meet a closed database
                    wait((work,), timeout=_GRACE)
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
    if above := interruption_of(config):
        with above.run():
            yield config
        return
    if not ours:
        yield config
        return
    interruption = Interruption(warns=True)
    _running.add(interruption)
    _install()
    try:
        yield with_interruption(config, interruption)
    finally:
        _running.discard(interruption)
        if not _running and threading.current_thread() is threading.main_thread():
            _uninstall()


def _pressed(number: int, frame: Any) -> None:
    with suppress(BlockingIOError):  # the watcher has enough to read
        _wake.send(bytes([number]))
    signal.default_int_handler(number, frame)


def _install() -> None:
    """Let Ctrl-C end what runs; a signal wakes the watcher also while the main thread does not get to its handlers."""
    global _watcher, _wake
    if not _watcher.is_alive():  # the first time, or after a fork
        signals, _wake = socketpair()
        _wake.setblocking(False)
        _watcher = threading.Thread(target=_watch, args=(signals,), name="kimi-ctrl-c", daemon=True)
        _watcher.start()
    signal.signal(signal.SIGINT, _pressed)
    if (before := signal.set_wakeup_fd(_wake.fileno(), warn_on_full_buffer=False)) not in (-1, _wake.fileno()):
        signal.set_wakeup_fd(before)  # it is somebody else's


def _uninstall() -> None:
    if signal.getsignal(signal.SIGINT) is _pressed:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if (before := signal.set_wakeup_fd(-1)) not in (-1, _wake.fileno()):
        signal.set_wakeup_fd(before)


def _watch(signals: socket) -> None:
    while received := signals.recv(64):
        if signal.SIGINT in received:
            for interruption in list(_running):
                interruption.end()
