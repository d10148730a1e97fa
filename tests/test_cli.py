"""The command line: the demo as a user sees it, and what it sends."""

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from langchain_kimi.cli import main
from langchain_kimi.cli.demo import research, run, scripted_researcher
from langchain_kimi.cli.site import Site
from langchain_kimi.testing import KimiServer, refused
from tests.conftest import kimi

COMMAND = [sys.executable, "-m", "langchain_kimi", "demo"]


def test_demo_runs_to_its_answer_in_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "SCRIPTED: no model runs here" in out
    assert out.count("✓") == 5
    assert "[turn 4]" in out
    assert "20 to 40 watts. (What the heat costs)" in out
    assert "cached), " in out.splitlines()[-1]
    assert "$0.00" in out.splitlines()[-1]
    assert "\033" not in out


def test_crawls_of_one_turn_overlap() -> None:
    barrier, arrivals = threading.Barrier(3), itertools.count()
    assert run(pace=0, arrive=lambda: barrier.wait(30) if next(arrivals) < 3 else None) == 0
    assert next(arrivals) == 4


def test_demo_sends_every_thought_and_argument_back(serve: Callable[..., KimiServer]) -> None:
    server = serve(scripted_researcher)
    with Site() as site:
        assert research(kimi(server), site, "test") == 0
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


def test_failed_page_is_shown_and_the_demo_goes_on(
    serve: Callable[..., KimiServer], capsys: pytest.CaptureFixture[str]
) -> None:
    def script(request: object) -> object:
        reply = scripted_researcher(request)  # type: ignore[arg-type]
        calls = [call.__class__(call.name, call.arguments.replace("heat-and-honey", "gone")) for call in reply.calls]
        return reply.__class__(text=reply.text, reasoning=reply.reasoning, calls=tuple(calls))

    with Site() as site:
        research(kimi(serve(script)), site, "test")
    assert "✗" in capsys.readouterr().out


def test_ctrl_c_ends_with_what_was_done_so_far() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from langchain_kimi.cli.demo import run; raise SystemExit(run(pace=0.05))"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "[turn 1]" in line:
            process.send_signal(signal.SIGINT)
            break
    rest, failures = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "[stopped; so far] 180 tokens in" in rest
    assert "Traceback" not in failures


def test_live_needs_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--live"]) == 2
    assert "--live needs MOONSHOT_API_KEY" in capsys.readouterr().out


def test_live_runs_the_same_agent_against_the_host(
    serve: Callable[..., KimiServer], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(scripted_researcher)
    monkeypatch.setenv("MOONSHOT_API_KEY", "sk-not-a-real-key")
    monkeypatch.setenv("MOONSHOT_BASE_URL", server.url)
    assert main(["demo", "--live"]) == 0
    assert "[live: kimi-k2.6]" in capsys.readouterr().out
    assert len(server.requests) == 4


def test_failure_of_the_host_is_told_in_one_line(
    serve: Callable[..., KimiServer], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOONSHOT_API_KEY", "sk-not-a-real-key")
    monkeypatch.setenv("MOONSHOT_BASE_URL", serve([refused(401, "invalid_authentication_error", "no")]).url)
    assert main(["demo", "--live"]) == 1
    assert "Check MOONSHOT_API_KEY" in capsys.readouterr().out


def test_demo_needs_no_rich() -> None:
    code = (
        "import sys; sys.modules['rich'] = None; from langchain_kimi.cli import main; raise SystemExit(main(['demo']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "[total]" in done.stdout
