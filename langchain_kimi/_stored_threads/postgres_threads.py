"""The threads in a PostgreSQL database."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_kimi._redaction import redact
from langchain_kimi._stored_threads.retention import MESSAGES, RetentionPlan, StoredCheckpoint
from langchain_kimi._stored_threads.threads import (
    StoredThreads,
    StoredThreadsError,
    ThreadSummary,
    orphans,
    parsed_time,
)

if TYPE_CHECKING:
    from psycopg import Connection

_THREADS = """
SELECT thread_id, count(*) AS count, (array_agg(checkpoint->>'ts' ORDER BY checkpoint_id DESC))[1] AS time
FROM checkpoints GROUP BY thread_id ORDER BY max(checkpoint_id) DESC
"""
_CHECKPOINTS = """
SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, metadata, checkpoint, pg_column_size(checkpoints.*) + (
    SELECT coalesce(sum(octet_length(blob)), 0) FROM checkpoint_writes AS writes
    WHERE writes.thread_id = checkpoints.thread_id AND writes.checkpoint_ns = checkpoints.checkpoint_ns
    AND writes.checkpoint_id = checkpoints.checkpoint_id
) AS size
FROM checkpoints WHERE thread_id = %s
"""
_VALUES = """
SELECT checkpoint_ns, channel, version, octet_length(blob) AS size FROM checkpoint_blobs
WHERE thread_id = %s AND type <> 'empty'
"""
_ONE = "thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = %s"
_STORE = """
INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO UPDATE SET type = EXCLUDED.type, blob = EXCLUDED.blob
"""
_MARK = f"UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, ARRAY['channel_values', %s], 'true') WHERE {_ONE}"
_DELETE_VALUE = """
DELETE FROM checkpoint_blobs WHERE thread_id = %s AND checkpoint_ns = %s AND channel = %s AND version = %s
"""


class PostgresThreads(StoredThreads):
    """The threads in a PostgreSQL database."""

    def __init__(self, connection: "Connection[Any]") -> None:
        from langgraph.checkpoint.postgres import PostgresSaver

        self._connection = connection
        self._stored: list[StoredCheckpoint] = []
        self._sizes: dict[tuple[str, str, str], int] = {}
        self.saver = PostgresSaver(connection)

    def summaries(self) -> list[ThreadSummary]:
        with self._transaction(writes=False):
            rows = self._connection.execute(_THREADS).fetchall()
        return [ThreadSummary(row["thread_id"], row["count"], parsed_time(row["time"])) for row in rows]

    def checkpoints(self, thread_id: str) -> list[StoredCheckpoint]:
        rows = self._connection.execute(_CHECKPOINTS, (thread_id,)).fetchall()
        values = self._connection.execute(_VALUES, (thread_id,)).fetchall()
        self._sizes = {(one["checkpoint_ns"], one["channel"], one["version"]): one["size"] or 0 for one in values}
        delta: dict[str, set[str]] = {}
        for row in rows:
            channels = row["metadata"].get("counters_since_delta_snapshot") or ()
            delta.setdefault(row["checkpoint_ns"], set()).update(channels)
        self._stored = [self._checkpoint(row, delta) for row in rows]
        return self._stored

    def _checkpoint(self, row: Any, delta: dict[str, set[str]]) -> StoredCheckpoint:
        namespace, checkpoint = row["checkpoint_ns"], row["checkpoint"]
        versions = {name: str(version) for name, version in checkpoint["channel_versions"].items()}
        in_values = {name for name, version in versions.items() if (namespace, name, version) in self._sizes}
        return StoredCheckpoint(
            namespace=namespace,
            checkpoint_id=row["checkpoint_id"],
            parent_id=row["parent_checkpoint_id"],
            time=parsed_time(checkpoint["ts"]),
            callers=row["metadata"].get("parents") or {},
            delta_channels=frozenset(delta[namespace] & versions.keys()),
            stored_channels=frozenset(in_values | (checkpoint.get("channel_values") or {}).keys()),
            versions=versions,
            size=int(row["size"]),
        )

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[None]:
        from psycopg import IsolationLevel

        self._connection.isolation_level = IsolationLevel.REPEATABLE_READ
        self._connection.read_only = not writes
        with self._connection.transaction():
            yield

    def _freed_values(self, plan: RetentionPlan) -> list[tuple[str, str, str]]:
        """The values that only deleted checkpoints have.

        A run that goes on meanwhile makes new versions, or takes over those of the newest checkpoint, which stays.
        """
        used = {
            (one.namespace, *value) for one in self._stored if one.key in plan.kept for value in one.versions.items()
        }
        deleted = {(one.namespace, *value) for one in plan.deleted for value in one.versions.items()}
        return sorted((deleted - used) & self._sizes.keys())

    def _shared_bytes(self, thread_id: str, plan: RetentionPlan) -> int:
        return sum(self._sizes[value] for value in self._freed_values(plan))

    def _delete(self, thread_id: str, plan: RetentionPlan) -> None:
        keys = [(thread_id, *one.key) for one in plan.deleted]
        first = [(thread_id, *one.key) for one in orphans(plan, self._stored)]
        values = [(thread_id, *value) for value in self._freed_values(plan)]
        with self._connection.cursor() as cursor:
            cursor.executemany(f"DELETE FROM checkpoint_writes WHERE {_ONE}", keys)
            cursor.executemany(f"DELETE FROM checkpoints WHERE {_ONE}", keys)
            cursor.executemany(f"UPDATE checkpoints SET parent_checkpoint_id = NULL WHERE {_ONE}", first)
            cursor.executemany(_DELETE_VALUE, values)

    def _store_snapshot(self, thread_id: str, checkpoint: StoredCheckpoint, snapshot: Any) -> None:
        kind, data = self.saver.serde.dumps_typed(snapshot)
        version = checkpoint.versions[MESSAGES]
        self._connection.execute(_STORE, (thread_id, checkpoint.namespace, MESSAGES, version, kind, data))
        self._connection.execute(_MARK, (MESSAGES, thread_id, *checkpoint.key))


@contextmanager
def open_postgres_threads(source: str, *, writes: bool) -> Iterator[StoredThreads]:
    """The threads in a PostgreSQL database. Raises StoredThreadsError."""
    try:
        import langgraph.checkpoint.postgres  # noqa: F401
        import psycopg
        from psycopg.rows import dict_row
    except ImportError as error:
        raise StoredThreadsError(
            "PostgreSQL needs langgraph-checkpoint-postgres and psycopg: pip install 'langchain-kimi-agent[report]'."
        ) from error
    try:
        with (
            psycopg.connect(source, autocommit=True, prepare_threshold=0, row_factory=dict_row) as connection,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of types that this process does not know
            yield PostgresThreads(connection)
    except psycopg.Error as error:
        raise StoredThreadsError(f"PostgreSQL: {redact(' '.join(str(error).split()))}.") from error
