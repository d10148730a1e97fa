"""Runs an agent while it has its thread."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from functools import wraps
from typing import Any, NoReturn

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphDrained

from langchain_kimi.agent.thread_locks.thread_lock import HeldThread, ThreadLock
from langchain_kimi.errors import ThreadReplacedError

_KEY = "__kimi_held_thread"
"""The key in `configurable` of a run's HeldThread. LangGraph keeps keys with this prefix out of checkpoints and
traces."""


@contextmanager
def holding(lock: ThreadLock | None, config: RunnableConfig | None) -> Iterator[RunnableConfig | None]:
    """The config of a run that has its thread; the config itself where no lock is needed."""
    if lock is None or config is None or (thread := _thread_to_acquire(config)) is None:
        yield config
        return
    with lock.hold(thread) as held, _reporting_replacement(held):
        yield _with_held(config, held)


@asynccontextmanager
async def aholding(lock: ThreadLock | None, config: RunnableConfig | None) -> AsyncIterator[RunnableConfig | None]:
    """`holding` for asynchronous use."""
    if lock is None or config is None or (thread := _thread_to_acquire(config)) is None:
        yield config
        return
    async with lock.ahold(thread) as held:
        with _reporting_replacement(held):
            yield _with_held(config, held)


def held_thread(config: RunnableConfig | None) -> HeldThread | None:
    """The thread that the run of a config has by a lock, and that the runs around it have."""
    held = (config or {}).get("configurable", {}).get(_KEY)
    return held if isinstance(held, HeldThread) and held.active else None


def check_held(config: RunnableConfig) -> None:
    """Stop a run before a superstep if another run replaces it or it has lost its thread.

    Tasks of one superstep begin together or not at all: the first one checks.
    """
    if (held := held_thread(config)) is None:
        return
    namespace, step = _superstep(config)
    with held.step_lock:
        if held.steps.get(namespace) != step:
            if held.check():
                _stop(held)
            held.steps[namespace] = step


async def acheck_held(config: RunnableConfig) -> None:
    """`check_held` for asynchronous use."""
    if (held := held_thread(config)) is None:
        return
    namespace, step = _superstep(config)
    async with held.astep_lock:
        if held.steps.get(namespace) != step:
            if await held.acheck():
                _stop(held)
            held.steps[namespace] = step


def checked_writes(saver: BaseCheckpointSaver[Any], config: RunnableConfig | None) -> BaseCheckpointSaver[Any]:
    """A copy of the checkpointer that writes only while the run has its thread."""
    if (held := held_thread(config)) is None:
        return saver
    checking: Any = copy(saver)
    for name in ("put", "put_writes"):
        setattr(checking, name, _checked(getattr(saver, name), held))
        setattr(checking, f"a{name}", _achecked(getattr(saver, f"a{name}"), held))
    typed: BaseCheckpointSaver[Any] = checking
    return typed


def _thread_to_acquire(config: RunnableConfig) -> str | None:
    """The name of the thread that a run has to acquire; None if it has none, or if a run around it has it."""
    configurable = config.get("configurable", {})
    thread = configurable.get("thread_id")
    held = held_thread(config)
    if not thread or (held is not None and held.thread.partition("\0")[0] == str(thread)):
        return None
    return f"{thread}\0{configurable.get('checkpoint_ns') or ''}"


def _with_held(config: RunnableConfig, held: HeldThread) -> RunnableConfig:
    return {**config, "configurable": {**config.get("configurable", {}), _KEY: held}}


@contextmanager
def _reporting_replacement(held: HeldThread) -> Iterator[None]:
    try:
        yield
    except GraphDrained:
        if not held.replaced:
            raise
        raise ThreadReplacedError(
            "Another run on this thread replaced this one, which stopped at its last checkpoint. What it had recorded "
            "is in the thread, and the other run goes on from there."
        ) from None


def _superstep(config: RunnableConfig) -> tuple[str, Any]:
    """The checkpoint namespace of the graph that a node's config belongs to, and its superstep."""
    namespace = str(config.get("configurable", {}).get("checkpoint_ns") or "").rpartition("|")[0]
    return namespace, config.get("metadata", {}).get("langgraph_step")


def _stop(held: HeldThread) -> NoReturn:
    """Stop a run that another one replaces."""
    held.replaced = True
    # LangGraph takes it for a pause: tool calls beside a sub-agent that stops finish and are recorded.
    raise GraphDrained("replaced by another run on the thread")


def _checked(write: Callable[..., Any], held: HeldThread) -> Callable[..., Any]:
    @wraps(write)
    def checked(*args: Any, **kwargs: Any) -> Any:
        held.check()
        return write(*args, **kwargs)

    return checked


def _achecked(write: Callable[..., Any], held: HeldThread) -> Callable[..., Any]:
    @wraps(write)
    async def checked(*args: Any, **kwargs: Any) -> Any:
        await held.acheck()
        return await write(*args, **kwargs)

    return checked
