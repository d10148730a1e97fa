"""Finds tool arguments that are an array or object by the tool's schema and that the model wrote as a JSON string."""

from collections.abc import Mapping
from typing import Any

from langchain_kimi._raw_calls import parse_json

_MAX_DEPTH = 8
"""How many references and unions are followed, so that the search in a schema that refers to itself ends."""


def stringified_arguments(args: Mapping[str, Any], schema: Mapping[str, Any] | None) -> list[str]:
    """The names of the strings in `args` that hold the array or object which their schema asks for.

    A parameter that may be a string is never among them.
    """
    properties = schema.get("properties") if schema else None
    if not isinstance(properties, Mapping):
        return []
    return [
        name
        for name, value in args.items()
        if isinstance(value, str) and _holds(value, _json_types(properties.get(name), schema or {}, _MAX_DEPTH))
    ]


def _holds(text: str, types: set[str] | None) -> bool:
    """Whether the text is JSON of one of the types, none of which is a string."""
    if types is None or "string" in types or not types & {"array", "object"}:
        return False
    try:
        value = parse_json(text)
    except ValueError:
        return False
    return ("array" in types and isinstance(value, list)) or ("object" in types and isinstance(value, dict))


def _json_types(schema: object, root: Mapping[str, Any], depth: int) -> set[str] | None:
    """The JSON types that a schema allows; None where the schema does not name them."""
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    named = schema.get("type")
    if isinstance(named, str):
        return {named}
    if isinstance(named, list):
        return {str(one) for one in named}
    if isinstance(reference := schema.get("$ref"), str):
        return _json_types(_resolve(reference, root), root, depth - 1)
    union = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(union, list):
        return None
    branches = [_json_types(branch, root, depth - 1) for branch in union]
    known = [branch for branch in branches if branch is not None]
    return set().union(*known) if len(known) == len(branches) else None


def _resolve(reference: str, root: Mapping[str, Any]) -> object:
    """The target of a reference inside the schema (`#/$defs/Point`); None where it has none."""
    node: object = root
    for step in reference.removeprefix("#/").split("/"):
        node = node.get(step) if isinstance(node, Mapping) else None
    return node
