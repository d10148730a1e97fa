"""Ctrl-C: one line and status 130, whatever a command is doing."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Run
from tests.conftest import KEY

WAIT = 60
STOPPED = "Stopped by Ctrl-C.\n"
COMMANDS = [
    ["demo"],
    ["ask", "hi"],
    ["models"],
    ["tokens", "README.md"],
    ["balance"],
    ["files", "list"],
    ["doctor"],
    ["doctor", "tools", "json:loads"],
    ["verify-host", "http://127.0.0.1:1/v1"],
    ["cassettes", "check", "."],
    ["serve", "--script", "talk.yaml"],
]


def test_while_a_command_is_imported() -> None:
    """A real signal from inside the first import that a command makes, in a process forked for each command."""
    code = f"""
import os, signal, sys
from langchain_kimi.cli import run_command_line

class Interrupt:
    @staticmethod
    def find_spec(name, path, target=None):
        if name.startswith(("langchain_kimi.", "langchain_core")):
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt)
for command in {COMMANDS!r}:
    if not (child := os.fork()):
        os._exit(run_command_line(command))
    print(command[0], os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT)
    assert done.stdout == "".join(f"{command[0]} 130\n" for command in COMMANDS)
    assert done.stderr == STOPPED * len(COMMANDS)


@pytest.mark.parametrize("moment", ["import", "end"])
def test_while_the_process_starts_or_ends(moment: str) -> None:
    """The entry point of the installed command, with a signal before `main` is there and after it has ended."""
    code = f"""
import atexit, os, signal, sys
from langchain_kimi.__main__ import main

def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)

class Interrupt:
    @staticmethod
    def find_spec(name, path, target=None):
        if name == "langchain_kimi.cli":
            interrupt()

if {moment!r} == "end":
    atexit.register(interrupt)
else:
    sys.meta_path.insert(0, Interrupt)
sys.argv[1:] = ["models"]
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT)
    if moment == "end":  # everything was printed; a shell shows a death by SIGINT as 130
        assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (130, "", STOPPED)


@pytest.fixture
def silent_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A host that takes connections and never answers, and that the environment names."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT)
        monkeypatch.setenv("MOONSHOT_API_KEY", KEY)
        monkeypatch.setenv("MOONSHOT_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        yield listener


@pytest.mark.parametrize(
    "command",
    [
        ("ask", "hi"),
        ("demo", "--live"),
        ("tokens", "README.md", "--exact"),
        ("balance",),
        ("files", "list"),
        ("files", "upload", "README.md"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_while_a_command_waits_for_the_host(silent_host: socket.socket, run: Run, command: tuple[str, ...]) -> None:
    def interrupt() -> None:
        connection, _ = silent_host.accept()
        with connection:
            connection.recv(1)
            os.kill(os.getpid(), signal.SIGINT)
            connection.recv(1 << 20)
            ended.wait(WAIT)

    ended = threading.Event()
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        result = run(*command)
    finally:
        ended.set()
        thread.join()
    assert (result.status, result.err) == (130, STOPPED)
