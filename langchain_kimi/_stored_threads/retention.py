"""Decides which checkpoints of a thread stay, without I/O."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

MESSAGES = "messages"
_OWN_KEY = "kimi_turn"
"""A key of the state of this package's agents and teams, which no other graph has."""

CheckpointKey: TypeAlias = tuple[str, str]
"""A checkpoint namespace and a checkpoint id."""


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """What retention needs to know of one checkpoint."""

    namespace: str
    checkpoint_id: str
    parent_id: str | None
    time: datetime
    callers: Mapping[str, str]
    """The checkpoints of the graphs around, by namespace, in whose superstep this graph runs."""
    delta_channels: frozenset[str]
    """The channels of which checkpoints store changes only."""
    stored_channels: frozenset[str]
    """The channels of which this checkpoint stores a value."""
    versions: Mapping[str, str]
    """The version of each channel."""
    size: int
    """Bytes of the checkpoint and of what was written after it, without values that several checkpoints share."""

    @property
    def key(self) -> CheckpointKey:
        """Names the checkpoint in its thread."""
        return self.namespace, self.checkpoint_id


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Which checkpoints of a graph stay: its `keep` newest ones, and those that are not older than `before`."""

    keep: int = 1
    before: datetime | None = None
    settled: datetime | None = None
    """Checkpoints since then stay: a run may still be writing what belongs to them and to the ones before."""

    def keeps(self, position: int, checkpoint: StoredCheckpoint) -> bool:
        """Whether a checkpoint stays. `position` is 0 for the newest one of its graph."""
        is_new = self.before is not None and checkpoint.time >= self.before
        return position < self.keep or is_new or not self.is_settled(checkpoint)

    def is_settled(self, checkpoint: StoredCheckpoint) -> bool:
        """Whether all that was written before a checkpoint is in the database."""
        return self.settled is None or checkpoint.time < self.settled


@dataclass(slots=True)
class RetentionPlan:
    """What is done with the checkpoints of a thread."""

    kept: set[CheckpointKey] = field(default_factory=set)
    deleted: list[StoredCheckpoint] = field(default_factory=list)
    snapshots: list[StoredCheckpoint] = field(default_factory=list)
    """Checkpoints that need a full copy of the messages, because their ancestors are deleted."""


def plan_retention(
    checkpoints: Sequence[StoredCheckpoint],
    rule: RetentionRule,
    can_snapshot: Callable[[StoredCheckpoint], bool] = lambda checkpoint: True,
) -> RetentionPlan:
    """Which checkpoints of a thread stay so that its newest state, and all others that stay, can be read and resumed.

    The graph of a tool call stays with the checkpoint that made the call. Ancestors of a checkpoint stay as long as its
    delta channels are read from them; where `can_snapshot`, a full copy of the messages takes their place.
    """
    by_key = {checkpoint.key: checkpoint for checkpoint in checkpoints}
    plan = RetentionPlan()
    for namespace in sorted({one.namespace for one in checkpoints}, key=lambda name: (bool(name), name.count("|"))):
        graph = sorted(
            (one for one in checkpoints if one.namespace == namespace), key=lambda one: one.checkpoint_id, reverse=True
        )
        if _is_needed(graph[0], plan.kept, by_key):
            plan.kept |= {one.key for position, one in enumerate(graph) if rule.keeps(position, one)}
    for checkpoint in [by_key[key] for key in plan.kept]:
        _keep_readable(checkpoint, by_key, plan, lambda one: rule.is_settled(one) and can_snapshot(one))
    plan.deleted = [one for one in checkpoints if one.key not in plan.kept]
    return plan


def _is_needed(newest: StoredCheckpoint, kept: set[CheckpointKey], saved: Mapping[CheckpointKey, object]) -> bool:
    """Whether a graph's checkpoints stay. Those of a tool call go with the checkpoint that made the call."""
    if ":" not in newest.namespace.rpartition("|")[2]:
        return True
    # A run saves in the background: a call can be there before the checkpoint that made it.
    return all(caller in kept or caller not in saved for caller in newest.callers.items())


def _keep_readable(
    checkpoint: StoredCheckpoint,
    by_key: Mapping[CheckpointKey, StoredCheckpoint],
    plan: RetentionPlan,
    can_snapshot: Callable[[StoredCheckpoint], bool],
) -> None:
    """Keep what the delta channels of a checkpoint are read from, or plan a full copy of its messages."""
    missing = set(checkpoint.delta_channels - checkpoint.stored_channels)
    first = checkpoint
    while missing and (parent := by_key.get((first.namespace, first.parent_id or ""))) is not None:
        if parent.key not in plan.kept:
            if missing == {MESSAGES} and _is_own(first) and can_snapshot(first):
                plan.snapshots += [] if first in plan.snapshots else [first]
                return
            plan.kept.add(parent.key)
        missing -= parent.stored_channels
        first = parent


def _is_own(checkpoint: StoredCheckpoint) -> bool:
    """Whether the checkpoint is that of an agent or a team of this package, whose reducer of messages is known."""
    return _OWN_KEY in checkpoint.versions and checkpoint.delta_channels == {MESSAGES}
