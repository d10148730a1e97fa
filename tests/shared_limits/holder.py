"""A request in progress, for tests of who may begin meanwhile."""

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
        self.began, self.leave = threading.Event(), threading.Event()
        self.began_at = 0.0
        self._job = (limits, tokens, error)
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        limits, tokens, error = self._job
        with suppress(RateLimitError), limits.slot(tokens) as slot:
            slot.sent()
            self.began_at = time.monotonic()
            self.began.set()
            assert self.leave.wait(20)
            if error:
                raise error

    def has_begun(self) -> "Holder":
        assert self.began.wait(20)
        return self

    def end(self) -> float:
        """Leave the slot. Returns the moment before."""
        moment = time.monotonic()
        self.leave.set()
        self._thread.join(20)
        return moment
