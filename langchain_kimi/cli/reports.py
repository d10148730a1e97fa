"""`langchain-kimi models` and `langchain-kimi doctor tools`: what is known, and what Kimi would say to your tools."""

import inspect
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from langchain_core.tools import BaseTool

from langchain_kimi.catalogue import MODELS, Model, Price
from langchain_kimi.cli.terminal import cause, write_line
from langchain_kimi.encode import Tools

_RESULTS = (str, int, float, bool, dict, None, "str", "int", "float", "bool", "dict", "None")
"""What a function is annotated to return that is a tool and takes no arguments."""
_COLUMNS = ("model", "window", "thinking", "effort", "USD/M hit / miss / out", "CNY/M hit / miss / out", "")


def show_models() -> int:
    """Print the catalogue; the exit status."""
    rows = [_COLUMNS, *map(_row, MODELS)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
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
        declared = Tools.of(_tools_at(target)).declared
    except Exception as error:  # whatever the user's module does when it is imported
        write_line(f"{target}: {type(error).__name__}: {cause(error)}")
        return 2
    for tool in declared:
        write_line(f"{'✗' if tool.problems else '✓'} {tool}", keep="\n")
    unusable = sum(bool(tool.problems) for tool in declared)
    changed = sum(bool(tool.changes) for tool in declared)
    write_line(f"{len(declared)} tools: {changed} with a rewritten schema, {unusable} that Kimi would refuse")
    return 1 if unusable else 0


def _tools_at(target: str) -> list[Any]:
    """The tools that `module:object` names: one, several, or a function without arguments that returns them."""
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ValueError("name the tools as module:object, for instance my_app.tools:TOOLS")
    sys.path.insert(0, "")
    named = getattr(import_module(module), name)
    if isinstance(named, BaseTool | dict | type) or (callable(named) and _is_tool(named)):
        return [named]
    tools = named() if callable(named) else named
    if isinstance(tools, str) or not isinstance(tools, Iterable):
        raise ValueError(f"{name} is a {type(tools).__name__}, not a tool or a list of tools")
    return list(tools)


def _is_tool(function: Callable[..., Any]) -> bool:
    """Whether a function is a tool itself, rather than one that returns tools: it takes arguments, or returns text."""
    signature = inspect.signature(function)
    return bool(signature.parameters) or signature.return_annotation in _RESULTS
