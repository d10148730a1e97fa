"""The command line, `langchain-kimi` or `python -m langchain_kimi`."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from langchain_kimi.cli import cassettes, live
from langchain_kimi.cli.terminal import INTERRUPTED, use_any_encoding, write_failure, write_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    use_any_encoding()
    try:
        status = _run(_parser().parse_args(arguments))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        write_failure("Stopped by Ctrl-C.")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone (`… | head`); Python would complain once more when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="langchain-kimi", description="Kimi agents in LangChain and LangGraph.")
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="a research agent at work; no key needed, the model is scripted",
        epilog="example: langchain-kimi demo --fast",
    )
    demo.add_argument("--live", action="store_true", help="run against Kimi with MOONSHOT_API_KEY")
    demo.add_argument("--fast", action="store_true", help="print the scripted model's words without pauses")
    commands.add_parser("models", help="what is known of each Kimi model", epilog="example: langchain-kimi models")
    doctor = commands.add_parser(
        "doctor",
        help="find out why Kimi does not answer, or what it would refuse",
        epilog="example: langchain-kimi doctor --model kimi-k3",
    )
    doctor.add_argument("--model", default=live.MODEL, help="the model that you mean to ask (default: %(default)s)")
    subjects = doctor.add_subparsers(dest="subject")
    tools = subjects.add_parser(
        "tools",
        help="check the names and schemas of your tools",
        epilog="example: langchain-kimi doctor tools my_app.tools:TOOLS",
    )
    tools.add_argument(
        "target",
        metavar="module:object",
        help="a tool, a function that is one, a list of them, or a function without arguments that returns them",
    )
    live.declare(commands)
    cassettes.declare(commands)
    serve = commands.add_parser(
        "serve",
        help="a scripted double of Kimi's API as a process",
        epilog="example: langchain-kimi serve --script model.yaml --port 8000",
    )
    serve.add_argument("--script", required=True, metavar="FILE", help="a conversation in YAML, or module:object")
    serve.add_argument("--port", type=_port, default=0, help="0 takes a free one (default: %(default)s)")
    serve.add_argument("--log", metavar="FILE", help="write each request as a line of JSON, without secrets")
    return parser


def _run(chosen: argparse.Namespace) -> int:
    # Imported here: help and a mistyped command should not wait for LangChain.
    if chosen.command == "demo":
        from langchain_kimi.cli.demo import run

        return run(live=chosen.live, pace=0.0 if chosen.fast or not sys.stdout.isatty() else 0.02)
    if chosen.command in ("ask", "tokens", "balance", "files"):
        return live.run(chosen)
    if chosen.command == "doctor" and chosen.subject is None:
        from langchain_kimi.cli.doctor import check_account

        return check_account(chosen.model)
    if chosen.command == "cassettes":
        return cassettes.run(chosen)
    if chosen.command == "serve":
        from langchain_kimi.cli import serve

        return serve.run(chosen.script, port=chosen.port, log=chosen.log)
    from langchain_kimi.cli.reports import check_tools, show_models

    return show_models() if chosen.command == "models" else check_tools(chosen.target)


class _Version(argparse.Action):
    """Shows the version; what reads it is loaded only then."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(nargs=0, **settings)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        write_line(f"langchain-kimi-agent {version('langchain-kimi-agent')}")
        parser.exit()


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{port} is no port; ports go up to 65535")
    return port
