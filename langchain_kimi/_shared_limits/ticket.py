"""One request that shared limits count, and the limits of a process alone by which it may start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Outcome = Literal["answered", "rate_limited", "overloaded", "other"]
"""How a request ended, as far as it matters to other requests."""


class LocalSlot(Protocol):
    """A slot of limits that belong to this process only."""

    def __enter__(self) -> Any: ...
    async def __aenter__(self) -> Any: ...
    def __exit__(self, kind: None, error: None, trace: None, /) -> None: ...


class LocalLimits(Protocol):
    """Limits that belong to this process only."""

    def slot(self, tokens: int = 0) -> LocalSlot: ...
    def slots_in_progress(self, tokens: Sequence[int], recent: Sequence[tuple[float, int]]) -> Sequence[LocalSlot]: ...


OwnShare = Callable[[int], LocalLimits]
"""Makes the limits of one of so many processes."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that waits or is in progress."""

    id: str
    tokens: int
    wake: Callable[[], object]
    """Wakes the waiter. Raises RuntimeError if its event loop is closed; see `try_wake`."""
    sent_at: float | None = None
    share: LocalLimits | None = None
    """The limits of this process alone, if the request starts by these."""
    local_slot: LocalSlot | None = None
    failure: Exception | None = None
    """Why it does not start."""

    def try_wake(self) -> bool:
        """Wake the waiter; False if its event loop is closed."""
        try:
            self.wake()
        except RuntimeError:
            return False
        return True

    def entry(self, now: float) -> dict[str, Any]:
        """The request for the script, with the milliseconds since it was sent, or -1."""
        age = -1 if self.sent_at is None else round((now - self.sent_at) * 1000)
        return {"id": self.id, "tokens": self.tokens, "age": age}
