"""Converts the value of `bind(response_format=…)` to Kimi's `response_format`."""

from collections.abc import Mapping
from typing import Any

from langchain_core.utils.function_calling import convert_to_json_schema

from langchain_kimi._request.tools import recursive_schema
from langchain_kimi.errors import IllegalRequestError


def response_format(value: object) -> Mapping[str, Any]:
    """A class or a bare JSON Schema becomes a strict `json_schema`; a dict with another type is returned as it is.

    Raises IllegalRequestError for anything else.
    """
    if isinstance(value, type):
        return _json_schema_format({**convert_to_json_schema(value), **(recursive_schema(value) or {})})
    if not isinstance(value, Mapping):
        raise IllegalRequestError(
            f"response_format={value!r} has no known form. Give {{'type': 'text'}}, {{'type': 'json_object'}}, "
            "{'type': 'json_schema', …}, a pydantic class, a TypedDict or a JSON Schema."
        )
    return _json_schema_format(value) if value.get("type") == "object" else value


def _json_schema_format(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    named = {"name": str(schema.get("title", "answer")), "schema": dict(schema), "strict": True}
    return {"type": "json_schema", "json_schema": named}
