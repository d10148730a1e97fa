"""`langchain-kimi migrate`: what recorded calls would meet with another model, and what they would cost."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from langchain_kimi.catalogue import Model, find, suggestion
from langchain_kimi.cli.command_errors import CHECK_FAILED, NOT_RUN, CommandError, one_line
from langchain_kimi.cli.migration import Migration, Money, model_differences
from langchain_kimi.cli.output import write_error, write_line
from langchain_kimi.cli.recorded_calls import find_recordings, read_calls
from langchain_kimi.testing.cassettes import CassetteError

_COLUMNS = ("run", "requests", "refused", "changes", "USD then", "USD now", "USD now, uncached")
_ASSUMPTIONS = """\
USD: list prices for the tokens as recorded, although another model's answers differ in length.
USD now: as many tokens come from the cache as were recorded; uncached: none do.\
"""


def run_migrate_command(options: argparse.Namespace) -> int:
    """Print the comparison; the exit status, 1 where a request would be refused, 2 where a file could not be read."""
    row = catalogue_row("--to", options.to)
    files = find_recordings(options.paths)
    if not files:
        raise CommandError(f"there are no recordings or reasoning logs in {', '.join(options.paths)}.")
    runs: dict[Path, Migration] = {}
    for file in files:
        try:
            runs[file] = Migration.of(read_calls(file), row)
        except (OSError, CassetteError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            write_error(f"{options.program}: {one_line(cause) if isinstance(cause, OSError) else cause}")
    if options.json:
        write_line(orjson.dumps(_as_json(runs, row)).decode())
    else:
        _write_runs(runs, row)
    if len(runs) < len(files):
        return NOT_RUN
    return CHECK_FAILED if any(run.count("refused") for run in runs.values()) else 0


def catalogue_row(option: str, model: str) -> Model:
    """The row of a model that an option names. Raises CommandError for one that is unknown or retired."""
    row = find(model)
    if row is None:
        meant = suggestion(model)
        hint = f" Did you mean {meant}?" if meant else ""
        raise CommandError(f"{option} {model} is not in the catalogue, so nothing is known of it.{hint}")
    if row.is_retired():
        raise CommandError(f"{option} {model}: {row.retirement_text()}")
    return row


def _as_json(runs: dict[Path, Migration], row: Model) -> dict[str, Any]:
    models = dict.fromkeys(model for run in runs.values() for model in run.models)
    return {
        "to": row.id,
        "differences": {
            model: {name: [old, new] for name, old, new in model_differences(model, row)} for model in models
        },
        "runs": [{"file": str(file), **asdict(run)} for file, run in runs.items()],
        "total": {"calls": sum(run.calls for run in runs.values()), "money": asdict(_total(runs))},
    }


def _write_runs(runs: dict[Path, Migration], row: Model) -> None:
    for model in dict.fromkeys(model for run in runs.values() for model in run.models):
        if (facts := model_differences(model, row)) or find(model) is None:
            write_line(f"{model} → {row.id}" if facts else f"{model} → {row.id}: {model} is not in the catalogue")
            width = max((len(name) for name, _, _ in facts), default=0)
            for name, old, new in facts:
                write_line(f"  {name:{width}}  {old} → {new}")
            write_line("")
    for file, run in runs.items():
        for finding in run.findings:
            write_line(f"{file}: request {finding.request}: {finding.kind}: {finding.text}")
    if any(run.findings for run in runs.values()):
        write_line("")
    cells = [_cells(str(file), [run], run.money) for file, run in runs.items()]
    write_table([_COLUMNS, *cells, _cells("total", list(runs.values()), _total(runs))])
    for line in _ASSUMPTIONS.splitlines():
        write_line(line)
    if row.retirement:
        write_line(row.retirement_text())


def _total(runs: dict[Path, Migration]) -> Money:
    return sum((run.money for run in runs.values()), Money())


def _cells(name: str, runs: Sequence[Migration], money: Money) -> tuple[str, ...]:
    counts = (sum(run.count(kind) for run in runs) for kind in ("refused", "changes"))
    dollars = ("unknown" if usd is None else f"{usd:,.6f}" for usd in (money.then, money.now, money.now_uncached))
    return name, *map(str, (sum(run.calls for run in runs), *counts)), *dollars


def write_table(rows: Sequence[Sequence[str]]) -> None:
    """Write rows whose first cells are texts and whose other cells are numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for first, *cells in rows:
        numbers = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        write_line("  ".join([first.ljust(widths[0]), *numbers]))
