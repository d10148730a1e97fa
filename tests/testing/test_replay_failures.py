"""What pytest prints where a replayed test fails, in a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

APP = """
    import asyncio, os, openai, pytest
    from langchain_kimi import create_kimi_agent
    from langchain_kimi.testing import called, said

    CITY = os.environ["CITY"]
    pytestmark = pytest.mark.kimi_cassette

    def weather(city: str) -> str:
        "The weather of a city."
        return "sun"

    def ask(model):
        agent = create_kimi_agent(model, [weather])
        return agent.invoke({"messages": f"The weather of the city of {CITY} today?"})["messages"][-1].text

    @pytest.mark.kimi_server([called("weather", city="X"), said("Sun")])
    def test_agent(kimi_model):
        assert ask(kimi_model) == "Sun"

    @pytest.mark.kimi_server([said("Sun")])
    async def test_group(kimi_model):
        async with asyncio.TaskGroup() as group:
            group.create_task(kimi_model.ainvoke(CITY))

    @pytest.mark.kimi_server([said("Sun")])
    def test_sdk(kimi_server):
        client = openai.OpenAI(base_url=kimi_server.url, api_key="sk-x", max_retries=0)
        client.chat.completions.create(model="kimi-k3", messages=[{"role": "user", "content": CITY}])

    @pytest.mark.kimi_server([said("Sun")])
    def test_wrong_answer(kimi_model):
        try:
            answer = kimi_model.invoke(CITY).text
        except Exception:
            answer = "unknown"
        assert answer == "Sun"

    @pytest.mark.kimi_server([said("Sun")])
    def test_swallowed(kimi_model):
        try:
            kimi_model.invoke(CITY)
        except Exception:
            pass

    @pytest.mark.kimi_server([said("Sun")])
    def test_own_error(kimi_model):
        kimi_model.invoke("Oslo")
        assert CITY == "Oslo"
"""


def run_pytest(folder: Path, *arguments: str, city: str = "Oslo") -> tuple[int, str]:
    plugins = ["langchain_kimi.testing.plugin", "pytest_asyncio.plugin", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "--disable-plugin-autoload", *(f"-p{name}" for name in plugins), "-q"]
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"CITY": city, "COLUMNS": "200"}
    ended = subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=400
    )
    return ended.returncode, ended.stdout


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tests and their cassettes."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    (folder / "test_app.py").write_text(textwrap.dedent(APP))
    status, out = run_pytest(folder, "--kimi-record=once")
    assert status == 0, out
    return folder


@pytest.fixture(scope="module")
def failed(recorded: Path) -> dict[str, str]:
    """The failure of each test in a run with another city, and the summary."""
    status, out = run_pytest(recorded, city="Rome")
    assert status == 1
    _, *sections = out.partition("short test summary info")[0].split("\n____")
    named = {section.split()[1].removeprefix("test_"): section for section in sections}
    return named | {"summary": out.partition("short test summary info")[2]}


@pytest.mark.parametrize("name", ["agent", "group", "sdk"])
def test_failure_shows_own_code_and_the_difference_only(name: str, failed: dict[str, str]) -> None:
    section = failed[name]
    assert len(section.splitlines()) < 45, section
    assert 'recorded "' in section
    assert "interception.py" not in section
    assert "site-packages" not in section
    assert "During task with name" not in section
    assert section.rstrip().endswith("CannotReplay")
    assert f"record again: pytest 'test_app.py::test_{name}' --kimi-record=all" in section


def test_lines_of_the_app_between_test_and_library_stay(failed: dict[str, str]) -> None:
    assert 'assert ask(kimi_model) == "Sun"' in failed["agent"]
    assert 'agent.invoke({"messages"' in failed["agent"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "agent",
            'messages[0].content: …"ty of Oslo today?" became …"ty of Rome today?"',
        ),
        ("group", 'messages[0].content: "Oslo" became "Rome"'),
        ("sdk", 'messages[0].content: "Oslo" became "Rome"'),
        ("wrong_answer", 'messages[0].content: "Oslo" became "Rome"'),
        ("swallowed", 'Failed: messages[0].content: "Oslo" became "Rome"'),
    ],
)
def test_summary_shows_the_difference(name: str, line: str, failed: dict[str, str]) -> None:
    assert f"test_app.py::test_{name} - {line}\n" in failed["summary"]


def test_wrong_assertion_keeps_its_own_message_and_ends_with_the_difference(failed: dict[str, str]) -> None:
    section = failed["wrong_answer"]
    assert "AssertionError: assert 'unknown' == 'Sun'" in section
    assert section.index("AssertionError") < section.index('messages[0].content: recorded "Oslo", sent "Rome"')


def test_failure_that_is_not_of_the_cassette_is_left_as_it_is(failed: dict[str, str]) -> None:
    assert "kimi cassette" not in failed["own_error"]
    assert "FAILED test_app.py::test_own_error - AssertionError: assert 'Rome' == 'Oslo'" in failed["summary"]


def test_full_trace_shows_every_frame(recorded: Path) -> None:
    _, out = run_pytest(recorded, "--full-trace", "-k", "sdk", city="Rome")
    assert "interception.py" in out


@pytest.mark.parametrize("style", ["line", "native"])
def test_other_styles_of_tracebacks(style: str, recorded: Path) -> None:
    _, out = run_pytest(recorded, f"--tb={style}", "-k", "agent", city="Rome")
    assert "interception.py" not in out
    assert 'messages[0].content: …"ty of Oslo today?" became …"ty of Rome today?"' in out


def test_workers_of_xdist_report_the_same(recorded: Path) -> None:
    _, out = run_pytest(recorded, "-pxdist", "-n1", "-k", "agent", city="Rome")
    assert 'test_agent - messages[0].content: …"ty of Oslo today?" became …"ty of Rome today?"' in out
    assert "interception.py" not in out


def test_missing_cassette_says_how_to_record_it(tmp_path: Path, recorded: Path) -> None:
    for name in ("pytest.ini", "test_app.py"):
        (tmp_path / name).write_text((recorded / name).read_text())
    _, out = run_pytest(tmp_path, "-k", "sdk")
    command = "Record it: pytest 'test_app.py::test_sdk' --kimi-record=once"
    assert f"FAILED test_app.py::test_sdk - no cassette. {command}" in out.splitlines()
    assert f"does not exist. {command}\n" in out
