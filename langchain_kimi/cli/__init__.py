"""The command line, `langchain-kimi` or `python -m langchain_kimi`."""

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    parser = argparse.ArgumentParser(prog="langchain-kimi", description="Kimi agents in LangChain and LangGraph.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="a research agent at work; no key needed, the model is scripted")
    demo.add_argument("--live", action="store_true", help="run against Kimi with MOONSHOT_API_KEY")
    demo.add_argument("--fast", action="store_true", help="print the scripted model's words without pauses")
    chosen = parser.parse_args(arguments)
    from langchain_kimi.cli.demo import run

    return run(live=chosen.live, pace=0.0 if chosen.fast or not sys.stdout.isatty() else 0.02)
