"""Which failed requests are retried, and how long to wait before each retry."""

import random
from dataclasses import dataclass

from langchain_kimi.errors import KimiError, OverloadedError, RateLimitError

TOTAL_WAIT = 300.0
"""The longest wait of one call in total for an overloaded host or a rate limit, in seconds, without `max_retries`."""
MAX_RETRY_WAIT = 60.0
"""The default of the longest single wait, in seconds."""
_FEW = 2
"""How often requests are retried after other failures, without `max_retries`."""


@dataclass(frozen=True, slots=True)
class RetryWait:
    """A wait before a retry: its seconds, the number of the failed attempt, from 1, and its error."""

    seconds: float
    attempt: int
    error: KimiError


class RetryPolicy:
    """Decides after each failed attempt of one call how long to wait before the next.

    `most` is the limit of retries of a call, for all kinds of failures together; with 0 nothing is retried. If it is
    None, an overloaded host and a rate limit are retried until the waits add up to five minutes, and other retryable
    failures are retried twice after short waits. No single wait is longer than `longest` seconds: if the host requests
    a longer one, its error is raised. A request that must not take effect twice (`once`) is retried only after an
    overload or a rate limit, since other failures may occur after its effect.
    """

    def __init__(self, most: int | None = None, longest: float = MAX_RETRY_WAIT, *, once: bool = False) -> None:
        self._most = most
        self._longest = longest
        self._once = once
        self._wait_budget = max(TOTAL_WAIT, longest)
        self._overloads = 0
        self._failures = 0

    @property
    def attempts(self) -> int:
        """The number of failed attempts."""
        return self._overloads + self._failures

    def delay(self, error: KimiError) -> float | None:
        """Seconds to wait before the next attempt; None if there is no other attempt."""
        if not error.is_retryable:
            return None
        overloaded = isinstance(error, RateLimitError) or error.type == "server_unavailable"
        if self._once and not overloaded:
            return None
        self._overloads += overloaded
        self._failures += not overloaded
        if self._exhausted():
            return None
        requested = _requested(error)
        if requested is not None and requested > self._longest:
            error.add_note(
                f"The host asks to wait {requested:g} seconds, which is longer than max_retry_wait={self._longest:g}. "
                "Raise max_retry_wait to wait that long."
            )
            return None
        seconds = _overload_delay(error, self._overloads) if overloaded else _failure_delay(error, self._failures)
        seconds = min(seconds, self._longest)
        self._wait_budget -= seconds
        return seconds if self._most is not None or self._wait_budget >= 0 else None

    def allow_one_more(self) -> bool:
        """Whether a refused request may be sent again immediately in another form, which counts as a retry."""
        self._failures += 1
        return not self._exhausted()

    def _exhausted(self) -> bool:
        if self._most is None:
            return self._failures > _FEW
        return self.attempts > self._most


def _overload_delay(error: KimiError, attempt: int) -> float:
    requested = _requested(error)
    if isinstance(error, OverloadedError) or not isinstance(error, RateLimitError):
        return max(
            _exponential(10.0, attempt, 60.0) * random.uniform(0.75, 1.25),
            (requested or 0.0) * random.uniform(1.0, 1.25),
        )
    # Clients that were refused together get the same Retry-After: the more refusals, the wider they are spread.
    spread = random.uniform(0.0, _exponential(0.25, attempt, 10.0))
    return (_exponential(5.0, attempt, 60.0) if requested is None else requested) + spread


def _failure_delay(error: KimiError, attempt: int) -> float:
    return max(_exponential(0.5, attempt, 8.0) * random.uniform(0.75, 1.25), _requested(error) or 0.0)


def _requested(error: KimiError) -> float | None:
    return error.retry_after if error.retry_after is not None and error.retry_after >= 0 else None


def _exponential(first: float, attempt: int, most: float) -> float:
    return min(first * 2.0 ** min(attempt - 1, 16), most)
