"""What the tests of commands share: running one in this process, and an account for it."""

import io
import os
import pty
import sys
import termios
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from langchain_kimi.cli import run_command_line
from langchain_kimi.testing import KimiServer
from tests.conftest import KEY


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    out: str
    err: str = ""

    @property
    def error(self) -> str:
        """The only line on stderr, where nothing else was printed."""
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        return self.err


Run = Callable[..., Result]
Account = Callable[..., KimiServer]


def status_of(*command: str) -> int:
    """Runs a command; its exit status, also where argparse ends it."""
    try:
        return run_command_line(command)
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, with its output into a pipe."""

    def start(*command: str) -> Result:
        capsys.readouterr()
        return Result(status_of(*command), *capsys.readouterr())

    return start


@pytest.fixture
def run_in_terminal(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process, with its output to a terminal of so many columns and an encoding."""

    def start(*command: str, columns: int = 80, encoding: str = "utf-8") -> Result:
        master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        shown: list[bytes] = []
        reader = threading.Thread(target=lambda: shown.extend(iter(lambda: _read(master), b"")))
        reader.start()
        with open(slave, "w", encoding=encoding) as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            status = status_of(*command)
        reader.join()
        os.close(master)
        return Result(status, b"".join(shown).decode(encoding).replace("\r\n", "\n"))

    return start


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that the other end was closed
        return b""


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Gives bytes on standard input."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def account(serve: Callable[..., KimiServer], monkeypatch: pytest.MonkeyPatch) -> Account:
    """Starts a server that the environment names, with a key for it."""

    def start(script: Any = (), **settings: Any) -> KimiServer:
        server = serve(script, **settings)
        monkeypatch.setenv("MOONSHOT_API_KEY", KEY)
        monkeypatch.setenv("MOONSHOT_BASE_URL", server.url)
        return server

    return start


@pytest.fixture(autouse=True)
def _no_terminal_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture(autouse=True)
def _working_directory_is_importable_for_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
