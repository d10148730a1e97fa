"""One row a rule: what stands in a property, what becomes of it, and what is reported."""

from typing import Any

import pytest

from langchain_kimi._schema import Change, normalise

S, I, NULL = {"type": "string"}, {"type": "integer"}, {"type": "null"}  # noqa: E741
ANY = {"type": ["string", "number", "boolean", "object", "array", "null"]}
SHARED = {"type": "object", "properties": {"v": S}}
LOOP = {"type": "object", "properties": {"up": {"$ref": "#/$defs/Loop"}}}
DEFS = {"Shared": SHARED, "Loop": LOOP}
ROWS: list[tuple[str, Any, Any]] = [
    ("constraint_to_description", {**S, "pattern": "^a+$", "format": "date-time"},
     {**S, "description": "(pattern: ^a+$; format: date-time)"}),
    ("constraint_to_description", {**S, "description": "A day.", "format": "date"},
     {**S, "description": "A day. (format: date)"}),
    ("constraint_to_description", {"type": "array", "items": I, "uniqueItems": True},
     {"type": "array", "items": I, "description": "(uniqueItems: true)"}),
    ("examples_to_description", {**S, "examples": ["x"]}, {**S, "description": '(examples: ["x"])'}),
    ("keyword_dropped", {**S, "$comment": "c", "readOnly": True, "x-order": 1}, S),
    ("const_to_enum", {**S, "const": "a"}, {**S, "enum": ["a"]}),
    ("type_inferred", {"enum": ["a", None]}, {"type": ["string", "null"], "enum": ["a", None]}),
    ("type_inferred", {"properties": {"v": S}}, SHARED),
    ("type_inferred", {"items": S}, {"type": "array", "items": S}),
    ("type_inferred", {"minLength": 2}, {**S, "minLength": 2}),
    ("type_inferred", {"minimum": 2}, {"type": "number", "minimum": 2}),
    ("type_inferred", {"enum": [1, None]}, {"type": ["null", "integer"], "enum": [1, None]}),
    ("contradiction_found", {"anyOf": [S, {"allOf": [S, I]}]}, {"anyOf": [S]}),
    ("any_value_spelt_out", {"description": "d"}, {**ANY, "description": "d"}),
    ("any_value_spelt_out", True, ANY),
    ("malformed_schema_to_any", "string", ANY),
    ("any_type_dropped", {"type": "any"}, ANY),
    ("type_name_corrected", {"type": "INTEGER"}, I),
    ("type_list_unwrapped", {"type": ["string"], "x-y": 1}, S),
    ("type_from_enum", {**I, "enum": ["1"]}, {**S, "enum": ["1"]}),
    ("enum_value_dropped", {**S, "enum": ["a", 1]}, {**S, "enum": ["a"]}),
    ("enum_split_by_type", {"enum": ["a", 1], "default": 1},
     {"anyOf": [{**S, "enum": ["a"]}, {**I, "enum": [1]}], "default": 1}),
    ("types_split_into_anyof", {"type": ["string", "null"], "minLength": 1},
     {"anyOf": [{**S, "minLength": 1}, NULL]}),
    ("type_pushed_into_anyof", {**S, "anyOf": [{"minLength": 2}, {"enum": ["a"]}]},
     {"anyOf": [{**S, "minLength": 2}, {**S, "enum": ["a"]}]}),
    ("siblings_pushed_into_anyof", {**SHARED, "anyOf": [{"required": ["v"]}, {"additionalProperties": False}]},
     {"anyOf": [{**SHARED, "required": ["v"]}, {**SHARED, "additionalProperties": False}]}),
    ("impossible_branch_dropped", {**S, "anyOf": [S, NULL]}, {"anyOf": [S]}),
    ("branch_default_dropped", {"anyOf": [{**S, "default": "b"}, {"const": None}], "default": None},
     {"anyOf": [S, {**NULL, "enum": [None]}], "default": None}),
    ("one_of_to_any_of", {"oneOf": [S, I], "title": "t"}, {"anyOf": [S, I], "title": "t"}),
    ("all_of_merged", {"allOf": [{**I, "minimum": 1}, {"minimum": 2, "maximum": 9}]},
     {**I, "minimum": 2, "maximum": 9}),
    ("nullable_to_null", {**S, "nullable": True}, {"type": ["string", "null"]}),
    ("nullable_to_null", {**SHARED, "nullable": True}, {"anyOf": [SHARED, NULL]}),
    ("tuple_to_items", {"type": "array", "items": [S, S], "minItems": 2, "maxItems": 2},
     {"type": "array", "items": S, "minItems": 2, "maxItems": 2}),
    ("tuple_to_items", {"type": "array", "prefixItems": [S, I], "items": False},
     {"type": "array", "items": {"anyOf": [S, I]}, "maxItems": 2,
      "description": '(items in this order: [{"type":"string"},{"type":"integer"}])'}),
    ("impossible_items_to_max", {"type": "array", "items": False}, {"type": "array", "maxItems": 0}),
    ("exclusive_bound_to_inclusive", {**I, "exclusiveMinimum": 0, "exclusiveMaximum": 9},
     {**I, "minimum": 1, "maximum": 8}),
    ("exclusive_bound_to_inclusive", {"type": "number", "exclusiveMinimum": 0},
     {"type": "number", "minimum": 0, "description": "(exclusiveMinimum: 0)"}),
    ("pattern_properties_admitted", {"type": "object", "patternProperties": {"^x": S}, "additionalProperties": False},
     {"type": "object", "additionalProperties": S, "description": '(patternProperties: {"^x":{"type":"string"}})'}),
    ("irrelevant_keyword_dropped", {**S, "minimum": 3}, S),
    ("required_property_declared", {"type": "object", "required": ["v"], "additionalProperties": S},
     {"type": "object", "required": ["v"], "additionalProperties": S, "properties": {"v": S}}),
    ("required_name_dropped", {**SHARED, "required": ["v", "w"], "additionalProperties": False},
     {**SHARED, "required": ["v"], "additionalProperties": False}),
    ("reserved_name_to_description", {"type": "object", "properties": {"required": S}, "required": ["required"]},
     {"type": "object", "properties": {}, "required": [],
      "description": '(also takes: {"required":{"type":"string"}})'}),
    ("impossible_property_dropped", {"type": "object", "properties": {"v": False}},
     {"type": "object", "properties": {}, "description": "(must be absent: v)"}),
    ("ref_inlined", {"$ref": "#/$defs/Shared", "title": "mine", "format": "f"},
     {**SHARED, "title": "mine", "description": "(format: f)"}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "given", "wanted"), ROWS)
def test_rule(rule: str, given: Any, wanted: Any) -> None:
    outcome = normalise({"type": "object", "properties": {"p": given}, "$defs": DEFS})
    assert outcome.problems == ()
    assert outcome.schema == {"type": "object", "properties": {"p": wanted}}
    assert ("properties.p", rule) in {(change.path[:12], change.rule) for change in outcome.changes}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({**S, "maxLength": 2, "x": 1}, ["type", "maxLength", "description"]),
        ({"title": "t", **S, "x": 1}, ["title", "type", "description"]),
    ],
)
def test_keys_keep_their_order(given: Any, wanted: list[str]) -> None:
    assert list(normalise({"type": "object", "properties": {"p": given}}).schema["properties"]["p"]) == wanted


OBJECT = {"type": "object", "properties": {}}
ROOTS: list[tuple[str, Any, Any]] = [
    ("root_to_object", {}, OBJECT),
    ("root_to_object", {"properties": {"v": S}}, SHARED),
    ("root_to_object", {"type": ["object", "null"], "properties": {"v": S}}, SHARED),
    ("root_to_object", {"anyOf": [SHARED, NULL]}, SHARED),
    ("root_union_to_object",
     {"oneOf": [{**SHARED, "required": ["v"]}, {"type": "object", "properties": {"v": I, "w": S}, "required": ["v"]}]},
     {"type": "object", "properties": {"v": {"anyOf": [S, I]}, "w": S}, "required": ["v"],
      "description": "(one of these sets of properties: v | v, w?)"}),
    ("root_union_to_object", {**SHARED, "title": "t", "anyOf": [{"required": ["v"]}, {"required": ["w"]}]},
     {"type": "object", "properties": {"v": S}, "title": "t",
      "description": "(one of these sets of properties: v | w, v?)"}),
    ("ref_inlined", {"$ref": "#/definitions/A", "definitions": {"A": SHARED}}, SHARED),
    ("definition_hoisted",
     {**OBJECT, "properties": {"a": {"$ref": "#/definitions/A"}, "b": {"$ref": "#/definitions/A"}},
      "definitions": {"A": S}},
     {**OBJECT, "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}}, "$defs": {"A": S}}),
    ("ref_siblings_wrapped",
     {**OBJECT, "properties": {"a": {"$ref": "#/$defs/Loop", "title": "t", "x-y": 1}}, "$defs": DEFS},
     {**OBJECT, "properties": {"a": {"anyOf": [{"$ref": "#/$defs/Loop"}], "title": "t"}}, "$defs": {"Loop": LOOP}}),
    ("constraint_beside_recursion_dropped",
     {**OBJECT, "properties": {"a": {"$ref": "#/$defs/F"}},
      "$defs": {"F": {"type": "object", "properties": {"x": {"type": "object", "anyOf": [{"$ref": "#/$defs/F"}]}}}}},
     {**OBJECT, "properties": {"a": {"$ref": "#/$defs/F"}},
      "$defs": {"F": {"type": "object", "properties": {"x": {"anyOf": [{"$ref": "#/$defs/F"}]}}}}}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "given", "wanted"), ROOTS)
def test_root_rule(rule: str, given: Any, wanted: Any) -> None:
    outcome = normalise(given)
    assert outcome.problems == ()
    assert outcome.schema == wanted
    assert rule in {change.rule for change in outcome.changes}


def test_a_change_says_where_and_what() -> None:
    items = {"type": "array", "items": {"const": "a"}}
    outcome = normalise({"type": "object", "properties": {"f": {"type": "object", "properties": {"items": items}}}})
    assert outcome.changes[0] == Change(
        "properties.f.properties.items.items", "const_to_enum", "const became an enum of one value"
    )
