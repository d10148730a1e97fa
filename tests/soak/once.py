"""Agents killed at seeded moments: no call of a tool in `once` starts twice by itself, and every thread ends.

    python tests/soak/once.py [--kills 200] [--seed 1] [--database sqlite|postgres|both]
        [--durability sync|async|both] [--agent kimi|middleware] [--seconds N]

Each thread is run by one process after the other (`once_child.py`), which is killed with SIGKILL inside the tool,
around the record of its intent, around another write, or at any moment. The next process resumes the thread, with a
random decision where people are asked, sometimes after an edit, or continues with a new message. The tool writes to a
log before anything else. A second start of a call is right only if a person decided for it since the one before.
"""

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.services import no_postgres
from tests.soak.crash_processes import Process, Processes, play

HELD = ("tool", "before an intent", "after an intent", "before a write", "after a write")
PLACES = (*HELD, "tool", "after an intent", "write", "any moment")
MOST_RUNS = 60
"""The runs after the last kill within which a thread has to end."""


@dataclass
class Thread:
    """One thread's life under one process after the other."""

    name: str
    database: str
    folder: Path
    processes: Processes
    durability: str
    agent: str
    chance: random.Random
    counts: Counter[str]
    wrong: list[str] = field(default_factory=list)
    _starts: int = 0
    _resume: bool = False
    _asked: dict[str, list[list[str]]] = field(default_factory=dict)
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def live(self, kills: int) -> None:
        """So many kills, then runs until the turn ends, then the check of the log."""
        self._log = self.folder / f"{self.name}.log"
        self._log.touch()
        for _ in range(kills):
            self._kill_one()
            if self.wrong:
                return
        for _ in range(MOST_RUNS):
            if self._ended():
                self._check_log()
                self._count(threads=1)
                return
            if self.wrong:
                return
        self.wrong.append(f"{self.name}: STUCK after {MOST_RUNS} runs, asked {self._asked}")

    def _kill_one(self) -> None:
        """Run a process until the moment, and kill it."""
        place, number = self.chance.choice(PLACES), self.chance.randint(1, 4)
        process = self._start([place, number] if place in HELD else None)
        if place in HELD:
            process.wait(lambda: process.told("held") > 0)
            process.wait(lambda: False, self.chance.choice([0, 0, 0.005, 0.05]))
        elif place == "write":
            process.wait(lambda: process.told("write+") >= 4 * number)
        else:
            process.wait(lambda: False, self.chance.uniform(0, 0.4))
        if not self._is_well(process):
            return
        process.kill()
        if process.told("ended"):
            self._take_outcome(process)
            return
        self._count(**{"kills": 1, f"killed: {place}": 1})
        if self.chance.random() < 0.1:
            self._count(**{"new messages": 1})
            self._resume = False

    def _ended(self) -> bool:
        """Run a process to its end, and return whether the turn has ended."""
        process = self._start(None)
        process.wait(lambda: False)
        if not self._is_well(process):
            return False
        process.kill()
        self._take_outcome(process)
        return not self._asked

    def _take_outcome(self, process: Process) -> None:
        """Remember what people are asked; a turn that has ended must have ended with its answer."""
        outcome: dict[str, Any] = json.loads(next(about for event, about in process.events if event == "outcome"))
        self._asked, self._resume = outcome["asked"], bool(outcome["asked"])
        if not self._asked and not outcome["last"].startswith("done: "):
            self.wrong.append(f"{self.name}: ended with {outcome['last']!r}")

    def _start(self, hold: list[Any] | None) -> Process:
        self._starts += 1
        resume, decisions = self._resume, self._decide() if self._asked else None
        edit = resume and decisions is None and self.chance.random() < 0.1
        self._asked, self._resume = {}, True
        database = self.database if self.database.startswith("/") else f"{self.database}&application_name={self.name}"
        return self.processes.start(
            {
                "database": database,
                "thread": self.name,
                "log": str(self._log),
                "events": str(self.folder / f"{self.name}.{self._starts}"),
                "text": f"{self.name} task {self._starts}",
                "resume": resume,
                "decisions": decisions,
                "edit": edit,
                "hold": hold,
                "way": self.chance.choice(["sync", "async"]),
                "coroutine": self.chance.choice([True, False]),
                "durability": self.durability,
                "agent": self.agent,
            }
        )

    def _decide(self) -> dict[str, Any]:
        """Random decisions for every question; each `run` is noted in the log before it is given."""
        responses: dict[str, Any] = {}
        for question, calls in self._asked.items():
            kinds = self.chance.choices(["happened", "run", "unknown"], k=len(calls))
            self._count(**{f"decided: {kind}": kinds.count(kind) for kind in set(kinds)})
            runs = [call for kind, call in zip(kinds, calls, strict=True) if kind == "run"]
            with self._log.open("a") as log:
                log.writelines(f"run {key} {to}\n" for key, to in runs)
            decisions = [{"type": kind, **({"message": "it did"} if kind == "happened" else {})} for kind in kinds]
            responses[question] = {"decisions": decisions}
        return responses if len(responses) > 1 else next(iter(responses.values()))

    def _is_well(self, process: Process) -> bool:
        """Whether it neither failed nor got stuck; else it is killed here."""
        failures = [about for event, about in process.events if event == "failed"]
        if failures or process.stuck:
            self.wrong.append(f"{self.name}: {failures[0] if failures else f'STUCK after {process.events[-5:]}'}")
            process.kill()
            return False
        return True

    def _check_log(self) -> None:
        """No start without a decision since the one before, and one key for each call."""
        started: set[str] = set()
        keys: dict[str, str] = {}
        for line in self._log.read_text().splitlines():
            event, key, to = line.split(" ", 2)
            if keys.setdefault(to, key) != key:
                self.wrong.append(f"{self.name}: TWO KEYS of {to}: {keys[to]} and {key}")
            if event == "start":
                if key in started:
                    self.wrong.append(f"{self.name}: STARTED TWICE {key} {to}")
                started.add(key)
                self._count(starts=1)
            else:
                started.discard(key)
        if len(set(keys.values())) != len(keys):
            self.wrong.append(f"{self.name}: ONE KEY for two calls: {keys}")

    def _count(self, **counts: int) -> None:
        with self._lock:
            self.counts.update(counts)


def soak(
    kind: str, durability: str, agent: str, kills: int, seed: int, seconds: float
) -> tuple[Counter[str], list[str]]:
    """The counts and what is wrong, after so many kills or seconds."""
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds

    def make(number: int, database: Callable[[str], str], folder: Path, processes: Processes) -> Thread:
        name = f"{kind}-{durability}-{seed}-{number}"
        return Thread(name, database(name), folder, processes, durability, agent, random.Random(name), counts)

    def goes_on() -> bool:
        return time.monotonic() < end and counts["kills"] < kills

    return counts, play(kind, "tests.soak.once_child", make, goes_on, most_kills=6)


def main(kinds: list[str], durabilities: list[str], kills: int, seed: int, seconds: float, agent: str = "kimi") -> int:
    """Runs, writes the counts, and returns 1 if anything was wrong."""
    failed = False
    for kind in kinds:
        for durability in durabilities:
            begun = time.monotonic()
            counts, wrong = soak(kind, durability, agent, kills, seed, seconds)
            lines = [f"{agent}, {kind}, {durability}, {time.monotonic() - begun:.0f} s:"]
            lines += [f"{count:6} {what}" for what, count in sorted(counts.items())]
            lines += [*[line[-900:] for line in wrong[:20]], f"{len(wrong):6} wrong"]
            sys.stdout.write("\n".join(lines) + "\n")
            failed = failed or bool(wrong) or not counts["kills"]
    return int(failed)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--database", choices=["sqlite", "postgres", "both"], default="both")
    options.add_argument("--durability", choices=["sync", "async", "both"], default="both")
    options.add_argument("--agent", choices=["kimi", "middleware"], default="kimi")
    options.add_argument("--seconds", type=float, default=1800.0)
    chosen = options.parse_args()
    wanted = ["sqlite", "postgres"] if chosen.database == "both" else [chosen.database]
    durable = ["sync", "async"] if chosen.durability == "both" else [chosen.durability]
    if "postgres" in wanted and (reason := no_postgres()):
        sys.exit(reason)
    sys.exit(main(wanted, durable, chosen.kills, chosen.seed, chosen.seconds, chosen.agent))
