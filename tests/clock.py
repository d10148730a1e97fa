"""A clock whose time is what the tests say."""

import asyncio
from datetime import date
from typing import TypeVar

from langchain_kimi import ChatKimi
from langchain_kimi._clock import Clock

Model = TypeVar("Model", bound=ChatKimi)


class VirtualClock:
    """Each wait passes at once and is noted; a stopped clock keeps tasks waiting until `advance`."""

    def __init__(self, *, stopped: bool = False, day: date = date(2026, 11, 1)) -> None:
        self.day = day
        self.waited: list[float] = []
        self._now = 0.0
        self._stopped = stopped
        self._wakes: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def today(self) -> date:
        return self.day

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self._now += seconds

    async def asleep(self, seconds: float) -> None:
        if not self._stopped:
            self.sleep(seconds)
            await asyncio.sleep(0)
            return
        self.waited.append(seconds)
        wake = (self._now + seconds, asyncio.get_running_loop().create_future())
        self._wakes.append(wake)
        try:
            await wake[1]
        finally:
            self._wakes.remove(wake)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        for at, woken in self._wakes:
            if at <= self._now and not woken.done():
                woken.set_result(None)

    async def somebody_waits(self) -> None:
        while not self._wakes:  # noqa: ASYNC110 - who waits is under test and sets no event
            await asyncio.sleep(0)


def with_clock(model: Model, clock: Clock) -> Model:
    """The model, which waits before retries by the given clock."""
    model._clock = clock
    return model
