"""When to try again, and how long to wait before."""

import random
from dataclasses import dataclass

from langchain_kimi.errors import KimiError, OverloadedError, RateLimitError

PATIENCE = 300.0
"""Seconds that one call waits in all for a host that is full, unless its own deadline comes first."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause before a request is sent again: how many seconds, after which attempt (from 1), and which error."""

    seconds: float
    attempt: int
    error: KimiError


class Retries:
    """Decides after each failed attempt of one call how long to wait before the next.

    A host that is full is waited for until `patience` is used up, however often that is: long where its engine is
    overloaded, as long as it says where a rate limit was reached. Other passing failures are repeated `most` times,
    soon. With `most` 0 nothing is repeated. A request that must not take effect twice (`once`) is repeated only where
    the host had no room for it, since any other failure may have come after the effect.
    """

    def __init__(self, most: int, patience: float = PATIENCE, *, once: bool = False) -> None:
        self._most = most
        self._once = once
        self._patience = patience
        self._full = 0
        self._broken = 0

    @property
    def attempts(self) -> int:
        """How many attempts have failed."""
        return self._full + self._broken

    def wait(self, error: KimiError) -> float | None:
        """Seconds to wait before the next attempt; None when the error is final or there shall be no other."""
        if not error.is_retryable or self._most <= 0:
            return None
        if isinstance(error, RateLimitError) or error.type == "server_unavailable":
            self._full += 1
            seconds = _until_there_is_room(error, self._full)
        elif self._once:
            return None
        else:
            self._broken += 1
            seconds = _until_it_works(error, self._broken)
        self._patience -= seconds
        return seconds if self._patience >= 0 and self._broken <= self._most else None


def _until_there_is_room(error: KimiError, time: int) -> float:
    asked = _asked(error)
    if isinstance(error, OverloadedError) or not isinstance(error, RateLimitError):
        return max(_growing(10.0, time, 60.0) * random.uniform(0.75, 1.25), (asked or 0.0) * random.uniform(1.0, 1.25))
    # Agents that were refused together were told the same moment: the more often, the wider they are spread.
    spread = random.uniform(0.0, _growing(0.25, time, 10.0))
    return (_growing(5.0, time, 60.0) if asked is None else asked) + spread


def _until_it_works(error: KimiError, time: int) -> float:
    return max(_growing(0.5, time, 8.0) * random.uniform(0.75, 1.25), _asked(error) or 0.0)


def _asked(error: KimiError) -> float | None:
    return error.retry_after if error.retry_after is not None and error.retry_after >= 0 else None


def _growing(first: float, time: int, most: float) -> float:
    return min(first * 2.0 ** min(time - 1, 16), most)
