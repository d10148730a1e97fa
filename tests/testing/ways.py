"""The four ways to call a model or an agent, as functions."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Way = Callable[[Any, Any], Awaitable[Any]]


async def invoke(runnable: Any, asked: Any) -> Any:
    return runnable.invoke(asked)


async def stream(runnable: Any, asked: Any) -> Any:
    return list(runnable.stream(asked))


async def ainvoke(runnable: Any, asked: Any) -> Any:
    return await runnable.ainvoke(asked)


async def astream(runnable: Any, asked: Any) -> Any:
    return [piece async for piece in runnable.astream(asked)]


WAYS = pytest.mark.parametrize("way", [invoke, stream, ainvoke, astream])
