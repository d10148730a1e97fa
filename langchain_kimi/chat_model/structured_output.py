"""Requests an object of a schema from the model, whether it thinks or not, and validates it.

A `StructuredOutputStrategy` says what the model supports. `SchemaReader` reads the response in the same way under every
strategy. `StructuredOutputRunnable` calls the model, again with the errors after a response without a valid object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_json_schema

from langchain_kimi._request.tools import Tools, encode_tool, recursive_schema
from langchain_kimi.catalogue import Model
from langchain_kimi.chat_model.schema_reader import SchemaReader
from langchain_kimi.chat_model.structured_runnable import StructuredOutputRunnable

StructuredOutputMethod = Literal["json_schema", "function_calling", "json_mode"]
"""How the object is requested: `response_format` with a JSON Schema, a tool call, or `response_format` `json_object`.
"""

VALIDATION_RETRIES = 1
"""How often the model is called again after a response without a valid object, by default."""
UNFORCED_RETRIES = 2
"""The same where the model cannot be forced to call the schema's tool."""


@dataclass(frozen=True, slots=True)
class StructuredOutputStrategy:
    """How an object of a schema can be requested from a model."""

    json_schema: bool | None
    """Whether the model follows a JSON Schema in `response_format`; None where it is not known."""
    tool_choice: Literal["named", "required", "auto"]
    """The strongest `tool_choice` that the model takes."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Call settings under which it takes that `tool_choice`."""

    @classmethod
    def of(cls, row: Model | None, *, thinks: bool, can_switch_off: bool) -> "StructuredOutputStrategy":
        """The strategy for a model of the catalogue, or for an unknown one.

        `thinks`: whether it thinks by its settings. `can_switch_off`: whether thinking may be switched off, because the
        user asked for none.
        """
        if row is None:
            return cls(json_schema=False, tool_choice="named")
        choices = row.choices(thinks)
        if not thinks or "required" in choices:
            return cls(row.json_schema, "named" if "named" in choices else "required")
        if row.thinking == "optional" and can_switch_off:
            return cls(row.json_schema, "named", {"thinking": False})
        return cls(row.json_schema, "auto")


def structured_output(
    model: BaseChatModel,
    schema: dict[str, Any] | type,
    *,
    method: StructuredOutputMethod | None,
    strategy: StructuredOutputStrategy,
    include_raw: bool,
    strict: bool | None,
    keep_tools: Sequence[Any] = (),
    max_validation_retries: int | None = None,
    bound: Mapping[str, Any],
) -> Runnable[LanguageModelInput, Any]:
    """A runnable from a model's input to an object of `schema`, or to `raw`, `parsed` and `parsing_error`.

    `keep_tools` stay in the request, so that its prefix stays in Kimi's cache; none of them is called. `bound` are
    further call settings. After a response without a valid object the model gets another request with the response and
    the errors, at most `max_validation_retries` times.
    """
    if max_validation_retries is not None and not (type(max_validation_retries) is int and max_validation_retries >= 0):
        raise ValueError(f"max_validation_retries={max_validation_retries!r}: give a whole number, 0 or more.")
    if method not in (None, "json_schema", "function_calling", "json_mode"):
        raise ValueError(f"method={method!r} is none of 'json_schema', 'function_calling', 'json_mode'.")
    if method is None:
        method = "json_schema" if strategy.json_schema else "function_calling"
    if method == "json_schema" and strategy.json_schema is False:
        method = "function_calling"
    by_call = method == "function_calling"
    reader = SchemaReader(schema, _json_schema(schema, by_call=by_call), by_call=by_call)
    uncalled = {"tools": Tools.of(keep_tools), "tool_choice": "none"} if keep_tools and not by_call else {}
    settings = {
        **uncalled,
        **_request_settings(schema, method, reader, strategy, strict),
        "ls_structured_output_format": {"kwargs": {"method": method}, "schema": reader.json_schema},
        **bound,
    }
    if max_validation_retries is None:
        unforced = by_call and strategy.tool_choice == "auto"
        max_validation_retries = UNFORCED_RETRIES if unforced else VALIDATION_RETRIES
    attempts = 1 + max_validation_retries
    return StructuredOutputRunnable(model.bind(**settings), reader, include_raw=include_raw, attempts=attempts)


def _request_settings(
    schema: dict[str, Any] | type,
    method: StructuredOutputMethod,
    reader: SchemaReader,
    strategy: StructuredOutputStrategy,
    strict: bool | None,
) -> dict[str, Any]:
    """The call settings that request the object."""
    if method == "json_mode":
        return {"response_format": {"type": "json_object"}}
    if method == "json_schema":
        # Without `strict` kimi-k2.6 tends to add fields, whatever its documented default.
        named = {"name": reader.name, "schema": reader.json_schema, "strict": strict is not False}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    tool = encode_tool(schema, strict=strict)
    named_choice = {"type": "function", "function": {"name": tool["function"]["name"]}}
    choice = named_choice if strategy.tool_choice == "named" else strategy.tool_choice
    return {"tools": [tool], "tool_choice": choice, **strategy.settings}


def _json_schema(schema: dict[str, Any] | type, *, by_call: bool) -> dict[str, Any]:
    """The JSON Schema of the object, with its name as title."""
    if by_call:
        function = encode_tool(schema)["function"]
        return {"title": function["name"], **function["parameters"]}
    return {**convert_to_json_schema(schema), **(recursive_schema(schema) or {})}
