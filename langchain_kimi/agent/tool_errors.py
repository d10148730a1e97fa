"""What becomes of an exception that a tool raises, and of arguments that do not fit a tool's schema."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, get_args, get_type_hints

from langchain_core.messages import ToolCall
from langchain_core.tools import BaseTool
from langgraph.prebuilt.tool_node import ToolInvocationError

from langchain_kimi.errors import AsyncOnlyToolError
from langchain_kimi.redaction import redact

logger = logging.getLogger("langchain_kimi")

ToolErrors: TypeAlias = bool | str | type[Exception] | tuple[type[Exception], ...] | Callable[..., Any]
"""Which exceptions of tools become error results, as LangGraph's ToolNode takes them: True for all, False for none, the
text of the result, exception types, or a function from the exception to the text of the result (or to a bool)."""

_REASONS_SHOWN = 5
_INVALID = (
    "The arguments of {name} do not fit its schema, so it was not run. {reasons} Call it again with other arguments."
)

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
            return str(error)
        text = None if isinstance(error, AsyncOnlyToolError) else decide(error)
        if text is None:
            raise error
        note_error(error)
        return text

    return handle


def _decision(choice: ToolErrors) -> Callable[[Exception], str | None]:
    """From an exception to the text of its result; None means that it is raised."""
    if isinstance(choice, bool):
        return lambda error: error_text(error) if choice else None
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
    hints = [hint for name, hint in get_type_hints(function).items() if name != "return"]
    types = get_args(hints[0]) or hints[0] if hints else Exception

    def decide(error: Exception) -> str | None:
        outcome = function(error) if isinstance(error, types) else None
        if isinstance(outcome, str):
            return outcome
        return error_text(error) if outcome else None

    return decide


def error_text(error: BaseException) -> str:
    """An exception in one line: its type and its words, without secrets."""
    return redact(f"{type(error).__name__}: {error}")


def log_errors(tool: str, errors: list[Exception]) -> None:
    """Log the exceptions of a tool with their tracebacks."""
    for error in errors:
        logger.warning("the tool %s raised %s", tool, error_text(error), exc_info=error)


def is_async_only(tool: BaseTool) -> bool:
    """Whether the tool can only run asynchronously, as the tools of MCP servers do."""
    return getattr(tool, "func", ...) is None and getattr(tool, "coroutine", None) is not None


class ArgumentChecks:
    """Validates the arguments of tools that are declared by a JSON Schema, such as all tools of MCP servers.

    Tools with a pydantic schema are validated by LangChain. Validators are made at the first call of a tool. A schema
    that is invalid itself, or that points to one elsewhere, checks nothing; nothing is ever fetched.
    """

    def __init__(self, tools: Mapping[str, BaseTool]) -> None:
        self._schemas = {name: tool.args_schema for name, tool in tools.items() if isinstance(tool.args_schema, dict)}
        self._validators: dict[str, Any] = {}

    def invalid(self, call: ToolCall) -> str | None:
        """Why the arguments of a call do not fit, in words for the model; None where they do."""
        schema = self._schemas.get(call["name"])
        if schema is None:
            return None
        if call["name"] not in self._validators:
            self._validators[call["name"]] = _validator(call["name"], schema)
        validator = self._validators[call["name"]]
        if validator is None:
            return None
        try:
            errors = sorted(validator.iter_errors(call["args"]), key=lambda error: str(error.json_path))
        except Exception as error:  # a reference that leads nowhere shows only where it is followed
            logger.warning("the schema of the tool %s cannot be applied: %s", call["name"], error_text(error))
            self._validators[call["name"]] = None
            return None
        if not errors:
            return None
        reasons = [f"`{error.json_path}`: {error.message[:300]}." for error in errors[:_REASONS_SHOWN]]
        if len(errors) > _REASONS_SHOWN:
            reasons.append(f"There are {len(errors) - _REASONS_SHOWN} more such errors.")
        return _INVALID.format(name=call["name"], reasons=" ".join(reasons))


def _validator(name: str, schema: dict[str, Any]) -> Any:
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        logger.warning("the schema of the tool %s is invalid, so its calls are not checked: %s", name, error.message)
        return None
    return kind(schema, registry=Registry())  # an empty registry fetches nothing
