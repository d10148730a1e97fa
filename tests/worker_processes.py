"""The processes of examples/workers, as a test starts and kills them."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "workers"
LONGEST_WAIT = 60.0
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
    """A process, and the lines that it writes."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.pid = self._process.pid
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str) -> Self:
        """Wait until it wrote this."""
        wait_until(lambda: self.wrote(text) or self._process.poll() is not None, text)
        if not self.wrote(text):
            raise AssertionError(f"The process ended without {text!r}:\n" + "".join(self.lines))
        return self

    def wrote(self, text: str) -> bool:
        """Whether it wrote this."""
        return any(text in line for line in self.lines)

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal, and return the exit status."""
        self._process.send_signal(number)
        status = self._process.wait(LONGEST_WAIT)
        self._reader.join(LONGEST_WAIT)
        return status

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as output:
            for line in output:
                self.lines.append(line)


class Fleet:
    """Workers and a web endpoint that share a database."""

    def __init__(self, folder: Path = EXAMPLE, **environment: str) -> None:
        self._folder, self._environment = folder, environment
        self._processes: list[WorkerProcess] = []
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def start_worker(self, name: str) -> WorkerProcess:
        """A worker of this name, which may not have started yet."""
        return self._start([sys.executable, "worker.py"], WORKER_ID=name)

    def start_web(self) -> WorkerProcess:
        """The web endpoint."""
        return self._start([sys.executable, "-m", "uvicorn", "web:app", "--port", str(self._port)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.end()

    def _start(self, command: list[str], **environment: str) -> WorkerProcess:
        process = WorkerProcess(command, self._folder, {**self._environment, **environment})
        self._processes.append(process)
        return process
