"""The clock of the package. Tests replace it, so that they never sleep."""

import asyncio
import time
from datetime import UTC, date, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time and the date, and waits; times are in seconds."""

    def now(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        ...

    def today(self) -> date:
        """The date in UTC."""
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

    def today(self) -> date:
        return datetime.now(UTC).date()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


CLOCK: Clock = _RealClock()
"""The real clock."""
