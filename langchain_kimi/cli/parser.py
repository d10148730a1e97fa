"""The options of every command, with their defaults and examples. What runs a command is not imported here."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from langchain_kimi.catalogue import DEFAULT_MODEL, FILE_PURPOSES
from langchain_kimi.cli.command_errors import NOT_RUN
from langchain_kimi.cli.output import write_error, write_line

PROGRAM = "langchain-kimi"
FORMULAS = ("moonshot/date:latest", "moonshot/web-search:latest", "moonshot/fetch:latest")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = Parser(prog=PROGRAM, description="Kimi agents in LangChain and LangGraph.", example="demo --fast")
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    parser.set_defaults(module=None)
    commands = _subcommands(parser, "command")
    _add_demo(commands)
    _add_ask(commands)
    _add_models(commands)
    _add_tokens(commands)
    _add_balance(commands)
    _add_files(commands)
    _add_doctor(commands)
    _add_verify_host(commands)
    _add_cassettes(commands)
    _add_migrate(commands)
    _add_estimate(commands)
    _add_report(commands)
    _add_serve(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = _add(commands, "demo", "run a research agent on a scripted model; needs no key", example="demo --fast")
    demo.add_argument("--live", action="store_true", help="ask Kimi, with MOONSHOT_API_KEY (default: a scripted model)")
    demo.add_argument("--fast", action="store_true", help="print without pauses (default: at reading speed)")


def _add_ask(commands: Any) -> None:
    ask = _add(
        commands,
        "ask",
        "ask a live agent that has Moonshot's date, web search and fetch tools",
        example="ask 'What is new in Oslo?'",
    )
    ask.add_argument("question", metavar="QUESTION")
    _add_model(ask)
    ask.add_argument(
        "--formula",
        action="append",
        metavar="URI",
        help=f"a tool of Moonshot's to use instead; may be repeated (default: {', '.join(FORMULAS)})",
    )


def _add_models(commands: Any) -> None:
    _add(commands, "models", "list the Kimi models with their windows, thinking and prices", example="models")


def _add_tokens(commands: Any) -> None:
    tokens = _add(commands, "tokens", "count the tokens of a prompt", example="tokens prompt.txt")
    tokens.add_argument("file", metavar="FILE", help="a text, messages or a chat request in JSON, or - for stdin")
    _add_model(tokens)
    tokens.add_argument("--exact", action="store_true", help="ask Kimi for the number (default: an estimate made here)")


def _add_balance(commands: Any) -> None:
    _add(commands, "balance", "show the account's balance", example="balance")


def _add_files(commands: Any) -> None:
    files = _add(commands, "files", "list, upload, read or delete the account's files", example="files list")
    actions = _subcommands(files, "action")
    _add(actions, "list", "list all files: id, bytes, purpose, status, name", example="files list")
    upload = _add(actions, "upload", "upload files", example="files upload report.pdf")
    upload.add_argument("paths", nargs="+", metavar="FILE")
    upload.add_argument(
        "--purpose",
        choices=FILE_PURPOSES,
        default=FILE_PURPOSES[0],
        metavar="PURPOSE",
        help=f"what the files are for: {', '.join(FILE_PURPOSES)} (default: %(default)s)",
    )
    content = _add(actions, "content", "print a file, or the text extracted from it", example="files content FILE_ID")
    content.add_argument("id", metavar="FILE_ID")
    content.add_argument("-o", "--output", metavar="FILE", help="write to this file (default: standard output)")
    delete = _add(actions, "delete", "delete files", example="files delete FILE_ID")
    delete.add_argument("ids", nargs="+", metavar="FILE_ID")


def _add_doctor(commands: Any) -> None:
    doctor = _add(
        commands,
        "doctor",
        "check key, region, host, model access and balance, or your tools",
        example="doctor",
    )
    _add_model(doctor)
    subjects = _subcommands(doctor, "subject", required=False)
    tools = _add(
        subjects,
        "tools",
        "check the names and schemas of your tools, without a key",
        example="doctor tools my_app.tools:TOOLS",
    )
    tools.add_argument(
        "target",
        metavar="MODULE:OBJECT",
        help="a tool, a plain function, a list of them, or a function without arguments that returns them",
    )
    tools.set_defaults(module="doctor_tools")


def _add_verify_host(commands: Any) -> None:
    verify = _add(
        commands,
        "verify-host",
        "check whether a host is a faithful Kimi, and how to set ChatKimi for it; costs money",
        example="verify-host http://127.0.0.1:8000/v1 --model kimi-k2.6 --quick",
    )
    verify.add_argument("url", metavar="URL", help="the base URL of the host, up to and with /v1")
    _add_model(verify)
    verify.add_argument("--quick", action="store_true", help="send few, small requests (default: all checks)")
    verify.add_argument(
        "--cases",
        type=_cases,
        metavar="NUMBER",
        help="how many tool calls are checked against schemas (default: 50, with --quick 0)",
    )
    verify.add_argument(
        "--timeout",
        type=_seconds,
        default=120.0,
        metavar="SECONDS",
        help="how long the host may be silent (default: %(default)g)",
    )
    verify.add_argument(
        "--api-key-env", metavar="VARIABLE", help="the variable with the key (default: MOONSHOT_API_KEY)"
    )
    verify.add_argument("--json", action="store_true", help="print the report as JSON (default: a table)")
    verify.set_defaults(module="verify_host")


def _add_cassettes(commands: Any) -> None:
    cassettes = _add(
        commands, "cassettes", "check, show, compare or import recorded answers", example="cassettes check tests"
    )
    actions = _subcommands(cassettes, "action")
    check = _add(actions, "check", "check recordings against Kimi's rules of today", example="cassettes check tests")
    check.add_argument("paths", nargs="+", metavar="PATH", help="a cassette, or a folder of them")
    check.add_argument(
        "--skip", action="append", default=[], metavar="CHECK", help="leave out a check, such as prefix (default: none)"
    )
    show = _add(actions, "show", "print a recorded conversation", example="cassettes show old.kimi.yaml")
    show.add_argument("path", metavar="FILE")
    diff = _add(
        actions, "diff", "show where two recordings differ", example="cassettes diff old.kimi.yaml new.kimi.yaml"
    )
    diff.add_argument("paths", nargs=2, metavar="FILE")
    importing = _add(
        actions, "import", "convert recordings of VCR.py or go-vcr", example="cassettes import vcr cassettes"
    )
    importing.add_argument("source", metavar="FROM", help="a recording, or a folder of them")
    importing.add_argument("target", metavar="TO", help="the cassette to write, or a folder for them")


def _add_migrate(commands: Any) -> None:
    migrate = _add(
        commands,
        "migrate",
        "compare recorded calls with the same calls of another model: refusals, changes and money",
        example="migrate --to kimi-k3 tests",
    )
    migrate.add_argument(
        "--to", default=DEFAULT_MODEL, metavar="MODEL", help="the other model's id (default: %(default)s)"
    )
    migrate.add_argument("--json", action="store_true", help="print one JSON object (default: a table)")
    migrate.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a cassette, a recording of VCR.py or go-vcr, a reasoning log, or a folder of them",
    )


def _add_estimate(commands: Any) -> None:
    estimate = _add(
        commands,
        "estimate",
        "estimate what recorded runs take with another model, or with the cache lost",
        example="estimate run.kimi.yaml --model kimi-k2.6 --runs 1000",
    )
    estimate.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a recorded run: a cassette, a recording, a reasoning log, an SQLite file or postgresql://…",
    )
    estimate.add_argument("--model", metavar="MODEL", help="the other model's id (default: the recorded models)")
    estimate.add_argument(
        "--runs", type=_run_count, default=1_000, metavar="NUMBER", help="for how many runs (default: %(default)s)"
    )
    estimate.add_argument("--thread", metavar="ID", help="the thread of a database (default: its only one)")
    estimate.add_argument("--json", action="store_true", help="print one JSON object (default: a table)")


def _add_report(commands: Any) -> None:
    report = _add(
        commands,
        "report",
        "write what happened in a run, and what it cost, as one HTML file",
        example="report threads.sqlite --thread 42 -o run.html",
    )
    report.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="postgresql://…, an SQLite file with threads, a cassette, another library's recording, or a reasoning log",
    )
    report.add_argument(
        "--thread",
        action="append",
        default=[],
        metavar="ID",
        help="the thread to read; once for all sources, or once for each (default: the only one there is)",
    )
    report.add_argument(
        "--diff", action="store_true", help="show two runs side by side, and where they differ (default: one by one)"
    )
    report.add_argument("-o", "--output", default="run.html", metavar="FILE", help="the file (default: %(default)s)")
    report.add_argument(
        "--no-content",
        action="store_true",
        help="leave out what people, models and tools wrote (default: everything but secrets)",
    )


def _add_serve(commands: Any) -> None:
    serve = _add(
        commands,
        "serve",
        "serve a scripted fake of Kimi's API, for apps in any language",
        example="serve --script model.yaml --port 8000 --loop",
    )
    serve.add_argument("--script", required=True, metavar="FILE", help="replies in YAML, or MODULE:OBJECT")
    serve.add_argument(
        "--port", type=_port, default=0, metavar="PORT", help="the port; 0 means a free one (default: %(default)s)"
    )
    serve.add_argument(
        "--loop", action="store_true", help="begin the replies again after the last (default: refuse further requests)"
    )
    serve.add_argument(
        "--log", metavar="FILE", help="write each request to this file as JSON, without secrets (default: no file)"
    )
    serve.add_argument(
        "--quiet", action="store_true", help="print no line for each request (default: one line on standard error)"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="MODEL", help="the model's id (default: %(default)s)")


def _add(commands: Any, name: str, text: str, *, example: str) -> "Parser":
    """A command's parser; the text is its line in the list of commands and its description."""
    parser: Parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", example=example)
    return parser


def _subcommands(parser: argparse.ArgumentParser, destination: str, *, required: bool = True) -> Any:
    return parser.add_subparsers(
        dest=destination, required=required, metavar="COMMAND", title="commands", parser_class=Parser
    )


class Parser(argparse.ArgumentParser):
    """A parser whose help ends with an example, and whose errors are one line."""

    def __init__(self, *, example: str, **settings: Any) -> None:
        super().__init__(formatter_class=_Help, epilog=f"example: {PROGRAM} {example}", allow_abbrev=False, **settings)
        self.set_defaults(program=self.prog)  # of the innermost command, for its errors

    def error(self, message: str) -> NoReturn:
        write_error(f"{self.prog}: {message}. `{self.prog} --help` shows the options.")
        sys.exit(NOT_RUN)


class _Help(argparse.HelpFormatter):
    """Leaves the example on one line, to be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example: ") else super()._fill_text(text, width, indent)


class _Version(argparse.Action):
    """Shows the version, which is looked up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **settings)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        write_line(f"langchain-kimi-agent {version('langchain-kimi-agent')}")
        parser.exit()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; ports are numbers from 0 to 65535")
    return int(text)


def _cases(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of cases; those are from 0 to 10000")
    return int(text)


def _run_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 10**9):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs; those are from 1 to 1000000000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds; those are above 0")
    return seconds
