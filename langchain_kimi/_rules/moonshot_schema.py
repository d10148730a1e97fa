"""Moonshot-flavoured JSON Schema: what is wrong with a schema, in the words of the server's validator.

Written from the facts of MoonshotAI/walle (June 2026) at its level "strict". The level is not published; "strict" and
the laxer "lite" both explain every refusal recorded, "ultra" does not: it refuses `format`, `pattern` beside numbers
and other keywords which the server takes. So unknown keywords (`format`, `exclusiveMinimum`, `const`, `oneOf`,
`$schema`…) pass, as do `title`, `default`, `minLength` and their like, whatever their values.

Two judgements are stricter than walle's current code, because live refusals and its own specification are:

- every part must have a type, anyOf or $ref (walle's code asks only beside `enum`; MoonshotAI/kimi-cli issue 1595),
  except where the catalogue says that a model takes untyped parts, as hosts of K3 must;
- a `description` beside `$ref` and in its target conflicts (walle forgave that in June 2026; recorded in April 2026,
  MoonshotAI/kimi-cli issue 1903, whose wording is used).
"""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import orjson

from langchain_kimi._rules.schema_references import Schema, reaches, reference_problems, resolve

Problems = Iterator[tuple[str, str]]

_MAX_SIZE = 120_000
_MAX_DEPTH = 30
_MAX_KEYS = 3_000
_MAX_ENUM = 1_000
_MAX_BRANCHES = 500
_TYPES = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})
_NOTES = frozenset({"description", "title"})
_ROOT_ONLY = frozenset({"$defs", "$id"})
_RESERVED = ("$defs", "$ref", "anyOf", "required", "additionalProperties")
_TOO_DEEP = f"schema depth exceeds maximum limit of {_MAX_DEPTH}"
_TYPE_OUTSIDE_ANYOF = "when using anyOf, type should be defined in anyOf items instead of the parent schema"


def problems(schema: object, *, untyped: bool = False) -> Problems:
    """Everything that the server would refuse in a schema, as pairs of path and message.

    `untyped`: a part may lack its type, as with K3, where it has no enum.
    Paths are in the server's notation: `root`, `properties.city`, `$defs.Node.required`; branches of anyOf bear
    no index.
    """
    if not isinstance(schema, dict):
        yield "root", "input schema must be a string or map"
        return
    try:
        reasons = _verdict(_text(schema), untyped)
    except RecursionError:
        reasons = (("", _TOO_DEEP),)
    for path, message in reasons:
        yield path or "root", message


def _text(schema: Schema) -> bytes:
    """The schema as JSON; orjson is the faster, and refuses lone surrogates and huge integers, which are legal JSON."""
    try:
        return orjson.dumps(schema)
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(schema, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


@lru_cache(maxsize=512)
def _verdict(text: bytes, untyped: bool) -> tuple[tuple[str, str], ...]:
    """The problems of a schema by its JSON text: a conversation sends the same tools with every turn."""
    if len(text) > _MAX_SIZE:
        return (("", "schema exceeds maximum allowed size"),)
    schema = json.loads(text.decode("utf-8", "surrogatepass"))
    return tuple(dict.fromkeys(_problems(schema, refers=b'"$ref"' in text, untyped=untyped))) if schema else ()


def _problems(schema: Schema, *, refers: bool, untyped: bool) -> Problems:
    nodes = list(_nodes(schema))
    reasons = [
        (_join(path, at), message)
        for path, node, depth in nodes
        for at, message in _node(node, schema, path, depth, untyped=untyped)
    ]
    keys = sum(len(props) for _, node, _ in nodes if isinstance(props := node.get("properties"), dict))
    if keys > _MAX_KEYS:
        reasons.append(
            ("", f"total number of properties keys({keys}) across all objects exceeds maximum limit of {_MAX_KEYS}")
        )
    if reasons or not refers:
        yield from reasons
    else:
        yield from _references(schema, nodes)


def _references(schema: Schema, nodes: list[tuple[str, Schema, int]]) -> Problems:
    """What is wrong with the references of a schema whose parts are sound."""
    if reaches(_nodes, schema) > _MAX_DEPTH:
        yield "", _TOO_DEEP
        return
    refs = (node["$ref"] for _, node, _ in nodes if "$ref" in node)
    lost = [("", f"invalid $ref path: {ref}") for ref in refs if resolve(schema, ref) is None]
    yield from lost or reference_problems(schema)


def _join(path: str, at: str) -> str:
    return f"{path}.{at}" if path and at else path or at


def _nodes(schema: Schema) -> Iterator[tuple[str, Schema, int]]:
    """Every subschema with its path and its depth in properties, outermost first; none below the deepest legal."""
    stack: list[tuple[str, object, int]] = [("", schema, 0)]
    while stack:
        path, node, depth = stack.pop()
        if not isinstance(node, dict):
            continue
        yield path, node, depth
        if depth <= _MAX_DEPTH:
            stack += [(_join(path, at), child, depth + step) for at, child, step in reversed(_children(node))]


def _children(node: Schema) -> list[tuple[str, object, int]]:
    """The positions in a node where a subschema may be: path, value, and how much deeper it lies."""
    children: list[tuple[str, object, int]] = []
    for keyword, step in (("$defs", 0), ("properties", 1)):
        if isinstance(named := node.get(keyword), dict):
            children += [(f"{keyword}.{name}", child, step) for name, child in named.items()]
    children += [(keyword, node.get(keyword), 0) for keyword in ("items", "additionalProperties")]
    if isinstance(branches := node.get("anyOf"), list):
        children += [("anyOf", branch, 0) for branch in branches]
    return children


def _node(node: Schema, root: Schema, path: str, depth: int, *, untyped: bool) -> Problems:
    """What is wrong with one subschema, its children aside."""
    if depth > _MAX_DEPTH:
        yield "", _TOO_DEEP
        return
    if "type" in node:
        yield from _type(node, at_root=node is root)
    elif not node.keys() & {"anyOf", "$ref"} and not _may_lack_type(node, path, untyped):
        yield "", "type is not defined"
    for keyword, value in node.items():
        if check := _KEYWORDS.get(keyword):
            yield from check(value, node, root)


def _may_lack_type(node: Schema, path: str, untyped: bool) -> bool:
    if untyped:
        return "enum" not in node
    return not node and path.rpartition(".")[2] == "additionalProperties"


def _type(node: Schema, *, at_root: bool) -> Problems:
    """Where `type` stands and what it says."""
    if "anyOf" in node:
        yield "", _TYPE_OUTSIDE_ANYOF
    if "$ref" in node:
        yield "", "when using $ref, type should be defined in the referenced schema instead of the parent schema"
    kind = node["type"]
    if isinstance(kind, str):
        if kind not in _TYPES:
            yield "", "invalid type"
    elif not isinstance(kind, list):
        yield "", "type must be string or array of strings"
    elif not kind:
        yield "", "type array cannot be empty"
    elif not all(isinstance(name, str) and name in _TYPES for name in kind):
        yield "", "invalid type in type array"
    elif len(kind) > 1:
        yield from _many_types(kind, node, at_root)


def _many_types(kinds: list[str], node: Schema, at_root: bool) -> Problems:
    """Several types at once: only notes beside them, or an enum beside two."""
    if "enum" in node:
        yield from (
            ("", f"type {kind} is not allowed in combination with enum")
            for kind in kinds
            if kind in ("object", "array")
        )
        if len(kinds) == 2:
            return
    for keyword in node:
        if keyword != "type" and keyword not in _NOTES and not (at_root and keyword in _ROOT_ONLY):
            yield "", f"keyword {keyword} is not allowed in combination with multiple types"


def _ref(ref: object, node: Schema, root: Schema) -> Problems:
    if not isinstance(ref, str):
        yield "$ref", "$ref must be a string"
    elif ref == "#":
        return
    elif not ref.startswith("#/$defs/"):
        yield "$ref", "references must start with #/$defs/"
    elif ref == "#/$defs/":
        yield "$ref", "definition name cannot be empty"
    elif "$defs" not in root:
        yield "$ref", f"$defs not found for reference: {ref}"


def _defs(defs: object, node: Schema, root: Schema) -> Problems:
    if not isinstance(defs, dict):
        yield "$defs", "$defs must be an object"
        return
    for name, definition in defs.items():
        if not name:
            yield "$defs", "$defs property name cannot be empty"
        if "/" in name:
            yield "$defs", f"$defs property name '{name}' cannot contain '/' character"
        if not isinstance(definition, dict):
            yield "$defs", "$defs schema must be object"
        else:
            yield from ((f"$defs.{name}", message) for message in _slashes(definition))


def _slashes(value: object) -> Iterator[str]:
    """Complaints about keys with a slash anywhere within a definition."""
    if isinstance(value, dict):
        for key, child in value.items():
            if "/" in key:
                yield f"$defs property name '{key}' cannot contain '/' character"
            yield from _slashes(child)
    elif isinstance(value, list):
        for child in value:
            if isinstance(child, dict):
                yield from _slashes(child)


def _any_of(branches: object, node: Schema, root: Schema) -> Problems:
    if not isinstance(branches, list):
        yield "anyOf", "anyOf must be an array"
        return
    if not 1 <= len(branches) <= _MAX_BRANCHES:
        yield "anyOf", f"anyOf must have 1-{_MAX_BRANCHES} items"
    outside = node.keys() - {"anyOf"} - _NOTES
    for branch in branches:
        if not isinstance(branch, dict):
            yield "anyOf", "schema in anyOf must be an object"
        # A type on both sides is refused for being outside already.
        elif both := sorted(branch.keys() & outside - {"type"}):
            yield (
                "",
                f"conflicting keywords found in anyOf with parent: keywords ({', '.join(both)}) are defined on the "
                "parent schema and inside anyOf; remove them from the parent or from anyOf branches",
            )


def _properties(properties: object, node: Schema, root: Schema) -> Problems:
    if not isinstance(properties, dict):
        yield "properties", "properties must be an object"
        return
    for name, child in properties.items():
        if name in _RESERVED:
            yield "properties", f"property name '{name}' is reserved for JSON Schema keywords"
        if not isinstance(child, dict):
            yield "properties", f"property schema for '{name}' must be an object"


def _required(required: object, node: Schema, root: Schema) -> Problems:
    if not isinstance(required, list):
        yield "required", "required must be an array"
        return
    properties = node.get("properties")
    for name in required:
        if not isinstance(name, str):
            yield "required", "items in required array must be strings"
        elif not isinstance(properties, dict) or name not in properties:
            yield "required", f"required property '{name}' is not defined in properties"


def _enum(values: object, node: Schema, root: Schema) -> Problems:
    if not isinstance(values, list):
        yield "enum", "enum must be an array"
        return
    if not values:
        yield "enum", "enum array cannot be empty"
    if len(values) > _MAX_ENUM:
        yield "enum", f"enum array cannot have more than {_MAX_ENUM} items"
    kind = node.get("type")
    kinds: list[Any] = kind if isinstance(kind, list) else [kind]
    if "type" not in node:
        if node.keys() & {"anyOf", "$ref"}:
            yield "", "type is not defined"
        return
    if not all(isinstance(name, str) for name in kinds):
        return
    if len(kinds) > 2 or (len(kinds) == 2 and "null" not in kinds):
        yield (
            "",
            "when type is array and enum is specified, currently only 2 types are supported, one must be null, and the "
            "other can be string/integer/number/boolean",
        )
        return
    for value in values:
        if wrong := _mismatch(value, kinds):
            yield "enum", wrong


def _mismatch(value: object, kinds: list[str]) -> str | None:
    """The complaint about an enum value that is of none of the types, which are tried in order."""
    for kind in kinds:
        if kind in ("number", "integer"):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or (kind == "integer" and isinstance(value, float) and not value.is_integer()):
                return f"not a valid {kind}"
            return None
        if _PYTHON.get(kind) is type(value):
            return None
    shown = value if isinstance(value, str) else "<nil>" if value is None else json.dumps(value, ensure_ascii=False)
    return f"enum value ({shown}) does not match any type in [{' '.join(kinds)}]"


_PYTHON: dict[str, type] = {"string": str, "boolean": bool, "null": type(None), "array": list, "object": dict}


def _must_be(keyword: str, words: str, *types: type) -> "Callable[[object, Schema, Schema], Problems]":
    """A check of a keyword that only needs a JSON type."""

    def check_type(value: object, node: Schema, root: Schema) -> Problems:
        if not isinstance(value, types):
            yield keyword, f"{keyword} must be {words}"

    return check_type


_KEYWORDS: dict[str, Callable[[object, Schema, Schema], Problems]] = {
    "$defs": _defs,
    "$id": _must_be("$id", "a string", str, type(None)),
    "$ref": _ref,
    "additionalProperties": _must_be("additionalProperties", "a boolean or an object", bool, dict),
    "anyOf": _any_of,
    "description": _must_be("description", "a string", str),
    "enum": _enum,
    "items": _must_be("items", "an object", dict),
    "pattern": _must_be("pattern", "a string", str, type(None)),
    "properties": _properties,
    "required": _required,
}
