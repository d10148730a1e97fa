"""`langchain-kimi models` and `langchain-kimi doctor tools`: what is known, and what Kimi would say to your tools."""

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from langchain_core.tools import BaseTool

from langchain_kimi.catalogue import MODELS, Model, Price
from langchain_kimi.encode import Tools

_COLUMNS = ("model", "window", "thinking", "effort", "USD/M hit / miss / out", "CNY/M hit / miss / out", "")


def show_models() -> int:
    """Print the catalogue; the exit status."""
    rows = [_COLUMNS, *map(_row, MODELS)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(model: Model) -> tuple[str, ...]:
    retired = f"retired {model.retired}: use {model.successor}" if model.retired else ""
    return (
        *(model.id, f"{model.context:,}", model.thinking, "/".join(model.efforts) or "-"),
        *(_price(model.usd), _price(model.cny), retired),
    )


def _price(price: Price | None) -> str:
    return f"{price.hit:g} / {price.miss:g} / {price.output:g}" if price else "unknown"


def check_tools(target: str) -> int:
    """Print what Kimi would get of the tools at `module:object`; 0 when all are usable, 1 when one is not."""
    try:
        tools = _tools_at(target)
    except (ImportError, AttributeError, ValueError) as error:
        _say(f"{target}: {error}")
        return 2
    declared = Tools.of(tools).declared
    for tool in declared:
        _say(f"{'✗' if tool.problems else '✓'} {tool}")
    unusable = sum(bool(tool.problems) for tool in declared)
    changed = sum(bool(tool.changes) for tool in declared)
    _say(f"{len(declared)} tools: {changed} with a rewritten schema, {unusable} that Kimi would refuse")
    return 1 if unusable else 0


def _tools_at(target: str) -> list[Any]:
    """The tools that `module:object` names: one, several, or a function without arguments that returns them."""
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ValueError("name the tools as module:object, for instance my_app.tools:TOOLS")
    sys.path.insert(0, "")
    found = getattr(import_module(module), name)
    if isinstance(found, BaseTool | dict | type):
        return [found]
    if callable(found):
        found = found()
    if not isinstance(found, Iterable):
        raise ValueError(f"{name} is a {type(found).__name__}, not a tool or a list of tools")
    return list(found)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
