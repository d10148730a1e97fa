"""Runs asynchronous tools in synchronous runs, on an event loop in a thread of its own.

The loop starts with the first such tool and serves all runs of the process, so that the calls of one turn run in
parallel. Its thread is a daemon: when the interpreter exits, open calls are cancelled and have a moment to end.
"""

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool

from langchain_kimi.agent.tool_node.tool_threads import GRACE, Interruption, interruption_of, start_in_thread

T = TypeVar("T")

_loops: list["_EventLoopThread"] = []
"""The loop for tools, and behind each loop one for the tools of runs that its tools start: a tool may block its loop
until such a run ends."""

_of_parent_process: list["_EventLoopThread"] = []
"""After a fork, the loops of the parent process. They are not collected, because they share its file descriptors."""

_depth: ContextVar[int] = ContextVar("kimi_event_loop", default=0)
"""Which of the loops runs the next tool."""

_lock = threading.Lock()

_without_run: WeakSet[type] = WeakSet()
"""Classes of tools that turned out to have no `_run` of their own."""


def with_sync_invoke(tool: BaseTool) -> BaseTool:
    """The tool, or a copy whose `invoke` runs it on the event loop if it can only run asynchronously."""
    if not is_async_only(tool) and type(tool)._arun in (BaseTool._arun, StructuredTool._arun, Tool._arun):
        return tool
    copy = tool.model_copy()
    copy.__class__ = _with_sync_invoke(type(tool))
    return copy


def is_async_only(tool: BaseTool) -> bool:
    """Whether the tool can only run asynchronously, as the tools of MCP servers do.

    Of a class with an own `_arun` this is known only when its `_run` has raised NotImplementedError.
    """
    has_no_function = getattr(tool, "func", ...) is None and getattr(tool, "coroutine", None) is not None
    return has_no_function or type(tool) in _without_run


@lru_cache(maxsize=256)
def _with_sync_invoke(kind: Any) -> Any:
    class SyncInvoke(kind):  # type: ignore[misc]
        def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
            if not is_async_only(self):
                try:
                    return super().invoke(input, config, **kwargs)
                except NotImplementedError as error:
                    if not _is_raised_by_run(error, self):
                        raise
                    _without_run.add(type(self))
            return _run_on_event_loop(lambda: kind.ainvoke(self, input, config, **kwargs), config, self.name)

    return SyncInvoke


def _is_raised_by_run(error: NotImplementedError, tool: BaseTool) -> bool:
    """Whether the tool's own `_run` raised the error, rather than what it calls."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback and traceback.tb_frame
    return frame is not None and frame.f_code.co_name == "_run" and frame.f_locals.get("self") is tool


def _run_on_event_loop(function: Callable[[], Coroutine[Any, Any, T]], config: RunnableConfig | None, tool: str) -> T:
    """The result of a coroutine, in the caller's context. It is cancelled if the caller stops waiting.

    Raises ToolTimeoutError and KeyboardInterrupt as `Interruption.wait_for`, and CancelledError of
    `concurrent.futures`, which is an Exception, if the coroutine was cancelled otherwise.
    """
    call = _CoroutineCall(function, _event_loop_thread().loop)
    interruption = interruption_of(config) or Interruption()
    with interruption.run():
        return interruption.wait_for(call.future, tool, call.cancel)


class _CoroutineCall(Generic[T]):
    """A coroutine that runs on an event loop of another thread."""

    def __init__(self, function: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop) -> None:
        self.future: Future[T] = Future()
        """Done when the coroutine has ended, also if it was cancelled."""
        self._function = function
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        loop.call_soon_threadsafe(self._start)  # with a copy of the caller's context

    def cancel(self) -> None:
        """Cancel the coroutine at the point where it waits."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._cancel)

    def _start(self) -> None:
        _depth.set(_depth.get() + 1)
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._end)

    async def _run(self) -> None:
        try:
            self.future.set_result(await self._function())
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.future.set_exception(error)

    def _end(self, task: asyncio.Task[None]) -> None:
        if not self.future.done():
            self.future.set_exception(CancelledError("the tool was cancelled"))

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class _EventLoopThread:
    """A daemon thread that runs an event loop until the process ends."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(_ToolThreads())
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="kimi-event-loop", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Cancel what is open, and wait a moment for it."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(GRACE)

    def _run(self) -> None:
        while not self._ended.is_set():
            with suppress(KeyboardInterrupt, SystemExit):  # a tool raised it; its caller has it too
                self.loop.run_until_complete(self._ended.wait())
        # Not by asyncio.Runner, which would start a thread for this, as Python 3.12 does not allow at exit.
        self.loop.run_until_complete(self._cancel_calls())
        self.loop.close()

    async def _cancel_calls(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self.loop.shutdown_asyncgens()


class _ToolThreads(ThreadPoolExecutor):
    """The threads of `asyncio.to_thread`. Those of a ThreadPoolExecutor would keep the interpreter from exiting."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return start_in_thread(partial(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: the threads end by themselves."""


def _event_loop_thread() -> _EventLoopThread:
    """The loop that runs the next tool, started if there is none."""
    depth = _depth.get()
    with _lock:
        while len(_loops) <= depth:
            _loops.append(_EventLoopThread())
        return _loops[depth]


def _after_fork() -> None:
    """Forget the loops of the parent process, whose threads do not exist here."""
    global _lock
    _lock = threading.Lock()
    _of_parent_process.extend(_loops)
    _loops.clear()


@atexit.register
def _end_all() -> None:
    for one in _loops:
        one.end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
