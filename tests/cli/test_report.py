"""`langchain-kimi report`: threads, recordings and logs as files, and what cannot be read as one line."""

import stat
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_kimi import create_kimi_agent
from langchain_kimi._recorded_runs import cache_breaks_of, read_recorded_run
from langchain_kimi._run_report.formats import format_usd
from langchain_kimi.testing import FakeKimi, said, thought
from tests import forks
from tests.agent.helpers import ASK
from tests.cli.conftest import Run
from tests.conftest import add

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples/testing/cassettes/test_app/test_butter_is_what_limits_shortbread.kimi.yaml")


@pytest.fixture
def threads(tmp_path: Path) -> str:
    """A database with the threads a and b."""
    path = str(tmp_path / "threads.sqlite")
    script = [reply for name in "ab" for reply in (thought("Hm.").calling("add", a=1, b=2), said(f"Answer {name}."))]
    with SqliteSaver.from_conn_string(path) as saver:
        agent = create_kimi_agent(FakeKimi(script), [add], checkpointer=saver, name="adder")
        for name in "ab":
            agent.invoke(ASK, {"configurable": {"thread_id": name}})
    return path


@pytest.mark.slow  # it loads the detector of secrets
def test_a_thread_a_recording_and_all_threads_of_a_database(run: Run, threads: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run.html")
    result = run("report", threads, "--thread", "a", "-o", out)
    assert (result.status, result.err) == (0, "")
    usage = read_recorded_run(threads, "a").usage
    dollars = f"{(3 * usage.input_tokens + 15 * usage.output_tokens) / 1e6:.6f}".rstrip("0")  # list prices of kimi-k3
    assert result.out == f"{out}: 2 requests, ${dollars}\n"
    html = Path(out).read_text()
    assert "Answer a." in html
    assert "Answer b." not in html
    assert stat.S_IMODE(Path(out).stat().st_mode) == 0o600
    assert run("report", threads, "--thread", "a", "--thread", "b", "-o", out).status == 0
    html = Path(out).read_text()
    assert html.index("Answer a.") < html.index("Answer b.")
    assert run("report", EXAMPLE, "-o", out, "--no-content").status == 0
    html = Path(out).read_text()
    assert "test_butter_is_what_limits_shortbread" in html
    assert "Butter" not in html.replace("test_butter", "")


@pytest.mark.slow  # it loads the detector of secrets
def test_requests_that_lost_the_prefix_cache_are_explained(run: Run, tmp_path: Path) -> None:
    threads, out = str(tmp_path / "threads.sqlite"), str(tmp_path / "run.html")
    config: Any = {"configurable": {"thread_id": "1"}}
    with SqliteSaver.from_conn_string(threads) as saver:
        agent = create_kimi_agent(FakeKimi(lambda request: said(f"Answer {request.number}.")), checkpointer=saver)
        for number in range(3):
            agent.invoke({"messages": [("user", f"{number} {'All work and no play. ' * 200}")]}, config)
        assert run("report", threads, "-o", out).status == 0
        assert "Cache break" not in Path(out).read_text()
        first = agent.get_state(config).values["messages"][0]
        agent.update_state(config, {"messages": [HumanMessage("Edited.", id=first.id)]})
        agent.invoke({"messages": [("user", "And?")]}, config)
    (lost,) = cache_breaks_of(read_recorded_run(threads))
    assert lost.tokens_again > 1_000
    assert lost.cost_usd is not None
    for options in ([], ["--no-content"]):
        assert run("report", threads, "-o", out, *options).status == 0
        html = Path(out).read_text()
        again = f"{lost.tokens_again:,} tokens again for {format_usd(lost.cost_usd)} more"
        assert f"Cache break: messages[0] changed; {again}" in html
        assert html.count("messages[0] changed") == 2


@pytest.mark.slow
def test_the_example_and_its_report(run: Run, tmp_path: Path) -> None:
    threads, out = str(tmp_path / "threads.sqlite"), str(tmp_path / "run.html")
    ended = forks.run(forks.as_script, str(ROOT / "examples/report/newsroom.py"), threads)
    assert ended.status == 0, ended.output
    assert "It is published. Now: langchain-kimi report" in ended.output
    assert run("report", threads, "-o", out).status == 0
    html = Path(out).read_text()
    for part in ("May publish run?", "data:image/png;base64,", "Copper, part 3", "runs research"):
        assert part in html, part


@pytest.mark.slow  # it loads the detector of secrets
def test_two_threads_side_by_side(run: Run, threads: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run.html")
    assert run("report", threads, "--thread", "a", "--thread", "b", "--diff", "-o", out).status == 0
    html = Path(out).read_text()
    assert "1 of 4 messages differ." in html
    assert "Answer <del>a</del>." in html
    assert "Answer <ins>b</ins>." in html


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["missing.sqlite"], "missing.sqlite: No such file or directory. Check the path."),
        ([EXAMPLE, "--thread", "1"], f"{EXAMPLE} is a recording, which has no threads. Leave --thread out."),
        (["THREADS"], "THREADS holds 2 threads. Choose one with --thread: b, a."),
        (["THREADS", "--thread", "c"], "THREADS: There is no thread 'c'."),
        (["a", "b", "--thread", "1", "--thread", "2", "--thread", "3"], "there are 2 sources and 3 --thread."),
        ([EXAMPLE, "--diff"], "--diff compares two runs, and there are 1."),
        (["README.md"], "README.md is not a recording of VCR.py or go-vcr"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    run: Run, threads: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str], error: str, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / "run.html"
    result = run("report", *(threads if one == "THREADS" else one for one in arguments), "-o", str(out))
    assert result.status == 2
    assert result.err.startswith(f"langchain-kimi report: {error.replace('THREADS', threads)}")
    assert result.err.count("\n") == 1
    assert not out.exists()
