"""A schema in, a legal schema and its report out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from langchain_kimi._rules.moonshot_schema import problems as schema_problems
from langchain_kimi._schema.keywords import native
from langchain_kimi._schema.rewrite import TooLargeError, Walk
from langchain_kimi._schema.subschema import ROOT, Change, SchemaNode

_TOO_DEEP = (ROOT, "schema is nested too deeply")


@dataclass(frozen=True, slots=True)
class Normalised:
    """A schema in Kimi's subset, what was changed, and what the server would still refuse.

    With problems left, `schema` is the original and no changes are reported: it cannot be made legal.
    """

    schema: dict[str, Any]
    changes: tuple[Change, ...]
    problems: tuple[tuple[str, str], ...]


def normalise(schema: Mapping[str, Any]) -> Normalised:
    """Rewrite a JSON Schema for tool parameters or answers to the subset that Kimi accepts."""
    try:
        raw = _plain(schema)
        problems = tuple(schema_problems(raw))
        if raw.get("type") == "object" and not problems and native(raw):
            return Normalised(raw, (), ())
        outcome, changes, problems = _rewritten(raw)
    except (RecursionError, ValueError):
        return Normalised(dict(schema), (), (_TOO_DEEP,))
    return Normalised(raw, (), problems) if problems else Normalised(outcome, changes, ())


def _rewritten(raw: SchemaNode) -> tuple[SchemaNode, tuple[Change, ...], tuple[tuple[str, str], ...]]:
    """A rewritten schema with its report; if inlining makes it too large, references are kept instead."""
    problems: tuple[tuple[str, str], ...] = ()
    for inlining in (True, False):
        walk = Walk(raw, inlining=inlining)
        try:
            outcome = walk.root()
        except TooLargeError:
            problems = ((ROOT, "schema grows too large when its parts are combined"),)
            continue
        problems = tuple(walk.problems) or tuple(schema_problems(outcome))
        if not problems:
            return outcome, tuple(dict.fromkeys(walk.changes)), ()
    return raw, (), problems


def _plain(schema: Mapping[str, Any]) -> SchemaNode:
    """A deep copy in plain JSON values, which serialise to the same bytes everywhere."""
    try:
        plain = orjson.loads(orjson.dumps(schema, default=_json, option=orjson.OPT_NON_STR_KEYS))
    except orjson.JSONEncodeError:
        plain = orjson.loads(orjson.dumps(_json(schema)))
    return plain if isinstance(plain, dict) else {}


def _json(value: Any) -> Any:
    """A JSON value for anything that orjson refuses: huge integers, broken text, sets, decimals."""
    match value:
        case Mapping():
            return {str(_json(key)): _json(child) for key, child in value.items()}
        case list() | tuple():
            return [_json(child) for child in value]
        case set() | frozenset():
            return sorted(map(_json, value), key=str)
        case None | bool():
            return value
        case str():
            return value.encode("utf-8", "replace").decode()
        case int() if not -(2**63) <= value < 2**64:
            return float(value) if abs(value) < 10**300 else math.copysign(1e300, value)
        case int() | float():
            return value
        case _:
            return str(value)
