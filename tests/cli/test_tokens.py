"""`langchain-kimi tokens`: the number, what it is made of, and files that cannot be read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_kimi.testing import refused
from tests.cli.conftest import Account, Run
from tests.cli.controls import EVIL, without_controls

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How deep is it?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "depth",
        "description": "Tells.",
        "parameters": {"type": "object", "properties": {"lake": {"type": "string"}}},
    },
}


def test_an_estimate_says_what_its_overhead_is(tmp_path: Path, run: Run) -> None:
    text = tmp_path / "prompt.txt"
    text.write_text("abcd" * 100)
    result = run("tokens", str(text))
    assert (result.status, result.out.splitlines()) == (
        0,
        [
            "183 tokens (estimated here; --exact asks Kimi)",
            "= 98 content + 11 overhead of 1 message + 74 overhead of any request, 67 of them to say how much to think",
        ],
    )


def test_messages_and_tools_of_a_request_are_counted(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"messages": MESSAGES, "tools": [TOOL]}))
    total, parts = run("tokens", str(path)).out.splitlines()
    numbers = [int(part.split()[0]) for part in parts.removeprefix("= ").split(" + ")]
    assert int(total.split()[0]) == sum(numbers)
    assert "tool declarations (35 of them overhead)" in parts
    assert "22 overhead of 2 messages" in parts


def test_the_overhead_is_that_of_the_model(tmp_path: Path, run: Run) -> None:
    text = tmp_path / "prompt.txt"
    text.write_text("How deep is it?")
    assert run("tokens", "--model", "kimi-k2.6", str(text)).out.endswith(
        "4 overhead of 1 message + 4 overhead of any request\n"
    )


def test_kimi_is_asked_on_request(account: Account, run: Run, type_in: Callable[[bytes], None]) -> None:
    server = account()
    type_in(b"How deep?")
    result = run("tokens", "-", "--exact", "--model", "kimi-k3")
    assert result.status == 0
    assert "counted by Kimi for kimi-k3" in result.out
    assert server.calls[0].json["messages"] == [{"role": "user", "content": "How deep?"}]


def test_a_prompt_larger_than_the_window_fails(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "long.txt"
    path.write_text("word " * 400_000)
    result = run("tokens", "--model", "kimi-k2.6", str(path))
    assert result.status == 1
    assert "too long" in result.out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"text \xff", "is not text in UTF-8 (byte 5)"),
        (b" \n", "is empty"),
        (b'[{"role": "poet", "content": "x"}]', "cannot be read"),
    ],
)
def test_a_file_that_holds_no_prompt_is_named(tmp_path: Path, run: Run, content: bytes, words: str) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes(content)
    result = run("tokens", str(path))
    assert result.status == 2
    assert str(path) in result.error
    assert words in result.error


def test_a_refusal_cannot_steer_the_terminal(account: Account, run: Run, type_in: Callable[[bytes], None]) -> None:
    account().refuse("POST /tokenizers*", refused(403, "permission_denied_error", EVIL))
    type_in(b"hi")
    result = run("tokens", "-", "--exact")
    assert result.status == 1
    assert "\\x1b[2Jb" in without_controls(result)
