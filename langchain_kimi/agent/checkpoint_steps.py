"""Operations of `langchain_kimi._steps` on checkpoints, and which checkpoints a node's config belongs to."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple


def checkpoints_of(config: RunnableConfig) -> Iterator[RunnableConfig]:
    """The checkpoint with the task that a config belongs to, and those of the graphs around."""
    configurable = config["configurable"]
    ids: dict[str, str] = configurable["checkpoint_map"]
    own = str(configurable["checkpoint_ns"]).rpartition("|")[0]
    around = [namespace for namespace in ids if own and (not namespace or own.startswith(f"{namespace}|"))]
    for namespace in (own, *around):
        yield {
            "configurable": {
                "thread_id": str(configurable["thread_id"]),
                "checkpoint_ns": namespace,
                "checkpoint_id": ids[namespace],
            }
        }


@dataclass(frozen=True, slots=True)
class Write:
    """Adds a pending write to a checkpoint, as that of a task of its own."""

    saver: BaseCheckpointSaver[Any]
    config: RunnableConfig
    channel: str
    value: Any
    task_id: str = ""

    def run(self, context: Any) -> None:
        self.saver.put_writes(self.config, [(self.channel, self.value)], self.task_id or str(uuid4()))

    async def arun(self, context: Any) -> None:
        await self.saver.aput_writes(self.config, [(self.channel, self.value)], self.task_id or str(uuid4()))


@dataclass(frozen=True, slots=True)
class Read:
    """Reads a checkpoint; None if it is not written."""

    saver: BaseCheckpointSaver[Any]
    config: RunnableConfig

    def run(self, context: Any) -> CheckpointTuple | None:
        return self.saver.get_tuple(self.config)

    async def arun(self, context: Any) -> CheckpointTuple | None:
        return await self.saver.aget_tuple(self.config)


@dataclass(frozen=True, slots=True)
class Wait:
    """Waits for so many seconds."""

    seconds: float

    def run(self, context: Any) -> None:
        time.sleep(self.seconds)

    async def arun(self, context: Any) -> None:
        await asyncio.sleep(self.seconds)
