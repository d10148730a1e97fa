"""The processes of examples/workers, as a test starts and kills them.

`python -m tests.worker_processes` imports what they need, and forks a process for each line of JSON: an import takes
seconds, and a worker that is killed every few seconds would do little else.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "workers"
IMPORTED = (
    "dbos",
    "fastapi",
    "langchain_kimi.agent.create_agent",
    "langchain_kimi.chat_model",
    "langchain_kimi.testing",
    "langgraph.checkpoint.postgres.aio",
    "psycopg_pool",
    "redis",
    "uvicorn",
)
LONGEST_WAIT = 150.0
"""Seconds after which a test gives up."""


def wait_until(is_so: Callable[[], Any], what: str, seconds: float = LONGEST_WAIT) -> Any:
    """The first true value; fails when there is none for so many seconds."""
    end = time.monotonic() + seconds
    while not (value := is_so()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)
    return value


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class WorkerProcess:
    """A process of a fleet, and what it writes."""

    def __init__(self, fleet: "Fleet", pid: int, output: Path) -> None:
        self.pid = pid
        self._fleet, self._output = fleet, output
        self._status: int | None = None

    def wait_for(self, text: str) -> Self:
        """Wait until it wrote this."""
        try:
            wait_until(lambda: self.wrote(text), text)
        except AssertionError as error:
            error.add_note(self._output.read_text())
            raise
        return self

    def wrote(self, text: str) -> bool:
        """Whether it wrote this."""
        return text in self._output.read_text()

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal, and return the exit status; that of the first end where it has ended already."""
        if self._status is None:
            os.kill(self.pid, number)
            self._status = self._fleet.call(wait=self.pid)
        return self._status


class Fleet:
    """Workers and a web endpoint that share a database."""

    def __init__(self, folder: Path = EXAMPLE, **environment: str) -> None:
        self._folder, self._environment = folder, environment
        self._processes: list[WorkerProcess] = []
        self._outputs = tempfile.TemporaryDirectory()
        self._lock = threading.Lock()
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def start_worker(self, name: str) -> WorkerProcess:
        """A worker of this name, which may not have started yet."""
        return self._start(["worker.py"], WORKER_ID=name)

    def start_web(self) -> WorkerProcess:
        """The web endpoint."""
        return self._start(["-m", "uvicorn", "web:app", "--port", str(self._port)])

    def call(self, **job: Any) -> int:
        """Have a process started, or its exit status awaited."""
        assert self._forks.stdin
        assert self._forks.stdout
        with self._lock:
            self._forks.stdin.write(json.dumps(job).encode() + b"\n")
            self._forks.stdin.flush()
            return int(self._forks.stdout.readline())

    def __enter__(self) -> Self:
        self._forks = subprocess.Popen(
            [sys.executable, "-m", "tests.worker_processes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment},
        )
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.end()
        with self._forks:
            assert self._forks.stdin
            self._forks.stdin.close()
        self._outputs.cleanup()

    def _start(self, command: list[str], **environment: str) -> WorkerProcess:
        output = Path(self._outputs.name) / str(len(self._processes))
        output.touch()
        pid = self.call(command=command, environment=environment, output=str(output))
        process = WorkerProcess(self, pid, output)
        self._processes.append(process)
        return process


def _run(job: dict[str, Any]) -> None:
    """What `python COMMAND` does."""
    descriptor = os.open(job["output"], os.O_WRONLY | os.O_APPEND)
    for stream in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDONLY) if stream == 0 else descriptor, stream)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.update(job["environment"])
    sys.path.insert(0, os.getcwd())
    if job["command"][0] == "-m":
        sys.argv = job["command"][1:]
        runpy.run_module(job["command"][1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = job["command"]
        runpy.run_path(job["command"][0], run_name="__main__")


def _fork(job: dict[str, Any]) -> int:
    """The id of a new process."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        _run(job)
        status = 0
    finally:
        sys.stdout.flush()
        sys.excepthook(*sys.exc_info()) if status else None  # type: ignore[arg-type, func-returns-value]
        os._exit(status)


def _serve() -> None:
    for module in IMPORTED:
        importlib.import_module(module)
    running: set[int] = set()
    for line in sys.stdin:
        job = json.loads(line)
        if "wait" in job:
            answer = os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1])
            running.discard(job["wait"])
        else:
            running.add(answer := _fork(job))
        print(answer, flush=True)  # noqa: T201
    for pid in running:  # the test itself was killed
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    _serve()
