"""The examples run as a user runs them: as programs, without a key."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forks
from tests.services import no_redis

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
IN_POSTGRES, WITH_REDIS, OVER_MCP = "once_in_postgres.py", "shared_limits.py", "mcp_tools.py"
BY_THEMSELVES = (IN_POSTGRES, WITH_REDIS, OVER_MCP, "mcp_server.py")
"""Those that need a server, and a server."""

SAYS = {
    "ask_a_file.py": ["tokens with the question", "lines and begins with"],
    "news_report.py": ["A scripted day: nothing happened.", "It is 20", "of it $0.005 for searching"],
    "deep_agent.py": ["I know 2 cities so far", "ended because of: tool_calls", "'lead': "],
    "chat.py": ["Yes, 97 is prime.", "7 × 13 = 91"],
    "once_in_deep_agent.py": ["sending to bo@example.com", "Did send_mail to bo@example.com happen?", "Bo knows."],
    "parallel_tools.py": ["Together 1,224,215 people live there.", "ended because of: stop"],
    "plan_execute.py": ["12 times 12: 144", "144 times 144: 20736", "12 to the fourth is 20736."],
    "researchers.py": ["20 topics: copper in 2020: 1400 kt.", "'turns': 42, 'tool_calls': 40"],
    "supervisor.py": ["researcher: Rare since 1950.", "writer: The blue moth: an obituary."],
    "team.py": ["waits for shipping", "billing: Your order A-17 was refunded.", "'billing': '2 turns'"],
    "team_pictures.py": ["billing reads: ['text', 'image_url', 'text']", "billing: Refunded."],
    "traced_agent.py": ["has 2469 metres.", "invoke_agent guide", "    invoke_agent research", "tokens)"],
    "resume.py": ["That makes 3.20 € so far."],
}


def run(example: Path, *arguments: str) -> str:
    ended = forks.run(forks.as_script, str(example), *arguments)
    assert ended.status == 0, ended.output
    return without_colours(ended.output)


def without_colours(text: str) -> str:
    return re.sub(r"\033\[\d+m", "", text)


@pytest.mark.parametrize(
    "example", [one for one in EXAMPLES if one.name not in BY_THEMSELVES], ids=lambda example: example.name
)
def test_example_runs_without_a_key(example: Path, tmp_path: Path) -> None:
    out = run(example, str(tmp_path / "thread.sqlite"))
    assert [text for text in SAYS[example.name] if text not in out] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_is_short(example: Path) -> None:
    assert len(example.read_text().splitlines()) <= 60


@pytest.mark.slow
def test_a_payment_of_a_killed_process_is_not_made_twice(postgres: str) -> None:
    (example,) = [example for example in EXAMPLES if example.name == IN_POSTGRES]
    lines = run(example, postgres).splitlines()
    assert lines == [
        "paying Mara: paid",
        "paying Mara: paid before, not again",
        "The invoice is paid.",
        "1 payment: [('Mara', 4200)]",
    ]


@pytest.mark.slow
def test_workers_that_share_limits_are_not_refused() -> None:
    if reason := no_redis():
        pytest.skip(reason)
    (example,) = [example for example in EXAMPLES if example.name == WITH_REDIS]
    assert run(example).splitlines() == [
        "40 requests of 4 workers, 3 at a time",
        "each worker with limits of its own: some refused",
        "with shared limits: none refused",
    ]


@pytest.mark.slow
def test_a_question_of_an_mcp_server_is_an_interrupt() -> None:
    (example,) = [example for example in EXAMPLES if example.name == OVER_MCP]
    assert run(example).splitlines() == [
        "the server asks: Would you like to sit outside?",
        "Booked for 4, outside. The soup of the day costs 7.50 €.",
    ]


def test_example_runs_in_an_interpreter_that_has_imported_nothing(tmp_path: Path) -> None:
    example = next(example for example in EXAMPLES if example.name == "chat.py")
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [text for text in SAYS[example.name] if text not in without_colours(done.stdout)] == []


def test_second_run_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    (example,) = [example for example in EXAMPLES if example.name == "resume.py"]
    run(example, str(tmp_path / "thread.sqlite"))
    assert "8 messages in the thread. That makes 4.35 € so far." in run(example, str(tmp_path / "thread.sqlite"))
