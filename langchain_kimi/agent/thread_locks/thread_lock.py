"""`ThreadLock`, the base of the locks on threads."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from typing import Any, Literal, TypeAlias, get_args

from langchain_kimi._steps import Steps, arun_steps, run_steps
from langchain_kimi.errors import ThreadBusyError

MultitaskStrategy: TypeAlias = Literal["reject", "enqueue", "interrupt"]
"""What a run does if another run has its thread, with the names of LangGraph Platform."""


class ThreadLock(ABC):
    """Lets one run at a time have a thread. Use `PostgresThreadLock` or `RedisThreadLock`.

    `strategy` is what a run does if another run has its thread:

    - `reject`: it raises ThreadBusyError at once.
    - `enqueue`: it waits until the other run has ended.
    - `interrupt`: it waits until the other run has stopped at its next checkpoint, with ThreadReplacedError, and then
      goes on with what that run recorded.

    `timeout` is the longest wait in seconds. After it, ThreadBusyError is raised.
    """

    def __init__(self, strategy: MultitaskStrategy, timeout: float) -> None:
        owner = type(self).__name__
        if strategy not in get_args(MultitaskStrategy):
            known = ", ".join(map(repr, get_args(MultitaskStrategy)))
            raise ValueError(f"{owner}: strategy={strategy!r} is none of {known}.")
        if not timeout > 0:
            raise ValueError(f"{owner}: timeout={timeout!r}: it has to be above 0 seconds.")
        self.strategy: MultitaskStrategy = strategy
        self.timeout = timeout

    @contextmanager
    def hold(self, thread: str) -> Iterator["HeldThread"]:
        """The thread, which no other run has meanwhile. Raises ThreadBusyError if it cannot be had."""
        with self._connect() as connection:
            held = HeldThread(self, thread, connection)
            try:
                run_steps(self._acquire(held), connection)
                with self._renewing(held):
                    yield held
            finally:
                held.active = False
                run_steps(self._release(held), connection)

    @asynccontextmanager
    async def ahold(self, thread: str) -> AsyncIterator["HeldThread"]:
        """`hold` for asynchronous use."""
        async with self._aconnect() as connection:
            held = HeldThread(self, thread, connection, asyncio.get_running_loop())
            try:
                await arun_steps(self._acquire(held), connection)
                async with self._arenewing(held):
                    yield held
            finally:
                held.active = False
                await arun_steps(self._release(held), connection)

    @abstractmethod
    def _connect(self) -> AbstractContextManager[Any]:
        """The connection of one run."""

    @abstractmethod
    def _aconnect(self) -> AbstractAsyncContextManager[Any]:
        """The asynchronous connection of one run."""

    @abstractmethod
    def _acquire(self, held: "HeldThread") -> Steps[None]:
        """Acquire the thread. Raises ThreadBusyError."""

    @abstractmethod
    def _check(self, held: "HeldThread") -> Steps[bool]:
        """Whether another run waits to replace this one. Raises ThreadLockLostError if the thread is not held."""

    @abstractmethod
    def _release(self, held: "HeldThread") -> Steps[None]:
        """Release the thread, if it was acquired."""

    def _renewing(self, held: "HeldThread") -> AbstractContextManager[Any]:
        """Renews a lease as long as the run has the thread."""
        return nullcontext()

    def _arenewing(self, held: "HeldThread") -> AbstractAsyncContextManager[Any]:
        """`_renewing` for asynchronous use."""
        return nullcontext()

    def _busy(self, waited: bool) -> ThreadBusyError:
        """The error for a thread that another run has."""
        if not waited:
            return ThreadBusyError(
                "Another run has this thread, so nothing was run. Try again when it has ended, or let the run wait for "
                'it (strategy="enqueue") or replace it (strategy="interrupt").'
            )
        return ThreadBusyError(
            f"Another run still has this thread after {self.timeout:g} seconds, the timeout of the lock, so nothing "
            "was run. Try again when it has ended, or raise the timeout."
        )


class HeldThread:
    """A thread that a run has, and the connection by which it has it."""

    def __init__(
        self, lock: ThreadLock, thread: str, connection: Any, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.thread = thread
        self.connection = connection
        self.active = True
        """Whether the run has not ended."""
        self.replaced = False
        """Whether the run was stopped because another one replaces it."""
        self.steps: dict[str, Any] = {}
        """The last superstep that began after a check, by checkpoint namespace."""
        # Tasks of one superstep run in parallel, and one connection serves one query at a time.
        self.step_lock = threading.Lock()
        self.astep_lock = asyncio.Lock()
        self._lock = lock
        self._loop = loop
        self._connection_lock = threading.Lock()
        self._aconnection_lock = asyncio.Lock()

    def check(self) -> bool:
        """Whether another run waits to replace this one. Raises ThreadLockLostError if it no longer has the thread.

        A synchronous function inside an asynchronous run cannot use the run's connection: for it, this is False.
        """
        if self._loop is not None:
            return False
        with self._connection_lock:
            return run_steps(self._lock._check(self), self.connection)

    async def acheck(self) -> bool:
        """`check` for asynchronous use."""
        if self._loop is None:
            return await asyncio.to_thread(self.check)
        if self._loop is not asyncio.get_running_loop():
            return False
        async with self._aconnection_lock:
            return await arun_steps(self._lock._check(self), self.connection)
