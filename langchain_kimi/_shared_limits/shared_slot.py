"""The slot of one request in limits that processes share."""

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from langchain_kimi._shared_limits.shared_limits import SharedLimits
from langchain_kimi._shared_limits.ticket import LocalSlot, Outcome, Ticket
from langchain_kimi.errors import KimiError, OverloadedError, QuotaExceededError, RateLimitError

_SHORTEST_WAIT = 1.0
"""Seconds that all wait after a rate limit for which the host names no time."""


class SharedSlot:
    """The slot of one request: `with` or `async with` waits for it, and their end frees it.

    It counts for `tokens`, and after its end for what `charged` returns, unless that is None.
    """

    reports_sending = True

    def __init__(self, limits: SharedLimits, tokens: int, charged: Callable[[], int | None] | None = None) -> None:
        self.tokens = tokens
        self._limits = limits
        self._charged = charged
        self._ticket: Ticket | None = None

    def sent(self) -> None:
        """Note that the request has been sent."""
        if self._ticket is not None and self._ticket.sent_at is None:
            self._limits.report_sent(self._ticket)

    def __enter__(self) -> Self:
        turn = threading.Event()
        ticket = self._limits.enqueue(self.tokens, turn.set)
        try:
            turn.wait()
            if slot := self._slot_of_share(ticket):
                slot.__enter__()
                self._limits.start_alone(ticket, slot)
        except BaseException:
            self._limits.withdraw(ticket)
            raise
        self._ticket = ticket
        return self

    async def __aenter__(self) -> Self:
        loop, turn = asyncio.get_running_loop(), asyncio.Event()
        ticket = self._limits.enqueue(self.tokens, lambda: loop.call_soon_threadsafe(turn.set))
        try:
            await turn.wait()
            if slot := self._slot_of_share(ticket):
                await slot.__aenter__()
                self._limits.start_alone(ticket, slot)
        except BaseException:
            self._limits.withdraw(ticket)
            raise
        self._ticket = ticket
        return self

    def _slot_of_share(self, ticket: Ticket) -> LocalSlot | None:
        """The slot to wait for where the limits are those of this process alone. Raises RateLimitsUnavailableError."""
        if ticket.failure is not None:
            raise self._limits.server.unavailable(ticket.failure) from ticket.failure
        if ticket.share is None:
            return None
        self._limits.warn_once()
        return ticket.share.slot(self.tokens)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            outcome, wait = _outcome(error)
            self._limits.end(ticket, outcome, wait, self._charged() if self._charged else None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def _outcome(error: BaseException | None) -> tuple[Outcome, float]:
    """What the end of a request tells the others, and the seconds that they should wait."""
    if error is None:
        return "answered", 0.0
    if not isinstance(error, KimiError) or isinstance(error, QuotaExceededError):
        return "other", 0.0
    wait = max(error.retry_after or 0.0, 0.0)
    if isinstance(error, OverloadedError) or error.type == "server_unavailable":
        return "overloaded", wait
    if isinstance(error, RateLimitError):
        return "rate_limited", wait or _SHORTEST_WAIT
    return "other", 0.0
