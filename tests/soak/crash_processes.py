"""Processes that a test starts, listens to and kills, and threads that are run by one after the other."""

import itertools
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from langgraph.checkpoint.postgres import PostgresSaver

from tests.services import fresh_schema

LONGEST_RUN = 60.0
"""Seconds after which a process counts as stuck."""


class Processes:
    """Starts the processes that are killed."""

    def __init__(self, module: str) -> None:
        self._forks = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        self._lock = threading.Lock()

    def start(self, job: dict[str, Any]) -> "Process":
        """A process for a job; it lives until it is killed."""
        os.mkfifo(job["events"])
        assert self._forks.stdin is not None
        pipe = os.open(job["events"], os.O_RDONLY | os.O_NONBLOCK)
        with self._lock:
            self._forks.stdin.write(json.dumps(job).encode() + b"\n")
            self._forks.stdin.flush()
        return Process(pipe, job["events"])

    def close(self) -> None:
        """Ends the process that forks."""
        assert self._forks.stdin is not None
        self._forks.stdin.close()
        self._forks.wait(LONGEST_RUN)


class Process:
    """One of them, and what it told."""

    def __init__(self, pipe: int, path: str) -> None:
        self._pipe, self._path = pipe, path
        self._rest = b""
        self.events: list[tuple[str, str]] = []
        self._stuck_at = time.monotonic() + LONGEST_RUN

    def wait(self, until: Callable[[], bool], seconds: float = LONGEST_RUN) -> None:
        """Reads what it tells until that is so, it ended or failed, or the time is over."""
        end = min(self._stuck_at, time.monotonic() + seconds)
        while not (until() or self.told("ended") or self.told("failed")):
            if not select.select([self._pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                return
            self._read()

    def told(self, event: str) -> int:
        """How often it told so."""
        return sum(name == event for name, _ in self.events)

    @property
    def stuck(self) -> bool:
        """Whether it took too long."""
        return time.monotonic() >= self._stuck_at

    def kill(self) -> list[str]:
        """Kills it, and tells where that hit it."""
        while not self.told("pid"):
            select.select([self._pipe], [], [], 1.0)
            self._read()
        os.kill(int(self.events[0][1]), signal.SIGKILL)
        while self._read():  # to the end: then all its files are closed, and it is gone
            select.select([self._pipe], [], [], 1.0)
        os.close(self._pipe)
        os.unlink(self._path)
        return self._inside()

    def _inside(self) -> list[str]:
        last = [event for event, _ in self.events if event in ("chunk", "answer")]
        return [
            *(["tool"] if self.told("tool+") > self.told("tool-") else []),
            *(["stream"] if last and last[-1] == "chunk" else []),
            *(["write"] if self.told("write+") > self.told("write-") else []),
        ]

    def _read(self) -> bool:
        try:
            read = os.read(self._pipe, 65536)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + read).split(b"\n")
        for line in lines:
            event, _, about = line.decode().partition(" ")
            self.events.append((event, about))
        return bool(read) or not self.events


@contextmanager
def databases(kind: str) -> Iterator[Callable[[Path, str], str]]:
    """Gives each thread its database: a file of its own, or the schema that all share."""
    if kind == "sqlite":
        yield lambda folder, name: str(folder / f"{name}.sqlite")
        return
    with fresh_schema() as conninfo:
        with PostgresSaver.from_conn_string(conninfo) as saver:
            saver.setup()
        yield lambda folder, name: conninfo


class KilledThread(Protocol):
    """A thread whose processes are killed, and what is wrong with it."""

    name: str
    wrong: list[str]
    chance: random.Random

    def live(self, kills: int) -> None: ...


def play(
    kind: str,
    child: str,
    make: Callable[[int, Callable[[str], str], Path, Processes], KilledThread],
    goes_on: Callable[[], bool],
    most_kills: int,
    parallel: int = 4,
) -> list[str]:
    """Play threads, some at a time, as long as it goes on, and return what is wrong."""
    wrong: list[str] = []
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as directory, databases(kind) as database:
        folder, processes = Path(directory), Processes(child)

        def play_threads() -> None:
            while goes_on():
                thread = make(next(numbers), partial(database, folder), folder, processes)
                try:
                    thread.live(thread.chance.randint(2, most_kills))
                except Exception as error:
                    thread.wrong.append(f"{thread.name}: {type(error).__name__}: {error}")
                wrong.extend(thread.wrong)

        players = [threading.Thread(target=play_threads) for _ in range(parallel)]
        for player in players:
            player.start()
        for player in players:
            player.join()
        processes.close()
    return wrong
