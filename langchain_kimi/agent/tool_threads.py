"""Threads for synchronous tools: one each, so that no tool waits for another, and none keeps a process from ending."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

_T = TypeVar("_T")


def submit(work: Callable[[], _T]) -> Future[_T]:
    """Start `work` in a thread of its own, in the caller's context."""
    future: Future[_T] = Future()
    context = copy_context()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            outcome = context.run(work)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(outcome)

    threading.Thread(target=run, name="kimi-tool", daemon=True).start()
    return future


async def run(work: Callable[[], _T]) -> _T:
    """The outcome of `work`, run in a thread of its own. A thread cannot be cancelled: it goes on by itself."""
    return await asyncio.wrap_future(submit(work))
