"""Edits of a thread's state outside of a run: LangGraph's `update_state`.

LangGraph evaluates the routes of the edited node at once, without a runtime and with two remaining steps, whatever the
`recursion_limit` of the next run will be.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_EDITS: ContextVar[bool] = ContextVar("kimi_edits_state", default=False)


@contextmanager
def editing_state() -> Iterator[None]:
    """While it is entered, routes are evaluated for an edit of the state."""
    token = _EDITS.set(True)
    try:
        yield
    finally:
        _EDITS.reset(token)


def edits_state() -> bool:
    """Whether a route is evaluated for an edit of the state, outside of a run."""
    return _EDITS.get()
