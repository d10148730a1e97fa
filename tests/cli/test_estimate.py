"""`langchain-kimi estimate`, with the money by hand, over a cassette, a log and threads in databases."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_kimi import ReasoningLog, agent_as_tool, create_kimi_agent
from langchain_kimi.testing import FakeKimi, called, said
from tests.cli.conftest import Run
from tests.conftest import add

ROOT = Path(__file__).parents[2]
EXAMPLE = "examples/testing/cassettes/test_app/test_butter_is_what_limits_shortbread.kimi.yaml"
CALLS = [(195, 0, 12), (272, 0, 24), (419, 256, 15), (488, 256, 20)]
"""The usage in the cassette as it stands in the file: input, cached, output."""
K3, K26 = (0.3, 3.0, 15.0), (0.16, 0.95, 4.0)


def dollars(calls: list[tuple[int, int, int]], price: tuple[float, float, float], *, cached: bool = True) -> float:
    hit, miss, output = price
    reads = [(read, saved if cached else 0, wrote) for read, saved, wrote in calls]
    return sum((read - saved) * miss + saved * hit + wrote * output for read, saved, wrote in reads) / 1_000_000


def test_cassette_with_another_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = run("estimate", EXAMPLE, "--model", "kimi-k2.6", "--runs", "2000")
    assert result.status == 0
    low, high = dollars(CALLS, K26), dollars(CALLS, K26, cached=False)
    cells = next(line for line in result.out.splitlines() if line.startswith(EXAMPLE)).split()[1:]
    assert cells == ["4", "1,374", "512", "71", "33", f"{dollars(CALLS, K3):.6f}", f"{low:.6f}", f"{high:.6f}"]
    assert f"2,000 runs with kimi-k2.6: ${2000 * low:,.2f} to ${2000 * high:,.2f}; " in result.out
    assert "2,000 runs take 2,890,000 tokens, read and written." in result.out
    assert "(37% of the input)" in result.out
    assert "Answers of kimi-k2.6 may be longer or shorter than those of kimi-k3" in result.out


def test_without_a_model_the_recorded_one_loses_its_cache(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = run("estimate", EXAMPLE, "--runs", "1", "--json")
    usd = json.loads(result.out)["usd"]
    assert usd["low"] == usd["as_recorded"] == pytest.approx(dollars(CALLS, K3))
    assert usd["high"] == pytest.approx(dollars(CALLS, K3, cached=False))


def recorded_thread(path: Path, *, log: Path | None = None) -> list[dict[str, Any]]:
    """Runs an agent with a sub-agent on a thread of an SQLite file; the usages that the host reported."""
    text = "A long question. " * 200
    inner_model = FakeKimi([called("add", a=1, b=2), said("3")])
    inner = create_kimi_agent(inner_model, [add], name="adder", system_prompt=text)
    outer_model = FakeKimi([called("adder", task="1 + 2?"), said("It is 3.")])
    config: Any = {"configurable": {"thread_id": "sums"}, "callbacks": [ReasoningLog(log)] if log else []}
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        tools = [agent_as_tool(inner, name="adder", description="Adds.")]
        agent = create_kimi_agent(outer_model, tools, checkpointer=SqliteSaver(connection), system_prompt=text)
        agent.invoke({"messages": [("user", text)]}, config)
    usages = [*inner_model.api.usages, *outer_model.api.usages]
    return [usage for usage in usages if usage]


def test_thread_with_a_sub_agent_in_a_child_process(tmp_path: Path) -> None:
    path = tmp_path / "threads.sqlite"
    usages = recorded_thread(path)
    calls = [(each["prompt_tokens"], each["cached_tokens"], each["completion_tokens"]) for each in usages]
    assert sum(cached for _, cached, _ in calls) > 0
    before = path.read_bytes()
    arguments = ["estimate", str(path), "--model", "kimi-k2.6", "--runs", "10", "--json"]
    command = [sys.executable, "-m", "langchain_kimi", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)
    estimate = json.loads(ended.stdout)
    assert estimate["recorded"][0]["requests"] == len(calls) == 4
    assert estimate["usd"]["low"] == pytest.approx(10 * dollars(calls, K26))
    assert estimate["usd"]["high"] == pytest.approx(10 * dollars(calls, K26, cached=False))
    assert estimate["tokens"] == 10 * sum(read + wrote for read, _, wrote in calls)
    assert path.read_bytes() == before


def test_log_and_thread_of_one_run_agree(run: Run, tmp_path: Path) -> None:
    path, log = tmp_path / "threads.sqlite", tmp_path / "turns.jsonl"
    recorded_thread(path, log=log)
    of_thread, of_log = (json.loads(run("estimate", str(source), "--json").out) for source in (path, log))
    assert of_log["usd"] == pytest.approx(of_thread["usd"])
    assert of_log["tokens"] == of_thread["tokens"]


def test_several_runs_have_a_range_from_the_cheapest_to_the_dearest(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "threads.sqlite"
    recorded_thread(path)
    result = json.loads(run("estimate", str(ROOT / EXAMPLE), str(path), "--runs", "1", "--json").out)
    lows = [each["usd"]["low"] for each in result["recorded"]]
    highs = [each["usd"]["high"] for each in result["recorded"]]
    assert result["usd"]["low"] == min(lows) < result["usd"]["as_recorded"] < max(highs) == result["usd"]["high"]
    assert result["usd"]["as_recorded"] == pytest.approx(sum(lows) / 2)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_password_of_a_database_is_not_printed(run: Run, postgres: str, options: list[str]) -> None:
    parts = urlsplit(postgres)
    host = parts.netloc.rpartition("@")[2]
    source = urlunsplit(parts._replace(netloc=f"postgres:hunter2secret@{host}"))
    with PostgresSaver.from_conn_string(source) as saver:
        saver.setup()
        model = FakeKimi([said("Hello.")])
        agent = create_kimi_agent(model, checkpointer=saver)
        agent.invoke({"messages": [("user", "Hi")]}, {"configurable": {"thread_id": "one"}})
    result = run("estimate", source, *options)
    assert result.status == 0, result.err
    assert "hunter2secret" not in result.out + result.err
    assert "postgresql://" in result.out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing.kimi.yaml"], "missing.kimi.yaml: No such file or directory. Check the path."),
        ([EXAMPLE, "--model", "kimi-k2.66"], "--model kimi-k2.66 is not in the catalogue"),
        ([EXAMPLE, "--runs", "0"], "'0' is not a number of runs"),
        ([EXAMPLE, "--thread", "1"], "is a recording, which has no threads. Leave --thread out."),
        (["pyproject.toml"], "pyproject.toml"),
    ],
)
def test_mistake_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str) -> None:
    monkeypatch.chdir(ROOT)
    result = run("estimate", *arguments)
    assert result.status == 2
    assert result.out == ""
    assert text in result.err
    assert result.err.count("\n") == 1
