"""`langchain-kimi report`: what happened in recorded runs, as one HTML file."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from langchain_kimi._recorded_runs import RecordedRun, RunSourceError, cache_breaks_of, read_recorded_run
from langchain_kimi._run_report import difference_page, remove_content, report_page, scrub_run
from langchain_kimi._run_report.formats import format_count, format_usd
from langchain_kimi.cli.command_errors import CommandError
from langchain_kimi.cli.output import write_line
from langchain_kimi.testing.cassettes import CassetteError


def run_report_command(options: argparse.Namespace) -> int:
    """Write the file; the exit status."""
    sources = _sources(options.sources, options.thread)
    if options.diff and len(sources) != 2:
        raise CommandError(f"--diff compares two runs, and there are {len(sources)}. Name two sources or two threads.")
    runs = [_read(source, thread, options.no_content) for source, thread in sources]
    page = difference_page(*runs) if options.diff else report_page(runs, content=not options.no_content)
    _write_private(Path(options.output), page)
    requests, cost = sum(run.usage.requests for run in runs), [run.usage.cost_usd for run in runs]
    total = None if None in cost else sum(one or 0.0 for one in cost)
    write_line(f"{options.output}: {format_count(requests)} requests, {format_usd(total)}")
    return 0


def _sources(sources: list[str], threads: list[str]) -> list[tuple[str, str | None]]:
    """Each source with its thread."""
    if not threads:
        return [(source, None) for source in sources]
    if len(sources) == 1:
        return [(sources[0], thread) for thread in threads]
    if len(threads) not in (1, len(sources)):
        raise CommandError(f"there are {len(sources)} sources and {len(threads)} --thread. Give one, or one for each.")
    return list(zip(sources, threads * len(sources) if len(threads) == 1 else threads, strict=True))


def _read(source: str, thread: str | None, no_content: bool) -> RecordedRun:
    """The run as the report shows it."""
    try:
        run = read_recorded_run(source, thread)
        run = scrub_run(replace(run, cache_breaks=tuple(cache_breaks_of(run))))
    except (RunSourceError, CassetteError) as error:
        raise CommandError(str(error)) from error
    return remove_content(run) if no_content else run


def _write_private(path: Path, text: str) -> None:
    """Write a file; a new one is readable by its owner only, because it contains prompts."""
    with open(
        path, "w", encoding="utf-8", newline="\n", opener=lambda name, flags: os.open(name, flags, 0o600)
    ) as file:
        file.write(text)
