"""The judge of Moonshot-flavoured JSON Schema, by schemas it refuses and schemas it takes."""

from typing import Any

import pytest

from langchain_kimi._rules.moonshot_schema import problems

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
TYPE_BESIDE_ANYOF = "when using anyOf, type should be defined in anyOf items instead of the parent schema"
TYPE_BESIDE_REF = "when using $ref, type should be defined in the referenced schema instead of the parent schema"
ENDLESS = "detected infinite recursion without termination condition"
TOO_DEEP = "schema depth exceeds maximum limit of 30"


def obj(required: list[str] | None = None, /, **properties: Any) -> Json:
    more = {} if required is None else {"required": required}
    return {"type": "object", "properties": properties, **more}


def with_defs(schema: Json, **defs: Any) -> Json:
    return schema | {"$defs": defs}


def ref(name: str, **beside: Any) -> Json:
    return {"$ref": f"#/$defs/{name}", **beside}


def nested(levels: int) -> Json:
    schema = TEXT
    for _ in range(levels):
        schema = obj(deeper=schema)
    return schema


LEGAL: dict[str, Json] = {
    "empty": {},
    "plain": obj(["a"], a=TEXT, b={"type": "array", "items": {"type": "integer"}}),
    "notes": obj(a=TEXT | {"title": "A", "description": "Some text.", "default": "x"}),
    "bounds in any form": obj(
        a={"type": "string", "minLength": 9, "maxLength": 1}, b={"type": "integer", "minimum": 0.5}
    ),
    "keywords it does not know": obj(a=TEXT | {"format": "uuid", "pattern": "^a", "x-order": 1})
    | {"$schema": "https://json-schema.org/draft/2020-12/schema", "allOf": [{}]},
    "oneOf beside a type": obj(a={"type": "object", "oneOf": [{}, {}]}),
    "nullable": obj(a={"type": ["string", "null"], "description": "Maybe."}),
    "nullable enum": obj(a={"type": ["string", "null"], "enum": ["x", None], "default": None}),
    "numbers": obj(a={"type": "integer", "enum": [1, 2.0]}, b={"type": "number", "enum": [1, 2.5]}),
    "one type in an array": obj(a={"type": ["object"], "properties": {"b": TEXT}}),
    "open object": obj() | {"additionalProperties": {}},
    "closed object": obj() | {"additionalProperties": False},
    "typed extras": obj() | {"additionalProperties": TEXT},
    "anyOf": obj(a={"anyOf": [TEXT, {"type": "null"}], "default": None, "description": "Maybe."}),
    "notes on both sides of anyOf": obj(a={"description": "Outer.", "anyOf": [TEXT | {"description": "Inner."}]}),
    "ref": with_defs(obj(a=ref("A"), b={"type": "array", "items": ref("A")}), A=TEXT),
    "notes beside a ref": with_defs(obj(a=ref("A", description="The first.")), A=TEXT),
    "ref by way of a ref": with_defs(
        obj(a=ref("A")), A=ref("B", description="Alias."), B=TEXT | {"description": "Text."}
    ),
    "tree": with_defs(obj(root=ref("Tree")), Tree=obj(["name"], name=TEXT, child=ref("Tree"))),
    "recursion through an empty array": obj(["children"], children={"type": "array"}, parent={"$ref": "#"}),
    "recursion that an alternative ends": with_defs(
        obj(["next"], next=ref("Next")), Next={"anyOf": [{"type": "null"}, obj(["next"], next=ref("Next"))]}
    ),
    "thirty levels": nested(30),
    "a definition that is not used": with_defs(obj(), A=TEXT),
    "nothing required": obj([], a=TEXT),
    "identified": obj() | {"$id": "lake"},
}

REFUSED: list[tuple[Any, str, str]] = [
    # Types.
    (obj(a={"description": "Untyped."}), "properties.a", "type is not defined"),
    (obj(a={"enum": ["x"]}), "properties.a", "type is not defined"),
    (obj(a={"type": "array", "items": {}}), "properties.a.items", "type is not defined"),
    (with_defs(obj(a=ref("A")), A={"properties": {}}), "$defs.A", "type is not defined"),
    (obj(a={"anyOf": [TEXT, obj(b={})]}), "properties.a.anyOf.properties.b", "type is not defined"),
    (obj(a={"anyOf": [TEXT], "enum": ["x"]}), "properties.a", "type is not defined"),
    (obj(a={"type": "text"}), "properties.a", "invalid type"),
    (obj(a={"type": 1}), "properties.a", "type must be string or array of strings"),
    (obj(a={"type": []}), "properties.a", "type array cannot be empty"),
    (obj(a={"type": ["string", "any"]}), "properties.a", "invalid type in type array"),
    (
        obj(a={"type": ["string", "null"], "default": None}),
        "properties.a",
        "keyword default is not allowed in combination with multiple types",
    ),
    (
        obj(a={"type": ["object", "null"], "enum": [None]}),
        "properties.a",
        "type object is not allowed in combination with enum",
    ),
    (obj(a={"type": [1], "enum": ["x"]}), "properties.a", "invalid type in type array"),
    # anyOf.
    ({"type": "object", "anyOf": [obj()]}, "root", TYPE_BESIDE_ANYOF),
    (obj(a={"anyOf": TEXT}), "properties.a.anyOf", "anyOf must be an array"),
    (obj(a={"anyOf": []}), "properties.a.anyOf", "anyOf must have 1-500 items"),
    (obj(a={"anyOf": [TEXT] * 501}), "properties.a.anyOf", "anyOf must have 1-500 items"),
    (obj(a={"anyOf": [TEXT, "string"]}), "properties.a.anyOf", "schema in anyOf must be an object"),
    (
        obj(a={"minLength": 1, "anyOf": [TEXT | {"minLength": 2}]}),
        "properties.a",
        "conflicting keywords found in anyOf with parent: keywords (minLength) are defined on the parent schema and "
        "inside anyOf; remove them from the parent or from anyOf branches",
    ),
    # Objects.
    (obj(a={"type": "object", "properties": []}), "properties.a.properties", "properties must be an object"),
    (obj(a=True), "properties", "property schema for 'a' must be an object"),
    (obj(required=TEXT), "properties", "property name 'required' is reserved for JSON Schema keywords"),
    (obj(["b"], a=TEXT), "required", "required property 'b' is not defined in properties"),
    (
        obj(a={"type": "array", "items": obj(["c"], b=TEXT)}),
        "properties.a.items.required",
        "required property 'c' is not defined in properties",
    ),
    (obj() | {"required": "a"}, "required", "required must be an array"),
    (obj() | {"required": [1]}, "required", "items in required array must be strings"),
    (
        obj() | {"additionalProperties": 1},
        "additionalProperties",
        "additionalProperties must be a boolean or an object",
    ),
    (obj(a={"type": "array", "items": [TEXT]}), "properties.a.items", "items must be an object"),
    (obj(a=TEXT | {"description": 1}), "properties.a.description", "description must be a string"),
    (obj(a=TEXT | {"pattern": 1}), "properties.a.pattern", "pattern must be a string"),
    (obj() | {"$id": 1}, "$id", "$id must be a string"),
    # Enums.
    (obj(a=TEXT | {"enum": "x"}), "properties.a.enum", "enum must be an array"),
    (obj(a=TEXT | {"enum": []}), "properties.a.enum", "enum array cannot be empty"),
    (obj(a=TEXT | {"enum": ["x"] * 1001}), "properties.a.enum", "enum array cannot have more than 1000 items"),
    (obj(a=TEXT | {"enum": ["x", 1]}), "properties.a.enum", "enum value (1) does not match any type in [string]"),
    (obj(a=TEXT | {"enum": [None]}), "properties.a.enum", "enum value (<nil>) does not match any type in [string]"),
    (
        obj(a={"type": "boolean", "enum": ["x"]}),
        "properties.a.enum",
        "enum value (x) does not match any type in [boolean]",
    ),
    (obj(a={"type": "integer", "enum": [1.5]}), "properties.a.enum", "not a valid integer"),
    (obj(a={"type": "number", "enum": [True]}), "properties.a.enum", "not a valid number"),
    (
        obj(a={"type": ["string", "integer"], "enum": ["x"]}),
        "properties.a",
        "when type is array and enum is specified, currently only 2 types are supported, one must be null, and the "
        "other can be string/integer/number/boolean",
    ),
    # References.
    (with_defs(obj(a=ref("A", type="string")), A=TEXT), "properties.a", TYPE_BESIDE_REF),
    (with_defs(obj(), A=ref("B", type="string"), B=TEXT), "$defs.A", TYPE_BESIDE_REF),
    (obj(a={"$ref": 1}), "properties.a.$ref", "$ref must be a string"),
    (obj(a={"$ref": "#/definitions/A"}), "properties.a.$ref", "references must start with #/$defs/"),
    (with_defs(obj(a=ref("")), A=TEXT), "properties.a.$ref", "definition name cannot be empty"),
    (obj(a=ref("A")), "properties.a.$ref", "$defs not found for reference: #/$defs/A"),
    (with_defs(obj(a=ref("B")), A=TEXT), "root", "invalid $ref path: #/$defs/B"),
    (with_defs(obj(a=ref("A/type/name")), A=TEXT), "root", "invalid $ref path: #/$defs/A/type/name"),
    (
        with_defs(obj(a=ref("A", description="The first.")), A=TEXT | {"description": "Text."}),
        "properties.a",
        "conflicting keywords found after $ref expansion: description",
    ),
    (
        with_defs(obj(a=ref("A", anyOf=[TEXT])), A=TEXT),
        "properties.a",
        "invalid schema after $ref expansion: (when using anyOf, type should be defined in anyOf items instead of the "
        "parent schema)",
    ),
    (
        with_defs(obj(a=ref("A", minLength=1)), A={"anyOf": [TEXT | {"minLength": 2}]}),
        "properties.a",
        'conflicting keywords found in anyOf after ref expansion: keywords (minLength) are defined alongside "$ref" '
        "and inside anyOf in the referenced schema; define them in only one place",
    ),
    (with_defs(obj(a=TEXT | {"not": ref("A")}), A=TEXT), "properties.a.not", "$ref is not allowed in this schema."),
    *(
        (obj(a=TEXT | {"not": {"$ref": target}}), "$ref", "only local references are supported")
        for target in ("other.json", 1)
    ),
    (obj(["self"], self={"$ref": "#"}), "properties.self", ENDLESS),
    (with_defs(obj(["a"], a=ref("A")), A=obj(["b"], b=ref("B")), B=obj(["a"], a=ref("A"))), "properties.a", ENDLESS),
    (obj(["a"], a={"type": "array", "items": {"$ref": "#"}}), "properties.a.items", ENDLESS),
    # Definitions.
    (obj() | {"$defs": []}, "$defs", "$defs must be an object"),
    (with_defs(obj(), A=1), "$defs", "$defs schema must be object"),
    (obj() | {"$defs": {"": TEXT}}, "$defs", "$defs property name cannot be empty"),
    (obj() | {"$defs": {"a/b": TEXT}}, "$defs", "$defs property name 'a/b' cannot contain '/' character"),
    (
        with_defs(obj(), A=obj(**{"b/c": TEXT})),
        "$defs.A",
        "$defs property name 'b/c' cannot contain '/' character",
    ),
    # Size.
    (nested(31), ".".join(["properties.deeper"] * 31), TOO_DEEP),
    (with_defs(nested(29) | {"properties": {"a": nested(28), "b": obj(c=ref("A"))}}, A=nested(29)), "root", TOO_DEEP),
    (
        obj(**{f"a{i}": TEXT for i in range(3001)}),
        "root",
        "total number of properties keys(3001) across all objects exceeds maximum limit of 3000",
    ),
    (obj(a=TEXT | {"default": "x" * 120_000}), "root", "schema exceeds maximum allowed size"),
    ([TEXT], "root", "input schema must be a string or map"),
]


@pytest.mark.parametrize("schema", LEGAL.values(), ids=LEGAL)
def test_a_legal_schema_has_no_problems(schema: Json) -> None:
    assert list(problems(schema)) == []


@pytest.mark.parametrize(("schema", "path", "message"), REFUSED)
def test_a_refused_schema_has_one_problem(schema: Any, path: str, message: str) -> None:
    assert list(problems(schema)) == [(path, message)]


def test_all_problems_are_told_outermost_first() -> None:
    schema = obj(["x"], a={}, b=obj(["y"]))
    assert list(problems(schema)) == [
        ("required", "required property 'x' is not defined in properties"),
        ("properties.a", "type is not defined"),
        ("properties.b.required", "required property 'y' is not defined in properties"),
    ]


def test_a_schema_of_any_depth_is_judged() -> None:
    schema: Json = TEXT
    for _ in range(4000):
        schema = {"type": "array", "items": schema}
    # Arrays do not count as depth, but the interpreter has a limit of its own, which differs between versions.
    assert list(problems(schema)) in ([], [("root", TOO_DEEP)])
