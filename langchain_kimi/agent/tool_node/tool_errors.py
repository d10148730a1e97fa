"""Turns exceptions that tools raise into error results, or raises them."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import iscoroutinefunction, isroutine
from traceback import walk_tb
from typing import Any, TypeAlias, get_args, get_type_hints

from langchain_core.tools import BaseTool, ToolException
from langgraph.prebuilt.tool_node import ToolInvocationError

from langchain_kimi._redaction import redact
from langchain_kimi.agent.tool_node.tool_threads import ToolTimeoutError
from langchain_kimi.errors import DurabilityError, without_links

logger = logging.getLogger("langchain_kimi")

ToolErrors: TypeAlias = bool | str | type[Exception] | tuple[type[Exception], ...] | Callable[..., Any]
"""Which exceptions of tools become error results, with the same values as LangGraph's ToolNode: True for all, False for
none, the text of the result, exception types, or a function from the exception to the result's text or to a bool."""

_raised: ContextVar[list[Exception] | None] = ContextVar("kimi_raised_by_a_tool", default=None)


@contextmanager
def collected_errors() -> Iterator[list[Exception]]:
    """Collects the exceptions that become error results inside the block."""
    errors: list[Exception] = []
    token = _raised.set(errors)
    try:
        yield errors
    finally:
        _raised.reset(token)


def record_error(error: Exception) -> None:
    """Record an exception for which the running tool returns an error result by itself."""
    if (errors := _raised.get()) is not None:
        errors.append(error)


def error_handler(choice: ToolErrors) -> Callable[[Exception], str]:
    """The `handle_tool_errors` of a ToolNode. Arguments that do not fit a tool's schema are always an error result."""
    decide = _decision(choice)

    def handle(error: Exception) -> str:
        if isinstance(error, ToolInvocationError):
            if _is_argument_error(error.source):
                return str(error)
            error = error.source
        text = None if isinstance(error, DurabilityError | ToolTimeoutError) else decide(error)
        if text is None:
            raise error
        record_error(error)
        return text

    return handle


def _decision(choice: ToolErrors) -> Callable[[Exception], str | None]:
    """A function from an exception to the text of its result, or to None if the exception is raised."""
    if isinstance(choice, bool):
        return lambda error: error_text(error) if choice else None
    if choice in ("raise", "result", "results", "return"):
        # As the text of every error result, it would do the opposite of what it says.
        raise ValueError(
            f"tool_errors={choice!r}: give False to raise the exceptions of tools, or True to make them error results."
        )
    if isinstance(choice, str):
        return lambda error: choice
    if isinstance(choice, type | tuple):
        types = choice if isinstance(choice, tuple) else (choice,)
        if not types or not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in types):
            raise ValueError(f"tool_errors={choice!r}: give exception types only.")
        return lambda error: error_text(error) if isinstance(error, types) else None
    if callable(choice):
        return _from_function(choice)
    raise ValueError(f"tool_errors={choice!r}: give a bool, a text, exception types, or a function of the exception.")


def _from_function(function: Callable[[Exception], Any]) -> Callable[[Exception], str | None]:
    """As in ToolNode, a function whose parameter is annotated with exception types handles only these."""
    if iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        raise ValueError(f"tool_errors={function!r}: give a synchronous function.")
    types = _handled_types(function)

    def decide(error: Exception) -> str | None:
        result = function(error) if isinstance(error, types) else None
        if isinstance(result, str):
            return result
        return error_text(error) if result else None

    return decide


def _handled_types(function: Callable[..., Any]) -> tuple[type[Exception], ...]:
    """The exception types in the annotation of a function's first parameter; Exception if there are none."""
    routine = function if isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        hints = [hint for name, hint in get_type_hints(routine).items() if name != "return"]
    except (NameError, TypeError):  # names known to type checkers only; objects without annotations
        hints = []
    types = (get_args(hints[0]) or (hints[0],)) if hints else ()
    are_exceptions = types and all(isinstance(kind, type) and issubclass(kind, Exception) for kind in types)
    return types if are_exceptions else (Exception,)


def with_recorded_errors(tool: BaseTool) -> BaseTool:
    """The tool, or a copy that also records the ToolExceptions for which the tool returns a result by itself."""
    own = tool.handle_tool_error
    if not own:
        return tool

    def handle(error: ToolException) -> Any:
        record_error(error)
        if callable(own):
            return own(error)
        return own if isinstance(own, str) else (error.args[0] if error.args else "Tool execution error")

    return tool.model_copy(update={"handle_tool_error": handle})


def error_text(error: BaseException) -> str:
    """An exception's type and text, without secrets and links."""
    return redact(f"{type(error).__name__}: {without_links(error)}")


def log_errors(tool: str, errors: list[Exception]) -> None:
    """Log the exceptions of a tool with their tracebacks."""
    for error in errors:
        logger.warning("the tool %s raised %s", tool, error_text(error), exc_info=error)


def _is_argument_error(error: BaseException) -> bool:
    """Whether the arguments did not fit the tool's schema.

    Otherwise the tool itself raised pydantic's error, which ToolNode reports in the same way.
    """
    frames = (frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__))
    return next((name for name in frames if name in ("_parse_input", "_run", "_arun")), None) in (None, "_parse_input")
