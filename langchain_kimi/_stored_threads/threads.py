"""What the databases of checkpointers have in common: summaries of threads, and pruning one of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from langchain_kimi._stored_threads.retention import (
    RetentionPlan,
    RetentionRule,
    StoredCheckpoint,
    plan_retention,
)
from langchain_kimi._stored_threads.snapshots import messages_snapshot


class StoredThreadsError(Exception):
    """Threads cannot be read or pruned; the message is a sentence or two for the user."""


@dataclass(frozen=True, slots=True)
class ThreadSummary:
    """A thread, the number of its checkpoints, and when the newest one was made."""

    thread_id: str
    checkpoints: int
    updated: datetime


@dataclass(frozen=True, slots=True)
class PrunedThread:
    """What pruning deleted of a thread, or would delete."""

    thread_id: str
    kept: int
    """Checkpoints that stay."""
    deleted: int
    """Checkpoints that are deleted."""
    freed: int
    """Bytes that are freed, less those of new full copies of messages."""


class StoredThreads(ABC):
    """The threads in the database of a checkpointer."""

    saver: BaseCheckpointSaver[Any]

    @abstractmethod
    def summaries(self) -> list[ThreadSummary]:
        """All threads, the newest first."""

    @abstractmethod
    def checkpoints(self, thread_id: str) -> list[StoredCheckpoint]:
        """The checkpoints of a thread and of the graphs in its tool calls."""

    @abstractmethod
    def _transaction(self, *, writes: bool) -> AbstractContextManager[None]:
        """A transaction that reads one state of the database."""

    @abstractmethod
    def _delete(self, thread_id: str, plan: RetentionPlan) -> None:
        """Delete the checkpoints of a plan, with their writes and the values that only they have."""

    @abstractmethod
    def _store_snapshot(self, thread_id: str, checkpoint: StoredCheckpoint, snapshot: Any) -> None:
        """Store a full copy of the messages in a checkpoint."""

    def _shared_bytes(self, thread_id: str, plan: RetentionPlan) -> int:
        """The bytes of values that only deleted checkpoints have, where values are stored by themselves."""
        return 0

    def prune(self, thread_id: str, rule: RetentionRule, *, dry_run: bool) -> PrunedThread:
        """Delete the checkpoints of a thread that the rule does not keep and its state does not need."""
        snapshots: dict[tuple[str, str], Any] = {}

        def can_snapshot(checkpoint: StoredCheckpoint) -> bool:
            if checkpoint.key not in snapshots:
                snapshots[checkpoint.key] = messages_snapshot(self.saver, thread_id, checkpoint)
            return snapshots[checkpoint.key] is not None

        with self._transaction(writes=not dry_run):
            checkpoints = self.checkpoints(thread_id)
            plan = plan_retention(checkpoints, rule, can_snapshot)
            used = {one.key: snapshots[one.key] for one in plan.snapshots}
            copied = sum(len(self.saver.serde.dumps_typed(one)[1]) for one in used.values()) if plan.deleted else 0
            freed = sum(one.size for one in plan.deleted) + self._shared_bytes(thread_id, plan) - copied
            if plan.deleted and not dry_run:
                for checkpoint in plan.snapshots:
                    self._store_snapshot(thread_id, checkpoint, used[checkpoint.key])
                self._delete(thread_id, plan)
        return PrunedThread(thread_id, len(plan.kept), len(plan.deleted), freed)


def orphans(plan: RetentionPlan, checkpoints: Sequence[StoredCheckpoint]) -> Iterator[StoredCheckpoint]:
    """The checkpoints that stay and whose parent is deleted."""
    deleted = {one.key for one in plan.deleted}
    for checkpoint in checkpoints:
        if checkpoint.key in plan.kept and (checkpoint.namespace, checkpoint.parent_id or "") in deleted:
            yield checkpoint


def parsed_time(text: str) -> datetime:
    """The time of a checkpoint; without a zone it is UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


@contextmanager
def open_stored_threads(source: str, *, writes: bool) -> Iterator[StoredThreads]:
    """The threads in a PostgreSQL database (a URL) or an SQLite file. Raises StoredThreadsError."""
    if source.startswith(("postgresql://", "postgres://")):
        from langchain_kimi._stored_threads.postgres_threads import open_postgres_threads as open_threads
    else:
        from langchain_kimi._stored_threads.sqlite_threads import open_sqlite_threads as open_threads
    with open_threads(source, writes=writes) as threads:
        yield threads
