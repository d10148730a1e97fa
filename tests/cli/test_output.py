"""What all commands share: encodings, pipes, and errors of one line."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_kimi.cli import models
from tests.cli.conftest import Account, Run, status_of
from tests.conftest import KEY


def test_an_encoding_without_our_signs_gets_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_kimi.cli.demo.random.uniform", lambda least, most: 0.0)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    assert status_of("demo", "--fast") == 0
    text = written.getvalue().decode("ascii")
    assert "  + " in text
    assert "below about 14 deg C" in text
    assert "[total]" in text


@pytest.mark.slow
def test_the_c_locale_needs_no_setting() -> None:
    variables = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "langchain_kimi", "doctor", "tools", "json:loads"]
    done = subprocess.run(command, capture_output=True, env=variables, cwd=Path.cwd(), timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"+ loads\n")


def test_a_lone_surrogate_is_written(run: Run) -> None:
    assert run("tokens", "gone\udcff").error.startswith("langchain-kimi tokens: gone\\udcff: No such file")


def test_a_reader_that_goes_away_is_no_failure() -> None:
    command = [sys.executable, "-m", "langchain_kimi", "models"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_bug_is_one_line_with_its_place_and_without_secrets(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(options: object) -> int:
        raise LookupError(f"no such\nrow {KEY}")

    monkeypatch.setattr(models, "run_models_command", broken)
    result = run("models")
    assert result.status == 2
    assert result.error.startswith("langchain-kimi models: unexpected LookupError: no such row sk-*** (")
    assert "test_output.py, line " in result.error
    assert result.error.endswith("Please report this as a bug.\n")


FILE_COMMANDS = [
    ["tokens", "{}"],
    ["files", "upload", "{}"],
    ["cassettes", "check", "{}"],
    ["cassettes", "show", "{}"],
    ["cassettes", "diff", "{}", "{}"],
    ["cassettes", "import", "{}", "out"],
    ["serve", "--script", "{}"],
]


@pytest.mark.parametrize("command", FILE_COMMANDS, ids=lambda command: " ".join(command[:2]))
@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_named(
    account: Account, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], kind: str
) -> None:
    account()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"{kind}.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\x00\xff\xfe")
    result = run(*(word.format(path) for word in command))
    refused_by_kimi = kind == "binary" and command[0] == "files"
    assert result.status == (1 if refused_by_kimi else 2)
    assert result.error.startswith(f"langchain-kimi {command[0]}")
    assert path.name in result.error
    assert "Errno" not in result.error
    if kind == "missing":
        assert result.error.endswith("No such file or directory. Check the path.\n")


@pytest.mark.parametrize("command", [["balance"], ["files", "list"], ["ask", "hi"], ["demo", "--live"], ["doctor"]])
def test_a_base_url_that_is_none_is_named_before_anything_is_sent(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("MOONSHOT_API_KEY", KEY)
    monkeypatch.setenv("MOONSHOT_BASE_URL", "ftp://nowhere/v1")
    result = run(*command)
    text = result.out + result.err
    assert (result.status, text.count("\n")) == (2, 1)
    assert "'ftp://nowhere/v1' must begin with https" in text


@pytest.mark.parametrize("command", [["balance"], ["ask", "hi"]])
def test_a_host_that_is_not_there_is_named(account: Account, run: Run, command: list[str]) -> None:
    server = account()
    server.close()
    result = run(*command)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert server.url.removeprefix("http://").removesuffix("/v1") in result.err
    assert "Errno" not in result.err
