"""Random faults over the agent: every run ends with the right answer or with a typed error.

    python tests/soak/faults.py [--seconds 600] [--seed 1]

Each run is an agent with two tools on a server of its own, which fails as a host fails: refusals, pages, stalls, cut,
slow and nonsensical streams. A run is fine when it ends within its time with exactly the sums asked for, or with a
KimiError. In the end no thread, task or socket may be left.
"""

import argparse
import asyncio
import gc
import os
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from langchain_core.tools import tool

sys.path.insert(0, str(Path(__file__).parents[2]))

from langchain_kimi import ChatKimi, Limits, create_kimi_agent
from langchain_kimi.errors import KimiError
from langchain_kimi.testing import (
    KimiServer,
    Reply,
    Request,
    cut_after,
    empty,
    error_event,
    garbage,
    overloaded,
    rate_limited,
    refused,
    said,
    slowly,
    stall,
    thought,
)
from langchain_kimi.transport import Deadlines, shared_connections

SILENCE = 0.5
"""Seconds after which a stalled stream is given up."""
LONGEST_RUN = 30.0
"""Seconds after which a run counts as hanging."""
WAYS = ("invoke", "ainvoke", "stream", "astream", "cancel")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@tool("multiply")
def multiply_now(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Host:
    """What the server answers in one run: a few rounds of tool calls, then the results; in between, faults."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._lock = threading.Lock()
        self._rounds = [self._round() for _ in range(chance.randint(1, 4))]
        self._trouble = chance.choice([0.0, 0.15, 0.4])
        self.right = " ".join(str(a + b if name == "add" else a * b) for calls in self._rounds for name, a, b in calls)

    def _round(self) -> list[tuple[str, int, int]]:
        return [
            (self._chance.choice(["add", "multiply"]), self._chance.randint(0, 99), self._chance.randint(0, 99))
            for _ in range(self._chance.randint(1, 3))
        ]

    def __call__(self, request: Request) -> Reply:
        with self._lock:
            reply = self._answer(request)
            return self._fault(reply) if self._chance.random() < self._trouble else reply

    def _answer(self, request: Request) -> Reply:
        done = sum(bool(message.get("tool_calls")) for message in request.messages)
        if done >= len(self._rounds):
            results = [message["content"] for message in request.messages if message["role"] == "tool"]
            return said(" ".join(results), thinking="That is all.")
        reply = thought(f"Round {done}: ünï\u2028.")
        for name, a, b in self._rounds[done]:
            reply = reply.calling(name, a=a, b=b)
        return reply

    def _fault(self, reply: Reply) -> Reply:
        events = self._chance.randint(0, 12)
        return self._chance.choice(
            [
                lambda: overloaded(),
                lambda: rate_limited(0),
                lambda: refused(500, "server_error", "oops"),
                lambda: refused(504, page="<html>504 Gateway Time-out</html>"),
                lambda: refused(429, "exceeded_current_quota_error", "insufficient balance"),
                lambda: refused(400, "content_filter", "considered high risk"),
                lambda: empty(self._chance.choice([200, 502])),
                lambda: stall(reply, after_events=events),
                lambda: cut_after(reply, events=events),
                lambda: error_event(reply, after_events=events, message="oops"),
                lambda: garbage(
                    self._chance.choice([b"{", b"", b"[]", b"\xff", b"null"]), within=reply, after_events=events
                ),
                lambda: slowly(reply, bytes=self._chance.choice([1, 5, 64])),
            ]
        )()


async def run(seed: int) -> str:
    """One run; its outcome: `right`, `cancelled`, the name of an error, or what is wrong, in capitals."""
    chance = random.Random(seed)
    host, way = Host(chance), chance.choice(WAYS)
    with KimiServer(host) as server:
        model = ChatKimi(
            model="kimi-k2.6",
            base_url=server.url,
            api_key="sk-test",
            max_retries=chance.randint(0, 2),
            timeout=Deadlines(connect=5, first_byte=5, silence=SILENCE, total=LONGEST_RUN / 4),
            streaming=chance.choice([None, False, True]),
        )
        sync = way in ("invoke", "stream")
        agent = create_kimi_agent(model, [add, multiply_now if sync else multiply], limits=Limits(turns=10))
        given = {"messages": [("user", "go")]}
        try:
            async with asyncio.timeout(LONGEST_RUN):
                state = await _driven(agent, given, way, chance)
        except KimiError as error:
            return type(error).__name__
        except TimeoutError:
            return "HANGS"
        except asyncio.CancelledError:
            return "cancelled"
        except Exception as error:
            return f"UNTYPED {type(error).__name__}: {error}"
        if server.script_errors:
            return f"SCRIPT {server.script_errors}"
        answer = state["messages"][-1].text
        return "right" if answer == host.right else f"WRONG {answer!r}, not {host.right!r}"


async def _driven(agent: Any, given: Any, way: str, chance: random.Random) -> Any:
    if way == "invoke":
        return await asyncio.to_thread(agent.invoke, given)
    if way == "ainvoke":
        return await agent.ainvoke(given)
    if way == "stream":
        return (await asyncio.to_thread(lambda: list(agent.stream(given, stream_mode="values"))))[-1]
    if way == "astream":
        return [state async for state in agent.astream(given, stream_mode="values")][-1]
    task = asyncio.create_task(agent.ainvoke(given))
    await asyncio.wait([task], timeout=chance.uniform(0, 0.2))
    task.cancel()
    return await task


async def soak(seconds: float, seed: int, parallel: int = 16) -> Counter[str]:
    """The outcomes of runs for so many seconds, and of what is left behind."""
    outcomes: Counter[str] = Counter()
    end = time.monotonic() + seconds
    seeds = iter(range(seed * 1_000_000, (seed + 1) * 1_000_000))

    async def runs() -> None:
        while time.monotonic() < end:
            number = next(seeds)
            outcome = await run(number)
            outcomes[f"{outcome} (seed {number})" if is_wrong(outcome) else outcome] += 1

    connections = shared_connections()
    await asyncio.gather(*(runs() for _ in range(parallel)))
    await connections.aclose()
    connections.close()
    outcomes[f"LEFT {asyncio.all_tasks()}"] += len(asyncio.all_tasks()) > 1
    return +outcomes


def left_behind(before: tuple[int, int]) -> list[str]:
    """The threads and files that are more than before."""
    for _ in range(100):  # a server's thread may still be on its way out
        gc.collect()
        if threading.active_count() <= before[0] and _files() <= before[1]:
            return []
        time.sleep(0.02)
    more = [f"{_files() - before[1]} files"] if _files() > before[1] else []
    return more + [thread.name for thread in threading.enumerate()]


def _files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def main(seconds: float, seed: int) -> int:
    """Runs, writes the counts, and returns 1 if anything was wrong."""
    asyncio.run(soak(1.0, seed + 1))  # what is loaded once, such as certificates, is no leak
    before = (threading.active_count(), _files())
    outcomes = asyncio.run(soak(seconds, seed))
    left = left_behind(before)
    lines = [f"{count:6} {outcome}" for outcome, count in outcomes.most_common()]
    lines.append(f"{sum(outcomes.values()):6} runs, left behind: {left or 'nothing'}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if left or any(is_wrong(outcome) for outcome in outcomes) else 0


def is_wrong(outcome: str) -> bool:
    """Whether an outcome is none that a run may have."""
    return outcome.startswith(("HANGS", "UNTYPED", "SCRIPT", "WRONG", "LEFT"))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=600.0)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    sys.exit(main(chosen.seconds, chosen.seed))
