"""The clock of the package. Tests replace it, so that they never sleep."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits, in seconds."""

    def now(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait in this thread."""
        ...

    async def asleep(self, seconds: float) -> None:
        """Wait in this task."""
        ...


class _RealClock:
    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


CLOCK: Clock = _RealClock()
"""The real clock."""
