"""`langchain-kimi demo`: what a user sees, and what it sends."""

import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from langchain_kimi.cli.demo import research, run_demo, scripted_researcher
from langchain_kimi.cli.demo_site import DemoSite
from langchain_kimi.cli.word_wrap import columns
from langchain_kimi.errors import AuthenticationError
from langchain_kimi.testing import KimiServer, Reply, Request, refused
from tests.cli.conftest import Account, Run
from tests.conftest import kimi


@pytest.fixture
def quick_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are answered at once."""
    monkeypatch.setattr("langchain_kimi.cli.demo.random.uniform", lambda least, most: 0.0)


@pytest.mark.usefixtures("quick_pages")
def test_the_demo_runs_to_its_answer_in_plain_text(run: Run) -> None:
    result = run("demo")
    assert (result.status, result.err) == (0, "")
    assert "SCRIPTED: no model runs here" in result.out
    assert result.out.count("✓") == 5
    assert "[turn 4]" in result.out
    assert "20 to 40 watts. (What the heat costs)" in result.out
    assert "cached), " in result.out.splitlines()[-1]
    assert "$0.0" in result.out.splitlines()[-1]
    assert "\033" not in result.out


@pytest.mark.usefixtures("quick_pages")
@pytest.mark.parametrize("width", [60, 100])
def test_a_terminal_gets_lines_that_end_at_words(run: Run, run_in_terminal: Run, width: int) -> None:
    shown = run_in_terminal("demo", "--fast", columns=width).out
    assert max(map(columns, shown.split("\n"))) <= width
    assert "[question] How do honeybees" in shown
    whole = run("demo").out
    answer = "[answer]"
    assert shown[shown.index(answer) :].split()[:80] == whole[whole.index(answer) :].split()[:80]
    assert len(shown.splitlines()) > len(whole.splitlines())


@pytest.mark.usefixtures("quick_pages")
def test_the_width_may_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(columns, run("demo").out.split("\n"))) <= 60


@pytest.mark.usefixtures("quick_pages")
def test_colours_can_be_switched_off(run_in_terminal: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\033[33m" in run_in_terminal("demo", "--fast").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033[33m" not in run_in_terminal("demo", "--fast").out


def test_crawls_of_one_turn_overlap() -> None:
    barrier, arrivals = threading.Barrier(3), itertools.count()
    assert run_demo(pace=0, on_page=lambda: barrier.wait(30) if next(arrivals) < 3 else None) == 0
    assert next(arrivals) == 4


def test_the_demo_sends_every_thought_and_argument_back(serve: Callable[..., KimiServer]) -> None:
    server = serve(scripted_researcher)
    with DemoSite() as site:
        research(kimi(server), site, "test")
    bodies = [request.body for request in server.requests]
    assert len(bodies) == 4
    for earlier, later in itertools.pairwise(bodies):
        assert later.startswith(earlier[: -len(b"]}")])
    for number, message in enumerate(m for m in server.requests[-1].messages if m["role"] == "assistant"):
        reply = scripted_researcher(server.requests[number])
        assert message["reasoning_content"] == reply.reasoning
        assert [call["function"]["arguments"] for call in message["tool_calls"]] == [
            call.arguments for call in reply.calls
        ]


def test_a_page_that_fails_is_shown_and_the_demo_goes_on(
    serve: Callable[..., KimiServer], capsys: pytest.CaptureFixture[str]
) -> None:
    def script(request: Request) -> Reply:
        reply = scripted_researcher(request)
        calls = [call.__class__(call.name, call.arguments.replace("heat-and-honey", "gone")) for call in reply.calls]
        return reply.__class__(text=reply.text, reasoning=reply.reasoning, calls=tuple(calls))

    with DemoSite() as site:
        research(kimi(serve(script)), site, "test")
    out = capsys.readouterr().out
    assert "✗" in out
    assert "[total]" in out


def test_a_failure_prints_what_was_used_so_far(
    serve: Callable[..., KimiServer], capsys: pytest.CaptureFixture[str]
) -> None:
    def script(request: Request) -> Reply:
        refusal = refused(401, "invalid_authentication_error", "no")
        return refusal if request.tool_results() else scripted_researcher(request)

    with DemoSite() as site, pytest.raises(AuthenticationError):
        research(kimi(serve(script)), site, "test")
    assert "[failed; so far] 163 tokens in" in capsys.readouterr().out


@pytest.mark.slow
def test_ctrl_c_prints_what_was_used_so_far() -> None:
    code = "import sys; from langchain_kimi.cli import run_command_line; sys.exit(run_command_line(['demo']))"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "[turn 1]" in line:
            process.send_signal(signal.SIGINT)
            break
    rest, failures = process.communicate(timeout=30)
    assert (process.returncode, failures) == (130, "Stopped by Ctrl-C.\n")
    assert "[stopped; so far] 274 tokens in" in rest


@pytest.mark.usefixtures("quick_pages")
def test_live_runs_the_same_agent_against_the_host(account: Account, run: Run) -> None:
    server = account(scripted_researcher)
    result = run("demo", "--live")
    assert result.status == 0
    assert "[live: kimi-k3]" in result.out
    assert len(server.requests) == 4


def test_live_needs_a_key(run: Run) -> None:
    result = run("demo", "--live")
    assert result.status == 2
    assert "Set MOONSHOT_API_KEY" in result.error


def test_live_with_a_wrong_key_fails_in_one_line(account: Account, run: Run) -> None:
    account([], api_key="sk-another")
    result = run("demo", "--live")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert result.err.startswith("langchain-kimi demo: ")
    assert "Check MOONSHOT_API_KEY" in result.err


@pytest.mark.usefixtures("quick_pages")
def test_the_demo_needs_no_rich(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert "[total]" in run("demo").out
