"""`langchain-kimi cassettes check|show|diff|import`: recorded answers, checked and read."""

import argparse
import re
from pathlib import Path

from langchain_kimi.cli.command_errors import CHECK_FAILED, CommandError
from langchain_kimi.cli.output import write_line
from langchain_kimi.testing.cassettes import CassetteError, import_cassette
from langchain_kimi.testing.cassettes.audit import CHECKS, audit, find_cassettes
from langchain_kimi.testing.cassettes.cassette_file import SUFFIX, load_cassette
from langchain_kimi.testing.cassettes.display import conversation_lines, difference_lines

_ENDING = re.compile(r"\.(?:ya?ml|json)(?:\.gz)?\Z")


def run_cassettes_command(options: argparse.Namespace) -> int:
    """Run the action; the exit status."""
    try:
        if options.action == "check":
            return _check(options.paths, options.skip)
        if options.action == "show":
            return _show(options.path)
        if options.action == "diff":
            return _diff(*options.paths)
        return _import(Path(options.source), Path(options.target))
    except CassetteError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.filename:
            raise error.__cause__ from error
        raise CommandError(str(error)) from error


def _check(paths: list[str], skip: list[str]) -> int:
    if unknown := sorted(set(skip) - set(CHECKS)):
        raise CommandError(f"--skip {unknown[0]} is not a check. The checks are {', '.join(CHECKS)}.")
    files = find_cassettes(paths)
    if not files:
        raise CommandError(f"there are no cassettes (*{SUFFIX}) in {', '.join(paths)}. Name a cassette or a folder.")
    total = 0
    for file in files:
        findings = audit(file, skip=skip)
        total += len(findings)
        _write_lines(*(findings or (f"{file}: clean",)))
    result = f"{total} finding{'s' * (total != 1)}" if total else "clean"
    _write_lines(f"{len(files)} cassette{'s' * (len(files) != 1)}: {result}")
    return CHECK_FAILED if total else 0


def _show(path: str) -> int:
    _write_lines(*conversation_lines(load_cassette(path)))
    return 0


def _diff(one: str, two: str) -> int:
    lines = list(difference_lines(load_cassette(one), load_cassette(two)))
    _write_lines(*lines)
    return CHECK_FAILED if lines else 0


def _import(source: Path, target: Path) -> int:
    recordings = [source]
    if source.is_dir():
        recordings = sorted(path for path in source.rglob("*") if _ENDING.search(path.name))
    if not recordings:
        raise CommandError(
            f"there are no recordings (.yaml, .yml or .json) in {source}. Name a file or another folder."
        )
    for recording in recordings:
        into = target
        if source.is_dir() or target.is_dir():
            below = recording.relative_to(source).parent if source.is_dir() else Path()
            into = target / below / f"{_ENDING.sub('', recording.name)}{SUFFIX}"
        interactions = import_cassette(recording, into)
        _write_lines(f"{recording} → {into}: {len(interactions)} interactions")
    return 0


def _write_lines(*lines: object) -> None:
    for line in lines:
        write_line(line, keep="\t")
