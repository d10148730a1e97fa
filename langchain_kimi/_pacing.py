"""Spreads the work of many tasks over the iterations of an event loop.

An iteration of asyncio's loop runs everything that is ready. If a thousand runs have something to do at the same time,
it takes seconds, in which no timer, no other connection and no task of the program gets its turn. So a run waits at the
points where a longer piece of work begins: one passes in each iteration, in the order of arrival.
"""

import asyncio
from collections import deque
from weakref import WeakKeyDictionary


async def pace() -> None:
    """Wait until the running event loop has room for one more piece of work; not at all if no other one waits."""
    loop = asyncio.get_running_loop()
    line = _lines.get(loop)
    if line is None:
        line = _lines[loop] = _Line()
    if not line.is_closed:
        line.close_until_next_iteration(loop)
        return
    waiter = loop.create_future()
    line.waiting.append(waiter)
    await waiter


class _Line:
    """The tasks of one event loop that wait."""

    def __init__(self) -> None:
        self.is_closed = False
        """Whether one has passed in this iteration."""
        self.waiting: deque[asyncio.Future[None]] = deque()

    def close_until_next_iteration(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_closed = True
        loop.call_soon(self._open, loop)

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_closed = False
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self.close_until_next_iteration(loop)
                return


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
