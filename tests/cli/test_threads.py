"""`langchain-kimi threads`: what a person reads, and that nothing is deleted without --apply."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_kimi import create_kimi_agent
from langchain_kimi.cli import run_command_line, threads
from langchain_kimi.testing import FakeKimi, said


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An SQLite file with a thread of two turns, which count as settled."""
    monkeypatch.setattr(threads, "_IN_USE", -threads._IN_USE)
    path = str(tmp_path / "threads.sqlite")
    with SqliteSaver.from_conn_string(path) as saver:
        agent = create_kimi_agent(FakeKimi([said("one"), said("two")]), checkpointer=saver)
        for _ in range(2):
            agent.invoke({"messages": [("user", "go")]}, {"configurable": {"thread_id": "trip"}})
    return path


def count(database: str) -> int:
    connection = sqlite3.connect(database)
    try:
        return int(connection.execute("SELECT count(*) FROM checkpoints").fetchone()[0])
    finally:
        connection.close()


def test_list_and_show(database: str, capsys: Any) -> None:
    assert run_command_line(["threads", "list", database]) == 0
    assert "8 checkpoints  trip" in capsys.readouterr().out
    assert run_command_line(["threads", "show", database, "trip"]) == 0
    assert "(the thread itself)" in capsys.readouterr().out
    assert run_command_line(["threads", "show", database, "tour"]) == 2
    assert "There is no thread 'tour'" in capsys.readouterr().err


def test_prune_deletes_only_with_apply(database: str, capsys: Any) -> None:
    before = count(database)
    assert run_command_line(["threads", "prune", database, "--keep", "1"]) == 0
    assert f"{before - 1} checkpoints deleted" in (out := capsys.readouterr().out)
    assert "This was a dry run" in out
    assert count(database) == before
    assert run_command_line(["threads", "prune", database, "--keep", "1", "--older-than", "1", "--apply"]) == 0
    assert count(database) == before
    assert run_command_line(["threads", "prune", database, "--keep", "1", "--apply"]) == 0
    assert count(database) == 1


def test_a_thread_in_use_is_left_alone(database: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(threads, "_IN_USE", -threads._IN_USE)
    before = count(database)
    assert run_command_line(["threads", "prune", database, "--keep", "1", "--apply"]) == 0
    assert count(database) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prune", "{}"], "Give --keep NUMBER, --older-than DAYS"),
        (["list", "missing.sqlite"], "no such file"),
        (["list", __file__], "file is not a database"),
        (["list", "postgresql://127.0.0.1:1/none"], "PostgreSQL: "),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], words: str, database: str, capsys: Any) -> None:
    assert run_command_line(["threads", *(one.format(database) for one in arguments)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
