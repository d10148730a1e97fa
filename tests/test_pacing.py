"""Tasks that all have work to do at the same time do it one after the other, and the event loop stays responsive."""

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest
from langchain_core.tools import tool

from langchain_kimi import create_kimi_agent
from langchain_kimi._pacing import pace
from langchain_kimi.testing import called, said
from tests.conftest import Serve, kimi

RUNS = 40


class Iterations:
    """Counts the iterations of the running event loop."""

    def __init__(self) -> None:
        self.now = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._next)

    def _next(self) -> None:
        self.now += 1
        self._handle = self._loop.call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()


async def test_a_task_alone_does_not_wait() -> None:
    for _ in range(3):
        with pytest.raises(StopIteration):
            pace().send(None)
        await asyncio.sleep(0)


async def test_one_passes_in_each_iteration_in_the_order_of_arrival() -> None:
    iterations, passed = Iterations(), list[tuple[int, int]]()

    async def work(number: int) -> None:
        await pace()
        passed.append((number, iterations.now))

    await asyncio.gather(*map(work, range(20)))
    iterations.stop()
    assert [number for number, _ in passed] == list(range(20))
    assert max(Counter(when for _, when in passed).values()) == 1
    assert passed[-1][1] - passed[0][1] < 60


async def test_a_cancelled_task_holds_nobody_up() -> None:
    passed: list[int] = []

    async def work(number: int) -> None:
        await pace()
        passed.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(6)]
    await asyncio.sleep(0)
    for number in (1, 2, 5):
        tasks[number].cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
    assert passed == [0, 3, 4]
    await asyncio.sleep(0)
    with pytest.raises(StopIteration):
        pace().send(None)


def test_each_event_loop_has_its_own_line() -> None:
    async def many() -> int:
        await asyncio.gather(*(pace() for _ in range(50)))
        return 1

    done: list[int] = []
    threads = [threading.Thread(target=lambda: done.append(asyncio.run(many()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert done == [1] * 4


async def test_runs_of_an_agent_take_their_steps_one_after_the_other(serve: Serve) -> None:
    began: Counter[int] = Counter()
    iterations = Iterations()

    def prompt(state: Any) -> str:
        began[iterations.now] += 1
        return "Answer."

    agent = create_kimi_agent(kimi(serve(lambda request: said("x"))), system_prompt=prompt)
    await asyncio.gather(*(agent.ainvoke({"messages": [("user", "go")]}) for _ in range(RUNS)))
    iterations.stop()
    assert began.total() >= RUNS
    assert max(began.values()) <= RUNS // 8


async def test_an_asynchronous_run_starts_no_thread_of_the_default_executor(serve: Serve) -> None:
    @tool
    async def look_up(n: int) -> str:
        """Look up."""
        return "found"

    loop: Any = asyncio.get_running_loop()
    agent = create_kimi_agent(kimi(serve([called("look_up", n=1), said("x")])), [look_up])
    await agent.ainvoke({"messages": [("user", "go")]})
    assert loop._default_executor is None


async def test_responses_that_arrive_together_are_read_one_after_the_other(serve: Serve) -> None:
    together = threading.Barrier(RUNS)
    iterations = Iterations()
    ended: Counter[int] = Counter()

    def script(request: Any) -> Any:
        together.wait(20)
        return said("x")

    model = kimi(serve(script))

    async def ask() -> None:
        await model.ainvoke("hi")
        ended[iterations.now] += 1

    await asyncio.gather(*(ask() for _ in range(RUNS)))
    iterations.stop()
    assert max(ended.values()) <= RUNS // 8
