"""`langchain-kimi doctor tools`: what Kimi would get of the user's tools, and what it would refuse."""

import argparse
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from langchain_core.tools import BaseTool

from langchain_kimi._request import Tools
from langchain_kimi.cli.command_errors import CHECK_FAILED, CommandError
from langchain_kimi.cli.module_object import describe, load_object
from langchain_kimi.cli.output import write_line

_RESULTS = (str, int, float, bool, dict, None, "str", "int", "float", "bool", "dict", "None")
"""Return annotations of a function without arguments that is a tool itself."""


def run_doctor_tools_command(options: argparse.Namespace) -> int:
    """Print a line for each tool and each change to its schema; the exit status."""
    target: str = options.target
    named = load_object(target, "my_app.tools:TOOLS")
    try:
        declared = Tools.of(_tools(named, target)).declared
    except CommandError:
        raise
    except Exception as error:  # whatever the user's function, or the schema of the user's tool, does
        raise CommandError(f"the tools of {target} cannot be read: {describe(error)}") from error
    for tool in declared:
        write_line(f"{'✗' if tool.problems else '✓'} {tool}", keep="\n")
    unusable = sum(bool(tool.problems) for tool in declared)
    changed = sum(bool(tool.changes) for tool in declared)
    number = "1 tool" if len(declared) == 1 else f"{len(declared)} tools"
    write_line(f"{number}: {changed} with a rewritten schema, {unusable} that Kimi would refuse")
    return CHECK_FAILED if unusable else 0


def _tools(named: Any, target: str) -> list[Any]:
    """The object itself where it is a tool, else the tools that it holds or returns."""
    if isinstance(named, BaseTool | dict | type) or (callable(named) and _is_tool(named)):
        return [named]
    tools = named() if callable(named) else named
    if isinstance(tools, str | bytes) or not isinstance(tools, Iterable):
        kind = type(tools).__name__
        raise CommandError(f"{target} is a {kind}, not a tool or a list of tools. Name a tool, a list or a function.")
    return list(tools)


def _is_tool(function: Callable[..., Any]) -> bool:
    """Whether a function is a tool itself, rather than one that returns tools: it takes arguments, or returns text."""
    signature = inspect.signature(function)
    return bool(signature.parameters) or signature.return_annotation in _RESULTS
