"""Files that hold prompts are for their owner, and checkpoints are read back as plain, known types only."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from langgraph.checkpoint.serde import _msgpack

from langchain_kimi import ReasoningLog, agent_as_tool, create_kimi_agent
from langchain_kimi.cli.serve import LoggedServer
from langchain_kimi.reasoning_log import open_private
from langchain_kimi.testing import KimiServer, called, said
from tests.conftest import kimi
from tests.databases import Database


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_a_new_reasoning_log_is_for_its_owner_only(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with KimiServer([said("ok")]) as server, ReasoningLog(tmp_path / "log.jsonl") as log:
            kimi(server).invoke("Hello", {"callbacks": [log]})
        with open_private(tmp_path / "requests.jsonl") as file, LoggedServer([said("ok")], log=file) as logged:
            kimi(logged).invoke("Hello")
    finally:
        os.umask(before)
    for name in ("log.jsonl", "requests.jsonl"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        assert (tmp_path / name).read_text().count("\n") == 1


def test_a_log_that_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.touch(mode=0o640)
    os.chmod(path, 0o640)
    ReasoningLog(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_suite_and_its_subprocesses_read_checkpoints_strictly() -> None:
    assert _msgpack.STRICT_MSGPACK_ENABLED
    code = "from langgraph.checkpoint.serde import _msgpack; print(_msgpack.STRICT_MSGPACK_ENABLED)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"


async def test_threads_of_agents_and_sub_agents_are_read_back_strictly(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with KimiServer([called("worker", task="go"), said("found"), said("done", thinking="So it is.")]) as server:
        worker = agent_as_tool(create_kimi_agent(kimi(server), name="worker"), name="worker", description="works")
        async with database.saver() as saver:
            await database.run(create_kimi_agent(kimi(server), [worker], checkpointer=saver), {"messages": "Hi"})
        async with database.saver() as saver:
            state = await database.state(create_kimi_agent(kimi(server), [worker], checkpointer=saver))
    messages = state.values["messages"]
    assert [type(message).__name__ for message in messages] == ["HumanMessage", "AIMessage", "ToolMessage", "AIMessage"]
    assert messages[-1].additional_kwargs["reasoning_content"] == "So it is."
    assert "msgpack" not in caplog.text  # a type that is blocked is logged
