"""The threads in an SQLite file."""

import json
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from langchain_kimi._stored_threads.retention import MESSAGES, RetentionPlan, StoredCheckpoint
from langchain_kimi._stored_threads.threads import (
    StoredThreads,
    StoredThreadsError,
    ThreadSummary,
    orphans,
    parsed_time,
)

_LOCK_SECONDS = 30.0
_THREADS = "SELECT thread_id, count(*), max(checkpoint_id) FROM checkpoints GROUP BY thread_id ORDER BY 3 DESC"
_NEWEST = "SELECT type, checkpoint FROM checkpoints WHERE thread_id = ? AND checkpoint_id = ?"
_CHECKPOINTS = """
SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata,
    length(checkpoint) + length(metadata) + (
        SELECT coalesce(sum(length(value)), 0) FROM writes
        WHERE writes.thread_id = checkpoints.thread_id AND writes.checkpoint_ns = checkpoints.checkpoint_ns
        AND writes.checkpoint_id = checkpoints.checkpoint_id
    )
FROM checkpoints WHERE thread_id = ?
"""
_ONE = "thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"


class SqliteThreads(StoredThreads):
    """The threads in an SQLite file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        from langgraph.checkpoint.sqlite import SqliteSaver

        self._connection = connection
        self._stored: list[StoredCheckpoint] = []
        saver = SqliteSaver(connection)
        saver.is_setup = True  # its setup would write
        self.saver = saver

    def summaries(self) -> list[ThreadSummary]:
        rows = self._connection.execute(_THREADS).fetchall()
        return [ThreadSummary(str(thread), count, self._time(thread, newest)) for thread, count, newest in rows]

    def _time(self, thread_id: str, checkpoint_id: str) -> Any:
        stored = self._connection.execute(_NEWEST, (thread_id, checkpoint_id)).fetchone()
        return parsed_time(self.saver.serde.loads_typed(stored)["ts"])

    def checkpoints(self, thread_id: str) -> list[StoredCheckpoint]:
        rows = self._connection.execute(_CHECKPOINTS, (thread_id,)).fetchall()
        metadata = [json.loads(row[5] or b"{}") for row in rows]
        delta: dict[str, set[str]] = {}
        for row, about in zip(rows, metadata, strict=True):
            delta.setdefault(row[0], set()).update(about.get("counters_since_delta_snapshot") or ())
        self._stored = [self._checkpoint(row, about, delta) for row, about in zip(rows, metadata, strict=True)]
        return self._stored

    def _checkpoint(self, row: Any, metadata: Any, delta: dict[str, set[str]]) -> StoredCheckpoint:
        namespace, checkpoint_id, parent_id, kind, data, _, size = row
        checkpoint = self.saver.serde.loads_typed((kind, data))
        versions = {name: str(version) for name, version in checkpoint["channel_versions"].items()}
        return StoredCheckpoint(
            namespace=namespace,
            checkpoint_id=checkpoint_id,
            parent_id=parent_id,
            time=parsed_time(checkpoint["ts"]),
            callers=metadata.get("parents") or {},
            delta_channels=frozenset(delta[namespace] & versions.keys()),
            stored_channels=frozenset(checkpoint["channel_values"]),
            versions=versions,
            size=size,
        )

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def _delete(self, thread_id: str, plan: RetentionPlan) -> None:
        keys = [(thread_id, *one.key) for one in plan.deleted]
        self._connection.executemany(f"DELETE FROM writes WHERE {_ONE}", keys)
        self._connection.executemany(f"DELETE FROM checkpoints WHERE {_ONE}", keys)
        first = [(thread_id, *one.key) for one in orphans(plan, self._stored)]
        self._connection.executemany(f"UPDATE checkpoints SET parent_checkpoint_id = NULL WHERE {_ONE}", first)

    def _store_snapshot(self, thread_id: str, checkpoint: StoredCheckpoint, snapshot: Any) -> None:
        key = (thread_id, *checkpoint.key)
        select = f"SELECT type, checkpoint FROM checkpoints WHERE {_ONE}"
        value = self.saver.serde.loads_typed(self._connection.execute(select, key).fetchone())
        value["channel_values"][MESSAGES] = snapshot
        self._connection.execute(
            f"UPDATE checkpoints SET type = ?, checkpoint = ? WHERE {_ONE}",
            (*self.saver.serde.dumps_typed(value), *key),
        )


@contextmanager
def open_sqlite_threads(source: str, *, writes: bool) -> Iterator[StoredThreads]:
    """The threads in an SQLite file. Raises StoredThreadsError."""
    if not Path(source).is_file():
        raise StoredThreadsError(f"{source}: no such file. Give an SQLite file, or a URL postgresql://….")
    uri = f"{Path(source).absolute().as_uri()}?mode={'rw' if writes else 'ro'}"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=_LOCK_SECONDS, isolation_level=None)) as connection,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of types that this process does not know
            yield SqliteThreads(connection)
    except ImportError as error:
        raise StoredThreadsError(
            "SQLite needs langgraph-checkpoint-sqlite: pip install 'langchain-kimi-agent[report]'."
        ) from error
    except sqlite3.Error as error:
        raise StoredThreadsError(f"{source}: {error}.") from error
