"""Notices the first write of a checkpointer that fails, so that the run can stop before it starts more tools."""

from collections.abc import Callable
from copy import copy
from functools import wraps
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from langchain_kimi.agent.budget import Budget

_STOPPED = "The checkpointer could not write, so the run was stopped: what was done since is not recorded."


def watched(saver: BaseCheckpointSaver[Any], budget: Budget) -> BaseCheckpointSaver[Any]:
    """The same checkpointer, which notes the first error of its writes in the run's budget."""
    watching: Any = copy(saver)
    for name in ("put", "put_writes"):
        setattr(watching, name, _noting(getattr(saver, name), budget))
        setattr(watching, f"a{name}", _anoting(getattr(saver, f"a{name}"), budget))
    kept: BaseCheckpointSaver[Any] = watching
    return kept


def _note(budget: Budget, error: Exception) -> None:
    if budget.write_error is None:
        error.add_note(_STOPPED)
        budget.write_error = error


def _noting(write: Callable[..., Any], budget: Budget) -> Callable[..., Any]:
    @wraps(write)
    def noting(*args: Any, **settings: Any) -> Any:
        try:
            return write(*args, **settings)
        except Exception as error:
            _note(budget, error)
            raise

    return noting


def _anoting(write: Callable[..., Any], budget: Budget) -> Callable[..., Any]:
    @wraps(write)
    async def noting(*args: Any, **settings: Any) -> Any:
        try:
            return await write(*args, **settings)
        except Exception as error:
            _note(budget, error)
            raise

    return noting
