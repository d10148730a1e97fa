"""The CPU time of a turn: `create_kimi_agent`, and `create_agent` with and without `KimiMiddleware`, with ChatKimi.

    python tests/benchmarks/middleware.py [steps] [rounds]

Each run has so many tool calls one after another with the server of `loop.py`, which is a process of its own. The
rounds of all runners alternate; a figure is the least CPU time of this process for one call and its answer. "bytes" is
what SQLite holds of the thread over the transcript as JSON. `delta` means `state_schema=KimiMiddlewareState`.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import Pipe, Process
from typing import Any

from langchain.agents import create_agent
from langgraph.checkpoint.sqlite import SqliteSaver
from loop import ASKED, LOOP, MARKS, MODEL, config, file_bytes, look_up, serve, sqlite_file, transcript_bytes

from langchain_kimi import AgentLimits, ChatKimi, create_kimi_agent
from langchain_kimi.middleware import KimiMiddleware, KimiMiddlewareState

LIMITS = AgentLimits(turns=100_000)


def model(url: str) -> ChatKimi:
    return ChatKimi(model=MODEL, base_url=url, api_key="sk-benchmark")


def ours(url: str, **around: Any) -> Any:
    return create_kimi_agent(model(url), [look_up], limits=LIMITS, **around)


def bare(url: str, **around: Any) -> Any:
    return create_agent(model(url), [look_up], **around)


def guarded(url: str, **around: Any) -> Any:
    return create_agent(model(url), [look_up], middleware=[KimiMiddleware(limits=LIMITS)], **around)


MAKERS: dict[str, Callable[..., Any]] = {
    "create_kimi_agent": ours,
    "create_agent": bare,
    "create_agent, KimiMiddleware": guarded,
    "create_agent, KimiMiddleware, delta": partial(guarded, state_schema=KimiMiddlewareState),
}


def plain(make: Callable[..., Any], url: str) -> tuple[float, float]:
    agent = make(url)
    start = time.process_time()
    agent.invoke(ASKED, config())
    return time.process_time() - start, 0


def aplain(make: Callable[..., Any], url: str) -> tuple[float, float]:
    agent = make(url)
    start = time.process_time()
    LOOP.run_until_complete(agent.ainvoke(ASKED, config()))
    return time.process_time() - start, 0


def with_sqlite(make: Callable[..., Any], url: str) -> tuple[float, float]:
    with sqlite_file() as path:
        with SqliteSaver.from_conn_string(path) as saver:
            agent = make(url, checkpointer=saver)
            start = time.process_time()
            state = agent.invoke(ASKED, config())
            seconds = time.process_time() - start
        return seconds, file_bytes(path) / transcript_bytes(state)


WAYS = {"invoke": plain, "ainvoke": aplain, "invoke, SQLite": with_sqlite}


def measure(url: str, steps: int, rounds: int) -> None:
    at = f"{url}/{steps}/1/v1"
    best: dict[tuple[str, str], tuple[float, float]] = {}
    for make in MAKERS.values():
        make(f"{url}/3/1/v1").invoke(ASKED, config())
    for _ in range(rounds):
        for way, run in WAYS.items():
            for name, make in MAKERS.items():
                MARKS.clear()
                figures = run(make, at)
                best[way, name] = min(best.get((way, name), figures), figures)
    print(f"{steps} calls one after another, CPU ms for each, least of {rounds}")
    for way in WAYS:
        base = best[way, "create_kimi_agent"][0]
        for name in MAKERS:
            seconds, size = best[way, name]
            held = f"{size:8.1f} × transcript" if size else ""
            print(f"{way:16} {name:40} {seconds / steps * 1000:8.2f} {seconds / base:6.2f} {held}")


def main() -> None:
    steps, rounds = [*map(int, sys.argv[1:]), *(100, 3)[len(sys.argv) - 1 :]]
    here, there = Pipe()
    server = Process(target=serve, args=(there,), daemon=True)
    server.start()
    try:
        measure(f"http://127.0.0.1:{here.recv()}", steps, rounds)
    finally:
        server.kill()


if __name__ == "__main__":
    main()
