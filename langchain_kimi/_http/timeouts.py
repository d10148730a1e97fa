"""The timeouts of a request."""

from dataclasses import dataclass
from typing import Any

from langchain_kimi._parameter_names import checks_field_names

_EVENT = 1800.0


@checks_field_names
@dataclass(frozen=True, slots=True)
class Timeouts:
    """The longest wait for each part of a response, in seconds; None waits for ever.

    A model may think for minutes before its first byte and between two chunks. `total` covers a call with its retries
    and waits: it is checked before each of them and whenever something arrives, so that a stream that stalls shortly
    before it expires can take up to twice as long.
    """

    connect: float | None = 10.0
    """Until the host is reached, TLS included."""
    first_byte: float | None = 600.0
    """Until the status line of the response arrives."""
    silence: float | None = 300.0
    """Between two pieces of the body."""
    total: float | None = None
    """For the whole call."""
    write: float | None = 60.0
    """Until the host accepts the next piece of the request."""
    pool: float | None = 600.0
    """Until a connection is free, if all are in use."""
    event: float | None = _EVENT
    """Between two events of a stream. Comment lines, which keep a connection open, do not count as events."""

    @classmethod
    def of(cls, timeout: Any) -> "Timeouts":
        """The timeouts for a setting `timeout`.

        None is the default; a number sets `first_byte` and `silence`; a tuple (connect, read, write, pool) and an
        object with such attributes, such as httpx's `Timeout`, set these, `read` being `first_byte` and `silence`.
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
