"""Agents killed at seeded moments: nothing that was recorded is lost or run again, and every thread goes on.

    python tests/soak/crash.py [--kills 200] [--seed 1] [--database sqlite|postgres|both] [--seconds N]

Each thread is run by one process after the other (`crash_child.py`), which is killed with SIGKILL inside a tool, in
the middle of a streamed answer, around a write of the checkpointer, or at any moment. Then the checkpointer is asked
what it recorded, and a new process goes on: with the thread as it is, or, on every second thread, with a new message.
In the end, every request that the server received is compared with what the model said and what was recorded.
"""

import argparse
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parents[2]))

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_kimi import create_kimi_agent
from langchain_kimi.agent.state import add_kimi_messages
from langchain_kimi.agent.thread_messages import UNKNOWN_RESULT, pending_calls, tool_calls_of
from langchain_kimi.testing import FakeKimi, KimiServer, Request
from tests.services import no_postgres
from tests.soak.crash_child import WAYS
from tests.soak.crash_model import calls, rounds, script, thinking
from tests.soak.crash_processes import Process, Processes, play

PLACES = ("tool", "tool", "stream", "before a write", "after a write", "write", "any moment")


@dataclass
class Recorded:
    """What the checkpointer holds of a thread."""

    next: tuple[str, ...]
    messages: list[Any]
    results: dict[str, str]
    """Results by the ids of their calls, those of tools included whose siblings did not finish."""
    answers: set[str]
    """The thinking of every answer, those included that were recorded just before the end."""
    pending: set[str]
    """The ids of calls that have no result."""


@dataclass
class Thread:
    """One thread's life under one process after the other."""

    name: str
    database: str
    folder: Path
    processes: Processes
    chance: random.Random
    by_message: bool
    counts: Counter[str]
    wrong: list[str] = field(default_factory=list)
    _tasks: int = 0
    _recorded: dict[str, str] = field(default_factory=dict)
    _unknown: dict[str, int] = field(default_factory=dict)
    _answers: set[str] = field(default_factory=set)
    _log_read: int = 0
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def live(self, kills: int) -> None:
        """So many kills, then two turns to their end, then every check."""
        self._durability = self.chance.choice(["sync", "async"])
        with KimiServer(script) as self._server:
            text: str | None = self._task()
            for _ in range(kills):
                text = self._killed(text)
                if self.wrong:
                    return
            self._finished(text)
            self._finished(self._task())
            self._check_wire()
        self._count(threads=1, requests=len(self._server.requests))

    # One process.

    def _killed(self, text: str | None) -> str | None:
        """Runs a process until the moment, kills it, and gives what the next one is to be told."""
        place = self.chance.choice(PLACES)
        number = self.chance.randint(1, {"tool": 5, "stream": 60}.get(place, 16))
        process = self._start(text, [place, number] if place in ("tool", "before a write", "after a write") else None)
        if place == "stream":
            process.wait(lambda: process.told("chunk") >= number)
        elif place == "write":
            process.wait(lambda: process.told("write+") >= number)
        elif place == "any moment":
            process.wait(lambda: False, self.chance.uniform(0, 0.6))
        else:
            process.wait(lambda: process.told("held") > 0)
            process.wait(lambda: False, self.chance.choice([0, 0, 0.005, 0.05]))
        if not self._ended_well(process):
            return text
        ended = process.told("ended") > 0
        inside = process.kill()
        recorded = self._look()
        if ended:
            self._check_ended(recorded)
            return self._task()
        self._count(kills=1, **{f"killed in a {where}": 1 for where in inside or ["other moment"]})
        self._check_log(recorded)
        if self.by_message != (self.chance.random() < 0.1) or not recorded.next:
            self._count(**{"continued by a message": 1})
            self._unknown |= {call: len(self._server.requests) for call in recorded.pending - recorded.results.keys()}
            return self._task()
        self._count(resumed=1)
        return None

    def _finished(self, text: str | None) -> None:
        process = self._start(text, None)
        process.wait(lambda: False)
        if self._ended_well(process):
            process.kill()
            recorded = self._look()
            self._check_log(recorded)
            self._check_ended(recorded)

    def _start(self, text: str | None, hold: list[Any] | None) -> Process:
        self._starts = getattr(self, "_starts", 0) + 1
        database = self.database
        if not database.startswith("/"):
            database += f"&application_name={self.name}"
        job = {
            "database": database,
            "thread": self.name,
            "url": self._server.url,
            "log": str(self.folder / f"{self.name}.log"),
            "events": str(self.folder / f"{self.name}.{self._starts}"),
            "text": text,
            "hold": hold,
            "way": self.chance.choice(WAYS),
            "streaming": self.chance.choice([True, True, False]),
            "durability": self._durability,
            "sequential": self.by_message,
        }
        return self.processes.start(job)

    def _ended_well(self, process: Process) -> bool:
        """Whether it neither failed nor got stuck; else it is killed here."""
        failures = [about for event, about in process.events if event == "failed"]
        if failures or process.stuck:
            self.wrong.append(f"{self.name}: {failures[0] if failures else f'STUCK after {process.events[-5:]}'}")
            process.kill()
            return False
        return True

    def _task(self) -> str:
        self._tasks += 1
        return f"{self.name} task {self._tasks}"

    # What the checkpointer holds.

    def _look(self) -> Recorded:
        """What is recorded; asked when the killed process is gone from the database, too."""
        with ExitStack() as stack:
            if self.database.startswith("/"):
                saver: Any = stack.enter_context(SqliteSaver.from_conn_string(self.database))
            else:
                saver = stack.enter_context(PostgresSaver.from_conn_string(self.database))
                _until_gone(saver.conn, self.name)
            agent = create_kimi_agent(FakeKimi(), _named_tools(), checkpointer=saver)
            state = agent.get_state({"configurable": {"thread_id": self.name}})
        messages = state.values.get("messages", [])
        late = [message for task in state.tasks for message in _messages(task.result)]
        whole = [*messages, *late]
        return Recorded(
            state.next,
            messages,
            {message.tool_call_id: message.content for message in whole if isinstance(message, ToolMessage)},
            {str(m.additional_kwargs.get("reasoning_content")) for m in whole if isinstance(m, AIMessage)},
            {str(call["id"]) for call in pending_calls(add_kimi_messages(messages, [late]))},
        )

    # Checks.

    def _check_log(self, recorded: Recorded) -> None:
        """Nothing recorded before was run again since, and nothing recorded before is lost."""
        path = self.folder / f"{self.name}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        started = {line.split()[1] for line in lines[self._log_read :] if line.startswith("start")}
        self._log_read = len(lines)
        for call in sorted(started & self._recorded.keys()):
            self.wrong.append(f"{self.name}: RUN AGAIN {call}, which was recorded")
        for call in sorted(started & self._unknown.keys()):
            self.wrong.append(f"{self.name}: RUN AGAIN {call}, which was given up")
        for call, result in self._recorded.items():
            if recorded.results.get(call) != result:
                self.wrong.append(f"{self.name}: LOST {call}: {result!r} became {recorded.results.get(call)!r}")
        for answer in self._answers - recorded.answers:
            self.wrong.append(f"{self.name}: LOST the answer {answer!r}")
        self._recorded, self._answers = recorded.results, recorded.answers

    def _check_ended(self, recorded: Recorded) -> None:
        asked = [message.text for message in recorded.messages if isinstance(message, HumanMessage)]
        if recorded.next or not asked or recorded.messages[-1].text != f"done: {asked[-1]}":
            self.wrong.append(f"{self.name}: STUCK before {recorded.next}, after {recorded.messages[-1:]}")
        open_calls: list[str] = []
        for message in recorded.messages:
            if isinstance(message, ToolMessage):
                if not open_calls or open_calls.pop(0) != message.tool_call_id:
                    self.wrong.append(f"{self.name}: OUT OF PLACE {message.tool_call_id}")
            elif open_calls:
                self.wrong.append(f"{self.name}: OPEN {open_calls}")
            if isinstance(message, AIMessage):
                open_calls = [str(call["id"]) for call in tool_calls_of(message)]

    def _check_wire(self) -> None:
        """Every request against what the model said and what was recorded."""
        if refused := [status for status in self._server.statuses if status not in (200, None)]:
            self.wrong.append(f"{self.name}: REFUSED {refused}")
        before: list[Any] = []
        for request in self._server.requests:
            messages = request.messages
            if self._durability == "sync" and messages[: len(before)] != before:
                at = next(at for at, message in enumerate(before) if messages[at : at + 1] != [message])
                self.wrong.append(f"{self.name}: CHANGED {before[at]} to {messages[at : at + 1]}")
            before = messages
            self._check_request(request)

    def _check_request(self, request: Request) -> None:
        task, turn = "", 0
        for message in request.messages:
            if message["role"] == "user":
                task, turn = message["content"], 0
            elif message["role"] == "assistant":
                made = message.get("tool_calls", [])
                sent = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in made]
                right = calls(task, turn) if turn < rounds(task) else []
                if (message["reasoning_content"], sent) != (thinking(task, turn), right):
                    self.wrong.append(f"{self.name}: NOT AS SAID {message}")
                turn += 1
            elif message["role"] == "tool":
                self._check_result(request, message["tool_call_id"], message["content"])

    def _check_result(self, request: Request, call: str, content: str) -> None:
        since = self._unknown.get(call)
        if since is not None and request.number > since:
            right = content == UNKNOWN_RESULT
        else:
            right = content == self._recorded.get(call) or self._durability == "async"
        if not right:
            self.wrong.append(f"{self.name}: WRONG RESULT {call}: {content!r}, not {self._recorded.get(call)!r}")

    def _count(self, **counts: int) -> None:
        with self._lock:
            self.counts.update(counts)


def _messages(result: Any) -> list[Any]:
    """The messages in a task's result."""
    found = result.get("messages", []) if isinstance(result, dict) else []
    if isinstance(found, dict):
        found = [message for write in found["$writes"] for message in (write if isinstance(write, list) else [write])]
    return found if isinstance(found, list) else [found]


def _named_tools() -> list[Any]:
    def work(text: str) -> None:
        """Do something."""

    def work_async(text: str) -> None:
        """Do something."""

    return [work, work_async]


def _until_gone(connection: Any, name: str) -> None:
    """What a killed client sent may still be carried out."""
    query = "SELECT count(*) AS found FROM pg_stat_activity WHERE application_name = %s"
    while connection.execute(query, (name,)).fetchone()["found"]:
        time.sleep(0.001)


def soak(kind: str, kills: int, seed: int, seconds: float) -> tuple[Counter[str], list[str]]:
    """The counts and what is wrong, after so many kills or seconds."""
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds

    def make(number: int, database: Callable[[str], str], folder: Path, processes: Processes) -> Thread:
        name = f"{kind}-{seed}-{number}"
        return Thread(name, database(name), folder, processes, random.Random(name), number % 2 == 1, counts)

    def goes_on() -> bool:
        return time.monotonic() < end and counts["kills"] < kills

    return counts, play(kind, "tests.soak.crash_child", make, goes_on, most_kills=5)


def main(kinds: list[str], kills: int, seed: int, seconds: float) -> int:
    """Runs, writes the counts, and returns 1 if anything was wrong."""
    failed = False
    for kind in kinds:
        begun = time.monotonic()
        counts, wrong = soak(kind, kills, seed, seconds)
        lines = [f"{kind}, {time.monotonic() - begun:.0f} s:"]
        lines += [f"{count:6} {what}" for what, count in sorted(counts.items())]
        places = ("tool", "stream", "write")
        missed = [f"NO KILL in a {place}" for place in places if not counts[f"killed in a {place}"]]
        lines += [*[line[:600] for line in wrong[:20]], *missed, f"{len(wrong):6} wrong"]
        sys.stdout.write("\n".join(lines) + "\n")
        failed = failed or bool(wrong or missed)
    return int(failed)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--database", choices=["sqlite", "postgres", "both"], default="both")
    options.add_argument("--seconds", type=float, default=1800.0)
    chosen = options.parse_args()
    wanted = ["sqlite", "postgres"] if chosen.database == "both" else [chosen.database]
    if "postgres" in wanted and (reason := no_postgres()):
        sys.exit(reason)
    sys.exit(main(wanted, chosen.kills, chosen.seed, chosen.seconds))
