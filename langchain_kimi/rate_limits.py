"""A shared limiter, so that parallel agents do not drive each other into refusals."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from langchain_kimi._clock import CLOCK, Clock

_WINDOW = 60.0


class RateLimits:
    """How much may be asked at once and in any 60 seconds; one object is shared by all models of an account.

    `concurrency` is the most answers under way, `rpm` the most requests and `tpm` the most tokens in a minute; None
    does not limit. Requests go first come, first served, from all threads and event loops of the process. A request
    of more tokens than `tpm` goes when nothing else was asked for a minute. A place is held until the answer is
    complete or closed: whoever asks again while reading a stream needs a second one.
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
                raise ValueError(f"{name}={limit} would let nothing through; None does not limit")
        self.concurrency = concurrency
        self.rpm = rpm
        self.tpm = tpm
        self.clock = clock
        self._lock = threading.Lock()
        self._queue: deque[RateLimitSlot] = deque()
        self._under_way = 0
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_tokens = 0

    def slot(self, tokens: int = 0) -> "RateLimitSlot":
        """A slot for one request of so many tokens, held inside `with` or `async with`."""
        return RateLimitSlot(self, tokens)

    def __repr__(self) -> str:
        return f"RateLimits(concurrency={self.concurrency}, rpm={self.rpm}, tpm={self.tpm})"

    def __deepcopy__(self, memo: Any) -> "RateLimits":
        return self  # a model's copy is under the same limits

    # A turn waits twice: in the queue until it is first and a place is free, which only the end of another turn can
    # bring about; then, still first, by the clock until the last minute has room.

    def _enqueue(self, turn: "RateLimitSlot") -> None:
        with self._lock:
            self._queue.append(turn)
            self._call_first()

    def _call_first(self) -> None:
        while self._queue and (self.concurrency is None or self._under_way < self.concurrency):
            if self._queue[0].call():
                return
            self._queue.popleft()

    def _begin(self, turn: "RateLimitSlot") -> float:
        """Begins the first turn and returns 0, or the seconds until it can begin."""
        with self._lock:
            now = self.clock.now()
            if (wait := self._full_for(turn.tokens, now)) > 0:
                return wait
            self._queue.popleft()
            turn.under_way = True
            self._under_way += 1
            if self.rpm is not None or self.tpm is not None:
                self._recent.append((now, turn.tokens))
                self._recent_tokens += turn.tokens
            self._call_first()
            return 0.0

    def _full_for(self, tokens: int, now: float) -> float:
        while self._recent and self._recent[0][0] + _WINDOW <= now:
            self._recent_tokens -= self._recent.popleft()[1]
        requests, sum_of_tokens, free_at = len(self._recent), self._recent_tokens, now
        for asked_at, size in self._recent:
            if (self.rpm is None or requests < self.rpm) and (self.tpm is None or sum_of_tokens + tokens <= self.tpm):
                break
            requests, sum_of_tokens, free_at = requests - 1, sum_of_tokens - size, asked_at + _WINDOW
        return free_at - now

    def _end(self, turn: "RateLimitSlot") -> None:
        """Ends a turn wherever it is: under way, or given up in the queue."""
        with self._lock:
            if turn.under_way:
                turn.under_way = False
                self._under_way -= 1
            elif turn in self._queue:
                self._queue.remove(turn)
            self._call_first()


class RateLimitSlot:
    """One request's place in a `RateLimits`, waited for by `with` or `async with` and given back at its end."""

    def __init__(self, limits: RateLimits, tokens: int) -> None:
        self.tokens = tokens
        self.under_way = False
        self._limits = limits
        self._wake: Callable[[], object]

    def call(self) -> bool:
        """Tell the one who waits that the turn is first; False where its event loop is gone."""
        try:
            self._wake()
        except RuntimeError:  # the loop was closed
            return False
        return True

    def __enter__(self) -> Self:
        called = threading.Event()
        self._wake = called.set
        self._limits._enqueue(self)
        try:
            called.wait()
            while seconds := self._limits._begin(self):
                self._limits.clock.sleep(seconds)
        except BaseException:
            self._limits._end(self)
            raise
        return self

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        called = asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(called.set)
        self._limits._enqueue(self)
        try:
            await called.wait()
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
