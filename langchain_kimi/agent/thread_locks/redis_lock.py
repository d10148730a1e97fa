"""`RedisThreadLock`: locks with a lease in Redis."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from uuid import uuid4

from langchain_kimi._steps import Steps
from langchain_kimi.agent.thread_locks.thread_lock import HeldThread, MultitaskStrategy, ThreadLock
from langchain_kimi.errors import ThreadLockLostError

_POLL_SECONDS = 0.1
"""How often a run that waits tries to acquire the lock."""


@dataclass(slots=True)
class _Session:
    """The client of one run, its lock and its token."""

    client: Any
    lock: Any
    token: str


class RedisThreadLock(ThreadLock):
    """Lets one run at a time have a thread, by a lock with a lease in Redis.

    A run renews its lease three times in each `lease` seconds. If its process is killed, another run can have the
    thread when the lease has run out. A process that was suspended for longer than its lease finds at its next
    checkpoint that it has lost the thread, writes nothing more, and raises ThreadLockLostError. Runs that wait try
    every 0.1 seconds, in no order.

    `url` is as for `redis.Redis.from_url`; each run opens a connection of its own. `prefix` begins the keys.

    Raises ImportError without the extra `redis`.
    """

    def __init__(
        self,
        url: str,
        *,
        strategy: MultitaskStrategy = "reject",
        timeout: float = 60.0,
        lease: float = 30.0,
        prefix: str = "langchain_kimi:thread:",
    ) -> None:
        super().__init__(strategy, timeout)
        if not lease >= 0.1:
            raise ValueError(f"RedisThreadLock: lease={lease!r}: it has to be 0.1 seconds or more.")
        if not isinstance(url, str):
            raise TypeError(f"RedisThreadLock: {type(url).__name__} is not a URL such as redis://host:6379.")
        _redis()
        self._url, self._prefix = url, prefix
        self.lease = lease

    @contextmanager
    def _connect(self) -> Iterator[_Session]:
        with _redis().Redis.from_url(self._url) as client:
            yield _Session(client, None, uuid4().hex)

    @asynccontextmanager
    async def _aconnect(self) -> AsyncIterator[_Session]:
        async with _redis().asyncio.Redis.from_url(self._url) as client:
            yield _Session(client, None, uuid4().hex)

    def _acquire(self, held: HeldThread) -> Steps[None]:
        session = held.connection
        session.lock = session.client.lock(self._key(held), timeout=self.lease, sleep=_POLL_SECONDS, thread_local=False)
        end = time.monotonic() + self.timeout
        waits = self.strategy != "reject"
        while True:
            if self.strategy == "interrupt":
                yield from self._request(held)
            # In slices, so that the request to replace the holder outlives its sender by one lease only.
            wait = min(max(end - time.monotonic(), 0), self.lease / 3)
            attempt = {"blocking": waits, "blocking_timeout": wait if waits else None, "token": session.token}
            if (yield from _Call(session.lock, "acquire", **attempt).result()):
                break
            if time.monotonic() + _POLL_SECONDS >= end or not waits:
                raise self._busy(waited=waits)
        if self.strategy == "interrupt":
            yield from _Call(session.client, "srem", self._requests(held), session.token).result()

    def _request(self, held: HeldThread) -> Steps[None]:
        """Ask the holder of the thread to stop. The request runs out after a lease."""
        client, requests = held.connection.client, self._requests(held)
        yield from _Call(client, "sadd", requests, held.connection.token).result()
        yield from _Call(client, "pexpire", requests, round(self.lease * 1000)).result()

    def _check(self, held: HeldThread) -> Steps[bool]:
        session = held.connection
        try:
            owned = yield from _Call(session.lock, "owned").result()
            requested = yield from _Call(session.client, "exists", self._requests(held)).result()
        except _redis().RedisError as error:
            raise ThreadLockLostError.of("Redis, which has the lock, does not answer") from error
        if not owned:
            raise ThreadLockLostError.of(f"The lease of {self.lease:g} seconds ran out before it was renewed")
        return bool(requested)

    def _release(self, held: HeldThread) -> Steps[None]:
        session = held.connection
        redis = _redis()
        with suppress(redis.RedisError, redis.exceptions.LockError):  # then the lease runs out
            yield from _Call(session.client, "srem", self._requests(held), session.token).result()
            yield from _Call(session.lock, "do_release", session.token.encode()).result()

    @contextmanager
    def _renewing(self, held: HeldThread) -> Iterator[None]:
        ended = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(held, ended), name="kimi-thread-lease", daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()

    def _renew(self, held: HeldThread, ended: threading.Event) -> None:
        redis = _redis()
        while not ended.wait(self.lease / 3):
            try:
                held.connection.lock.reacquire()
            except redis.exceptions.LockError:
                return  # the lock is lost, and the run's next check raises
            except redis.RedisError:
                continue

    @asynccontextmanager
    async def _arenewing(self, held: HeldThread) -> AsyncIterator[None]:
        # Not cancelled: redis-py can lose a cancellation of a command, and the renewal would go on for ever.
        ended = asyncio.Event()
        renewal = asyncio.create_task(self._arenew(held, ended))
        try:
            yield
        finally:
            ended.set()
            await asyncio.wait([renewal])

    async def _arenew(self, held: HeldThread, ended: asyncio.Event) -> None:
        redis = _redis()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.lease / 3):
                    await ended.wait()
            if ended.is_set():
                return
            try:
                await held.connection.lock.reacquire()
            except redis.exceptions.LockError:
                return
            except redis.RedisError:
                continue

    def _key(self, held: HeldThread) -> str:
        return f"{self._prefix}{{{held.thread}}}"

    def _requests(self, held: HeldThread) -> str:
        return f"{self._key(held)}:replace"


class _Call:
    """A method of a Redis client or lock, synchronous or asynchronous as the client is."""

    def __init__(self, target: Any, method: str, *arguments: Any, **settings: Any) -> None:
        self._target, self._method, self._arguments, self._settings = target, method, arguments, settings

    def result(self) -> Steps[Any]:
        return (yield self)

    def run(self, context: Any) -> Any:
        return getattr(self._target, self._method)(*self._arguments, **self._settings)

    async def arun(self, context: Any) -> Any:
        return await getattr(self._target, self._method)(*self._arguments, **self._settings)


def _redis() -> ModuleType:
    try:
        import redis
        import redis.asyncio
        import redis.exceptions
    except ImportError:
        raise ImportError(
            "RedisThreadLock needs the package redis: pip install 'langchain-kimi-agent[redis]'."
        ) from None
    return redis
