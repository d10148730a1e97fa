"""Runs synchronous tools in threads, and leaves them behind after a timeout, a cancelled run, Ctrl-C or at the exit.

A thread cannot be stopped. LangGraph waits for the threads of a superstep before it raises a KeyboardInterrupt, and the
interpreter waits for the threads of pools before it exits. A tool that may have to be left behind therefore runs in a
daemon thread, with no other tool meanwhile, and everything that waits for it stops waiting.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from contextlib import contextmanager, suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from socket import socket, socketpair
from typing import Any, TypeAlias, TypeVar

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from langchain_kimi.errors import warn

_KEY = "__kimi_interruption"
"""The key in `configurable` of a run's Interruption. LangGraph keeps keys with this prefix out of checkpoints and
traces."""

GRACE = 2.0
"""Seconds that an asynchronous tool has to end after it was cancelled, and an agent inside a tool call after its own
tools were left behind."""

_LEFT_BEHIND = (
    "The run was interrupted while the tool {tool} was at work. A thread cannot be stopped: the tool goes on until it "
    "returns or the process ends, and may still take effect."
)
_NOT_ENDED = (
    "The run was interrupted while the tool {tool} was at work. It was cancelled and has not ended yet: it may still "
    "take effect."
)

_IDLE_SECONDS = 10.0
"""After so long without a tool, a thread ends."""

T = TypeVar("T")
_Reason: TypeAlias = type[KeyboardInterrupt] | type[SystemExit]

_idle: list["_Worker"] = []
_running: set["Interruption"] = set()
_in_daemon_threads: set["Interruption"] = set()
_watcher = threading.Thread()
_wake = socket()


class _Worker:
    """A daemon thread that runs one function after another, and ends when it has been idle for a while."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="kimi-tool", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls) -> "_Worker":
        """A worker that is idle, or a new one."""
        with suppress(IndexError):
            while True:
                worker = _idle.pop()
                if worker._thread.is_alive():  # after a fork, none is
                    return worker
        return cls()

    def run(self, call: Callable[[], None]) -> None:
        """Run a function, which calls `release` at its end."""
        self._calls.put(call)

    def release(self) -> None:
        """Take the next function."""
        _idle.append(self)

    def _work(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=_IDLE_SECONDS)
            except Empty:
                try:
                    _idle.remove(self)
                except ValueError:  # it was taken meanwhile
                    continue
                return
            call()
            del call  # it holds the result


def start_in_thread(function: Callable[[], T]) -> Future[T]:
    """Start a function in a daemon thread that runs nothing else meanwhile, in the caller's context."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    context, worker = copy_context(), _Worker.take()

    def call() -> None:
        try:
            result = context.run(function)
        except BaseException as error:
            worker.release()
            future.set_exception(error)
        else:
            worker.release()
            future.set_result(result)

    worker.run(call)
    return future


async def run_in_thread(function: Callable[[], T], tool: str) -> T:
    """The result of a function that runs a tool in a thread of its own.

    The thread goes on if the caller is cancelled. If Ctrl-C under `asyncio.run` cancelled it, a KimiWarning says so.
    """
    future = start_in_thread(function)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if not future.done() and _is_cancelled_by_ctrl_c():
            warn(_LEFT_BEHIND.format(tool=tool))
        raise


def _is_cancelled_by_ctrl_c() -> bool:
    """Whether asyncio's own handler of SIGINT, which `asyncio.run` installs, has cancelled the main task."""
    handler: Any = signal.getsignal(signal.SIGINT)
    runner = getattr(getattr(handler, "func", None), "__self__", None)
    return isinstance(runner, asyncio.Runner) and getattr(runner, "_interrupt_count", 0) > 0


class ToolTimeoutError(Exception):
    """A tool has no result after its timeout of so many `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no result within {seconds:g} seconds")
        self.seconds = seconds


class Interruption:
    """Ends every wait for a tool when its result is no longer wanted, or after so many `seconds`.

    With `warns`, it issues a KimiWarning if the tool goes on.
    """

    def __init__(self, seconds: float | None = None, *, warns: bool = False) -> None:
        self._ended: Future[_Reason] = Future()
        self._seconds = seconds
        self._warns = warns
        self._calls: set[Interruption] = set()
        self._runs = 0

    @contextmanager
    def for_call(self, seconds: float | None) -> Iterator["Interruption"]:
        """An interruption for one tool call with this timeout, which ends with the block and with this interruption."""
        interruption = Interruption(seconds, warns=self._warns)
        self._calls.add(interruption)
        if self._ended.done():
            interruption.end()
        try:
            yield interruption
        finally:
            self._calls.discard(interruption)
            interruption.end()

    @contextmanager
    def run(self) -> Iterator[None]:
        """Marks a block in the tool call that ends by itself soon after this interruption, such as an agent's run."""
        self._runs += 1
        try:
            yield
        finally:
            self._runs -= 1

    def end(self, reason: _Reason = KeyboardInterrupt) -> None:
        """End all waits, which raise `reason`."""
        with suppress(InvalidStateError):  # it has ended already
            self._ended.set_result(reason)
        for interruption in list(self._calls):
            interruption.end(reason)

    def check(self) -> None:
        """Raise the reason if the interruption has ended."""
        if self._ended.done():
            raise self._ended.result()

    def wait_for(self, future: Future[T], tool: str, cancel: Callable[[], None] | None = None) -> T:
        """The result of a tool. `cancel` makes the tool end, if anything can.

        Raises ToolTimeoutError after the timeout, and the reason of the interruption if it ends.
        """
        reason = self._wait(future)
        if reason is None:
            return future.result()
        self.end()
        if cancel is not None:
            cancel()
        if cancel is not None or self._runs:  # a tool that cleans up, an agent that still writes to its database
            wait((future,), timeout=GRACE)
        if self._warns and isinstance(reason, KeyboardInterrupt) and not future.done():
            warn((_LEFT_BEHIND if cancel is None else _NOT_ENDED).format(tool=tool))
        raise reason

    def _wait(self, future: Future[Any]) -> BaseException | None:
        """None when the tool has its result, else the reason why it is no longer wanted."""
        try:
            finished, _ = wait((future, self._ended), timeout=self._seconds, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt as interrupt:
            return interrupt
        if future in finished:
            return None
        return self._ended.result()() if finished else ToolTimeoutError(self._seconds or 0)


def with_interruption(config: RunnableConfig | None, interruption: Interruption) -> RunnableConfig:
    """The config of a run or a call that the interruption ends."""
    return {**(config or {}), "configurable": {**(config or {}).get("configurable", {}), _KEY: interruption}}


def interruption_of(config: RunnableConfig | None) -> Interruption | None:
    """The interruption of the run that a config belongs to; None if Ctrl-C is not handled here."""
    interruption: Any = (config or {}).get("configurable", {}).get(_KEY)
    return interruption if isinstance(interruption, Interruption) else None


@contextmanager
def ended_by_ctrl_c(config: RunnableConfig | None) -> Iterator[RunnableConfig | None]:
    """The config for a run that Ctrl-C ends at once, in the main thread and with Python's own handler of SIGINT.

    In a daemon thread, the exit of the interpreter ends it.
    """
    thread, handler = threading.current_thread(), signal.getsignal(signal.SIGINT)
    if outer := interruption_of(config):
        with outer.run():
            yield config
    elif thread.daemon and interruption_of(ensure_config()) is None:  # not inside a tool call
        with _by_exit() as interruption:
            yield with_interruption(config, interruption)
    elif thread is threading.main_thread() and handler in (signal.default_int_handler, _pressed):
        with _by_ctrl_c() as interruption:
            yield with_interruption(config, interruption)
    else:
        yield config


@contextmanager
def _by_exit() -> Iterator[Interruption]:
    interruption = Interruption()
    _in_daemon_threads.add(interruption)
    try:
        yield interruption
    finally:
        _in_daemon_threads.discard(interruption)


@contextmanager
def _by_ctrl_c() -> Iterator[Interruption]:
    interruption = Interruption(warns=True)
    _running.add(interruption)
    _install()
    try:
        yield interruption
    finally:
        _running.discard(interruption)
        if not _running and threading.current_thread() is threading.main_thread():
            _uninstall()


def _pressed(number: int, frame: Any) -> None:
    with suppress(BlockingIOError):  # the watcher has enough to read
        _wake.send(bytes([number]))
    signal.default_int_handler(number, frame)


def _install() -> None:
    """Handle Ctrl-C. The signal wakes the watcher thread even while the main thread runs no signal handlers."""
    global _watcher, _wake
    if not _watcher.is_alive():  # the first time, or after a fork
        signals, _wake = socketpair()
        _wake.setblocking(False)
        _watcher = threading.Thread(target=_watch, args=(signals,), name="kimi-ctrl-c", daemon=True)
        _watcher.start()
    signal.signal(signal.SIGINT, _pressed)
    if (before := signal.set_wakeup_fd(_wake.fileno(), warn_on_full_buffer=False)) not in (-1, _wake.fileno()):
        signal.set_wakeup_fd(before)  # another library uses it


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


def _end_at_exit() -> None:
    for interruption in [*_running, *_in_daemon_threads]:
        interruption.end(SystemExit)


# LangGraph waits for tools in pools, whose threads the interpreter joins before it calls the functions of `atexit`.
threading._register_atexit(_end_at_exit)  # type: ignore[attr-defined]
