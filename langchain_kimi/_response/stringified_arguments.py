"""Which arguments are an array or object that the model wrote as a string, judged by the tool's schema."""

from collections.abc import Mapping
from typing import Any

from langchain_kimi._raw_calls import parse_json

_DEEPEST = 8
"""How many references and unions are followed, so that a schema that refers to itself ends."""


def stringified(args: Mapping[str, Any], schema: Mapping[str, Any] | None) -> list[str]:
    """The names of the strings in `args` that hold the array or object which their schema asks for.

    A parameter that may be a string is never among them.
    """
    properties = schema.get("properties") if schema else None
    if not isinstance(properties, Mapping):
        return []
    return [
        name
        for name, value in args.items()
        if isinstance(value, str) and _fits(value, _kinds(properties.get(name), schema or {}, _DEEPEST))
    ]


def _fits(text: str, kinds: set[str] | None) -> bool:
    if kinds is None or "string" in kinds or not kinds & {"array", "object"}:
        return False
    try:
        value = parse_json(text)
    except ValueError:
        return False
    return ("array" in kinds and isinstance(value, list)) or ("object" in kinds and isinstance(value, dict))


def _kinds(schema: object, root: Mapping[str, Any], depth: int) -> set[str] | None:
    """The JSON types that a schema takes; None where it does not say."""
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if isinstance(kind, list):
        return {str(one) for one in kind}
    if isinstance(reference := schema.get("$ref"), str):
        return _kinds(_target(reference, root), root, depth - 1)
    union = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(union, list):
        return None
    branches = [_kinds(branch, root, depth - 1) for branch in union]
    known = [branch for branch in branches if branch is not None]
    return set().union(*known) if len(known) == len(branches) else None


def _target(reference: str, root: Mapping[str, Any]) -> object:
    """What a reference inside the schema (`#/$defs/Point`) points at, None where there is nothing."""
    found: object = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found
