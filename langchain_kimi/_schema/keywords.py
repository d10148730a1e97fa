"""What Kimi knows of JSON Schema, as tables, and how the rest is put into words."""

from collections.abc import Iterable
from typing import Any

import orjson

KINDS = ("string", "number", "integer", "boolean", "object", "array", "null")
ANY = ("string", "number", "boolean", "object", "array", "null")
SCALARS = frozenset({"string", "number", "integer", "boolean"})
NOTES = frozenset({"title", "description", "default"})
RESERVED = frozenset({"$defs", "$ref", "anyOf", "required", "additionalProperties"})

_NUMBER = frozenset({"minimum", "maximum"})
FIELDS: dict[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength"}),
    "number": _NUMBER,
    "integer": _NUMBER,
    "boolean": frozenset(),
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "null": frozenset(),
}
ALIASES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "dict": "object",
    "map": "object",
    "list": "array",
    "none": "null",
}
# Nothing in these is for the model to read.
SILENT = frozenset(
    {"$schema", "$comment", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary"}
    | {"readOnly", "writeOnly", "nullable", "additionalItems", "propertyOrdering"}
)
_HINTS = {
    "object": "minProperties maxProperties patternProperties propertyNames dependentRequired dependentSchemas "
    "dependencies unevaluatedProperties",
    "array": "uniqueItems contains minContains maxContains unevaluatedItems prefixItems",
    "string": "pattern contentEncoding contentMediaType",
    "number": "multipleOf exclusiveMinimum exclusiveMaximum",
}
HINTS = {keyword: kind for kind, keywords in _HINTS.items() for keyword in keywords.split()} | {
    keyword: kind for kind in ("string", "number", "object", "array") for keyword in FIELDS[kind]
}
_NUMERIC_FORMATS = {"int32": "integer", "int64": "integer", "float": "number", "double": "number"}
_LONGEST_WORDS = 400


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(value: object) -> bool:
    return _number(value) and value == int(value) and value >= 0  # type: ignore[call-overload,operator]


def well_formed(keyword: str, value: object) -> bool:
    """Whether Kimi knows a keyword and its value is one the keyword can have."""
    match keyword:
        case "title" | "description":
            return isinstance(value, str)
        case "properties":
            return isinstance(value, dict)
        case "required":
            return isinstance(value, list) and all(isinstance(name, str) for name in value)
        case "additionalProperties":
            return isinstance(value, dict | bool)
        case "items":
            return isinstance(value, dict | bool)
        case "enum" | "anyOf":
            return isinstance(value, list) and bool(value)
        case "minimum" | "maximum":
            return _number(value)
        case "minLength" | "maxLength" | "minItems" | "maxItems":
            return _count(value)
        case _:
            return keyword == "default"


def kind_of(value: object) -> str:
    """The JSON type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def fits(value: object, kind: str) -> bool:
    """Whether a value is of a JSON type."""
    own = kind_of(value)
    if isinstance(value, float):
        return kind == "number" or (kind == "integer" and value.is_integer())
    return kind == own or (kind == "number" and own == "integer")


def kinds_of(values: Iterable[object]) -> tuple[str, ...]:
    """The JSON types of some values, in the order in which they appear; a fraction makes all numbers `number`."""
    kinds = list(dict.fromkeys(kind_of(value) for value in values))
    if "number" in kinds and "integer" in kinds:
        kinds.remove("integer")
    return tuple(kinds)


def hinted(keywords: Iterable[tuple[str, object]]) -> tuple[str, ...]:
    """The JSON types that some keywords speak about."""
    kinds: dict[str, None] = {}
    for keyword, value in keywords:
        if keyword == "format":
            kinds[_NUMERIC_FORMATS.get(str(value), "string")] = None
        elif keyword in HINTS:
            kinds[HINTS[keyword]] = None
    return tuple(kinds)


def phrase(keyword: str, value: object) -> str:
    """A keyword in the words that the model reads: `pattern: ^a+$`."""
    if keyword == "discriminator" and isinstance(value, dict):
        value = value.get("propertyName")
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"{keyword}: {text if len(text) <= _LONGEST_WORDS else text[:_LONGEST_WORDS] + '…'}"


def worded(description: object, words: Iterable[tuple[str, object]]) -> str:
    """A description with constraints appended, unless it has them already."""
    text = description if isinstance(description, str) else ""
    phrases = dict.fromkeys(phrase(keyword, value) for keyword, value in words)
    hints = f"({'; '.join(phrases)})" if phrases else ""
    return text if hints and hints in text else f"{text} {hints}".strip()


def native(node: Any, *, at_root: bool = True) -> bool:
    """Whether a schema without violations also holds nothing but keywords that Kimi knows."""
    if not isinstance(node, dict):
        return isinstance(node, bool)
    kind = kind if isinstance(kind := node.get("type"), str) else None
    for keyword, value in node.items():
        if keyword in ("type", "$ref"):
            continue
        if keyword in ("$defs", "$id"):
            if not at_root:
                return False
        elif not well_formed(keyword, value) or (kind in FIELDS and keyword in HINTS.keys() - FIELDS[kind]):
            return False
    children = [*node.get("properties", {}).values(), *node.get("$defs", {}).values(), *node.get("anyOf", ())]
    children += [node[keyword] for keyword in ("items", "additionalProperties") if keyword in node]
    return all(native(child, at_root=False) for child in children)
