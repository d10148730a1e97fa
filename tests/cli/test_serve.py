"""`langchain-kimi serve`: what a client gets, what is printed and logged, and how it ends.

The server runs in this process and is ended by real signals; test_help.py runs the command's example as a process.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from langchain_kimi import ChatKimi
from langchain_kimi.cli import run_command_line
from langchain_kimi.errors import BadRequestError, KimiError
from tests.cli.conftest import Result, Run

KEY = "sk-very-secret-0123456789"
MODULE = "from langchain_kimi.testing import said\ndef play(request):\n    return said(request.last['content'] * 2)\n"

Serve = Callable[..., Result]


@pytest.fixture
def serve_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Serve:
    """Runs the command in an empty folder while a client uses its URL; ends it by a signal.

    `out` of the result is what was printed behind the ready line.
    """
    monkeypatch.chdir(tmp_path)

    def start(client: Callable[[str], object], *arguments: str, by: int = signal.SIGTERM) -> Result:
        incoming, outgoing = os.pipe()
        failures: list[BaseException] = []
        rest: list[str] = []

        def use() -> None:
            with open(incoming, encoding="utf-8") as printed:
                words, _, url = printed.readline().strip().rpartition(" ")
                if words == "KimiServer ready at":
                    try:
                        client(url)
                    except BaseException as error:
                        failures.append(error)
                    os.kill(os.getpid(), by)
                rest.append(printed.read())

        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        thread = threading.Thread(target=use)
        thread.start()
        try:
            with open(outgoing, "w", encoding="utf-8") as stdout, monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", stdout)
                status = run_command_line(["serve", *arguments])
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            thread.join()
        assert failures == []
        return Result(status, rest[0], capsys.readouterr().err)

    return start


def ask(url: str, text: str = "hi") -> str:
    """The answer of the served model."""
    return ChatKimi(model="kimi-k2.6", base_url=url, api_key=KEY, max_retries=0).invoke(text).text  # type: ignore[arg-type]


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_logs_and_ends_with_status_0(tmp_path: Path, serve_to: Serve, by: int) -> None:
    (tmp_path / "talk.yaml").write_text("- {said: Hello., expect: {user: hi}}\n", encoding="utf-8")

    def client(url: str) -> None:
        assert ask(url, f"hi, my key is {KEY}") == "Hello."
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=url, headers=headers, trust_env=False) as http:
            http.post("/files", files={"file": ("a.txt", b"12345")}, data={"purpose": "file-extract"})
            http.get(f"/nothing?key={KEY}")

    result = serve_to(client, "--script", "talk.yaml", "--log", "log.jsonl", by=by)
    assert (result.status, result.out) == (0, "")
    assert [line.partition(" ")[2] for line in result.err.splitlines()] == [
        "POST /v1/chat/completions 200",
        "POST /v1/files 200",
        "GET /v1/nothing?key=sk-*** 404",
    ]
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert KEY not in text
    chat, upload, nothing = map(json.loads, text.splitlines())
    assert (chat["method"], chat["path"], chat["status"]) == ("POST", "/v1/chat/completions", 200)
    assert chat["body"]["messages"][0]["content"] == "hi, my key is sk-***"
    assert chat["headers"]["authorization"] == "Bearer ***"
    assert upload["body"] == {"file": {"name": "a.txt", "bytes": 5}, "purpose": "file-extract"}
    assert (nothing["status"], nothing["body"]) == (404, None)


def test_quiet_prints_no_requests(tmp_path: Path, serve_to: Serve) -> None:
    (tmp_path / "talk.yaml").write_text("- said: Hello.\n")
    assert serve_to(ask, "--script", "talk.yaml", "--quiet").err == ""


def test_loop_begins_the_replies_again(tmp_path: Path, serve_to: Serve) -> None:
    (tmp_path / "talk.yaml").write_text("- {said: One., times: 2}\n- said: Two.\n")
    answers: list[str] = []
    result = serve_to(
        lambda url: answers.extend(ask(url) for _ in range(7)), "--script", "talk.yaml", "--loop", "--quiet"
    )
    assert (result.status, result.err) == (0, "")
    assert answers == ["One.", "One.", "Two.", "One.", "One.", "Two.", "One."]


def test_without_loop_a_request_beyond_the_last_reply_is_refused(tmp_path: Path, serve_to: Serve) -> None:
    (tmp_path / "talk.yaml").write_text("- said: One.\n")

    def client(url: str) -> None:
        ask(url)
        with pytest.raises(KimiError, match="no reply left for request 2"):
            ask(url)

    result = serve_to(client, "--script", "talk.yaml")
    assert "langchain-kimi serve: the script has no reply left for request 2" in result.err
    assert result.err.count("POST /v1/chat/completions") == 2


def test_a_module_gives_the_script_and_the_port_is_chosen(tmp_path: Path, serve_to: Serve) -> None:
    (tmp_path / "doubling_talk.py").write_text(MODULE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = serve_to(ask, "--script", "doubling_talk:play", "--port", port)
        assert result.status == 2
        assert result.error == (
            f"langchain-kimi serve: cannot listen on port {port}: Address already in use. Choose another --port.\n"
        )
    urls: list[str] = []
    answers: list[str] = []

    def client(url: str) -> None:
        urls.append(url)
        answers.append(ask(url, "ab"))

    assert serve_to(client, "--script", "doubling_talk:play", "--port", port).status == 0
    assert (urls, answers) == ([f"http://127.0.0.1:{port}/v1"], ["abab"])


def test_replies_that_were_not_used_are_named_at_the_end(tmp_path: Path, serve_to: Serve) -> None:
    (tmp_path / "talk.yaml").write_text("- said: Hello.\n")
    result = serve_to(lambda url: None, "--script", "talk.yaml")
    assert result.status == 0
    assert "1 reply of the script was not used; the last request was nothing" in result.err


def test_a_script_that_raises_is_printed_at_once_without_secrets_and_controls(tmp_path: Path, serve_to: Serve) -> None:
    (tmp_path / "raising_talk.py").write_text(
        "def play(request):\n    raise LookupError('no\\x1b[2Jpage\\nforged sk-secret-0123456789')\n"
    )

    def client(url: str) -> None:
        with pytest.raises(BadRequestError, match="the script raised at request 1"):
            ask(url)

    first = serve_to(client, "--script", "raising_talk:play").err.splitlines()[0]
    assert first == "langchain-kimi serve: the script raised at request 1: LookupError: no\\x1b[2Jpage\\nforged sk-***"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nothing.yaml", "nothing.yaml: No such file or directory. Check the path."),
        ("nothing", "there is no file nothing. Give a YAML file, or a script as MODULE:OBJECT."),
        ("no_such_module:x", "the module no_such_module cannot be imported: ModuleNotFoundError"),
        ("json:nothing", "the module json has no object nothing"),
        ("json:__doc__", "json:__doc__ is not a script: a script consists of replies"),
        ("talk.yaml", "talk.yaml is not a script: talk.yaml, reply 1: unknown key sad"),
        ("json:loads --loop", "--loop needs a list of replies. Leave it out"),
        ("json:__path__ --loop", "--loop needs a list of one reply or more"),
        ("json:loads --log /nowhere/log", "/nowhere/log: No such file or directory. Check the path."),
    ],
)
def test_a_script_that_cannot_be_served_is_an_error_of_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("talk.yaml").write_text("- sad: Hello.\n")
    result = run("serve", "--script", *arguments.split())
    assert result.status == 2
    assert result.error.startswith("langchain-kimi serve: ")
    assert words in result.error
