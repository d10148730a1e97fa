"""Where a warning points: at the line of the user's own code that led to it, whatever libraries are in between."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, NamedTuple

from langchain_core.runnables.config import var_child_runnable_config

_LIBRARIES = frozenset(
    {"langchain_kimi", "langchain_core", "langchain", "langgraph", "langsmith", "pydantic", "pydantic_core"}
)
_PLUMBING = frozenset({"asyncio", "concurrent", "contextlib", "functools", "threading"})
_BEGINNINGS = frozenset({"_run", "_worker", "_bootstrap", "_bootstrap_inner"})
"""Functions of the plumbing in which a task of an event loop or a thread begins: who is further out did not call."""
CALLER = "__kimi_caller"
"""Where the config of an agent's run holds the line that called it, which is on no stack of its tasks and threads."""

_called_from: "ContextVar[Line | None]" = ContextVar("kimi_called_from", default=None)


class Line(NamedTuple):
    """A line of source code."""

    filename: str
    number: int
    module: str

    @property
    def registry(self) -> dict[Any, Any]:
        """Where Python remembers which warnings were shown for lines of the module."""
        module = sys.modules.get(self.module)
        return {} if module is None else module.__dict__.setdefault("__warningregistry__", {})


def users_line() -> Line:
    """The user's line: the nearest one on the stack, or the one that called the agent."""
    if near := calling_line():
        return near
    known = (var_child_runnable_config.get() or {}).get("configurable", {}).get(CALLER)
    return _called_from.get() or known or _nearest(sys._getframe(1), beyond=True) or _line(sys._getframe(1))


@contextmanager
def calling() -> Iterator[None]:
    """Remember the line that calls, for tasks that begin meanwhile."""
    token = _called_from.set(calling_line())
    try:
        yield
    finally:
        _called_from.reset(token)


def calling_line() -> Line | None:
    """The user's nearest line on the stack of this task or thread; None where there is none."""
    return _nearest(sys._getframe(1), beyond=False)


def _nearest(frame: FrameType | None, *, beyond: bool) -> Line | None:
    while frame is not None:
        root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if root in _PLUMBING:
            if not beyond and frame.f_code.co_name in _BEGINNINGS:
                return None
        elif root not in _LIBRARIES:
            return _line(frame)
        frame = frame.f_back
    return None


def _line(frame: FrameType) -> Line:
    return Line(frame.f_code.co_filename, frame.f_lineno, str(frame.f_globals.get("__name__", "")))
