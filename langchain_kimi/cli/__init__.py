"""The command line, `langchain-kimi` or `python -m langchain_kimi`."""

import argparse
import os
import sys
from collections.abc import Sequence

from langchain_kimi.cli import cassettes, live


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    parser = argparse.ArgumentParser(prog="langchain-kimi", description="Kimi agents in LangChain and LangGraph.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="a research agent at work; no key needed, the model is scripted")
    demo.add_argument("--live", action="store_true", help="run against Kimi with MOONSHOT_API_KEY")
    demo.add_argument("--fast", action="store_true", help="print the scripted model's words without pauses")
    commands.add_parser("models", help="what is known of each Kimi model")
    doctor = commands.add_parser("doctor", help="find out why Kimi does not answer, or what it would refuse")
    doctor.add_argument("--model", default=live.MODEL, help="the model that you mean to ask")
    subjects = doctor.add_subparsers(dest="subject")
    tools = subjects.add_parser("tools", help="check the names and schemas of your tools")
    tools.add_argument("target", metavar="module:object", help="a tool, a list of tools, or a function returning them")
    live.declare(commands)
    cassettes.declare(commands)
    serve = commands.add_parser("serve", help="a scripted double of Kimi's API as a process")
    serve.add_argument("--script", required=True, metavar="FILE", help="a conversation in YAML, or module:object")
    serve.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    serve.add_argument("--log", metavar="FILE", help="write each request as a line of JSON, without secrets")
    try:
        status = _run(parser.parse_args(arguments))
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read the output has gone (`… | head`); Python would complain once more when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


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
