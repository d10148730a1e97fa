"""`MODULE:OBJECT`: an object in the user's own code."""

import sys
from importlib import import_module
from typing import Any

from langchain_kimi.cli.command_errors import CommandError, where


def load_object(target: str, example: str) -> Any:
    """Import the module, from the working directory too, and return the object. Raises CommandError."""
    module_name, _, name = target.partition(":")
    if not (module_name and name):
        raise CommandError(f"{target} is not MODULE:OBJECT. Name the object like this: {example}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever the user's module does when it is imported
        raise CommandError(f"the module {module_name} cannot be imported: {describe(error)}") from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise CommandError(f"the module {module_name} has no object {name}. Check the name behind the colon.") from None


def describe(error: BaseException) -> str:
    """An exception of the user's code: its type, its message, and where it was raised."""
    return f"{type(error).__name__}: {error}{where(error)}"
