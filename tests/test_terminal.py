"""What commands do to a terminal: nothing that others steer, any encoding, one line at Ctrl-C or a failure."""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_kimi.cli import main
from langchain_kimi.testing import KimiServer, Request, called, refused, said
from tests.conftest import KEY

Serve = Callable[..., KimiServer]
Out = pytest.CaptureFixture[str]
EVIL = "a\x1b]0;owned\x07\x1b[2Jb\x9b1m"
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
WAIT = 60

COMMANDS = [
    ("demo",),
    ("models",),
    ("ask", "hi"),
    ("tokens", "README.md"),
    ("balance",),
    ("files", "list"),
    ("doctor",),
    ("doctor", "tools", "json:loads"),
    ("cassettes", "check", "."),
    ("serve", "--script", "talk.yaml"),
]


def clean(captured: Any) -> str:
    text = str(captured.out + captured.err)
    assert CONTROLS.search(text) is None, repr(text)
    return text


@pytest.fixture
def account(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Serve:
    def start(script: Any = (), **settings: Any) -> KimiServer:
        server = serve(script, **settings)
        monkeypatch.setenv("MOONSHOT_API_KEY", KEY)
        monkeypatch.setenv("MOONSHOT_BASE_URL", server.url)
        return server

    return start


# Text of others.


def test_ask_shows_what_a_model_and_a_tool_say_without_their_controls(account: Serve, capsys: Out) -> None:
    def script(request: Request) -> Any:
        if request.tool_results():
            return said(f"{EVIL}\nsecond line", thinking=EVIL)
        return called(f"date{EVIL}\nforged", operation=EVIL).thinking(EVIL)

    account(script)
    assert main(["ask", "hi"]) == 0
    out = clean(capsys.readouterr())
    assert "\\x1b[2Jb" in out
    assert "\nsecond line" in out
    assert "\nforged" not in out


def test_errors_of_a_host_are_shown_without_their_controls(account: Serve, capsys: Out) -> None:
    account([refused(400, EVIL, EVIL)])
    assert main(["ask", "hi"]) == 1
    assert "\\x1b" in clean(capsys.readouterr())
    server = account()
    for route in ("GET /users/me/balance", "GET /files", "GET /models", "POST /tokenizers*"):
        server.refuse(route, *[refused(403, "permission_denied_error", EVIL)] * 2)
    for command in (["balance"], ["files", "list"], ["doctor"], ["tokens", "README.md", "--exact"]):
        assert main(command) == 1
        assert "\\x1b[2Jb" in clean(capsys.readouterr())


def test_names_of_files_and_models_are_shown_without_their_controls(
    account: Serve, capsys: Out, tmp_path: Path
) -> None:
    account(models=(EVIL,))
    path = tmp_path / f"x{EVIL}\nfile-2  1  batch  ok  forged"
    path.write_text("hello")
    assert main(["files", "upload", str(path)]) == 0
    assert main(["files", "list"]) == 0
    out = clean(capsys.readouterr())
    assert out.count("\n") == 2
    assert main(["doctor", "--model", f"kimi-k9{EVIL}"]) == 1
    assert "\\x1b" in clean(capsys.readouterr())
    assert main(["tokens", str(tmp_path / f"gone{EVIL}")]) == 2
    assert clean(capsys.readouterr()).count("\n") == 1


@pytest.mark.parametrize("in_terminal", [True, False])
def test_a_files_content_is_escaped_in_a_terminal_and_exact_in_a_pipe(
    account: Serve, capsys: Out, tmp_path: Path, in_terminal: bool
) -> None:
    account()
    path = tmp_path / "x.txt"
    path.write_bytes(b"\x1b[2Jb\n")
    assert main(["files", "upload", str(path)]) == 0
    command = [sys.executable, "-m", "langchain_kimi", "files", "content", capsys.readouterr().out.split()[0]]
    if not in_terminal:
        assert subprocess.run(command, capture_output=True, timeout=WAIT).stdout == b"\x1b[2Jb\n"
        return
    master, slave = pty.openpty()
    with subprocess.Popen(command, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b"".join(iter(lambda: _read(master), b""))
        assert process.wait(WAIT) == 0
    os.close(master)
    assert b"\\x1b[2Jb" in shown
    assert b"\x1b" not in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_doctor_tools_escapes_names_and_schemas(tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = {"type": "object", "properties": {f"p{EVIL}\n✓ forged": {}}}
    tool = {"type": "function", "function": {"name": f"n{EVIL}\n✓ forged", "parameters": schema}}
    (tmp_path / "evil_tools.py").write_text(f"TOOLS = [{tool!r}]\n")
    monkeypatch.chdir(tmp_path)
    main(["doctor", "tools", "evil_tools:TOOLS"])
    out = clean(capsys.readouterr())
    assert "\\x1b" in out
    assert "\n✓ forged" not in out


def test_cassettes_are_shown_without_the_controls_in_them(capsys: Out, tmp_path: Path, serve: Serve) -> None:
    from langchain_kimi import ChatKimi
    from langchain_kimi.testing import Cassette

    paths = [tmp_path / f"{name}.kimi.yaml" for name in ("one", "two")]
    for path in paths:
        server = serve([said(f"{EVIL}{path.name}", thinking=EVIL)])
        with Cassette(path, record="all"):
            ChatKimi(model="kimi-k2.6", base_url=server.url, api_key=KEY).invoke(EVIL)  # type: ignore[arg-type]
    for command in (["show", str(paths[0])], ["diff", *map(str, paths)], ["check", *map(str, paths)]):
        main(["cassettes", *command])
        assert clean(capsys.readouterr())


def test_serve_prints_a_failing_script_at_once(tmp_path: Path) -> None:
    (tmp_path / "talk.py").write_text(
        "def play(request):\n    raise LookupError('no\\x1b[2Jpage\\nforged sk-secret-0123456789')\n"
    )
    command = [sys.executable, "-m", "langchain_kimi", "serve", "--script", "talk:play"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().split()[-1]
        from langchain_kimi import ChatKimi
        from langchain_kimi.errors import BadRequestError

        with pytest.raises(BadRequestError, match="the script raised at request 1"):
            ChatKimi(model="kimi-k2.6", base_url=url).invoke("hi")
        line = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
    assert line == "langchain-kimi serve: the script raised at request 1: LookupError: no\\x1b[2Jpage\\nforged sk-***\n"


# Encodings.


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]
)
@pytest.mark.parametrize(
    "command", [["demo", "--fast"], ["doctor", "tools", "json:loads"], ["doctor", "tools", "os:getcwd"]]
)
def test_a_terminal_without_our_signs_gets_plain_ones(variables: dict[str, str], command: list[str]) -> None:
    done = run(*command, **variables)
    assert done.stderr == b""
    assert done.returncode in (0, 2)
    done.stdout.decode("ascii")
    if command[0] == "demo":
        assert b"  + " in done.stdout
        assert b"below about 14  deg C" in done.stdout
        assert b"[total]" in done.stdout


def test_a_lone_surrogate_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["tokens", "gone\udcff"]) == 2
    assert capfd.readouterr().err.startswith("gone\\udcff: ")


# Ctrl-C.


def run(*command: str, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    env = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-m", "langchain_kimi", *command], capture_output=True, env=env, timeout=WAIT
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_ctrl_c_while_a_command_is_imported(command: tuple[str, ...]) -> None:
    """A real signal, sent from inside the first import that a command makes after it has begun."""
    code = f"""
import os, signal, sys
from langchain_kimi.cli import main

class Interrupt:
    @staticmethod
    def find_spec(name, path, target=None):
        if name.startswith(("langchain_kimi.", "langchain_core")):
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt)
sys.exit(main({list(command)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped by Ctrl-C.\n")


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A host that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT)
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
def test_ctrl_c_while_a_host_is_waited_for(silent: socket.socket, command: tuple[str, ...]) -> None:
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
    env = {**os.environ, "MOONSHOT_API_KEY": KEY, "MOONSHOT_BASE_URL": url}
    process = subprocess.Popen(
        [sys.executable, "-m", "langchain_kimi", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    with process:
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=WAIT)
    assert (process.returncode, err) == (130, "Stopped by Ctrl-C.\n")


# Failures in one line.


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["doctor", "tools", "broken_module:TOOLS"], 2, "ZeroDivisionError: division by zero"),
        (["doctor", "tools", "broken_syntax:TOOLS"], 2, "SyntaxError"),
        (["doctor", "tools", "os:getpid"], 2, "not a tool or a list of tools"),
        (["tokens", "nowhere.txt"], 2, "nowhere.txt: No such file"),
        (["cassettes", "show", "nowhere.kimi.yaml"], 2, "nowhere.kimi.yaml"),
        (["cassettes", "diff", "nowhere.kimi.yaml", "nor-here"], 2, "nowhere.kimi.yaml"),
        (["cassettes", "import", "nowhere", "there"], 2, "nowhere"),
        (["serve", "--script", "broken_module:play"], 2, "division by zero"),
        (["serve", "--script", "json:loads", "--log", "/nowhere/log"], 2, "/nowhere/log"),
        (["files", "upload", "nowhere.txt"], 2, "nowhere.txt"),
        (["files", "content", "x", "-o", "/nowhere/x"], 1, "not found"),
        (["ask", "hi"], 1, "must begin with https"),
        (["demo", "--live"], 1, "must begin with https"),
        (["doctor"], 2, "must begin with https"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_failure_is_one_line(
    account: Serve,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: Out,
    command: list[str],
    status: int,
    words: str,
) -> None:
    account()
    if "https" in words:
        monkeypatch.setenv("MOONSHOT_BASE_URL", "ftp://nowhere/v1")
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    (tmp_path / "broken_syntax.py").write_text("def\n")
    monkeypatch.chdir(tmp_path)
    assert main(command) == status
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert (words in text, text.count("\n")) == (True, 1), text


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_named(port: str, capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--script", "x.yaml", f"--port={port}"])
    assert ended.value.code == 2
    assert "argument --port" in capsys.readouterr().err.splitlines()[-1]


# Tools that are plain functions.

MODULE = '''
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

def reboot() -> str:
    """Reboot the machine."""
    raise SystemExit("a tool was run")

def make():
    return [add, reboot]

TOOLS = [add, reboot]
'''


@pytest.mark.parametrize(
    ("name", "shown"),
    [("add", ["add"]), ("reboot", ["reboot"]), ("TOOLS", ["add", "reboot"]), ("make", ["add", "reboot"])],
)
def test_doctor_tools_takes_plain_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out, name: str, shown: list[str]
) -> None:
    module = f"plain_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "tools", f"{module}:{name}"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *(f"✓ {tool}" for tool in shown),
        f"{len(shown)} tools: 0 with a rewritten schema, 0 that Kimi would refuse",
    ]


# Version and help.


def test_the_version_is_shown(capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"langchain-kimi-agent \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    "command",
    ["demo", "models", "ask", "tokens", "balance", "doctor", "doctor tools", "serve"]
    + [f"files {action}" for action in ("list", "upload", "content", "delete")]
    + [f"cassettes {action}" for action in ("check", "show", "diff", "import")],
)
def test_help_ends_with_an_example_and_names_defaults(command: str, capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert f"example: langchain-kimi {command}" in out
    assert ("--model MODEL" not in out) or "default: kimi-k2.6" in out
