"""When to try again, and how long to wait before."""

import random
from dataclasses import dataclass

from langchain_kimi.errors import KimiError, OverloadedError, RateLimitError

PATIENCE = 300.0
"""Seconds that one call waits in all for a host that is full, where `max_retries` is not given."""
MAX_RETRY_WAIT = 60.0
"""Seconds that a single wait takes at most, unless the user allows more."""
_FEW = 2
"""How often other failures are repeated, where `max_retries` is not given."""


@dataclass(frozen=True, slots=True)
class RetryWait:
    """A pause before a request is sent again: how many seconds, after which attempt (from 1), and which error."""

    seconds: float
    attempt: int
    error: KimiError


class RetryPolicy:
    """Decides after each failed attempt of one call how long to wait before the next.

    `most` bounds the retries of a call, whatever its failures are; with 0 nothing is repeated. Where it is None, other
    passing failures are repeated twice, soon, and a host that is full (overload, rate limit) is waited for until five
    minutes of waiting are used up. No single wait is longer than `longest` seconds: where the host asks for more, its
    error is final. A request that must not take effect twice (`once`) is repeated only where the host had no room for
    it, since any other failure may have come after the effect.
    """

    def __init__(self, most: int | None = None, longest: float = MAX_RETRY_WAIT, *, once: bool = False) -> None:
        self._most = most
        self._longest = longest
        self._once = once
        self._patience = max(PATIENCE, longest)
        self._full = 0
        self._broken = 0

    @property
    def attempts(self) -> int:
        """How many attempts have failed."""
        return self._full + self._broken

    def delay(self, error: KimiError) -> float | None:
        """Seconds to wait before the next attempt; None when the error is final or there shall be no other."""
        if not error.is_retryable:
            return None
        full = isinstance(error, RateLimitError) or error.type == "server_unavailable"
        if self._once and not full:
            return None
        self._full += full
        self._broken += not full
        if self._exhausted():
            return None
        asked = _asked(error)
        if asked is not None and asked > self._longest:
            error.add_note(
                f"The host asks to wait {asked:g} seconds, which is longer than max_retry_wait={self._longest:g}. "
                "Raise max_retry_wait to wait as long as that."
            )
            return None
        seconds = _until_there_is_room(error, self._full) if full else _until_it_works(error, self._broken)
        seconds = min(seconds, self._longest)
        self._patience -= seconds
        return seconds if self._most is not None or self._patience >= 0 else None

    def allow_one_more(self) -> bool:
        """Whether a refused request may be sent again at once in another form, which counts as a retry."""
        self._broken += 1
        return not self._exhausted()

    def _exhausted(self) -> bool:
        if self._most is None:
            return self._broken > _FEW
        return self.attempts > self._most


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
