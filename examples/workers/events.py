"""The events of a run, on their way from the worker to the browser."""

import asyncio
from collections.abc import Iterator
from typing import Any, Self

from dbos import DBOS
from langchain_core.messages import AIMessage

SECONDS = 0.1
"""The longest time that an event waits for others of its batch."""


def events_of(mode: str, part: Any) -> Iterator[dict[str, Any]]:
    """The events in one part of an agent's stream: thinking and text, and what the agent itself reports."""
    if mode == "custom":
        yield part
    elif isinstance(part[0], AIMessage):
        for block in part[0].content_blocks:
            if block["type"] == "reasoning":
                yield {"event": "thinking", "text": block.get("reasoning", "")}
            elif block["type"] == "text":
                yield {"event": "text", "text": block["text"]}


class EventWriter:
    """Writes events to a stream of the run, many to a row, while the agent goes on."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._events: list[dict[str, Any]] = []
        self._wake = asyncio.Event()
        self._closed = False

    def write(self, event: dict[str, Any]) -> None:
        """Add an event. Raises when the run was taken from this worker, so that the agent stops."""
        if self._task.done():
            self._task.result()
        last = self._events[-1] if self._events else {}
        if event["event"] == last.get("event") and event["event"] in ("thinking", "text"):
            last["text"] += event["text"]  # one long piece instead of many short ones
        else:
            self._events.append(event)
        self._wake.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write_batches())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._closed = True
        self._wake.set()
        await self._task

    async def _write_batches(self) -> None:
        while self._events or not self._closed:
            await self._wake.wait()
            await asyncio.sleep(SECONDS)
            self._wake.clear()
            batch, self._events = self._events, []
            if batch:
                await DBOS.write_stream_async(self._stream, batch)
