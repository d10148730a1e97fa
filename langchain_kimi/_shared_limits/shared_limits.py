"""The thread of a process that takes its requests to the Redis server and wakes those whose turn it is."""

import atexit
import contextlib
import itertools
import logging
import os
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from langchain_kimi._shared_limits.redis_server import RedisServer, ScriptReply
from langchain_kimi.errors import warn

logger = logging.getLogger("langchain_kimi")

Outcome = Literal["answered", "rate_limited", "overloaded", "other"]
"""How a request ended, as far as it matters to other requests."""

_QUEUED = 8
"""How many requests of a process wait in Redis at a time; the others wait in the process. So each process has its turn,
however many requests another one has."""
_IDLE = 60.0
"""Seconds without a request after which the thread ends."""
_LAST_REPORT = 1.0
"""Seconds that the end of the process may wait for the last report."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of shared limits, in seconds."""

    window: float = 60.0
    margin: float = 1.0
    """How much longer one request may take to reach the host than another. It lengthens the window."""
    lease: float = 15.0
    """After this time without a report, a process counts as dead."""
    heartbeat: float = 5.0
    """The time between two reports of a process with requests in progress."""
    poll: float = 1.0
    """The longest time between two looks at the queue, if no wake-up arrives."""
    patience: float = 0.5
    """How long a place in the queue stays reserved for a process that was woken."""
    settle: float = 3.0
    """How long no request starts after Redis lost its data, so that all processes can report what they have sent."""
    retry: float = 1.0
    """The time between two attempts to reach a server that is away."""
    overload_pause: float = 5.0
    """The pause of all after an overload; it doubles with each further one."""
    longest_pause: float = 60.0

    def in_milliseconds(self) -> dict[str, int]:
        """The times for the script."""
        seconds = {
            "window": self.window + self.margin,
            "lease": self.lease,
            "patience": self.patience,
            "settle": self.settle,
            "overload_pause": self.overload_pause,
            "longest_pause": self.longest_pause,
            "expire": 3 * (self.window + self.margin + self.lease),
        }
        return {name: round(value * 1000) for name, value in seconds.items()} | {"recovered": 64}


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
    """Wakes the waiter. Raises RuntimeError if its event loop is closed."""
    sent_at: float | None = None
    share: LocalLimits | None = None
    """The limits of this process alone, if the request starts by these."""
    local_slot: LocalSlot | None = None
    failure: Exception | None = None
    """Why it does not start."""


@dataclass(slots=True)
class _Report:
    """What happened since the last call of the script."""

    sent: list[Ticket] = field(default_factory=list)
    ended: list[tuple[Ticket, Outcome, float]] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)


class SharedLimits:
    """Limits that this process shares with others by a Redis server, for all its threads and event loops."""

    def __init__(
        self,
        server: RedisServer,
        limits: dict[str, int],
        on_unavailable: Literal["local", "raise"],
        own_share: OwnShare,
        timing: Timing | None = None,
    ) -> None:
        self.server = server
        self.timing = timing or Timing()
        self._limits = limits
        self._raises = on_unavailable == "raise"
        self._own_share = own_share
        self._warned = False
        self._reset()
        _everywhere.add(self)

    def _reset(self) -> None:
        """Start as a process that has no requests."""
        self._process = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._listener: threading.Thread | None = None
        self._waiting: dict[str, Ticket] = {}
        self._queued: dict[str, Ticket] = {}
        """Requests that wait in Redis too."""
        self._held: dict[str, Ticket] = {}
        """Requests in progress."""
        self._history: deque[Ticket] = deque()
        """Requests that were sent in the last window."""
        self._report = _Report()
        self._epoch: str | None = None
        self._takes_over = True
        """Whether Redis has to learn all that this process knows."""
        self._next_inventory = 0.0
        """When Redis is to hear again of all that waits and is in progress: it may have lost some of it."""
        self._was_away = False
        self._processes = 1
        self._look_at: float | None = None
        self._woken = False
        self._away: Exception | None = None
        """The failure since which the server is away."""
        self._retry_at = 0.0
        self._share: LocalLimits | None = None
        self._reporting = False

    def reset_after_fork(self) -> None:
        """Start as a new process, which has none of its parent's requests, threads and connections."""
        self._reset()
        self.server.connect_after_fork()

    # For the slots, which call these from all threads and event loops.

    def enqueue(self, tokens: int, wake: Callable[[], object]) -> Ticket:
        """A new request at the end of the queue. Raises RateLimitsUnavailableError."""
        with self._changed:
            ticket = Ticket(f"{self._process}-{next(self._numbers)}", tokens, wake)
            if self._away and self._raises and time.monotonic() < self._retry_at:
                raise self.server.unavailable(self._away)
            if self._share is not None:
                ticket.share, self._woken = self._share, True
                ticket.wake()
            else:
                self._waiting[ticket.id] = ticket
            self._start_thread()
            self._changed.notify_all()
            return ticket

    def start_alone(self, ticket: Ticket, slot: LocalSlot) -> None:
        """Note a request that started by the limits of this process alone."""
        with self._changed:
            ticket.local_slot = slot
            self._held[ticket.id] = ticket
            self._was_away = self._takes_over = True

    def report_sent(self, ticket: Ticket) -> None:
        """Note that a request has been sent, from when on it leaves the window in time."""
        with self._changed:
            if ticket.id in self._held:
                self._sent(ticket)

    def end(self, ticket: Ticket, outcome: Outcome, wait: float, tokens: int | None) -> None:
        """End a request in progress: with the seconds that the host asks to wait, and the tokens that it counts for."""
        with self._changed:
            if self._held.pop(ticket.id, None) is None:
                return  # the parent process started it
            if ticket.sent_at is None:
                self._sent(ticket)
            ticket.tokens = ticket.tokens if tokens is None else tokens
            self._report.ended.append((ticket, outcome, wait))
            self._changed.notify_all()
        if ticket.local_slot is not None:
            ticket.local_slot.__exit__(None, None, None)

    def withdraw(self, ticket: Ticket) -> None:
        """Remove a request that gave up before it was sent."""
        with self._changed:
            if self._waiting.pop(ticket.id, None) is None:
                known = self._queued.pop(ticket.id, None) or self._held.pop(ticket.id, None)
                if known is not None:
                    self._report.withdrawn.append(ticket.id)
            self._changed.notify_all()

    def warn_once(self) -> None:
        """Warn that this process keeps to its own share of the limits."""
        with self._changed:
            first, self._warned = not self._warned, True
        if first:
            warn(
                f"Redis at {self.server.shown} is not available. Until it is, each process keeps to its own share of "
                "the rate limits. The log names the cause; later outages are only logged."
            )

    def flush(self, seconds: float) -> None:
        """Wait until the server knows what ended."""
        with self._changed:
            if self._thread is not None and self._thread.is_alive() and not self._away:
                self._changed.wait_for(
                    lambda: not (self._report.ended or self._report.withdrawn or self._reporting), seconds
                )

    def _sent(self, ticket: Ticket) -> None:
        ticket.sent_at = time.monotonic()
        self._history.append(ticket)
        self._report.sent.append(ticket)

    def _start_thread(self) -> None:
        """Start the thread unless it runs, which it does as long as a request waits or is in progress."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="langchain-kimi rate limits", daemon=True)
            thread.start()
            self._thread = thread

    # The thread. It holds the lock except while it calls the server.

    def _run(self) -> None:
        process = self._process
        while True:
            with self._changed:
                if not self._wait_until_due():
                    self._thread = None
                    return
                message, report = self._message(), self._report
                self._report, self._reporting = _Report(), True
            try:
                self._apply(self.server.exchange(message), report)
            except Exception as failure:  # whatever it is, no request may wait for ever
                self._fail(failure)
            if self._queued and self._listener is None:
                self._listener = threading.Thread(
                    target=self._listen, args=(process,), name="langchain-kimi rate limits wake", daemon=True
                )
                self._listener.start()

    def _wait_until_due(self) -> bool:
        """Wait until there is something to report; False if there was nothing for a long time."""
        idle_at = time.monotonic() + _IDLE
        while not self._is_due(now := time.monotonic()):
            if now >= idle_at and not (self._waiting or self._queued or self._held):
                return False
            wake_at = min(self._retry_at if self._away and now < self._retry_at else idle_at, self._look_at or idle_at)
            self._changed.wait(max(wake_at - now, 0.001))
        return True

    def _is_due(self, now: float) -> bool:
        if self._away and now < self._retry_at:
            return False
        self._forget_the_past(now)
        news = self._report.ended or self._report.withdrawn
        room = self._waiting and len(self._queued) < _QUEUED
        back = self._away and (self._held or self._history)
        return bool(news or room or back or self._woken or (self._look_at and now >= self._look_at))

    def _forget_the_past(self, now: float) -> None:
        while self._history and (self._history[0].sent_at or 0.0) + self.timing.window + self.timing.margin <= now:
            self._history.popleft()

    def _message(self) -> dict[str, Any]:
        """What the script is to know. Requests that wait are moved to those that wait in Redis."""
        self._woken, self._look_at = False, None
        is_known = bool(self._held or self._queued)
        new = list(itertools.islice(self._waiting.values(), max(0, _QUEUED - len(self._queued))))
        for ticket in new:
            self._queued[ticket.id] = self._waiting.pop(ticket.id)
        now = time.monotonic()
        takes_over = self._takes_over or now >= self._next_inventory
        if takes_over:
            self._next_inventory = now + self.timing.heartbeat
        return {
            "process": self._process,
            "channel": self.server.channel,
            "limits": self._limits,
            "timing": self.timing.in_milliseconds(),
            "epoch": self._epoch,
            "is_known": is_known,
            "takes_over": takes_over,
            "has_history": self._takes_over,
            "was_away": self._was_away,
            "tickets": [_entry(ticket, now) for ticket in (self._queued.values() if takes_over else new)],
            "held": [_entry(ticket, now) for ticket in (self._held.values() if takes_over else ())],
            "history": [_entry(ticket, now) for ticket in (self._history if self._takes_over else ())],
            "sent": [_entry(ticket, now) for ticket in self._report.sent],
            "ended": [
                _entry(ticket, now) | {"outcome": outcome, "wait": round(wait * 1000)}
                for ticket, outcome, wait in self._report.ended
            ],
            "withdrawn": self._report.withdrawn,
        }

    def _apply(self, reply: ScriptReply, report: _Report) -> None:
        with self._changed:
            self._reporting = False
            self._changed.notify_all()
            if self._away:
                logger.info("the rate limits are shared again: Redis at %s is available", self.server.shown)
            self._away = self._share = None
            if reply.is_unknown:
                self._takes_over = self._woken = True
                self._report.ended[:0], self._report.withdrawn[:0] = report.ended, report.withdrawn
                return
            self._takes_over = self._was_away = False
            self._epoch = reply.epoch
            self._processes = reply.processes
            for request in reply.started:
                self._start(request)
            if self._held or self._queued:
                wait = self.timing.poll if reply.wait is None else reply.wait
                longest = min(wait, self.timing.poll) if self._queued else self.timing.heartbeat
                self._look_at = time.monotonic() + min(longest, self.timing.heartbeat)

    def _start(self, request: str) -> None:
        """Wake the waiter of a request that started; Redis forgets one that gave up meanwhile."""
        ticket = self._queued.pop(request, None)
        if ticket is not None:
            try:
                ticket.wake()
            except RuntimeError:  # its event loop is closed
                ticket = None
        if ticket is None:
            self._report.withdrawn.append(request)
        else:
            self._held[request] = ticket

    def _fail(self, failure: Exception) -> None:
        with self._changed:
            if self._away is None:
                logger.warning("the rate limits are not shared: %s", self.server.cause(failure))
            self._reporting = False
            self._away, self._takes_over, self._report = failure, True, _Report()
            self._retry_at, self._look_at = time.monotonic() + self.timing.retry, None
            waiting = [*self._queued.values(), *self._waiting.values()]
            self._queued, self._waiting = {}, {}
            if not self._raises and self._share is None:
                self._share = self._make_share()
            for ticket in waiting:
                ticket.share, ticket.failure = self._share, failure if self._raises else None
                with contextlib.suppress(RuntimeError):  # its event loop is closed
                    ticket.wake()

    def _make_share(self) -> LocalLimits:
        """The limits of this process alone, with what it sent in the last window and has in progress."""
        share = self._own_share(self._processes)
        now, held = time.monotonic(), list(self._held.values())
        recent = [(now - (ticket.sent_at or now), ticket.tokens) for ticket in self._history]
        for ticket, slot in zip(held, share.slots_in_progress([ticket.tokens for ticket in held], recent), strict=True):
            if ticket.local_slot is None:
                ticket.local_slot = slot
        return share

    def _listen(self, process: str) -> None:
        """Let the server wake the thread. Without it, the thread looks at the queue by itself from time to time."""

        def wake() -> None:
            with self._changed:
                self._woken = True
                self._changed.notify_all()

        def goes_on() -> bool:
            return self._process == process and self._thread is not None

        while goes_on():
            try:
                self.server.listen(process, wake, goes_on)
            except self.server.failures:
                time.sleep(self.timing.retry)
        if self._process == process:
            self._listener = None


def _entry(ticket: Ticket, now: float) -> dict[str, Any]:
    """A request for the script, with the milliseconds since it was sent, or -1."""
    age = -1 if ticket.sent_at is None else round((now - ticket.sent_at) * 1000)
    return {"id": ticket.id, "tokens": ticket.tokens, "age": age}


_everywhere: "weakref.WeakSet[SharedLimits]" = weakref.WeakSet()


def _after_fork() -> None:
    for limits in list(_everywhere):
        limits.reset_after_fork()


@atexit.register
def _flush() -> None:
    """Report the last ends, so that other processes do not wait until the leases expire."""
    for limits in list(_everywhere):
        limits.flush(_LAST_REPORT)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
