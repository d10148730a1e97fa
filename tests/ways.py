"""A model asked in each of the four ways."""

import asyncio
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

WAYS = ["invoke", "stream", "ainvoke", "astream"]


async def asked(model: Runnable[Any, Any], given: Any, way: str) -> AIMessage:
    """The answer, whichever way it is asked for."""
    if way == "invoke":
        return await asyncio.to_thread(model.invoke, given)  # type: ignore[no-any-return]
    if way == "ainvoke":
        return await model.ainvoke(given)  # type: ignore[no-any-return]
    chunks = [one async for one in model.astream(given)] if way == "astream" else list(model.stream(given))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole  # type: ignore[no-any-return]
