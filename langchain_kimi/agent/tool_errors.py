"""What becomes of an exception that a tool raises."""

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
from langchain_kimi.agent.interruption import ToolTimeoutError
from langchain_kimi.errors import AsyncOnlyToolError, without_links

logger = logging.getLogger("langchain_kimi")

ToolErrors: TypeAlias = bool | str | type[Exception] | tuple[type[Exception], ...] | Callable[..., Any]
"""Which exceptions of tools become error results, as LangGraph's ToolNode takes them: True for all, False for none, the
text of the result, exception types, or a function from the exception to the text of the result (or to a bool)."""

_raised: ContextVar[list[Exception] | None] = ContextVar("kimi_raised_by_a_tool", default=None)


@contextmanager
def collected_errors() -> Iterator[list[Exception]]:
    """The exceptions that became error results meanwhile."""
    errors: list[Exception] = []
    token = _raised.set(errors)
    try:
        yield errors
    finally:
        _raised.reset(token)


def note_error(error: Exception) -> None:
    """Count an exception of the tool that runs now, which made an error result of it by itself."""
    if (errors := _raised.get()) is not None:
        errors.append(error)


def error_handler(choice: ToolErrors) -> Callable[[Exception], str]:
    """The `handle_tool_errors` of a ToolNode for a choice. Arguments that do not fit are always an error result."""
    decide = _decision(choice)

    def handle(error: Exception) -> str:
        if isinstance(error, ToolInvocationError):
            if _is_of_arguments(error.source):
                return str(error)
            error = error.source
        if isinstance(error, NotImplementedError) and (name := _without_sync(error)):
            raise AsyncOnlyToolError([name]) from error
        text = None if isinstance(error, AsyncOnlyToolError | ToolTimeoutError) else decide(error)
        if text is None:
            raise error
        note_error(error)
        return text

    return handle


def _decision(choice: ToolErrors) -> Callable[[Exception], str | None]:
    """From an exception to the text of its result; None means that it is raised."""
    if isinstance(choice, bool):
        return lambda error: error_text(error) if choice else None
    if choice in ("raise", "result", "results", "return"):
        # As a text, which ToolNode takes for every failed tool's result, it would do the opposite.
        raise ValueError(f"tool_errors={choice!r}: give False to raise what tools raise, or True to make it results.")
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
    """A function whose parameter is annotated with exception types handles only these, as ToolNode has it."""
    if iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        raise ValueError(f"tool_errors={function!r}: give a synchronous function.")
    types = _annotated(function)

    def decide(error: Exception) -> str | None:
        outcome = function(error) if isinstance(error, types) else None
        if isinstance(outcome, str):
            return outcome
        return error_text(error) if outcome else None

    return decide


def _annotated(function: Callable[..., Any]) -> tuple[type[Exception], ...]:
    """The exception types of a function's first parameter; Exception where it names none."""
    annotated = function if isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        hints = [hint for name, hint in get_type_hints(annotated).items() if name != "return"]
    except (NameError, TypeError):  # names known to type checkers only; objects without annotations
        hints = []
    types = (get_args(hints[0]) or (hints[0],)) if hints else ()
    are_exceptions = types and all(isinstance(kind, type) and issubclass(kind, Exception) for kind in types)
    return types if are_exceptions else (Exception,)


def noting(tool: BaseTool) -> BaseTool:
    """The tool, or a copy of one that makes a result of its ToolExceptions by itself, which notes them too."""
    own = tool.handle_tool_error
    if not own:
        return tool

    def handle(error: ToolException) -> Any:
        note_error(error)
        if callable(own):
            return own(error)
        return own if isinstance(own, str) else (error.args[0] if error.args else "Tool execution error")

    return tool.model_copy(update={"handle_tool_error": handle})


def error_text(error: BaseException) -> str:
    """An exception's type and its words, without secrets and links."""
    return redact(f"{type(error).__name__}: {without_links(error)}")


def log_errors(tool: str, errors: list[Exception]) -> None:
    """Log the exceptions of a tool with their tracebacks."""
    for error in errors:
        logger.warning("the tool %s raised %s", tool, error_text(error), exc_info=error)


def is_async_only(tool: BaseTool) -> bool:
    """Whether the tool can only run asynchronously, as the tools of MCP servers do."""
    return getattr(tool, "func", ...) is None and getattr(tool, "coroutine", None) is not None


def _without_sync(error: NotImplementedError) -> str | None:
    """The name of the tool whose own `_run` raised the error, if it can run asynchronously; else None."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None or traceback.tb_frame.f_code.co_name != "_run":
        return None
    tool = traceback.tb_frame.f_locals.get("self")
    return tool.name if isinstance(tool, BaseTool) and type(tool)._arun is not BaseTool._arun else None


def _is_of_arguments(error: BaseException) -> bool:
    """Whether the arguments of the tool did not fit; else its own work raised pydantic's error, which ToolNode takes
    for the same.
    """
    frames = (frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__))
    return next((name for name in frames if name in ("_parse_input", "_run", "_arun")), None) in (None, "_parse_input")
