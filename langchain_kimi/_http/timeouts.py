"""How long to wait for what."""

from dataclasses import dataclass
from typing import Any

_EVENT = 1800.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait at most for each part of an answer; None waits for ever.

    A model may think for minutes before its first byte and between two chunks. `total` covers a call with its retries
    and waits: it is checked before each of them and whenever something arrives, so that a stream which falls silent
    shortly before it can take up to twice as long.
    """

    connect: float | None = 10.0
    """Until the host is reached, TLS included."""
    first_byte: float | None = 600.0
    """Until the answer begins, that is, its status line."""
    silence: float | None = 300.0
    """Between two pieces of the answer."""
    total: float | None = None
    """For the whole call."""
    write: float | None = 60.0
    """Until the host takes the next piece of the request."""
    pool: float | None = 600.0
    """Until a connection is free, where all are in use."""
    event: float | None = _EVENT
    """Between two events of a stream. Comment lines, which keep a connection open, do not count as events."""

    @classmethod
    def of(cls, timeout: Any) -> "Timeouts":
        """What the user meant by `timeout`.

        None is the default; a number is for the first byte and for silence; a tuple (connect, read, write, pool) and
        anything with such attributes, as httpx's `Timeout` has, are taken as they are.
        """
        if timeout is None:
            return cls()
        if isinstance(timeout, cls):
            return timeout
        if isinstance(timeout, int | float):
            return cls(connect=min(10.0, timeout), first_byte=timeout, silence=timeout, event=max(timeout, _EVENT))
        if isinstance(timeout, tuple):
            connect, read, write, pool = timeout
        else:
            connect, read, write, pool = timeout.connect, timeout.read, timeout.write, timeout.pool
        return cls(connect=connect, first_byte=read, silence=read, write=write, pool=pool)
