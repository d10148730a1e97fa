"""`langchain-kimi serve` as a real process."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from langchain_kimi import ChatKimi
from langchain_kimi.cli import main

COMMAND = [sys.executable, "-m", "langchain_kimi", "serve"]
WAIT = 30
KEY = "sk-very-secret-0123456789"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the command in an empty folder."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def url_of(process: "subprocess.Popen[str]") -> str:
    """The URL in the ready line."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], WAIT)[0], "no ready line"
    words, _, url = process.stdout.readline().strip().rpartition(" ")
    assert words == "KimiServer ready at"
    return url


def end(process: "subprocess.Popen[str]", by: int = signal.SIGTERM) -> tuple[int, str, str]:
    process.send_signal(by)
    out, err = process.communicate(timeout=WAIT)
    return process.returncode, out, err


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_plays_a_file_logs_and_ends_cleanly(tmp_path: Path, start: Start, by: int) -> None:
    (tmp_path / "talk.yaml").write_text("- {said: Hello., expect: {user: hi}}\n", encoding="utf-8")
    process = start("--script", "talk.yaml", "--log", "log.jsonl")
    url = url_of(process)
    model = ChatKimi(model="kimi-k2.6", base_url=url, api_key=KEY, max_retries=0)  # type: ignore[arg-type]
    assert model.invoke(f"hi, my key is {KEY}").text == "Hello."
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=url, headers=headers, trust_env=False) as http:
        http.post("/files", files={"file": ("a.txt", b"12345")}, data={"purpose": "file-extract"})
        http.get("/nothing")
    assert end(process, by) == (0, "", "")
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert KEY not in text
    chat, upload, nothing = map(json.loads, text.splitlines())
    assert (chat["method"], chat["path"], chat["status"]) == ("POST", "/v1/chat/completions", 200)
    assert chat["body"]["messages"][0]["content"] == "hi, my key is sk-***"
    assert chat["headers"]["authorization"] == "Bearer ***"
    assert upload["body"] == {"file": {"name": "a.txt", "bytes": 5}, "purpose": "file-extract"}
    assert (nothing["status"], nothing["body"]) == (404, None)


def test_a_module_gives_the_script_and_the_port_is_chosen(tmp_path: Path, start: Start) -> None:
    script = (
        "from langchain_kimi.testing import said\ndef play(request):\n    return said(request.last['content'] * 2)\n"
    )
    (tmp_path / "talk.py").write_text(script, encoding="utf-8")
    first = start("--script", "talk:play")
    port = url_of(first).rpartition(":")[2].removesuffix("/v1")
    assert end(first)[0] == 0
    again = start("--script", "talk:play", "--port", port)
    url = url_of(again)
    assert url == f"http://127.0.0.1:{port}/v1"
    assert ChatKimi(model="kimi-k2.6", base_url=url, api_key=KEY).invoke("ab").text == "abab"  # type: ignore[arg-type]
    taken = start("--script", "talk:play", "--port", port)
    _, err = taken.communicate(timeout=WAIT)
    assert (taken.returncode, err.splitlines()[-1].startswith("langchain-kimi serve: ")) == (2, True)
    assert "in use" in err


def test_what_was_left_over_is_told_at_the_end(tmp_path: Path, start: Start) -> None:
    (tmp_path / "talk.yaml").write_text("- said: Hello.\n", encoding="utf-8")
    process = start("--script", "talk.yaml")
    url_of(process)
    status, out, err = end(process)
    assert (status, out) == (0, "")
    assert "1 replies of the script were not asked for; asked last was nothing" in err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing.yaml", "nothing.yaml"),
        ("nothing", "is no file; give a YAML file, or a script as module:object"),
        ("no_such_module:x", "no_such_module"),
        ("json:nothing", "nothing"),
        ("json:__doc__", "a script is made of replies"),
    ],
)
def test_a_script_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], source: str, words: Any) -> None:
    assert main(["serve", "--script", source]) == 2
    err = capsys.readouterr().err
    assert (err.startswith("langchain-kimi serve: "), words in err, err.count("\n")) == (True, True, 1)
