"""Each promise of the platform holds for a method and for its asynchronous twin."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Do = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest) -> Do:
    """`await do(platform.files, "get", file_id)`: the method in a thread, or its twin."""

    async def call(target: Any, name: str, /, *arguments: Any, **settings: Any) -> Any:
        if request.param == "sync":
            return await asyncio.to_thread(getattr(target, name), *arguments, **settings)
        return await getattr(target, f"a{name}")(*arguments, **settings)

    return call
