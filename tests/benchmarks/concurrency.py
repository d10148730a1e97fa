"""Many agents at once in one process: ours beside `create_agent`.

    python tests/benchmarks/concurrency.py [runs …] [--no-peer] [--threads N] [--postgres] [--rounds N] [--freeze]

Each run is an agent with a tool call in each of five turns and a last answer. The model is a server in a process of its
own that answers after 50 ms, so a run takes 0.30 s where nothing waits for the processor. All runs of a round begin
together; the rounds of the runners alternate. "stall" is how late a task that sleeps for 1 ms wakes up: the 99th
percentile and the longest. The peer is `create_agent` around a ChatOpenAI that keeps the reasoning. With `--threads`,
the runs are synchronous, in so many threads. With `--postgres` each run writes checkpoints, over a pool of connections.
`--freeze` calls `gc.freeze()` before the rounds and raises the threshold of the collector, as a server may do.
"""

import argparse
import asyncio
import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

from langchain_core.tools import tool
from loop import ASKED, POSTGRES, Scripted, config, ours, theirs

TURNS, DELAY, POOL = 5, 0.05, 20


@tool("look_up")
async def look_up_async(text: str, n: int) -> str:
    """Look something up."""
    return "found"


@tool("look_up")
def look_up_sync(text: str, n: int) -> str:
    """Look something up."""
    return "found"


class Delayed(Scripted):
    """Answers after a while, as a model does."""

    def data_received(self, data: bytes) -> None:
        transport, self.transport = self.transport, _Later(self.transport)
        super().data_received(data)
        self.transport = transport


class _Later:
    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(DELAY, self._transport.write, data)


def serve(port: Connection) -> None:
    """Listen until killed."""
    Scripted.made = {}

    async def listen() -> None:
        server = await asyncio.get_running_loop().create_server(Delayed, "127.0.0.1", 0, backlog=4096)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(listen())


async def stalls(late: list[float]) -> None:
    """Note how late the event loop wakes this task, until it is cancelled."""
    while True:
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        late.append(max(0.0, time.perf_counter() - due))


async def together(agent: Any, runs: int) -> dict[str, float]:
    """All runs at once on this loop."""
    late: list[float] = []
    watch = asyncio.create_task(stalls(late))
    began, cpu = time.perf_counter(), time.process_time()
    states = await asyncio.gather(*(agent.ainvoke(ASKED, config()) for _ in range(runs)))
    took, used = time.perf_counter() - began, time.process_time() - cpu
    watch.cancel()
    assert all(state["messages"][-1].text == "Done." for state in states)
    return {
        "wall": took,
        "cpu": used / runs * 1000,
        "p99": statistics.quantiles(late, n=100)[98] * 1000,
        "longest": max(late) * 1000,
    }


def threads(agent: Any, runs: int, workers: int) -> dict[str, float]:
    """All runs in so many threads."""
    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        states = list(pool.map(lambda _: agent.invoke(ASKED, config()), range(runs)))
    took, used = time.perf_counter() - began, time.process_time() - cpu
    assert all(state["messages"][-1].text == "Done." for state in states)
    return {"wall": took, "cpu": used / runs * 1000, "p99": 0.0, "longest": 0.0}


@asynccontextmanager
async def postgres_saver() -> AsyncIterator[Any]:
    """LangGraph's checkpointer over a pool of connections, in a schema that is dropped afterwards."""
    import psycopg
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    schema = f"concurrency_{os.getpid()}"
    settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    options = {**settings, "options": f"-c search_path={schema}"}
    async with await psycopg.AsyncConnection.connect(POSTGRES, autocommit=True) as connection:
        await connection.execute(f"CREATE SCHEMA {schema}")
        try:
            async with AsyncConnectionPool(POSTGRES, max_size=POOL, kwargs=options) as pool:
                saver = AsyncPostgresSaver(pool)  # type: ignore[arg-type]
                await saver.setup()
                yield saver
        finally:
            await connection.execute(f"DROP SCHEMA {schema} CASCADE")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="*", type=int, default=[10, 100, 1000])
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--freeze", action="store_true")
    chosen = parser.parse_args()
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}/{TURNS}/1/v1"
    made: dict[str, Callable[..., Any]] = {"ours": ours} | ({} if chosen.no_peer else {"create_agent": theirs})
    look_up = look_up_sync if chosen.threads else look_up_async
    loop = asyncio.new_event_loop()
    opened = postgres_saver()
    saver = loop.run_until_complete(opened.__aenter__()) if chosen.postgres else None
    agents = {name: make(url, look_up, saver) for name, make in made.items()}

    def measured(agent: Any, runs: int) -> dict[str, float]:
        if chosen.threads:
            return threads(agent, runs, chosen.threads)
        return loop.run_until_complete(together(agent, runs))

    for agent in agents.values():
        measured(agent, 10)
    if chosen.freeze:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 10, 100)
    print(f"{'runs':>5} {'runner':14} {'wall s':>8} {'CPU ms/run':>11} {'stall p99 ms':>13} {'longest ms':>11}")
    for runs in chosen.runs:
        best: dict[str, dict[str, float]] = {}
        for _ in range(chosen.rounds):
            for name, agent in agents.items():
                figures = measured(agent, runs)
                if name not in best or figures["wall"] < best[name]["wall"]:
                    best[name] = figures
        for name, f in best.items():
            print(f"{runs:5} {name:14} {f['wall']:8.2f} {f['cpu']:11.1f} {f['p99']:13.1f} {f['longest']:11.1f}")
    if saver is not None:
        loop.run_until_complete(opened.__aexit__(None, None, None))
    server.kill()


if __name__ == "__main__":
    main()
