"""The checkpoints of a thread as a log: what each superstep of each graph wrote, in the order of time."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.serde.types import _DeltaSnapshot

_MESSAGES = "messages"
_SMALL = ("spent", "spent_by_agent", "stop_reason")


@dataclass(frozen=True, slots=True)
class TaskWrites:
    """What one task of a superstep wrote, by channel. A channel has a value for each of its writes."""

    task_id: str
    channels: Mapping[str, list[Any]]

    def values(self, channel: str) -> list[Any]:
        """The values written to a channel."""
        return self.channels.get(channel, [])

    def last(self, channel: str) -> Any:
        """The last value written to a channel; None if there is none."""
        return (self.values(channel) or [None])[-1]


@dataclass(slots=True)
class Superstep:
    """A checkpoint, and what was written after it."""

    namespace: str
    checkpoint_id: str
    parent_id: str | None
    start: float
    """When the checkpoint was made."""
    metadata: Mapping[str, Any]
    tasks: list[TaskWrites]
    messages: list[Any] | None
    """All messages of the thread, if the checkpoint holds them."""
    values: Mapping[str, Any]
    """The small values of the state."""
    is_open: bool
    """Whether something was left to run after the checkpoint."""
    end: float | None = None
    """When the next checkpoint was made; None for the last one."""
    next: "Superstep | None" = field(default=None, repr=False)

    @property
    def agent(self) -> str | None:
        """The agent's name, if the run's metadata has it."""
        name = self.metadata.get("lc_agent_name")
        return str(name) if name else None


def read_supersteps(saver: BaseCheckpointSaver[Any], thread_id: str) -> list[Superstep]:
    """The supersteps of a thread and of the graphs in its tools, in the order in which they ended.

    Branches that were left, because somebody went back to an earlier checkpoint, are not part of it.
    """
    config: Any = {"configurable": {"thread_id": thread_id}}
    by_namespace: dict[str, dict[str, Superstep]] = {}
    for saved in saver.list(config):
        step = _superstep(saved)
        by_namespace.setdefault(step.namespace, {})[step.checkpoint_id] = step
    chains = {namespace: list(_chain(steps)) for namespace, steps in by_namespace.items()}
    included: set[tuple[str, str]] = set()
    supersteps: list[Superstep] = []
    for namespace in sorted(chains, key=lambda name: (name.count("|"), bool(name))):
        chain = chains[namespace]
        if _belongs(chain, included):
            included |= {(namespace, step.checkpoint_id) for step in chain}
            supersteps += chain
    return sorted(supersteps, key=_order)


def _order(step: Superstep) -> tuple[float, int, float, str]:
    """By the end, because what agents in the tools of a superstep wrote came before the results of these tools."""
    return step.end or math.inf, -step.namespace.count(":"), step.start, step.checkpoint_id


def _superstep(saved: CheckpointTuple) -> Superstep:
    configurable: Any = saved.config["configurable"]
    parent: Any = (saved.parent_config or {}).get("configurable", {})
    values = saved.checkpoint["channel_values"]
    small = {name: value for name, value in values.items() if name in _SMALL}
    waiting = any(name.startswith("branch:") or (name == "__pregel_tasks" and value) for name, value in values.items())
    return Superstep(
        namespace=configurable.get("checkpoint_ns", ""),
        checkpoint_id=configurable["checkpoint_id"],
        parent_id=parent.get("checkpoint_id"),
        start=datetime.fromisoformat(saved.checkpoint["ts"]).timestamp(),
        metadata=saved.metadata,
        tasks=list(_tasks(saved)),
        messages=_stored_messages(values.get(_MESSAGES)),
        values=small,
        is_open=waiting or "__start__" in values,
    )


def _stored_messages(value: Any) -> list[Any] | None:
    value = value.value if isinstance(value, _DeltaSnapshot) else value
    return list(value) if isinstance(value, list) else None


def _tasks(saved: CheckpointTuple) -> Iterator[TaskWrites]:
    channels: dict[str, dict[str, list[Any]]] = {}
    for task_id, channel, value in saved.pending_writes or ():
        channels.setdefault(task_id, {}).setdefault(channel, []).append(value)
    yield from (TaskWrites(task_id, written) for task_id, written in channels.items())


def _chain(steps: dict[str, Superstep]) -> Iterator[Superstep]:
    """The latest checkpoint with its ancestors, the oldest first."""
    chain: list[Superstep] = []
    step: Superstep | None = steps[max(steps)]  # ids sort by time
    while step is not None:
        if chain:
            step.end, step.next = chain[-1].start, chain[-1]
        chain.append(step)
        step = steps.get(step.parent_id or "")
    yield from reversed(chain)


def _belongs(chain: list[Superstep], included: set[tuple[str, str]]) -> bool:
    """Whether a chain is that of the thread itself, or ran in a superstep that belongs to it."""
    parents: Mapping[str, str] = chain[0].metadata.get("parents") or {}
    return all(parent in included for parent in parents.items()) and (bool(parents) or not chain[0].namespace)
