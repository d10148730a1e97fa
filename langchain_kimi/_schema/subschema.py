"""One subschema taken apart: what Kimi knows, what goes into words, and the alternatives still to be spread."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from langchain_kimi._schema.keywords import ALIASES, KINDS, NOTES, SILENT, well_formed

SchemaValue = Any
SchemaNode = dict[str, SchemaValue]
Report = Callable[[str, str], None]
ROOT = "root"


@dataclass(frozen=True, slots=True)
class Change:
    """One rewriting: where in the original schema, by which rule, and what was done."""

    path: str
    rule: str
    detail: str


@dataclass(slots=True)
class Part:
    """A subschema without $ref and allOf: an instance has to meet its fields and one branch of every union.

    `ref` is the pointer of a recursive or shared definition that stays a reference; then only notes stand beside it.
    `opened` holds the pointers that were expanded to make the part.
    """

    fields: SchemaNode = field(default_factory=dict)
    unions: list[tuple[str, list[SchemaValue]]] = field(default_factory=list)
    words: list[tuple[str, SchemaValue]] = field(default_factory=list)
    ref: str | None = None
    opened: frozenset[str] = frozenset()

    @property
    def notes(self) -> SchemaNode:
        return {key: value for key, value in self.fields.items() if key in NOTES}

    def without_notes(self) -> "Part":
        fields = {key: value for key, value in self.fields.items() if key not in NOTES}
        return Part(fields, self.unions, [], self.ref, self.opened)

    @property
    def open(self) -> bool:
        """Whether any instance meets it."""
        return not self.unions and self.ref is None and self.fields.keys() <= NOTES


def take_apart(node: SchemaNode, report: Report) -> Part:
    """The keywords of one subschema by what becomes of them; $ref and allOf are the caller's."""
    for trigger, rewrite in _REWRITES.items():
        if trigger in node:
            node = rewrite(node, report)
    part = Part()
    for keyword, value in node.items():
        if keyword in ("$ref", "allOf", "$defs", "definitions"):
            continue
        if keyword == "type":
            _read_type(value, part, report)
        elif keyword in ("anyOf", "oneOf") and isinstance(value, list) and value:
            part.unions.append((keyword, value))
            if keyword == "oneOf":
                report("one_of_to_any_of", "oneOf became anyOf: that only one branch matches is not checked")
        elif keyword != "anyOf" and well_formed(keyword, value):
            part.fields[keyword] = value
        else:
            _put_into_words(keyword, value, part, report)
    return part


def _read_type(value: SchemaValue, part: Part, report: Report) -> None:
    names = value if isinstance(value, list) else [value]
    kinds = [_kind(name) for name in names]
    if "any" in kinds:
        report("any_type_dropped", "type any says nothing")
        return
    if isinstance(value, list) and len(value) == 1:
        report("type_list_unwrapped", "a list of one type became that type")
    if list(names) != kinds:
        report("type_name_corrected", f"type {value!r} was read as {', '.join(map(str, kinds))}")
    if kinds:
        part.fields["type"] = tuple(dict.fromkeys(kinds))


def _kind(name: SchemaValue) -> str:
    """The JSON type that a type name means; a name that means none is left for the rules to refuse."""
    if name is None:
        return "null"
    if not isinstance(name, str) or name in KINDS:
        return str(name)
    lower = name.lower()
    return lower if lower in (*KINDS, "any") else ALIASES.get(lower, name)


def _put_into_words(keyword: str, value: SchemaValue, part: Part, report: Report) -> None:
    """A keyword that Kimi does not know, or not with such a value."""
    empty = value is None or value is False or value in ("", [], {})
    if keyword in SILENT or keyword.startswith("x-") or empty:
        report("keyword_dropped", f"{keyword} was dropped: Kimi does not know it and it constrains nothing")
        return
    part.words.append((keyword, value))
    rule = "examples_to_description" if keyword in ("example", "examples") else "constraint_to_description"
    report(rule, f"{keyword} moved into the description: Kimi does not know it")


def _without(node: SchemaNode, *keywords: str) -> SchemaNode:
    return {key: value for key, value in node.items() if key not in keywords}


def _renamed(node: SchemaNode, old: str, new: str, value: SchemaValue) -> SchemaNode:
    """A node with one keyword replaced where it stood; a keyword of the new name elsewhere gives way."""
    return {new if key == old else key: value if key == old else was for key, was in node.items() if key != new}


def _const(node: SchemaNode, report: Report) -> SchemaNode:
    report("const_to_enum", "const became an enum of one value")
    return _renamed(node, "const", "enum", [node["const"]])


def _nullable(node: SchemaNode, report: Report) -> SchemaNode:
    if node["nullable"] is not True:
        return node
    report("nullable_to_null", "nullable became the type null")
    rest = _without(node, "nullable")
    if "type" in node and not node.keys() & {"$ref", "allOf", "anyOf", "oneOf"}:
        kind = node["type"]
        kinds = [*(kind if isinstance(kind, list) else [kind]), "null"]
        enum = {"enum": [*node["enum"], None]} if isinstance(node.get("enum"), list) else {}
        return {**rest, "type": list(dict.fromkeys(map(str, kinds))), **enum}
    notes = {key: value for key, value in rest.items() if key in NOTES}
    return {"anyOf": [_without(rest, *NOTES), {"type": "null"}], **notes}


def _prefix_items(node: SchemaNode, report: Report) -> SchemaNode:
    """Positions in an array lose their order: every item is one of them, or of the rest where a rest is given."""
    positions, rest = node["prefixItems"], node.get("items")
    if not isinstance(positions, list):
        return node
    return _tuple(_renamed(node, "prefixItems", "items", positions), positions, rest, report)


def _items(node: SchemaNode, report: Report) -> SchemaNode:
    if not isinstance(node["items"], list):
        return node
    return _tuple(node, node["items"], node.get("additionalItems"), report)


def _tuple(node: SchemaNode, positions: list[SchemaValue], rest: SchemaValue, report: Report) -> SchemaNode:
    report("tuple_to_items", "positions of the array became one schema for all its items")
    branches = [branch for at, branch in enumerate(positions) if branch not in positions[:at]]
    words = {"items in this order": positions} if len(branches) > 1 else {}
    if rest is False and "maxItems" not in node:
        node = {**node, "maxItems": len(positions)}
    elif rest is not None and rest is not False and node.get("maxItems") != len(positions):
        branches.append(rest)
    merged: SchemaValue = {"anyOf": branches} if len(branches) > 1 else next(iter(branches), True)
    return {**_without(node, "additionalItems"), "items": merged, **words}


def _exclusive(keyword: str, inclusive: str, step: int) -> Callable[[SchemaNode, Report], SchemaNode]:
    """A rewriter of an exclusive bound: exact for integers, for other numbers the next best with words."""

    def rewrite(node: SchemaNode, report: Report) -> SchemaNode:
        bound, beside = node[keyword], node.get(inclusive)
        if not well_formed(inclusive, bound):
            return node
        exact = node.get("type") == "integer" and float(bound).is_integer()
        if exact:
            bound = int(bound) + step
        if well_formed(inclusive, beside):
            bound = max(bound, beside, key=lambda value: step * value)
        report("exclusive_bound_to_inclusive", f"{keyword} became {inclusive}" + ("" if exact else " and words"))
        rewritten = _renamed(node, keyword, inclusive, bound)
        return rewritten if exact else {**rewritten, keyword: node[keyword]}

    return rewrite


def _pattern_properties(node: SchemaNode, report: Report) -> SchemaNode:
    """Names that a pattern allows must not fall to `additionalProperties` once the pattern is only words."""
    patterns, rest = node["patternProperties"], node.get("additionalProperties", True)
    if not isinstance(patterns, dict) or not patterns or rest is True:
        return node
    admitted = admit(list(patterns.values()), rest)
    report("pattern_properties_admitted", "additionalProperties takes what patternProperties allowed")
    return {**node, "additionalProperties": admitted}


def admit(schemas: list[SchemaValue], rest: SchemaValue) -> SchemaValue:
    """`additionalProperties` that accept what it accepted, and also what some schemas accept."""
    if rest is True or rest is None or rest == {}:
        return True
    branches = [branch for at, branch in enumerate(schemas) if branch not in schemas[:at]]
    branches += [] if rest is False else [rest]
    return {"anyOf": branches} if len(branches) > 1 else branches[0]


_REWRITES: dict[str, Callable[[SchemaNode, Report], SchemaNode]] = {
    "nullable": _nullable,
    "const": _const,
    "prefixItems": _prefix_items,
    "items": _items,
    "exclusiveMinimum": _exclusive("exclusiveMinimum", "minimum", 1),
    "exclusiveMaximum": _exclusive("exclusiveMaximum", "maximum", -1),
    "patternProperties": _pattern_properties,
}


def meet(a: Part, b: Part) -> Part | None:
    """What meets both parts; None if nothing can. The first one's notes win."""
    fields = dict(a.fields)
    for keyword, value in b.fields.items():
        if keyword not in fields:
            fields[keyword] = value
        elif keyword not in NOTES:
            fields[keyword] = _MEET[keyword](fields[keyword], value)
    if fields.get("type") == () or fields.get("enum") == []:
        return None
    words = a.words + [word for word in b.words if word not in a.words]
    return Part(fields, a.unions + b.unions, words, None, a.opened | b.opened)


def _meet_kinds(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    both = [kind for kind in a if kind in b or (kind == "integer" and "number" in b)]
    if "number" in a and "integer" in b and "integer" not in both:
        both.append("integer")
    return tuple(both)


def _meet_schemas(a: SchemaValue, b: SchemaValue) -> SchemaValue:
    if a == b or b is True:
        return a
    return b if a is True else {"allOf": [a, b]}


def _meet_properties(a: SchemaNode, b: SchemaNode) -> SchemaNode:
    return {**a, **{name: _meet_schemas(a[name], child) if name in a else child for name, child in b.items()}}


def _meet_additional(a: SchemaValue, b: SchemaValue) -> SchemaValue:
    return False if a is False or b is False else _meet_schemas(a, b)


def same(a: SchemaValue, b: SchemaValue) -> bool:
    """Whether two JSON values are equal; 1 equals 1.0 but not true."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


_MEET: dict[str, Callable[[Any, Any], Any]] = {
    "type": _meet_kinds,
    "enum": lambda a, b: [value for value in a if any(same(value, other) for other in b)],
    "properties": _meet_properties,
    "required": lambda a, b: list(dict.fromkeys(a + b)),
    "additionalProperties": _meet_additional,
    "items": _meet_schemas,
    **dict.fromkeys(("minimum", "minLength", "minItems"), max),
    **dict.fromkeys(("maximum", "maxLength", "maxItems"), min),
}


def join(parts: list[Part]) -> Part:
    """One object that accepts what any of several objects accepts."""
    properties: dict[str, list[SchemaValue]] = {}
    for part in parts:
        for name, child in part.fields.get("properties", {}).items():
            versions = properties.setdefault(name, [])
            if child not in versions:
                versions.append(child)
    fields: SchemaNode = {
        "type": ("object",),
        "properties": {
            name: {"anyOf": versions} if len(versions) > 1 else versions[0] for name, versions in properties.items()
        },
    }
    needs = [part.fields.get("required", []) for part in parts]
    if common := [name for name in needs[0] if all(name in needed for needed in needs)]:
        fields["required"] = common
    rests = [part.fields.get("additionalProperties", True) for part in parts]
    if not any(rest is True for rest in rests):
        fields["additionalProperties"] = (
            admit([rest for rest in rests if rest is not False], False) if any(rests) else False
        )
    words = [("one of these sets of properties", " | ".join(_name_set(part) for part in parts))]
    return Part(fields, [], words, None, frozenset().union(*(part.opened for part in parts)))


def _name_set(part: Part) -> str:
    names, needed = part.fields.get("properties", {}), part.fields.get("required", [])
    shown = [name if name in needed else f"{name}?" for name in dict.fromkeys([*needed, *names])]
    return ", ".join(shown) or "anything"
