"""`langchain-kimi cassettes check|show|diff|import`: recorded answers, judged and read.

Exit status: 0 where all is well, 1 where something was found, 2 where it could not be done.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from langchain_kimi.cli.terminal import write_failure, write_line

_ENDING = re.compile(r"\.(?:ya?ml|json)(?:\.gz)?\Z")


def declare(commands: Any) -> None:
    """Adds the command and its subcommands to the parser."""
    cassettes = commands.add_parser("cassettes", help="check, show, compare or import recorded answers")
    subjects = cassettes.add_subparsers(dest="subject", required=True)
    check = subjects.add_parser(
        "check",
        help="judge recordings by what is known of Kimi today",
        epilog="example: langchain-kimi cassettes check tests",
    )
    check.add_argument("paths", nargs="+", metavar="PATH", help="a cassette, or a folder of them")
    check.add_argument("--skip", action="append", default=[], metavar="CHECK", help="leave out a check, e.g. prefix")
    show = subjects.add_parser(
        "show",
        help="print a conversation",
        epilog="example: langchain-kimi cassettes show tests/cassettes/test_app/test_greets.kimi.yaml",
    )
    show.add_argument("path", metavar="FILE")
    diff = subjects.add_parser(
        "diff",
        help="say where two recordings differ",
        epilog="example: langchain-kimi cassettes diff old.kimi.yaml new.kimi.yaml",
    )
    diff.add_argument("paths", nargs=2, metavar="FILE")
    bring = subjects.add_parser(
        "import",
        help="read a recording of VCR.py or go-vcr",
        epilog="example: langchain-kimi cassettes import tests/vcr tests/cassettes",
    )
    bring.add_argument("source", metavar="FROM", help="a recording, or a folder of them")
    bring.add_argument("target", metavar="TO", help="the cassette to write, or a folder for them")


def run(chosen: argparse.Namespace) -> int:
    """Run a subcommand; the exit status."""
    try:
        from langchain_kimi.testing.cassettes import CassetteError
    except ImportError as error:
        write_failure(error)
        return 2
    try:
        if chosen.subject == "check":
            return _check(chosen.paths, chosen.skip)
        if chosen.subject == "show":
            return _show(chosen.path)
        return _diff(*chosen.paths) if chosen.subject == "diff" else _import(Path(chosen.source), Path(chosen.target))
    except (CassetteError, OSError) as error:
        write_failure(error)
        return 2


def _check(paths: list[str], skip: list[str]) -> int:
    from langchain_kimi.testing.cassettes.audit import CHECKS, audit, cassettes_in

    if unknown := sorted(set(skip) - set(CHECKS)):
        write_failure(f"--skip {unknown[0]}: the checks are {', '.join(CHECKS)}")
        return 2
    files = cassettes_in(paths)
    if not files:
        write_failure(f"no cassettes (*.kimi.yaml) in {', '.join(paths)}")
        return 2
    found = 0
    for file in files:
        findings = audit(file, skip=skip)
        found += len(findings)
        _say(*map(str, findings)) if findings else _say(f"{file}: clean")
    _say(f"{len(files)} cassettes: {found} findings" if found else f"{len(files)} cassettes: clean")
    return 1 if found else 0


def _show(path: str) -> int:
    from langchain_kimi.testing.cassettes.reading import shown
    from langchain_kimi.testing.cassettes.tape import load

    _say(*shown(load(path)))
    return 0


def _diff(one: str, two: str) -> int:
    from langchain_kimi.testing.cassettes.reading import compared
    from langchain_kimi.testing.cassettes.tape import load

    lines = list(compared(load(one), load(two)))
    _say(*lines)
    return 1 if lines else 0


def _import(source: Path, target: Path) -> int:
    from langchain_kimi.testing.cassettes import import_cassette
    from langchain_kimi.testing.cassettes.tape import SUFFIX

    recordings = [source]
    if source.is_dir():
        recordings = sorted(path for path in source.rglob("*") if _ENDING.search(path.name))
    for recording in recordings:
        into = target
        if source.is_dir() or target.is_dir():
            below = recording.relative_to(source).parent if source.is_dir() else Path()
            into = target / below / f"{_ENDING.sub('', recording.name)}{SUFFIX}"
        interactions = import_cassette(recording, into)
        _say(f"{recording} → {into}: {len(interactions)} interactions")
    if not recordings:
        write_failure(f"no recordings in {source}")
    return 0 if recordings else 2


def _say(*lines: object) -> None:
    for line in lines:
        write_line(line, keep="\t")
