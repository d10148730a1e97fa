"""A generator of operations runs the same synchronously and asynchronously."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from langchain_kimi._steps import Steps, arun_steps, run_steps
from tests.conftest import SYNC_AND_ASYNC


@dataclass
class Double:
    number: int

    def run(self, context: list[int]) -> int:
        context.append(self.number)
        if self.number < 0:
            raise ValueError("negative")
        if self.number > 9:
            raise KeyboardInterrupt
        return self.number * 2

    async def arun(self, context: list[int]) -> int:
        await asyncio.sleep(0)
        return self.run(context)


async def execute(way: str, steps: Steps[Any], context: list[int]) -> Any:
    return run_steps(steps, context) if way == "sync" else await arun_steps(steps, context)


@SYNC_AND_ASYNC
async def test_results_are_sent_and_the_return_value_is_returned(way: str) -> None:
    def steps() -> Steps[int]:
        two = yield Double(1)
        four = yield Double(two)
        return int(four)

    context: list[int] = []
    assert await execute(way, steps(), context) == 4
    assert context == [1, 2]


@SYNC_AND_ASYNC
async def test_exceptions_of_an_operation_are_raised_inside_the_generator(way: str) -> None:
    def steps() -> Steps[str]:
        try:
            yield Double(-1)
        except ValueError as error:
            yield Double(3)
            return str(error)
        return ""

    context: list[int] = []
    assert await execute(way, steps(), context) == "negative"
    assert context == [-1, 3]


@SYNC_AND_ASYNC
@pytest.mark.parametrize(("number", "error"), [(-1, ValueError), (10, KeyboardInterrupt)])
async def test_the_generator_is_closed_after_an_exception(way: str, number: int, error: type[BaseException]) -> None:
    events: list[str] = []

    def steps() -> Steps[None]:
        try:
            yield Double(number)
        finally:
            events.append("closed")

    generator = steps()
    with pytest.raises(error):
        await execute(way, generator, [])
    assert events == ["closed"]
    assert generator.gi_frame is None  # type: ignore[attr-defined]


async def test_the_generator_is_closed_when_its_task_is_cancelled() -> None:
    events: list[str] = []
    started = asyncio.Event()

    @dataclass
    class Forever:
        def run(self, context: Any) -> None: ...

        async def arun(self, context: Any) -> None:
            started.set()
            await asyncio.Event().wait()

    def steps() -> Steps[None]:
        try:
            yield Forever()
        finally:
            events.append("closed")

    generator = steps()
    task = asyncio.create_task(arun_steps(generator, None))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["closed"]
