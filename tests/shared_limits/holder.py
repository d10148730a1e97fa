"""A request in progress, for tests of which others may start meanwhile."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from langchain_kimi import RateLimits
from langchain_kimi.errors import RateLimitError


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class Holder:
    """A slot in a thread of its own, which is left when the test says so."""

    def __init__(self, limits: RateLimits, tokens: int = 1, error: Exception | None = None) -> None:
        self.started, self.leave = threading.Event(), threading.Event()
        self.started_at = 0.0
        self._job = (limits, tokens, error)
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        limits, tokens, error = self._job
        with suppress(RateLimitError), limits.slot(tokens) as slot:
            slot.sent()
            self.started_at = time.monotonic()
            self.started.set()
            assert self.leave.wait(20)
            if error:
                raise error

    def wait_for_start(self) -> "Holder":
        assert self.started.wait(20)
        return self

    def end(self) -> float:
        """Leave the slot. Returns the moment before."""
        moment = time.monotonic()
        self.leave.set()
        self._thread.join(20)
        return moment
