"""The requests of this process, and the message about them to the script. Without I/O; its user holds a lock."""

import itertools
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from langchain_kimi._shared_limits.ticket import Outcome, Ticket

_QUEUED = 8
"""How many requests of a process wait in Redis at a time; the others wait in the process. So each process has its turn,
however many requests another one has."""


@dataclass(slots=True)
class _Report:
    """What happened since the last message."""

    sent: list[Ticket] = field(default_factory=list)
    ended: list[tuple[Ticket, Outcome, float]] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)


class ProcessRequests:
    """The requests of one process, in the order of arrival, and what Redis has yet to learn of them."""

    def __init__(self) -> None:
        self.process = secrets.token_hex(8)
        self.waiting: dict[str, Ticket] = {}
        """Requests that wait in this process only."""
        self.queued: dict[str, Ticket] = {}
        """Requests that wait in Redis."""
        self.held: dict[str, Ticket] = {}
        """Requests in progress."""
        self.history: deque[Ticket] = deque()
        """Requests that were sent in the last window."""
        self._numbers = itertools.count(1)
        self._report = _Report()
        self._unconfirmed: _Report | None = None
        """The report of a message that has no reply yet."""
        self._epoch: str | None = None
        self._sends_history = True
        """Whether Redis has to learn all that this process knows."""
        self._next_inventory = 0.0
        """When Redis is to hear again of all that waits and is in progress: it may have lost some of it."""
        self._was_away = False
        """Whether requests started while the server was away."""

    @property
    def in_use(self) -> bool:
        """Whether a request waits or is in progress."""
        return bool(self.waiting or self.queued or self.held)

    @property
    def has_news(self) -> bool:
        """Whether Redis has to learn of an end or of a request that it has room for."""
        has_room = self.waiting and len(self.queued) < _QUEUED
        return bool(self._report.ended or self._report.withdrawn or has_room)

    @property
    def all_reported(self) -> bool:
        """Whether Redis knows of all ends."""
        return not (self._report.ended or self._report.withdrawn or self._unconfirmed)

    def ticket(self, tokens: int, wake: Callable[[], object]) -> Ticket:
        """A new request, which does not wait yet."""
        return Ticket(f"{self.process}-{next(self._numbers)}", tokens, wake)

    def start(self, request: str) -> None:
        """Wake the waiter of a request that the script started; if it gave up meanwhile, Redis has to forget it."""
        ticket = self.queued.pop(request, None)
        if ticket is not None and ticket.try_wake():
            self.held[request] = ticket
        else:
            self._report.withdrawn.append(request)

    def start_alone(self, ticket: Ticket) -> None:
        """Note a request that started without the script."""
        self.held[ticket.id] = ticket
        self._was_away = self._sends_history = True

    def sent(self, ticket: Ticket, now: float) -> None:
        """Note that a request in progress has been sent."""
        if ticket.id in self.held:
            ticket.sent_at = now
            self.history.append(ticket)
            self._report.sent.append(ticket)

    def end(self, ticket: Ticket, outcome: Outcome, wait: float, now: float) -> bool:
        """End a request; False if it is not one of this process, as when its parent process started it."""
        if ticket.id not in self.held:
            return False
        if ticket.sent_at is None:
            self.sent(ticket, now)
        del self.held[ticket.id]
        self._report.ended.append((ticket, outcome, wait))
        return True

    def withdraw(self, request: str) -> None:
        """Remove a request that gave up before it was sent."""
        if self.waiting.pop(request, None) is not None:
            return
        if self.queued.pop(request, None) is not None or self.held.pop(request, None) is not None:
            self._report.withdrawn.append(request)

    def forget_sent_before(self, moment: float) -> None:
        """Remove the requests that have left the window."""
        while self.history and (self.history[0].sent_at or 0.0) <= moment:
            self.history.popleft()

    def message(self, now: float, heartbeat: float) -> dict[str, Any]:
        """What the script is to know. Requests that wait are moved to those that wait in Redis."""
        is_known = bool(self.held or self.queued)
        new = list(itertools.islice(self.waiting.values(), max(0, _QUEUED - len(self.queued))))
        for ticket in new:
            self.queued[ticket.id] = self.waiting.pop(ticket.id)
        takes_over = self._sends_history or now >= self._next_inventory
        if takes_over:
            self._next_inventory = now + heartbeat
        report, self._report = self._report, _Report()
        self._unconfirmed = report
        return {
            "process": self.process,
            "epoch": self._epoch,
            "is_known": is_known,
            "takes_over": takes_over,
            "has_history": self._sends_history,
            "was_away": self._was_away,
            "tickets": [ticket.entry(now) for ticket in (self.queued.values() if takes_over else new)],
            "held": [ticket.entry(now) for ticket in (self.held.values() if takes_over else ())],
            "history": [ticket.entry(now) for ticket in (self.history if self._sends_history else ())],
            "sent": [ticket.entry(now) for ticket in report.sent],
            "ended": [
                ticket.entry(now) | {"outcome": outcome, "wait": round(wait * 1000)}
                for ticket, outcome, wait in report.ended
            ],
            "withdrawn": report.withdrawn,
        }

    def confirm(self, epoch: str, started: list[str]) -> None:
        """Note the reply to the last message, and wake the waiters of the requests that started."""
        self._unconfirmed, self._epoch = None, epoch
        self._sends_history = self._was_away = False
        for request in started:
            self.start(request)

    def repeat(self) -> None:
        """Report once more with the whole history, because Redis did nothing for a process that it does not know."""
        if self._unconfirmed is not None:
            self._report.ended[:0], self._report.withdrawn[:0] = self._unconfirmed.ended, self._unconfirmed.withdrawn
        self._unconfirmed, self._sends_history = None, True

    def discard(self) -> list[Ticket]:
        """Forget the report and return the waiting requests, because the server is away."""
        waiting = [*self.queued.values(), *self.waiting.values()]
        self.queued, self.waiting = {}, {}
        self._report, self._unconfirmed, self._sends_history = _Report(), None, True
        return waiting
