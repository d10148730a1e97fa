"""What `bind(response_format=…)` takes, as Kimi's `response_format`."""

from collections.abc import Mapping
from typing import Any

from langchain_core.utils.function_calling import convert_to_json_schema

from langchain_kimi._request.tools import recursive_schema
from langchain_kimi.errors import IllegalRequestError


def response_format(wanted: object) -> Mapping[str, Any]:
    """Kimi's form of a response format: a dict as it is, a class or a bare JSON Schema as `json_schema`, strict.

    Raises IllegalRequestError for anything else.
    """
    if isinstance(wanted, type):
        return _json_schema({**convert_to_json_schema(wanted), **(recursive_schema(wanted) or {})})
    if not isinstance(wanted, Mapping):
        raise IllegalRequestError(
            f"response_format={wanted!r} has no known form. Give {{'type': 'text'}}, {{'type': 'json_object'}}, "
            "{'type': 'json_schema', …}, a pydantic class, a TypedDict or a JSON Schema."
        )
    return _json_schema(wanted) if wanted.get("type") == "object" else wanted


def _json_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    named = {"name": str(schema.get("title", "answer")), "schema": dict(schema), "strict": True}
    return {"type": "json_schema", "json_schema": named}
