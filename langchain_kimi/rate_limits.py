"""Rate limits that the models of a process, or of many processes, share, so that parallel agents are not refused."""

import asyncio
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from langchain_kimi._clock import CLOCK, Clock
from langchain_kimi._parameter_names import checks_field_names
from langchain_kimi._shared_limits import RedisServer, SharedLimits, SharedSlot

_WINDOW = 60.0
_ACCOUNT = re.compile(r"[\w.:-]{1,100}")


@checks_field_names
class RateLimits:
    """The limits of concurrent requests and of requests and tokens per minute; the models of an account share one.

    `concurrency` is the most requests in progress, `rpm` the most requests and `tpm` the most tokens in any 60
    seconds; None does not limit. Requests are sent first come, first served, from all threads and event loops of the
    process. A request with more tokens than `tpm` is sent after a minute without others. A request holds its slot
    until its response is complete or closed: a second request while a stream is read needs a second slot.

    `shared` is the URL of a Redis server, such as `redis://127.0.0.1:6379` or `rediss://…`, or a synchronous client of
    redis-py (extra `redis`). Then the limits hold for all processes together that use the same server and the same
    `account`, a name of your choice; no key is sent to Redis. If Redis is not available, each process keeps to a
    share of the limits, with one KimiWarning (`on_unavailable="local"`), or requests raise RateLimitsUnavailableError
    (`"raise"`). Raises ImportError without redis-py.
    """

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        rpm: int | None = None,
        tpm: int | None = None,
        shared: Any = None,
        account: str = "default",
        on_unavailable: Literal["local", "raise"] = "local",
        clock: Clock = CLOCK,
    ) -> None:
        for name, limit in {"concurrency": concurrency, "rpm": rpm, "tpm": tpm}.items():
            if limit is not None and limit < 1:
                raise ValueError(f"{name}={limit} would let no request through; use None for no limit.")
        self.concurrency = concurrency
        self.rpm = rpm
        self.tpm = tpm
        self.clock = clock
        self._lock = threading.Lock()
        self._queue: deque[RateLimitSlot] = deque()
        self._in_progress = 0
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_tokens = 0
        self._shared = self._share(shared, account, on_unavailable)

    def slot(self, tokens: int = 0, charged: Callable[[], int | None] | None = None) -> "RateLimitSlot | SharedSlot":
        """A slot for one request of so many tokens, held inside `with` or `async with`.

        Limits that processes share call `charged` in the end for the tokens that the host counted; None if not known.
        """
        return RateLimitSlot(self, tokens) if self._shared is None else SharedSlot(self._shared, tokens, charged)

    def __repr__(self) -> str:
        shared = f", shared={self._shared.server.shown!r}" if self._shared else ""
        return f"RateLimits(concurrency={self.concurrency}, rpm={self.rpm}, tpm={self.tpm}{shared})"

    def __deepcopy__(self, memo: Any) -> "RateLimits":
        return self  # a model's copy has the same limits

    def _share(self, shared: Any, account: str, on_unavailable: Literal["local", "raise"]) -> SharedLimits | None:
        if on_unavailable not in ("local", "raise"):
            raise ValueError(f"on_unavailable={on_unavailable!r} is neither 'local' nor 'raise'.")
        if not _ACCOUNT.fullmatch(account):
            raise ValueError(f"account={account!r} has to be 1 to 100 letters, digits or characters of `_.:-`.")
        if shared is None:
            return None
        limits = {"concurrency": self.concurrency, "rpm": self.rpm, "tpm": self.tpm}
        known = {name: limit for name, limit in limits.items() if limit is not None}
        return SharedLimits(RedisServer(shared, account), known, on_unavailable, self._own_share)

    def _own_share(self, processes: int) -> "RateLimits":
        """The limits of one of so many processes, at least one request and one token."""
        concurrency, rpm, tpm = (
            limit and max(1, limit // processes) for limit in (self.concurrency, self.rpm, self.tpm)
        )
        return RateLimits(concurrency=concurrency, rpm=rpm, tpm=tpm)

    def slots_in_progress(self, tokens: Sequence[int], recent: Sequence[tuple[float, int]]) -> "list[RateLimitSlot]":
        """Slots that are in progress already, one for each number of tokens. `recent` are requests of the last minute,
        in order: how many seconds ago they were sent, and their tokens.
        """
        slots = [RateLimitSlot(self, size, in_progress=True) for size in tokens]
        with self._lock:
            now = self.clock.now()
            self._in_progress += len(slots)
            self._recent.extend((now - age, size) for age, size in recent)
            self._recent_tokens += sum(size for _, size in recent)
        return slots

    # A slot waits twice: in the queue until it is first and below `concurrency`, which the end of another slot changes;
    # then, still first, by the clock until the requests and tokens of the last minute are below their limits.

    def _enqueue(self, slot: "RateLimitSlot") -> None:
        with self._lock:
            self._queue.append(slot)
            self._wake_first()

    def _wake_first(self) -> None:
        while self._queue and (self.concurrency is None or self._in_progress < self.concurrency):
            if self._queue[0].wake():
                return
            self._queue.popleft()

    def _start(self, slot: "RateLimitSlot") -> float:
        """Start the first slot and return 0, or return the seconds until it can start."""
        with self._lock:
            now = self.clock.now()
            if (seconds := self._wait_for(slot.tokens, now)) > 0:
                return seconds
            self._queue.popleft()
            slot.in_progress = True
            self._in_progress += 1
            if self.rpm is not None or self.tpm is not None:
                self._recent.append((now, slot.tokens))
                self._recent_tokens += slot.tokens
            self._wake_first()
            return 0.0

    def _wait_for(self, tokens: int, now: float) -> float:
        while self._recent and self._recent[0][0] + _WINDOW <= now:
            self._recent_tokens -= self._recent.popleft()[1]
        requests, sum_of_tokens, free_at = len(self._recent), self._recent_tokens, now
        for started_at, size in self._recent:
            if (self.rpm is None or requests < self.rpm) and (self.tpm is None or sum_of_tokens + tokens <= self.tpm):
                break
            requests, sum_of_tokens, free_at = requests - 1, sum_of_tokens - size, started_at + _WINDOW
        return free_at - now

    def _end(self, slot: "RateLimitSlot") -> None:
        """End a slot that is in progress or gave up in the queue."""
        with self._lock:
            if slot.in_progress:
                slot.in_progress = False
                self._in_progress -= 1
            elif slot in self._queue:
                self._queue.remove(slot)
            self._wake_first()


class RateLimitSlot:
    """The slot of one request in `RateLimits`: `with` or `async with` waits for it, and their end frees it."""

    reports_sending = False

    def __init__(self, limits: RateLimits, tokens: int, *, in_progress: bool = False) -> None:
        self.tokens = tokens
        self.in_progress = in_progress
        self._limits = limits
        self._wake: Callable[[], object]

    def sent(self) -> None:
        """Do nothing: within a process, a request counts from its start."""

    def wake(self) -> bool:
        """Wake the waiter, since the slot is first; False if its event loop is closed."""
        try:
            self._wake()
        except RuntimeError:  # the loop was closed
            return False
        return True

    def __enter__(self) -> Self:
        first = threading.Event()
        self._wake = first.set
        self._limits._enqueue(self)
        try:
            first.wait()
            while seconds := self._limits._start(self):
                self._limits.clock.sleep(seconds)
        except BaseException:
            self._limits._end(self)
            raise
        return self

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        first = asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(first.set)
        self._limits._enqueue(self)
        try:
            await first.wait()
            while seconds := self._limits._start(self):
                await self._limits.clock.asleep(seconds)
        except BaseException:
            self._limits._end(self)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limits._end(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limits._end(self)
