"""`langchain-kimi files list|upload|content|delete`."""

from pathlib import Path

import pytest

from langchain_kimi.testing import refused
from tests.cli.conftest import Account, Run
from tests.cli.controls import EVIL, without_controls


def test_files_are_uploaded_listed_read_and_deleted(account: Account, run: Run, tmp_path: Path) -> None:
    server = account()
    path = tmp_path / "lake.txt"
    path.write_text("Deep.")
    file_id = run("files", "upload", str(path)).out.split()[0]
    assert run("files", "list").out.split()[-1] == "lake.txt"
    assert run("files", "content", file_id).out == "Deep."
    assert run("files", "content", file_id, "-o", str(tmp_path / "out.txt")).status == 0
    assert (tmp_path / "out.txt").read_text() == "Deep."
    assert run("files", "delete", file_id).status == 0
    again = run("files", "delete", file_id)
    assert again.status == 1
    assert file_id in again.error
    assert [call.method for call in server.calls] == ["POST", "GET", "GET", "GET", "DELETE", "DELETE"]


def test_an_image_is_uploaded_with_its_reference(account: Account, run: Run, tmp_path: Path) -> None:
    account()
    (tmp_path / "lake.png").write_bytes(b"\x89PNG")
    result = run("files", "upload", str(tmp_path / "lake.png"), "--purpose", "image")
    assert result.status == 0
    assert "ms://" in result.out


def test_a_file_that_kimi_does_not_take_is_not_sent(account: Account, run: Run, tmp_path: Path) -> None:
    server = account()
    (tmp_path / "empty").touch()
    result = run("files", "upload", str(tmp_path / "empty"))
    assert result.status == 2
    assert "empty" in result.error
    assert server.calls == []


@pytest.mark.parametrize(("output", "advice"), [("", "Name a file, not a folder"), ("gone/x", "Check the path")])
def test_content_that_cannot_be_written_names_the_path(
    account: Account, run: Run, tmp_path: Path, output: str, advice: str
) -> None:
    account(files={"file-1": "file-extract"})
    result = run("files", "content", "file-1", "-o", str(tmp_path / output))
    assert result.status == 2
    assert str(tmp_path / output) in result.error
    assert advice in result.error


def test_content_is_exact_in_a_pipe_and_escaped_in_a_terminal(
    account: Account, run: Run, run_in_terminal: Run, tmp_path: Path
) -> None:
    account()
    path = tmp_path / "x.txt"
    path.write_bytes(b"\x1b[2Jb\n")
    file_id = run("files", "upload", str(path)).out.split()[0]
    assert run("files", "content", file_id).out == "\x1b[2Jb\n"
    assert run_in_terminal("files", "content", file_id).out == "\\x1b[2Jb\n\n"


def test_a_name_cannot_steer_the_terminal_or_forge_a_line(account: Account, run: Run, tmp_path: Path) -> None:
    account()
    path = tmp_path / f"x{EVIL}\nfile-2  1  batch  ok  forged"
    path.write_text("hello")
    for command in (("upload", str(path)), ("list",)):
        result = run("files", *command)
        assert result.status == 0
        assert without_controls(result).count("\n") == 1


def test_a_refusal_cannot_steer_the_terminal(account: Account, run: Run) -> None:
    account().refuse("GET /files", refused(403, "permission_denied_error", EVIL))
    result = run("files", "list")
    assert result.status == 1
    assert "\\x1b[2Jb" in without_controls(result)
