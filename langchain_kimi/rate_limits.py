"""Rate limits that the models of a process share, so that parallel agents are not refused."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from langchain_kimi._clock import CLOCK, Clock
from langchain_kimi._parameter_names import checks_field_names

_WINDOW = 60.0


@checks_field_names
class RateLimits:
    """The limits of concurrent requests and of requests and tokens per minute; the models of an account share one.

    `concurrency` is the most requests in progress, `rpm` the most requests and `tpm` the most tokens in any 60
    seconds; None does not limit. Requests are sent first come, first served, from all threads and event loops of the
    process. A request with more tokens than `tpm` is sent after a minute without others. A request holds its slot
    until its response is complete or closed: a second request while a stream is read needs a second slot.
    """

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        rpm: int | None = None,
        tpm: int | None = None,
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

    def slot(self, tokens: int = 0) -> "RateLimitSlot":
        """A slot for one request of so many tokens, held inside `with` or `async with`."""
        return RateLimitSlot(self, tokens)

    def __repr__(self) -> str:
        return f"RateLimits(concurrency={self.concurrency}, rpm={self.rpm}, tpm={self.tpm})"

    def __deepcopy__(self, memo: Any) -> "RateLimits":
        return self  # a model's copy has the same limits

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

    def _begin(self, slot: "RateLimitSlot") -> float:
        """Begin the first slot and return 0, or return the seconds until it can begin."""
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

    def __init__(self, limits: RateLimits, tokens: int) -> None:
        self.tokens = tokens
        self.in_progress = False
        self._limits = limits
        self._wake: Callable[[], object]

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
            while seconds := self._limits._begin(self):
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
            while seconds := self._limits._begin(self):
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
