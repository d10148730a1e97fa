"""The thread of a process that takes its requests to the Redis server and wakes those whose turn it is."""

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Literal

from langchain_kimi._shared_limits.process_requests import ProcessRequests
from langchain_kimi._shared_limits.redis_server import RedisServer, ScriptReply
from langchain_kimi._shared_limits.ticket import LocalLimits, LocalSlot, Outcome, OwnShare, Ticket
from langchain_kimi._shared_limits.timing import Timing
from langchain_kimi.errors import warn

logger = logging.getLogger("langchain_kimi")

_IDLE = 60.0
"""Seconds without a request after which the thread ends."""
_LAST_REPORT = 1.0
"""Seconds that the end of the process may wait for the last report."""


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
        self._changed = threading.Condition()
        self._requests = ProcessRequests()
        self._thread: threading.Thread | None = None
        self._listener: threading.Thread | None = None
        self._processes = 1
        self._look_at: float | None = None
        """When the thread looks at the queue without a wake-up."""
        self._woken = False
        self._away: Exception | None = None
        """The failure since which the server is away."""
        self._retry_at = 0.0
        self._share: LocalLimits | None = None

    def reset_after_fork(self) -> None:
        """Start as a new process, which has none of its parent's requests, threads and connections."""
        self._reset()
        self.server.connect_after_fork()

    # For the slots, which call these from all threads and event loops.

    def enqueue(self, tokens: int, wake: Callable[[], object]) -> Ticket:
        """A new request at the end of the queue. Raises RateLimitsUnavailableError."""
        with self._changed:
            if self._away and self._raises and time.monotonic() < self._retry_at:
                raise self.server.unavailable(self._away)
            ticket = self._requests.ticket(tokens, wake)
            if self._share is not None:
                ticket.share, self._woken = self._share, True
                ticket.wake()
            else:
                self._requests.waiting[ticket.id] = ticket
            self._start_thread()
            self._changed.notify_all()
            return ticket

    def start_alone(self, ticket: Ticket, slot: LocalSlot) -> None:
        """Note a request that started by the limits of this process alone."""
        with self._changed:
            ticket.local_slot = slot
            self._requests.start_alone(ticket)

    def report_sent(self, ticket: Ticket) -> None:
        """Note that a request has been sent, from when on it leaves the window in time."""
        with self._changed:
            self._requests.sent(ticket, time.monotonic())

    def end(self, ticket: Ticket, outcome: Outcome, wait: float, tokens: int | None) -> None:
        """End a request in progress: with the seconds that the host asks to wait, and the tokens that it counts for."""
        with self._changed:
            if not self._requests.end(ticket, outcome, wait, time.monotonic()):
                return
            ticket.tokens = ticket.tokens if tokens is None else tokens
            self._changed.notify_all()
        if ticket.local_slot is not None:
            ticket.local_slot.__exit__(None, None, None)

    def withdraw(self, ticket: Ticket) -> None:
        """Remove a request that gave up before it was sent."""
        with self._changed:
            self._requests.withdraw(ticket.id)
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
                self._changed.wait_for(lambda: self._requests.all_reported, seconds)

    def _start_thread(self) -> None:
        """Start the thread unless it runs, which it does as long as a request waits or is in progress."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="langchain-kimi rate limits", daemon=True)
            thread.start()
            self._thread = thread

    # The thread. It holds the lock except while it calls the server.

    def _run(self) -> None:
        process = self._requests.process
        while True:
            with self._changed:
                if not self._wait_until_due():
                    self._thread = None
                    return
                message = self._message()
            try:
                self._apply(self.server.exchange(message))
            except Exception as failure:  # whatever it is, no request may wait for ever
                self._fail(failure)
            if self._requests.queued and self._listener is None:
                self._listener = threading.Thread(
                    target=self._listen, args=(process,), name="langchain-kimi rate limits wake", daemon=True
                )
                self._listener.start()

    def _wait_until_due(self) -> bool:
        """Wait until there is something to report; False if there was nothing for a long time."""
        idle_at = time.monotonic() + _IDLE
        while not self._is_due(now := time.monotonic()):
            if now >= idle_at and not self._requests.in_use:
                return False
            wake_at = min(self._retry_at if self._away and now < self._retry_at else idle_at, self._look_at or idle_at)
            self._changed.wait(max(wake_at - now, 0.001))
        return True

    def _is_due(self, now: float) -> bool:
        if self._away and now < self._retry_at:
            return False
        requests = self._requests
        requests.forget_sent_before(now - self.timing.window - self.timing.margin)
        returns = self._away and (requests.held or requests.history)
        return bool(requests.has_news or returns or self._woken or (self._look_at and now >= self._look_at))

    def _message(self) -> dict[str, Any]:
        self._woken, self._look_at = False, None
        return {
            "channel": self.server.channel,
            "limits": self._limits,
            "timing": self.timing.in_milliseconds(),
            **self._requests.message(time.monotonic(), self.timing.heartbeat),
        }

    def _apply(self, reply: ScriptReply) -> None:
        with self._changed:
            if self._away:
                logger.info("the rate limits are shared again: Redis at %s is available", self.server.shown)
            self._away = self._share = None
            if reply.is_unknown:
                self._requests.repeat()
                self._woken = True
            else:
                self._requests.confirm(reply.epoch, reply.started)
                self._processes = reply.processes
                self._look_at = self._next_look(reply.wait)
            self._changed.notify_all()

    def _next_look(self, wait: float | None) -> float | None:
        """When to look at the queue again without a wake-up; the first request can start in `wait` seconds."""
        if not self._requests.held and not self._requests.queued:
            return None
        longest = self.timing.heartbeat
        if self._requests.queued:
            longest = min(self.timing.poll if wait is None else wait, self.timing.poll, longest)
        return time.monotonic() + longest

    def _fail(self, failure: Exception) -> None:
        with self._changed:
            if self._away is None:
                logger.warning("the rate limits are not shared: %s", self.server.cause(failure))
            self._away = failure
            self._retry_at, self._look_at = time.monotonic() + self.timing.retry, None
            waiting = self._requests.discard()
            if not self._raises and self._share is None:
                self._share = self._make_share()
            for ticket in waiting:
                ticket.share, ticket.failure = self._share, failure if self._raises else None
                ticket.try_wake()
            self._changed.notify_all()

    def _make_share(self) -> LocalLimits:
        """The limits of this process alone, with what it sent in the last window and has in progress."""
        share = self._own_share(self._processes)
        now, held = time.monotonic(), list(self._requests.held.values())
        recent = [(now - (ticket.sent_at or now), ticket.tokens) for ticket in self._requests.history]
        for ticket, slot in zip(held, share.slots_in_progress([ticket.tokens for ticket in held], recent), strict=True):
            if ticket.local_slot is None:
                ticket.local_slot = slot
        return share

    # The thread that listens for wake-ups. Without it, the other one looks at the queue from time to time.

    def _listen(self, process: str) -> None:
        def wake() -> None:
            with self._changed:
                self._woken = True
                self._changed.notify_all()

        def goes_on() -> bool:
            return self._requests.process == process and self._thread is not None

        while goes_on():
            try:
                self.server.listen(process, wake, goes_on)
            except self.server.failures:
                time.sleep(self.timing.retry)
        if self._requests.process == process:
            self._listener = None


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
