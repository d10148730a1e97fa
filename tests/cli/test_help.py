"""Help, version and wrong arguments; and the examples of the help, which docs/command-line.md repeats and which run."""

import argparse
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi.cli.parser import build_parser
from langchain_kimi.testing import FakeKimi, KimiServer, Request, said
from langchain_kimi.testing.cassettes import Cassette
from tests.cli.conftest import Account, Run
from tests.conftest import KEY
from tests.testing.cassettes.foreign_recordings import go_vcr

DOCS = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
EXAMPLE = "example: langchain-kimi "


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


COMMANDS = [parser.prog.partition(" ")[2] for parser in parsers(build_parser()) if " " in parser.prog]
EXAMPLES = sorted({str(parser.epilog).removeprefix(EXAMPLE) for parser in parsers(build_parser())})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_the_command_does_with_defaults_and_an_example(
    command: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    result = run(*command.split(), "--help")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[-1].startswith(f"{EXAMPLE}{command}")
    assert all(len(line) <= 60 for line in lines[:-1])
    text = " ".join(result.out.split())
    options = re.findall(r"(?<= )--(\w+)", text.partition("options:")[2].partition(" example: ")[0])
    assert text.count("(default: ") == len(set(options) - {"help", "script"})


def test_every_command_and_option_is_in_the_docs() -> None:
    for command in COMMANDS:
        assert f"`{command}" in DOCS or f"langchain-kimi {command}" in DOCS, command
    for parser in parsers(build_parser()):
        for action in parser._actions:
            for option in action.option_strings:
                assert option in DOCS or option in ("-h", "--help"), f"{parser.prog} {option}"


def test_the_examples_of_the_help_are_those_of_the_docs() -> None:
    documented = sorted(line.strip() for line in re.findall(r"^    langchain-kimi (.*)$", DOCS, re.MULTILINE))
    assert documented == EXAMPLES


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, account: Account, serve: Callable[..., KimiServer]
) -> Path:
    """A folder with the files that the examples name, and an account."""

    def script(request: Request) -> object:
        return said("Nothing new.")

    account(script, files={"FILE_ID": "file-extract"})
    (tmp_path / "prompt.txt").write_text("How deep is Lake Baikal?")
    (tmp_path / "report.pdf").write_text("Deep.")
    (tmp_path / "model.yaml").write_text("- said: Hello.\n")
    (tmp_path / "my_app").mkdir()
    (tmp_path / "my_app" / "tools.py").write_text(
        "def add(a: int, b: int) -> int:\n    return a + b\n\nTOOLS = [add]\n"
    )
    (tmp_path / "vcr").mkdir()
    (tmp_path / "vcr" / "one.yaml").write_text(yaml.dump(go_vcr(2)))
    for name in ("run.kimi.yaml", "old.kimi.yaml", "new.kimi.yaml", "tests/old.kimi.yaml"):
        server = serve([said("Hi.")])
        with Cassette(tmp_path / name, record="all"):
            ChatKimi(model="kimi-k2.6", base_url=server.url, api_key=KEY).invoke("Hi!")  # type: ignore[arg-type]
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.sqlite")) as saver:
        agent = create_kimi_agent(FakeKimi([said("Hi.")]), [], checkpointer=saver)
        agent.invoke({"messages": [("user", "Hi!")]}, {"configurable": {"thread_id": "42"}})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "example", [example for example in EXAMPLES if not example.startswith(("serve", "verify-host"))]
)
def test_an_example_runs(example: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_kimi.cli.demo.random.uniform", lambda least, most: 0.0)
    result = run(*shlex.split(example))
    assert (result.status, result.err) == (0, "")


def test_the_example_of_serve_runs(project: Path) -> None:
    (example,) = [example for example in EXAMPLES if example.startswith("serve")]
    command = [sys.executable, "-m", "langchain_kimi", *shlex.split(example.replace("8000", "0"))]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        model = ChatKimi(model="kimi-k2.6", base_url=url)
        assert [model.invoke("hi").text for _ in range(3)] == ["Hello."] * 3
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert err.count("POST /v1/chat/completions 200\n") == 3


def test_the_version_is_printed(run: Run) -> None:
    result = run("--version")
    assert result.status == 0
    assert re.fullmatch(r"langchain-kimi-agent \d+\.\d+\.\d+\n", result.out)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "the following arguments are required: COMMAND. `langchain-kimi --help` shows the options."),
        ("dmeo", "invalid choice: 'dmeo'"),
        ("tokens", "the following arguments are required: FILE. `langchain-kimi tokens --help` shows the options."),
        ("files upload x --purpose fun", "argument --purpose: invalid choice: 'fun'"),
        ("serve --script x.yaml --port -1", "argument --port: '-1' is not a port"),
        ("serve --script x.yaml --port=65536", "argument --port: '65536' is not a port; ports are numbers from 0 to"),
        ("serve --script x.yaml --port=http", "argument --port: 'http' is not a port"),
    ],
)
def test_wrong_arguments_are_an_error_of_one_line(run: Run, arguments: str, words: str) -> None:
    result = run(*arguments.split())
    assert result.status == 2
    assert result.error.startswith("langchain-kimi")
    assert words in result.error


def test_help_does_not_load_what_runs_commands() -> None:
    code = (
        "import sys; from langchain_kimi.cli import run_command_line\n"
        "try: run_command_line(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('langchain_core', 'langgraph', 'httpx2', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("[]"), done.stdout + done.stderr
