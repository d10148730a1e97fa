"""`PostgresThreadLock`: advisory locks of PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_kimi._steps import Steps
from langchain_kimi.agent.thread_locks.thread_lock import HeldThread, MultitaskStrategy, ThreadLock
from langchain_kimi.errors import ThreadLockLostError

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    PostgresSource: TypeAlias = str | ConnectionPool[Any] | AsyncConnectionPool[Any]
else:
    PostgresSource: TypeAlias = Any

_TRY = "SELECT pg_try_advisory_lock(%s)"
_WAIT = "SELECT pg_advisory_lock(%s)"
_REQUEST = "SELECT pg_advisory_lock_shared(%s)"
_WITHDRAW = "SELECT pg_advisory_unlock_shared(%s)"
_IS_REQUESTED = "SELECT CASE WHEN pg_try_advisory_lock(%s) THEN NOT pg_advisory_unlock(%s) ELSE true END"
_UNLOCK_ALL = "SELECT pg_advisory_unlock_all()"
_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', %s, true)"


class PostgresThreadLock(ThreadLock):
    """Lets one run at a time have a thread, by advisory locks of a PostgreSQL database: that of the checkpointer.

    Each run has a connection of its own, to a conninfo or from a pool of `psycopg_pool`: synchronous runs need a
    ConnectionPool, asynchronous ones an AsyncConnectionPool. The server releases the lock as soon as that connection
    ends, also when its process was killed. Runs that wait are served in the order in which they came.

    The connection must be a session of the server: PgBouncer in the mode `transaction` or `statement` does not work.

    Raises ImportError without the package psycopg.
    """

    def __init__(
        self, database: "PostgresSource", *, strategy: MultitaskStrategy = "reject", timeout: float = 60.0
    ) -> None:
        super().__init__(strategy, timeout)
        _psycopg()
        if not isinstance(database, str) and not hasattr(database, "connection"):
            raise TypeError(f"PostgresThreadLock: {database!r} is neither a conninfo nor a pool of connections.")
        self._database: Any = database

    @contextmanager
    def _connect(self) -> Iterator["Connection[Any]"]:
        with self._session() as connection:
            try:
                yield connection
            finally:
                try:
                    _Query(_UNLOCK_ALL).run(connection)
                except BaseException as error:  # the end of the connection releases the locks as well
                    connection.close()
                    if not isinstance(error, _psycopg().Error):
                        raise

    @asynccontextmanager
    async def _aconnect(self) -> AsyncIterator["AsyncConnection[Any]"]:
        async with self._asession() as connection:
            try:
                yield connection
            finally:
                try:
                    await _Query(_UNLOCK_ALL).arun(connection)
                except BaseException as error:
                    await connection.close()
                    if not isinstance(error, _psycopg().Error):
                        raise

    @contextmanager
    def _session(self) -> Iterator["Connection[Any]"]:
        if isinstance(self._database, str):
            with _psycopg().Connection.connect(self._database, autocommit=True) as connection:
                yield connection
            return
        self._check_pool("ConnectionPool", "AsyncConnectionPool", "synchronous")
        with self._database.connection(self.timeout) as connection:
            yield connection

    @asynccontextmanager
    async def _asession(self) -> AsyncIterator["AsyncConnection[Any]"]:
        if isinstance(self._database, str):
            async with await _psycopg().AsyncConnection.connect(self._database, autocommit=True) as connection:
                yield connection
            return
        self._check_pool("AsyncConnectionPool", "ConnectionPool", "asynchronous")
        async with self._database.connection(self.timeout) as connection:
            yield connection

    def _check_pool(self, needed: str, other: str, way: str) -> None:
        pool = type(self._database)
        if any(base.__name__ == other for base in pool.__mro__):
            raise TypeError(
                f"PostgresThreadLock: a {way} run needs a {needed}, not a {pool.__name__}. Pass one, or a conninfo."
            )

    def _acquire(self, held: HeldThread) -> Steps[None]:
        key, request = _keys(held.thread)
        if (yield from _Query(_TRY, (key,)).result()):
            return
        if self.strategy == "reject":
            raise self._busy(waited=False)
        if self.strategy == "interrupt":
            yield from _Query(_REQUEST, (request,)).result()
        try:
            yield from _Query(_WAIT, (key,), self.timeout).result()
        except _psycopg().errors.LockNotAvailable:
            raise self._busy(waited=True) from None
        if self.strategy == "interrupt":
            yield from _Query(_WITHDRAW, (request,)).result()

    def _check(self, held: HeldThread) -> Steps[bool]:
        _, request = _keys(held.thread)
        try:
            return bool((yield from _Query(_IS_REQUESTED, (request, request)).result()))
        except _psycopg().Error as error:
            raise ThreadLockLostError.of("The connection to PostgreSQL that has the lock ended") from error

    def _release(self, held: HeldThread) -> Steps[None]:
        """The end of the connection's context releases everything."""
        yield from ()


@dataclass(frozen=True, slots=True)
class _Query:
    """A query for one value, in a transaction of its own; it waits for locks at most `lock_timeout` seconds."""

    sql: str
    parameters: tuple[int, ...] = ()
    lock_timeout: float | None = None

    def result(self) -> Steps[Any]:
        return (yield self)

    def run(self, connection: "Connection[Any]") -> Any:
        with connection.transaction(), connection.cursor(row_factory=_psycopg().rows.tuple_row) as cursor:
            if self.lock_timeout is not None:
                cursor.execute(_LOCK_TIMEOUT, (self._milliseconds(),))
            row = cursor.execute(self.sql, self.parameters).fetchone()
        return row[0] if row else None

    async def arun(self, connection: "AsyncConnection[Any]") -> Any:
        async with connection.transaction(), connection.cursor(row_factory=_psycopg().rows.tuple_row) as cursor:
            if self.lock_timeout is not None:
                await cursor.execute(_LOCK_TIMEOUT, (self._milliseconds(),))
            await cursor.execute(self.sql, self.parameters)
            row = await cursor.fetchone()
        return row[0] if row else None

    def _milliseconds(self) -> str:
        return str(max(1, round((self.lock_timeout or 0) * 1000)))


def _keys(thread: str) -> tuple[int, int]:
    """The keys of the advisory locks of a thread: of the lock itself, and of the requests to replace its holder."""
    lock, request = (
        blake2b(thread.encode(), digest_size=8, person=purpose).digest()
        for purpose in (b"kimi thread", b"kimi request")
    )
    return int.from_bytes(lock, signed=True), int.from_bytes(request, signed=True)


def _psycopg() -> ModuleType:
    try:
        import psycopg
        import psycopg.rows
    except ImportError:
        raise ImportError(
            "PostgresThreadLock needs psycopg. Install it with `pip install 'langchain-kimi-agent[postgres]'`."
        ) from None
    return psycopg
