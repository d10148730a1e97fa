"""`langchain-kimi models`: the catalogue."""

import argparse

from langchain_kimi.catalogue import MODELS, Model, Price
from langchain_kimi.cli.output import write_line

_COLUMNS = ("model", "window", "thinking", "effort", "USD/M hit / miss / out", "CNY/M hit / miss / out", "")


def run_models_command(options: argparse.Namespace) -> int:
    """Print one line for each model; the exit status."""
    rows = [_COLUMNS, *map(_row, MODELS)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(model: Model) -> tuple[str, ...]:
    return (
        *(model.id, f"{model.context:,}", model.thinking, "/".join(model.efforts) or "-"),
        *(_price(model.usd), _price(model.cny), _retirement(model)),
    )


def _retirement(model: Model) -> str:
    if (retirement := model.retirement) is None:
        return ""
    verb = "retired" if model.is_retired() else "retires"
    doubt = "" if retirement.confidence == "official" else f" ({retirement.confidence} by {retirement.source})"
    return f"{verb} {retirement.day}{doubt}: use {retirement.successor}"


def _price(price: Price | None) -> str:
    return f"{price.hit:g} / {price.miss:g} / {price.output:g}" if price else "unknown"
