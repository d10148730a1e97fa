"""The workers of examples/workers under load, while they are killed: every thread ends right, and nothing runs twice.

    python tests/soak/workers.py [--workers 4] [--threads 300] [--kill-every 4] [--concurrency 16] [--seed 1]

Each thread calls tools 20 times, in 15 model turns; every fifth call is of a tool in `once`. A worker is killed with
SIGKILL every few seconds (0: never) and started again. The tools log each start, the server counts each request, and
a person who is asked about an unknown call looks into the log. Needs PostgreSQL, and a program `redis-server`.
"""

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import psycopg
import redis
from dbos import DBOSClient, DBOSPortableJSONSerializer
from langgraph.checkpoint.postgres import PostgresSaver

from langchain_kimi import create_kimi_agent
from langchain_kimi.testing import FakeKimi, KimiServer, Reply, Request, said, thought
from tests.services import OwnRedis, fresh_database, no_postgres
from tests.worker_processes import EXAMPLE, Fleet, WorkerProcess

CALLS = 20
RPM = 6000
MODEL_SECONDS = 0.05
THOUGHT = "The next numbers are missing, so I look them up. "
RESULT = re.compile(r"(\d+) by (\w+)")


def value_of(thread: int, call: int) -> int:
    """What the tools of load_agent.py return."""
    return (31 * thread + 7 * call) % 97


class Model:
    """Plays the model, and remembers when it read a result for the first time: by then it was recorded."""

    def __init__(self, thinking_bytes: int) -> None:
        self._thought = (THOUGHT * (1 + thinking_bytes // len(THOUGHT)))[: max(thinking_bytes, len(THOUGHT))]
        self.read: dict[tuple[int, int], tuple[str, float]] = {}
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        thread = int(request.text_of("user").removeprefix("thread "))
        results = [RESULT.match(str(m["content"])) for m in request.messages if m["role"] == "tool"]
        with self._lock:
            for call, result in enumerate(results):
                self._check(thread, call, result)
        time.sleep(MODEL_SECONDS)
        if len(results) >= CALLS:
            return said(f"The sum is {sum(int(result[1]) for result in results if result)}.", thinking="I add them up.")
        return self._calls(thread, len(results))

    def _check(self, thread: int, call: int, result: re.Match[str] | None) -> None:
        if result is None:
            self.wrong.append(f"thread {thread}: call {call} has no result")
        elif self.read.setdefault((thread, call), (result[2], time.monotonic()))[0] != result[2]:
            self.wrong.append(f"thread {thread}: the recorded result of call {call} was replaced")

    def _calls(self, thread: int, number: int) -> Reply:
        """The next call, or two at once."""
        reply = thought(f"{number} of {CALLS}. {self._thought}")
        for call in range(number, number + (2 if number % 4 == 1 else 1)):
            reply = reply.calling("charge" if call % 5 == 4 else "look", thread=thread, call=call)
        return reply


@dataclass
class Load:
    """One run of the load test."""

    server: KimiServer
    model: Model
    database: str
    log: Path
    threads: int
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._runs: dict[str, int] = {}
        self._asked: set[str] = set()
        self._client = DBOSClient(
            system_database_url=self.database,
            serializer=DBOSPortableJSONSerializer(),
            application_name="kimi-workers",
        )

    def run(self, seconds: float) -> None:
        """Send a message to each thread, and answer questions until all threads have ended."""
        end = time.monotonic() + seconds
        for thread in range(self.threads):
            self._enqueue(thread, {"message": f"thread {thread}"})
        while self._runs:
            if time.monotonic() > end:
                self.wrong.append(f"STUCK: {len(self._runs)} runs after {seconds:.0f} s, such as {[*self._runs][:3]}")
                return
            time.sleep(0.2)
            self._take_ended()

    def _take_ended(self) -> None:
        for row in self._client.list_workflows(workflow_ids=[*self._runs], status=["SUCCESS", "ERROR"]):
            thread = self._runs.pop(row.workflow_id)
            if row.status == "ERROR":
                self.wrong.append(f"thread {thread}: {row.error}")
                continue
            for question in row.output["questions"]:
                self._answer(thread, question)

    def _answer(self, thread: int, question: dict[str, Any]) -> None:
        """Decide as a person who looks into the log."""
        starts = self.starts()
        decisions = []
        for request in question["action_requests"]:
            call = (thread, request["args"]["call"])
            decisions.append(_decision(*call, starts[call]))
            self.counts[f"decided: {decisions[-1]['type']}"] += 1
        self._enqueue(thread, {"question": question["question"], "decisions": decisions})

    def _enqueue(self, thread: int, request: dict[str, Any]) -> None:
        options: Any = {"workflow_name": "run", "queue_name": "agent runs", "queue_partition_key": str(thread)}
        self._runs[self._client.enqueue(options, f"load {thread}", request).workflow_id] = thread

    def starts(self) -> dict[tuple[int, int], list[dict[str, Any]]]:
        """Each start of each call, in order."""
        found = defaultdict(list)
        for line in self.log.read_text().splitlines():
            start = json.loads(line)
            found[start["thread"], start["call"]].append(start)
        return found

    def check(self) -> None:
        """Compare threads, log and server."""
        self._client.destroy()
        self.wrong += self.model.wrong
        starts = self.starts()
        self._check_starts(starts)
        self._check_limits()
        spent: Counter[str] = Counter()
        with PostgresSaver.from_conn_string(self.database) as saver:
            agent = create_kimi_agent(FakeKimi([]), [], checkpointer=saver)
            for thread in range(self.threads):
                state = agent.get_state({"configurable": {"thread_id": f"load {thread}"}}).values
                spent.update({key: value for key, value in state["spent"].items() if isinstance(value, int)})
                self._check_thread(thread, state["messages"], starts)
        self._check_accounts(spent)

    def _check_starts(self, starts: dict[tuple[int, int], list[dict[str, Any]]]) -> None:
        for (thread, call), all_of in starts.items():
            self.counts["starts of tools"] += len(all_of)
            self.counts["calls that ran again, without a recorded result"] += len(all_of) - 1
            if call % 5 == 4 and len(all_of) > 1:
                self.wrong.append(f"thread {thread}: CHARGED {len(all_of)} TIMES in call {call}")
            execution, read_at = self.model.read.get((thread, call), ("", float("inf")))
            late = [start for start in all_of if start["at"] > read_at]
            if late or (execution and execution != all_of[-1]["execution"]):
                self.wrong.append(f"thread {thread}: call {call} RAN AGAIN after its result was recorded")
            if len({start["key"] for start in all_of}) > 1:
                self.wrong.append(f"thread {thread}: call {call} has more than one idempotency key")

    def _check_thread(self, thread: int, messages: list[Any], starts: Any) -> None:
        expected = f"The sum is {sum(value_of(thread, call) for call in range(CALLS))}."
        if messages[-1].text != expected:
            self.wrong.append(f"thread {thread} ends with {messages[-1].text!r} instead of {expected!r}")
        called = {
            call["id"]: call["args"]["call"] for message in messages for call in getattr(message, "tool_calls", ())
        }
        results = [(called[message.tool_call_id], message.text) for message in messages if message.type == "tool"]
        recorded = [text.rpartition(" by ")[2] for _, text in sorted(results)]
        if recorded != [start["execution"] for call in range(CALLS) for start in starts[thread, call][-1:]]:
            self.wrong.append(f"thread {thread}: the recorded results are not those of the last starts")

    def _check_limits(self) -> None:
        """The server itself refuses what exceeds `concurrency`."""
        self.counts["requests at the server"] = len(self.server.requests)
        if refused := [status for status in self.server.statuses if status != 200]:
            self.wrong.append(f"LIMIT EXCEEDED: the server refused {Counter(refused)}")

    def _check_accounts(self, spent: Counter[str]) -> None:
        """A request whose answer was lost with a killed worker is sent again as it was: the server counts both."""
        answers: dict[bytes, dict[str, Any]] = {}
        for request, usage in zip(self.server.requests, self.server.usages, strict=True):
            if usage:
                answers[request.body] = usage
        self.counts["requests whose answer was lost in a kill"] = len(self.server.requests) - len(answers)
        served = {
            "requests": len(answers),
            "input_tokens": sum(usage["prompt_tokens"] for usage in answers.values()),
            "output_tokens": sum(usage["completion_tokens"] for usage in answers.values()),
        }
        account = {key: spent[key] for key in served}
        self.counts.update(served)
        if account != served:
            self.wrong.append(f"ACCOUNTS: the threads have {account}, the server {served}")


def _decision(thread: int, call: int, starts: list[dict[str, Any]]) -> dict[str, str]:
    """What is so: the call happened if it is in the log."""
    if not starts:
        return {"type": "run"}
    return {"type": "happened", "message": f"{value_of(thread, call)} by {starts[-1]['execution']}"}


@contextmanager
def killed(fleet: Fleet, workers: dict[str, WorkerProcess], every: float, load: Load, seed: int) -> Iterator[None]:
    """Kill a worker and start it again every few seconds meanwhile."""
    done, chance = threading.Event(), random.Random(seed)

    def kill() -> None:
        while not done.wait(every * chance.uniform(0.5, 1.5)):
            name = chance.choice([*workers])
            workers[name].end()
            load.counts["kills"] += 1
            workers[name] = fleet.start_worker(name).wait_for("takes runs")

    killer = threading.Thread(target=kill)
    if every:
        killer.start()
    try:
        yield
    finally:
        done.set()
        if every:
            killer.join()


class Meters:
    """What PostgreSQL, Redis and the processes did between two moments."""

    def __init__(self, database: str, redis_url: str, workers: dict[str, WorkerProcess]) -> None:
        self._redis = redis.Redis.from_url(redis_url)
        self._workers = workers
        with psycopg.connect(database) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row
            self._postmaster = _status(int(row[0]))[1]
        self._database = database
        self._begin = self._read()

    def report(self, units: float, unit: str) -> list[str]:
        """Lines with the differences, and the differences by unit."""
        end = self._read()
        lines = []
        for name, value in end.items():
            total = value - self._begin[name]
            lines.append(f"{total:12,.1f} {name}, {total / units:,.4f} {unit}")
        return lines

    def _read(self) -> dict[str, float]:
        info: Any = self._redis.info()
        with psycopg.connect(self._database) as connection:
            connection.execute("SELECT pg_stat_clear_snapshot()")
            database = connection.execute(
                "SELECT xact_commit, tup_inserted, tup_updated, tup_deleted, pg_database_size(datname),"
                " pg_current_wal_lsn() - '0/0' FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
        assert database
        names = [
            "PostgreSQL: commits",
            "rows inserted",
            "rows updated",
            "rows deleted",
            "bytes of data",
            "bytes of WAL",
        ]
        children = [pid for pid in _processes() if _status(pid)[1] == self._postmaster]
        return {
            "seconds": time.monotonic(),
            **{name: float(value) for name, value in zip(names, database, strict=True)},
            "CPU seconds of PostgreSQL": sum(_status(pid)[0] for pid in [self._postmaster, *children]),
            "CPU seconds of the workers": sum(_status(worker.pid)[0] for worker in self._workers.values()),
            "CPU seconds of the server and this test": time.process_time(),
            "CPU seconds of Redis": info["used_cpu_user"] + info["used_cpu_sys"],
            "Redis: commands": float(info["total_commands_processed"]),
            "Redis: bytes in and out": float(info["total_net_input_bytes"] + info["total_net_output_bytes"]),
        }


@contextmanager
def closing_redis(server: OwnRedis) -> Iterator[None]:
    """Kill the server at the end, however it comes."""
    try:
        yield
    finally:
        server.kill()


def _processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _status(pid: int) -> tuple[float, int]:
    """The CPU seconds of a process with its ended children, and its parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0, 0
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK"), int(fields[1])


def soak(
    workers: int,
    threads: int,
    kill_every: float,
    concurrency: int,
    seed: int,
    seconds: float,
    idle_seconds: float,
    thinking_bytes: int = 0,
) -> tuple[list[str], list[str]]:
    """The lines of the report, and what is wrong."""
    model = Model(thinking_bytes)
    with tempfile.TemporaryDirectory() as name, fresh_database() as database:
        folder, own_redis = Path(name), OwnRedis(Path(name))
        for file in EXAMPLE.glob("*.py"):
            shutil.copy(file, folder)
        shutil.copy(Path(__file__).with_name("load_agent.py"), folder / "agent.py")
        own_redis.start()
        (folder / "log").touch()
        with (
            closing_redis(own_redis),
            KimiServer(model, strict=False, concurrency=concurrency) as server,
            Fleet(
                folder,
                DATABASE_URL=database,
                REDIS_URL=own_redis.url,
                MOONSHOT_API_KEY="sk-test-load",
                MOONSHOT_BASE_URL=server.url,
                LOAD_LOG=str(folder / "log"),
                LOAD_CONCURRENCY=str(concurrency),
                LOAD_RPM=str(RPM),
            ) as fleet,
        ):
            names = [f"worker-{number}" for number in range(workers)]
            running = {name: fleet.start_worker(name) for name in names}
            for worker in running.values():
                worker.wait_for("takes runs")
            idle = Meters(database, own_redis.url, running)
            time.sleep(idle_seconds)
            lines = [f"idle: {line}" for line in idle.report(idle_seconds, "a second")] if idle_seconds else []
            load = Load(server, model, database, folder / "log", threads)
            meters, begun = Meters(database, own_redis.url, running), time.monotonic()
            with killed(fleet, running, kill_every, load, seed):
                load.run(seconds)
            took = time.monotonic() - begun
            time.sleep(1.5)  # PostgreSQL's own counters are up to a second late
            lines += meters.report(threads * (1 + CALLS * 3 // 4), "a turn")
            load.check()
    turns, calls = threads * (1 + CALLS * 3 // 4), threads * CALLS
    rates = f"{turns / took:.1f} model turns and {calls / took:.1f} tool calls a second"
    head = f"{workers} workers, {threads} threads, {took:.1f} s: {rates}"
    if kill_every and not load.counts["kills"]:
        load.wrong.append("NOBODY WAS KILLED")
    return [head, *lines, *(f"{count:12,} {what}" for what, count in sorted(load.counts.items()))], load.wrong


def main(
    workers: int,
    threads: int,
    kill_every: float,
    concurrency: int,
    seed: int,
    seconds: float,
    idle_seconds: float,
    thinking_bytes: int = 0,
) -> int:
    """Run, write the counts, and return 1 if anything was wrong."""
    lines, wrong = soak(workers, threads, kill_every, concurrency, seed, seconds, idle_seconds, thinking_bytes)
    sys.stdout.write("\n".join([*lines, *(text[:900] for text in wrong[:20]), f"{len(wrong):12} wrong"]) + "\n")
    return int(bool(wrong))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--workers", type=int, default=4)
    options.add_argument("--threads", type=int, default=300)
    options.add_argument("--kill-every", type=float, default=4.0)
    options.add_argument("--concurrency", type=int, default=16)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--seconds", type=float, default=600.0)
    options.add_argument("--thinking-bytes", type=int, default=0, help="how long the thinking of each turn is")
    options.add_argument("--idle-seconds", type=float, default=5.0)
    if reason := no_postgres():
        sys.exit(reason)
    sys.exit(main(**vars(options.parse_args())))
