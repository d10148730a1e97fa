"""Runs code that is written once, as a generator, both synchronously and asynchronously.

The generator yields operations, such as a request or a pause, and receives their results:

    file = yield from get_file(file_id)
    yield Pause(30)
"""

from collections.abc import Generator
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")


class Operation(Protocol):
    """Something that takes time, which a generator asks for. `context` is what `run_steps` passes to it."""

    def run(self, context: Any, /) -> Any:
        """The result, synchronously."""

    async def arun(self, context: Any, /) -> Any:
        """The result, asynchronously."""


Steps: TypeAlias = Generator[Operation, Any, T]
"""A generator that yields operations and returns a `T`."""


def run_steps(steps: Steps[T], context: Any) -> T:
    """The generator's return value. Exceptions of an operation are raised inside the generator; it is always closed."""
    try:
        operation = next(steps)
        while True:
            try:
                result = operation.run(context)
            except Exception as error:
                operation = steps.throw(error)
            else:
                operation = steps.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        steps.close()


async def arun_steps(steps: Steps[T], context: Any) -> T:
    """`run_steps` for asynchronous use."""
    try:
        operation = next(steps)
        while True:
            try:
                result = await operation.arun(context)
            except Exception as error:
                operation = steps.throw(error)
            else:
                operation = steps.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        steps.close()
