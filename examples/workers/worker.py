"""A worker: takes runs from the queue of DBOS and plays them on the agent's threads. Start several, each with a name:

WORKER_ID=worker-1 python worker.py
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

import psycopg
from agent import DATABASE, TABLE, create_agent
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer
from events import EventWriter, events_of
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.types import Command
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from langchain_kimi import KimiAgent

QUEUE = "agent runs"
RUNS_PER_WORKER = int(os.environ.get("RUNS_PER_WORKER", "10"))
SHUTDOWN_SECONDS = int(os.environ.get("SHUTDOWN_SECONDS", "30"))
WORKER_ID = os.environ.get("WORKER_ID", "worker-1")
CONFIG: DBOSConfig = {
    "name": "kimi-workers",
    "system_database_url": DATABASE,
    "executor_id": WORKER_ID,
    "application_version": "1",  # raise it when a new release cannot continue the runs of the old one
    "sys_db_pool_size": 5,
    "serializer": DBOSPortableJSONSerializer(),
    "log_level": "WARNING",
}


class Locks:
    """Named locks that PostgreSQL frees when this worker ends, however it ends: advisory locks of one connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._own: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Wait until nobody else holds the lock, in this worker or in another one."""
        async with self._own.setdefault(name, asyncio.Lock()):
            while not await self._call("pg_try_advisory_lock", name):  # noqa: ASYNC110 (others would wait behind it)
                await asyncio.sleep(0.2)
            try:
                yield
            finally:
                await self._call("pg_advisory_unlock", name)

    async def watch(self) -> None:
        """End this process when the connection is lost, and with it all locks."""
        try:
            while True:
                async with asyncio.timeout(10):
                    await self._connection.execute("SELECT 1")
                await asyncio.sleep(1)
        except (psycopg.OperationalError, TimeoutError) as error:
            print(f"{WORKER_ID} ends, because its locks are lost: {error}", flush=True)
            os._exit(1)

    async def _call(self, function: str, name: str) -> bool:
        cursor = await self._connection.execute(f"SELECT {function}(hashtextextended(%s, 0))", [name])
        row = await cursor.fetchone()
        return bool(row and row[0])


class Worker:
    """What the runs of this process share."""

    agent: KimiAgent
    locks: Locks


def may_pass(error: BaseException) -> bool:
    """Whether another attempt can help."""
    return bool(getattr(error, "is_retryable", False)) or isinstance(error, psycopg.OperationalError)


async def next_input(run: str, config: Any, request: dict[str, Any]) -> Any:
    """The input of a new run, or None for a run that a crash or an error interrupted: it continues its thread."""
    snapshot = await Worker.agent.aget_state(config)
    if (snapshot.metadata or {}).get("run") == run:
        return None
    if "message" in request:
        return {"messages": [("user", request["message"])]}
    if request["question"] not in [interrupt.id for interrupt in snapshot.interrupts]:
        return None  # it was open when this run began, so the thread has this answer already
    return Command(resume={request["question"]: {"decisions": request["decisions"]}})


@DBOS.step()
async def check_question(thread: str, question: str) -> None:
    """Raise when a question is not open. DBOS records that it was, so a run that goes on after a crash knows it."""
    snapshot = await Worker.agent.aget_state({"configurable": {"thread_id": thread}})
    if question not in [interrupt.id for interrupt in snapshot.interrupts]:
        raise ValueError("This question is not open any more.")


@DBOS.step(preemptible=True, retries_allowed=True, interval_seconds=2, max_attempts=5, should_retry=may_pass)
async def play(run: str, thread: str, request: dict[str, Any]) -> dict[str, Any]:
    """Play the run to its end, and write what happens to the stream that the browser reads."""
    config: Any = {"configurable": {"thread_id": thread}, "metadata": {"run": run}}
    async with Worker.locks.hold(f"thread {thread}"), EventWriter("events") as events:
        value = await next_input(run, config, request)
        events.write({"event": "started" if value else "continued"})
        async for part in Worker.agent.astream(value, config, stream_mode=["messages", "custom"], durability="sync"):
            for event in events_of(*part):
                events.write(event)
        state = await Worker.agent.aget_state(config)
    questions = [{"question": one.id, **one.value} for one in state.interrupts]
    return {"stop_reason": state.values["stop_reason"], "questions": questions}


@DBOS.workflow(name="run", max_recovery_attempts=1000)
async def run_workflow(thread: str, request: dict[str, Any]) -> dict[str, Any]:
    """One run: a message of a user or the answer to a question, until the model ends its turn or asks a person."""
    assert DBOS.workflow_id
    if "question" in request:
        await check_question(thread, request["question"])
    return await play(DBOS.workflow_id, thread, request)


@asynccontextmanager
async def resources() -> AsyncIterator[None]:
    """Open what the runs share. A second worker of the same name waits here until the first one has ended."""
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with (
        await psycopg.AsyncConnection.connect(DATABASE, autocommit=True) as connection,
        AsyncConnectionPool(DATABASE, max_size=4, kwargs=options, open=False) as pool,
    ):
        Worker.locks = Locks(connection)
        print(f"{WORKER_ID} waits until no other process has this name.", flush=True)
        async with Worker.locks.hold(f"worker {WORKER_ID}"):
            saver: Any = AsyncPostgresSaver(pool)  # type: ignore[arg-type]
            async with Worker.locks.hold("setup"):
                await saver.setup()
                await connection.execute(TABLE)
            Worker.agent = create_agent(saver)
            yield


async def main() -> None:
    """Work until SIGTERM or Ctrl-C; then end the runs that are in progress, for at most SHUTDOWN_SECONDS."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with resources():
        watch = asyncio.create_task(Worker.locks.watch())
        DBOS(config=CONFIG)
        DBOS.launch()
        await DBOS.register_queue_async(
            QUEUE, worker_concurrency=RUNS_PER_WORKER, partition_concurrency=1, polling_interval_sec=0.2
        )
        print(f"{WORKER_ID} takes runs.", flush=True)
        await stopped.wait()
        await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=SHUTDOWN_SECONDS)
        watch.cancel()
        os._exit(0)  # a run that is still in progress ends as in a crash, and continues at the next start


if __name__ == "__main__":
    asyncio.run(main())
