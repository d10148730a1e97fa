"""Random faults over agents: every run ends with the right answer or with a typed error, never with an empty success.

    python tests/soak/faults.py [--runs 10000] [--seed 1]
    python tests/soak/faults.py --only 1000017 1000023

Each run is an agent, a team or a sub-agent with two tools on a server of its own, which fails as a host fails:
refusals, pages, stalls, cut, slow and nonsensical streams, errors in the middle, abnormal and unknown finish reasons,
answers without a choice, lone surrogates, broken arguments, shared and missing ids. A run is fine when it ends within
its time with exactly the sums asked for, or with a KimiError, or says in its `stop_reason` that it was stopped. No call
of an answer that was not whole may run, and the state's account is what a meter counted. In the end no thread, task or
socket may be left. `--only` repeats runs by their numbers.
"""

import argparse
import asyncio
import gc
import logging
import os
import random
import re
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import tool

sys.path.insert(0, str(Path(__file__).parents[2]))

from langchain_kimi import (
    AgentLimits,
    ChatKimi,
    KimiWarning,
    TeamMember,
    UsageMeter,
    agent_as_tool,
    create_kimi_agent,
    create_kimi_team,
)
from langchain_kimi._http import Timeouts, shared_connections
from langchain_kimi.errors import KimiError
from langchain_kimi.testing import (
    FakeKimi,
    KimiServer,
    Reply,
    Request,
    called,
    cut_after,
    empty,
    error_event,
    garbage,
    no_choice,
    overloaded,
    rate_limited,
    refused,
    said,
    slowly,
    stall,
    thought,
)

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


class Mine:
    """A tool that must never run: only answers that are not whole call it."""

    def __init__(self) -> None:
        self.stepped_on = False

        @tool
        def boom() -> str:
            """Explode."""
            self.stepped_on = True
            return "boom"

        self.tool = boom


ABNORMAL = (
    *("engine_overloaded", "server_interrupted", "malformed_byte_sequence", "unexpected_state", "repeat", "unknown"),
    *("abort", "error"),
)
BROKEN_ARGUMENTS = (
    '{"a": 1, ',
    '{"a":1,}',
    "null",
    "[1]",
    '"a"',
    '{"a": 1\n',
    "nonsense",
    "\ud800",
    '{"a": "\\ud800"}',
)
NO_EVENTS = (
    b"{",
    b"",
    b"[]",
    b"\xff",
    b"null",
    b"[DONE]",
    b"{}",
    b'{"choices": []}',
    b'{"choices": [{}]}',
    b'{"choices": 7}',
)
ERRORS = (
    "server_error",
    "engine_overloaded_error",
    "rate_limit_reached_error",
    "content_filter",
    "invalid_request_error",
)
IN_A_CHUNK = (
    b'{"id": "gen-1", "error": {"code": 502, "message": "gone"}, "choices": [{"index": 0, "delta": {"content": ""}, '
    b'"finish_reason": "error"}]}'
)
LONG = "word " * 14
"""Thinking of more events than any fault lets pass."""


class Host:
    """What the server answers in one run: a few rounds of tool calls, then the results; in between, faults."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._lock = threading.Lock()
        self._rounds = [self._round() for _ in range(chance.randint(1, 4))]
        self._trouble = chance.choice([0.05, 0.2, 0.45])
        self.right = " ".join(result for calls in self._rounds for result in _results(calls))

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
        """The next round, once the one before has all its results; in the end, all results."""
        done, answered = 0, _answered(request.messages)
        for results in answered:
            done += done < len(self._rounds) and results == _results(self._rounds[done])
        if done >= len(self._rounds) or request.json.get("tool_choice") == "none":
            results = [result for calls in self._rounds[:done] for result in _results(calls)]
            return said(" ".join(results) or "nothing", thinking="That is all.")
        reply = thought(f"Round {len(answered)}: ünï\u2028.")
        for name, a, b in self._rounds[done]:
            reply = reply.calling(name, a=a, b=b)
        return reply

    def _fault(self, reply: Reply) -> Reply:
        events, chance = self._chance.randint(0, 12), self._chance
        armed = reply.thinking(LONG).calling("boom")
        return chance.choice(
            [
                # Nothing of an answer comes.
                lambda: overloaded(),
                lambda: rate_limited(0),
                lambda: refused(500, "server_error", "oops"),
                lambda: refused(504, page="<html>504 Gateway Time-out</html>"),
                lambda: refused(429, "exceeded_current_quota_error", "insufficient balance"),
                lambda: refused(400, "content_filter", "considered high risk"),
                lambda: refused(200, chance.choice(ERRORS), "an error with status 200"),
                lambda: empty(chance.choice([200, 502])),
                # It is cut, or followed by something else.
                lambda: stall(armed, after_events=events),
                lambda: cut_after(armed, events=events),
                lambda: cut_after(armed, bytes=chance.randint(1, 400)),
                lambda: error_event(armed, after_events=events, type=chance.choice(ERRORS), message="oops"),
                lambda: garbage(IN_A_CHUNK, within=armed, after_events=events),
                lambda: garbage(chance.choice(NO_EVENTS), within=armed, after_events=events),
                # It ends, and is not whole.
                lambda: armed.finish(chance.choice(ABNORMAL)),
                lambda: replace(reply, calls=()).thinking("Hm.").saying("").finish(chance.choice(ABNORMAL)),
                lambda: armed.saying(chance.choice(["", "I may"])).finish("content_filter"),
                lambda: armed.finish("brand_new") if reply.calls else reply.finish("brand_new"),
                lambda: no_choice(),
                lambda: garbage(chance.choice(NO_EVENTS)),
                lambda: thought("I think and think").finish("length"),
                # It is whole, and odd.
                lambda: self._odd(reply),
                lambda: self._odd(reply),
                lambda: slowly(reply, bytes=chance.choice([1, 5, 64])),
            ]
        )()

    def _odd(self, reply: Reply) -> Reply:
        """The reply with arguments that cannot run, with shared or missing ids, or with lone surrogates."""
        if not reply.calls:
            text = str(reply.text)
            return said(
                [text[:1], "\ud83d", "\ude00", text[1:], "\ud800"], thinking=["Hm \ud83d", "", "\ude00 \udc00."]
            )
        at = self._chance.randrange(len(reply.calls))
        calls = list(reply.calls)
        broken = replace(calls[at], arguments=self._chance.choice(BROKEN_ARGUMENTS))
        kind = self._chance.choice(["broken", "cut", "shared", "missing", "surrogates"])
        if kind == "shared":
            calls = [replace(call, id="functions.x:0") for call in calls]
        elif kind == "missing":
            calls = [replace(call, id="") for call in calls]
        elif kind == "surrogates":
            return replace(reply, reasoning=["\ud800", "a\ud83d", "\ude00"])
        else:
            calls[at] = broken
        return replace(reply, calls=tuple(calls), finish_reason="length" if kind == "cut" else None)


def _results(calls: list[tuple[str, int, int]]) -> list[str]:
    return [str(a + b if name == "add" else a * b) for name, a, b in calls]


def _answered(messages: list[dict[str, Any]]) -> list[list[str]]:
    """The results after each assistant message that calls tools."""
    answered: list[list[str]] = []
    for message in messages:
        if message.get("tool_calls"):
            answered.append([])
        elif message["role"] == "tool" and answered:
            answered[-1].append(str(message["content"]))
    return answered


async def run(seed: int) -> str:
    """One run; its outcome: `right`, `cancelled`, the name of an error, or what is wrong, in capitals."""
    chance = random.Random(seed)
    host, way = Host(chance), chance.choice(WAYS)
    kind = chance.choice(("agent", "agent", "team", "sub-agent"))
    mine, meter = Mine(), UsageMeter()
    with KimiServer(host) as server:
        model = ChatKimi(
            model="kimi-k2.6",
            base_url=server.url,
            api_key="sk-test",
            max_retries=chance.randint(0, 2),
            timeout=Timeouts(connect=5, first_byte=5, silence=SILENCE, total=LONGEST_RUN / 4),
            streaming=chance.choice([None, False, True]),
            on_cut_short=chance.choice(["raise", "return"]),
        )
        agent = _agent(kind, model, [add, multiply_now if way in ("invoke", "stream") else multiply, mine.tool])
        try:
            async with asyncio.timeout(LONGEST_RUN):
                state = await _driven(agent, {"messages": [("user", "go")]}, way, chance, {"callbacks": [meter]})
        except KimiError as error:
            outcome = type(error).__name__
        except TimeoutError:
            outcome = "HANGS"
        except asyncio.CancelledError:
            outcome = "cancelled"
        except Exception as error:
            outcome = f"UNTYPED {type(error).__name__}: {error}"
        else:
            outcome = _judged(kind, state, host.right, meter)
        if server.script_errors:
            return f"SCRIPT {server.script_errors}"
    return "EXPLODED" if mine.stepped_on else outcome


def _agent(kind: str, model: ChatKimi, tools: list[Any]) -> Any:
    limits = AgentLimits(turns=20)
    if kind == "team":
        return create_kimi_team([TeamMember(name="lead", model=model, tools=tools)], limits=limits)
    agent = create_kimi_agent(model, tools, limits=limits)
    if kind == "agent":
        return agent

    def caller(request: Request) -> Reply:
        results = [str(result["content"]) for result in request.tool_results()]
        return said(results[0]) if results else called("research", task="go").thinking("Hm.")

    return create_kimi_agent(FakeKimi(caller), [agent_as_tool(agent, name="research", description="Adds.")])


def _judged(kind: str, state: dict[str, Any], right: str, meter: UsageMeter) -> str:
    """What a run that raised nothing comes to."""
    total, spent = meter.total, state["spent"]
    counted = (total.requests, total.input_tokens, total.output_tokens)
    noted = tuple(int(spent.get(key, 0)) for key in ("requests", "input_tokens", "output_tokens"))
    if counted != noted:
        return f"ACCOUNT {noted}, but the meter counted {counted}"
    answer = next(message for message in reversed(state["messages"]) if isinstance(message, AIMessage)).text
    stopped = state["stop_reason"]
    if kind == "sub-agent":
        if failed := re.match(r"research failed: (\w+): |research was cut short \((\w+)\)", answer):
            return f"sub-agent: {failed[1] or failed[2]}"
    elif stopped in ("content_filter", "length", "turns", "loop", "errors"):
        return f"stopped: {stopped}"
    if stopped not in ("stop", "brand_new"):
        return f"WRONG stop_reason {stopped!r}"
    whole = answer.replace("\U0001f600", "").replace("\ufffd", "")
    return "right" if whole == right else f"WRONG {answer!r}, not {right!r}"


async def _driven(agent: Any, given: Any, way: str, chance: random.Random, config: Any) -> Any:
    if way == "invoke":
        return await asyncio.to_thread(agent.invoke, given, config)
    if way == "ainvoke":
        return await agent.ainvoke(given, config)
    if way == "stream":
        return (await asyncio.to_thread(lambda: list(agent.stream(given, config, stream_mode="values"))))[-1]
    if way == "astream":
        return [state async for state in agent.astream(given, config, stream_mode="values")][-1]
    task = asyncio.create_task(agent.ainvoke(given, config))
    await asyncio.wait([task], timeout=chance.uniform(0, 0.2))
    task.cancel()
    return await task


async def soak(numbers: Iterable[int], parallel: int = 16) -> Counter[str]:
    """The outcomes of the runs with these numbers, and of what is left behind."""
    outcomes: Counter[str] = Counter()
    seeds = iter(numbers)

    async def runs() -> None:
        for number in seeds:
            outcome = await run(number)
            outcomes[f"{outcome} (--only {number})" if is_wrong(outcome) else outcome] += 1

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


def main(numbers: Iterable[int]) -> int:
    """Runs, writes the counts, and returns 1 if anything was wrong."""
    warnings.simplefilter("ignore", KimiWarning)
    asyncio.run(soak(range(20)))  # what is loaded once, such as certificates, is no leak
    before, begun = (threading.active_count(), _files()), time.monotonic()
    outcomes = asyncio.run(soak(numbers))
    left = left_behind(before)
    lines = [f"{count:6} {outcome}" for outcome, count in outcomes.most_common()]
    lines.append(
        f"{sum(outcomes.values()):6} runs in {time.monotonic() - begun:.0f} s, left behind: {left or 'nothing'}"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if left or any(is_wrong(outcome) for outcome in outcomes) else 0


def numbers_of(seed: int, runs: int) -> range:
    """The numbers of so many runs."""
    return range(seed * 1_000_000, seed * 1_000_000 + runs)


def is_wrong(outcome: str) -> bool:
    """Whether an outcome is none that a run may have."""
    return outcome.startswith(("HANGS", "UNTYPED", "SCRIPT", "WRONG", "LEFT", "ACCOUNT", "EXPLODED"))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", type=int, nargs="+", help="numbers of runs to repeat")
    chosen = options.parse_args()
    logging.getLogger("langchain_kimi").setLevel(logging.ERROR)
    sys.exit(main(chosen.only or numbers_of(chosen.seed, chosen.runs)))
