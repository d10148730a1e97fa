"""Raw JSON Schemas of the forms that tool servers send, written for these tests."""

from typing import Any

Raw = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"


def of(_required: tuple[str, ...] = (), /, **properties: Any) -> Raw:
    """An object schema with some properties."""
    return {"type": "object", "properties": properties} | ({"required": list(_required)} if _required else {})


def strict(_required: tuple[str, ...] = (), /, **properties: Any) -> Raw:
    """The same as zod prints it."""
    return {**of(_required, **properties), "additionalProperties": False, "$schema": DRAFT}


S: Raw = {"type": "string"}
N: Raw = {"type": "number"}
I: Raw = {"type": "integer"}  # noqa: E741
NULL: Raw = {"type": "null"}
NODE = of(("name",), name=S, children={"type": "array", "items": {"$ref": "#/$defs/Node"}})
ITEM = of(("id",), id=I, label={"type": "string", "maxLength": 20})

LEGAL: dict[str, Raw] = {
    "no properties": {"type": "object", "properties": {}},
    "bare object": {"type": "object"},
    "plain": of(("city",), city={**S, "description": "Town", "title": "City", "default": "Bonn"}),
    "closed": {**of(a=S), "additionalProperties": False},
    "map": of(a={"type": "object", "additionalProperties": I}),
    "open map": of(a={"type": "object", "additionalProperties": {}}),
    "null branch": of(a={"anyOf": [S, NULL], "description": "maybe", "default": None}),
    "type list": of(a={"type": ["string", "null"], "description": "maybe"}),
    "type list with enum": of(a={"type": ["string", "null"], "enum": ["x", None]}),
    "definition": {**of(a={"$ref": "#/$defs/A"}), "$defs": {"A": ITEM}},
    "recursion": {"$defs": {"Node": NODE}, **of(root={"$ref": "#/$defs/Node"})},
    "root recursion": {**of(next={"anyOf": [{"$ref": "#"}, NULL]}), "$id": "list"},
    "bounds": of(a={**S, "minLength": 1, "maxLength": 5}, b={**N, "minimum": -1.5}, c={"type": "array", "items": I}),
    "one type in a list": of(a={"type": ["string"], "description": "x"}),
}

MESSY: dict[str, Raw] = {
    "empty": {},
    "no type at the root": {"properties": {"q": S}, "required": ["q"]},
    "null parameters": {"type": "object", "properties": None},
    "schema only": {"$schema": DRAFT},
    "zod object": strict(("path",), path=S, encoding={**S, "enum": ["utf-8", "ascii"], "default": "utf-8"}),
    "zod nullable": strict(a={"anyOf": [{**S, "format": "uri"}, NULL]}, b={"type": ["number", "null"]}),
    "zod tuple": strict(at={"type": "array", "minItems": 2, "maxItems": 2, "items": [N, N]}),
    "zod mixed tuple": strict(at={"type": "array", "items": [S, N], "additionalItems": False}),
    "zod tuple with rest": strict(at={"type": "array", "items": [S], "additionalItems": N}),
    "zod positive": strict(n={**N, "exclusiveMinimum": 0}, i={**I, "exclusiveMinimum": 0, "maximum": 9007199254740991}),
    "zod record": strict(env={"type": "object", "additionalProperties": S, "propertyNames": {"pattern": "^[A-Z_]+$"}}),
    "zod union of literals": strict(a={"anyOf": [{**S, "const": "x"}, {**S, "const": "y"}, {**N, "const": 3}]}),
    "zod inner pointer": strict(a=of(p=S), b={"$ref": "#/properties/a"}),
    "zod recursive pointer": strict(n=of(kids={"type": "array", "items": {"$ref": "#/properties/n"}})),
    "zod any": strict(value={}, meta={"type": "object", "additionalProperties": {}}),
    "zod never": strict(value={"not": {}}, list={"type": "array", "items": {"not": {}}}),
    "zod intersection": strict(both={"allOf": [of(("a",), a=S), of(b=I)]}),
    "zod date union": strict(
        when={"anyOf": [{**S, "format": "date-time"}, {**S, "format": "date"}, {**I, "format": "unix-time"}]}
    ),
    "prefix items": of(p={"type": "array", "prefixItems": [S, I], "items": False, "minItems": 2}),
    "prefix items open": of(p={"type": "array", "prefixItems": [S, I]}),
    "prefix items with rest": of(p={"type": "array", "prefixItems": [S], "items": {"type": "boolean"}}),
    "empty prefix": of(p={"type": "array", "prefixItems": [], "maxItems": 0}),
    "any items": of(p={"type": "array", "items": {}}, q={"type": "array"}, r={"type": "array", "items": True}),
    "type beside anyOf": of(a={"type": "object", "anyOf": [of(("x",), x=S), of(("y",), y=I)]}),
    "type beside anyOf of constraints": of(a={**S, "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}),
    "required alternatives": of(a={**of(x=S, y=S), "anyOf": [{"required": ["x"]}, {"required": ["y"]}]}),
    "required alternatives at the root": {**of(x=S, y=S, z={}), "anyOf": [{"required": ["x"]}, {"required": ["y"]}]},
    "root oneOf": {"oneOf": [of(("a",), a=S), of(("b",), b=I)]},
    "typed root oneOf": {
        "type": "object",
        "oneOf": [of(("k",), k={"const": "a"}), of(("k", "n"), k={"const": "b"}, n=N)],
    },
    "root oneOf of references": {
        "oneOf": [{"$ref": "#/definitions/A"}, {"$ref": "#/definitions/B"}],
        "discriminator": {"propertyName": "k", "mapping": {"a": "#/definitions/A"}},
        "definitions": {"A": of(("k",), k={"enum": ["a"]}), "B": of(("k",), k={"enum": ["b"]}, more=ITEM)},
    },
    "root anyOf with null": {"anyOf": [of(a=S), NULL]},
    "root reference": {"$ref": "#/definitions/Args", "definitions": {"Args": of(("q",), q=S)}, "$schema": DRAFT},
    "recursive root reference": {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
    "root allOf": {"allOf": [{"$ref": "#/$defs/Base"}, of(("b",), b=S)], "$defs": {"Base": of(("a",), a=S)}},
    "root type list": {"type": ["object", "null"], "properties": {"a": S}},
    "definitions": {**of(a={"$ref": "#/definitions/A"}, b={"$ref": "#/definitions/A"}), "definitions": {"A": ITEM}},
    "nested definitions": of(a={"$defs": {"In": ITEM}, "$ref": "#/properties/a/$defs/In"}),
    "same names nested": of(
        a={**of(n={"$ref": "#/properties/a/$defs/T"}, m={"$ref": "#/properties/a/$defs/T"}), "$defs": {"T": ITEM}},
        b={**of(n={"$ref": "#/properties/b/$defs/T"}, m={"$ref": "#/properties/b/$defs/T"}), "$defs": {"T": of(z=S)}},
    ),
    "reference with description": {
        **of(a={"$ref": "#/$defs/A", "description": "first"}, b={"$ref": "#/$defs/A", "description": "second"}),
        "$defs": {"A": {**ITEM, "description": "an item"}},
    },
    "reference with type": {**of(a={"type": "object", "$ref": "#/$defs/A"}), "$defs": {"A": ITEM}},
    "reference with constraint": {**of(a={"$ref": "#/$defs/A", "required": ["label"]}), "$defs": {"A": ITEM}},
    "reference with default": {**of(a={"$ref": "#/$defs/A", "default": {"id": 1}}), "$defs": {"A": ITEM}},
    "recursive reference with description": {
        **of(a={"$ref": "#/$defs/Node", "description": "start", "x": 1}),
        "$defs": {"Node": {**NODE, "description": "a node"}},
    },
    "recursive reference with constraint": {
        **of(a={"$ref": "#/$defs/Node", "required": ["children"]}),
        "$defs": {"Node": NODE},
    },
    "recursion through a typed union": {
        **of(a={"$ref": "#/$defs/F"}),
        "$defs": {"F": of(x={"type": "object", "anyOf": [{"$ref": "#/$defs/F"}, of(leaf=S)]})},
    },
    "mutual recursion": {
        **of(a={"$ref": "#/definitions/A"}),
        "definitions": {"A": of(b={"$ref": "#/definitions/B"}), "B": of(a={"$ref": "#/definitions/A"}, c=S)},
    },
    "root recursion with description": of(child={"$ref": "#", "description": "below"}, name={**S, "format": "slug"}),
    "chain of references": {
        **of(a={"$ref": "#/$defs/A"}),
        "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/C", "title": "b"}, "C": {**S, "title": "c"}},
    },
    "odd definition names": {
        **of(a={"$ref": "#/definitions/x~1y%20z"}, b={"$ref": "#/definitions/x~1y%20z"}, c={"$ref": "#/definitions/Ü"}),
        "definitions": {"x/y z": ITEM, "Ü": S},
    },
    "slashes in a definition": {
        **of(a={"$ref": "#/$defs/H"}, b={"$ref": "#/$defs/H"}),
        "$defs": {"H": of(**{"application/json": S})},
    },
    "unused definition": {**of(a={**S, "format": "uuid"}), "$defs": {"Unused": {"type": "nonsense"}}},
    "enum without type": of(
        a={"enum": ["x", "y"]}, b={"enum": [1, 2]}, c={"enum": [1, 2.5]}, d={"enum": [True, False]}
    ),
    "mixed enum": of(a={"enum": ["auto", 0, 1, None, False]}, b={"enum": ["x", None]}, c={"enum": [None]}),
    "enum against its type": of(a={**S, "enum": ["x", None, 3]}, b={**I, "enum": ["1", "2"]}, c={**S, "enum": [1, 2]}),
    "enum of objects": of(a={"enum": [{"k": 1}, {"k": 2}]}, b={"enum": [[1], [2]]}, c={"enum": [{"k": 1}, None]}),
    "enum of several types": of(a={"type": ["string", "integer", "null"], "enum": ["x", 1, None]}),
    "empty enum": of(a={**S, "enum": []}),
    "const": of(a={"const": "x"}, b={"const": 1}, c={"const": None}, d={**S, "const": "y", "enum": ["y", "z"]}),
    "const object": of(a={"const": {"deep": [1, {"er": None}]}}),
    "oneOf": of(a={"oneOf": [S, {"type": "array", "items": S}], "description": "one or many"}),
    "oneOf consts": of(a={"oneOf": [{"const": "x", "title": "X"}, {"const": "y", "description": "the y"}]}),
    "oneOf and anyOf": of(a={"oneOf": [{"minLength": 2}, {"maxLength": 1}], "anyOf": [S, NULL]}),
    "discriminator": of(a={"oneOf": [of(t={"const": 1}), of(t={"const": 2})], "discriminator": {"propertyName": "t"}}),
    "allOf with one reference": {**of(a={"allOf": [{"$ref": "#/$defs/A"}], "description": "d"}), "$defs": {"A": ITEM}},
    "allOf of bounds": of(a={"allOf": [{**I, "minimum": 1}, {"maximum": 9}, {"minimum": 3}]}),
    "allOf of strangers": of(a={"allOf": [S, I]}, b={"anyOf": [S, {"allOf": [I, NULL]}]}),
    "allOf of anyOf": of(a={"allOf": [{"anyOf": [S, I]}, {"anyOf": [I, NULL]}]}),
    "allOf with conditions": {
        **of(kind={"enum": ["a", "b"]}, x=S),
        "allOf": [{"if": {"properties": {"kind": {"const": "a"}}}, "then": {"required": ["x"]}}],
    },
    "allOf meeting in a property": of(a={"allOf": [of(x=S), of(("x",), x={"minLength": 2, "pattern": "a"})]}),
    "nullable": of(a={**S, "nullable": True}, b={**S, "nullable": True, "enum": ["x"]}, c={**S, "nullable": False}),
    "nullable reference": {
        **of(a={"$ref": "#/components/schemas/A", "nullable": True}),
        "components": {"schemas": {"A": ITEM}},
    },
    "nullable allOf": {**of(a={"allOf": [{"$ref": "#/$defs/A"}], "nullable": True}), "$defs": {"A": ITEM}},
    "nullable object": of(a={**of(x=S), "nullable": True, "description": "maybe"}),
    "type list with constraints": of(a={"type": ["string", "integer"], "minLength": 2, "minimum": 5, "default": 7}),
    "type list object or null": of(a={"type": ["object", "null"], "properties": {"x": S}, "required": ["x"]}),
    "type list array or string": of(a={"type": ["array", "string"], "items": S}),
    "untyped by structure": of(
        a={"properties": {"x": S}},
        b={"items": S},
        c={"minLength": 1},
        d={"maximum": 3},
        e={"pattern": "^a"},
        f={"required": ["x"]},
        g={"multipleOf": 5},
        h={"additionalProperties": False},
        i={"format": "int64"},
    ),
    "described only": of(a={"description": "anything"}, b={"title": "B", "default": None}, c={"default": {"k": 1}}),
    "boolean sub-schemas": of(a=True, b=False, c={"type": "array", "items": False}, d={"anyOf": [True, False]}),
    "boolean additional": of(
        a={"type": "object", "additionalProperties": True}, b={"type": "object", "additionalProperties": False}
    ),
    "required typo": {**of(("citty",), city=S)},
    "required typo, closed": {**of(("citty", "city"), city=S), "additionalProperties": False},
    "required typo in a map": of(a={"type": "object", "required": ["k"], "additionalProperties": I}),
    "required without properties": of(a={"type": "object", "required": ["x", "y"]}),
    "draft 3 required": of(a={**S, "required": True}, b={**I, "required": False}),
    "draft 4 bounds": of(a={**N, "minimum": 0, "exclusiveMinimum": True, "divisibleBy": 2}),
    "strings": of(
        a={**S, "pattern": "^[a-z]+$", "format": "email", "contentEncoding": "base64", "examples": ["a@b.c"]}
    ),
    "numbers": of(a={**N, "multipleOf": 0.1, "exclusiveMaximum": 1e308}, b={**I, "exclusiveMaximum": 0, "maximum": -5}),
    "arrays": of(a={"type": "array", "items": S, "uniqueItems": True, "contains": {"const": "x"}, "minContains": 2}),
    "objects": of(
        a={**of(x=S), "minProperties": 1, "dependentRequired": {"x": ["y"]}, "propertyNames": {"maxLength": 3}}
    ),
    "patterns, closed": of(
        a={"type": "object", "patternProperties": {"^x-": S, "^n-": I}, "additionalProperties": False}
    ),
    "patterns, open": of(a={"type": "object", "patternProperties": {"^x-": S}}),
    "conditions": {**of(a=S), "if": {"properties": {"a": {"const": "x"}}}, "then": {"required": ["b"]}, "else": {}},
    "not": of(a={**S, "not": {"enum": ["root", "admin"]}}, b={"not": {"type": "null"}}),
    "annotations": of(a={**S, "readOnly": True, "$comment": "no", "deprecated": True, "x-order": 1, "example": "e"}),
    "reserved names": of(("anyOf", "a"), a=S, anyOf=S, required={"type": "boolean"}, **{"$ref": S, "$defs": I}),
    "names like keywords": of(
        type=S, items=I, enum=N, properties=of(x=S), const=S, description=S, format={"const": "x"}
    ),
    "unicode": of(**{"größe": {**N, "multipleOf": 0.5, "description": "in m — 长度"}, "🌙": {"const": "☾"}, "a b": {}}),
    "upper-case types": {
        "type": "OBJECT",
        "properties": {"a": {"type": "STRING"}, "b": {"type": "Array", "items": {"type": "int"}}},
    },
    "python type names": of(a={"type": "str"}, b={"type": "dict"}, c={"type": "any"}, d={"type": "float"}),
    "huge numbers": of(a={**I, "maximum": 10**40}, b={**N, "minimum": float("-inf")}, c={"enum": [2**70, 1]}),
    "python values": of(
        a={"type": ("string", "null"), "enum": ("x", None), "format": "p"}, b={"enum": ["\ud800", "ok"]}
    ),
    "wrong values": of(
        a={**S, "minLength": "3", "description": 5, "enum": "x"},
        b={**of(), "properties": [], "required": "x"},
        c={"anyOf": [], "oneOf": {}},
        d="string",
        e=None,
        f={**S, "title": None, "maxLength": -1, "allOf": "x"},
    ),
    "deeply mixed": of(
        ("filters",),
        filters={
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "op": {"enum": ["eq", "lt"]},
                    "value": {"type": ["string", "number", "boolean", "null"]},
                },
                "oneOf": [{"required": ["op"]}, {"required": ["value"]}],
                "additionalProperties": False,
            },
        },
        sort={"type": "object", "additionalProperties": {"enum": ["asc", "desc"]}, "minProperties": 1},
    ),
    "many references with descriptions": {
        **of(a={"$ref": "#/$defs/L0", "description": "top"}),
        "$defs": {
            f"L{n}": of(**{f"p{i}": {"$ref": f"#/$defs/L{n + 1}", "description": f"no {i}"} for i in range(4)})
            for n in range(10)
        }
        | {"L10": {**S, "description": "leaf", "format": "x"}},
    },
}

REFUSED: dict[str, tuple[Any, str]] = {
    "remote reference": (of(a={"$ref": "https://example.com/a.json"}), "properties.a.$ref"),
    "lost reference": (of(a={"$ref": "#/$defs/Nope"}), "properties.a.$ref"),
    "odd reference": (of(a={"$ref": 5}), "properties.a.$ref"),
    "anchor": (of(a={"$ref": "#there"}), "properties.a.$ref"),
    "references in a ring": (
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}},
        "root",
    ),
    "unknown type": (of(a={"type": "file"}), "properties.a"),
    "type of another type": (of(a={"type": {"k": 1}}), "properties.a"),
    "root of another type": ({"type": "array", "items": S}, "root"),
    "impossible root": ({"allOf": [of(), S]}, "root"),
    "contradiction": (of(("a",), a={"allOf": [S, I]}), "root"),
    "endless": ({**of(("a",), a={"$ref": "#"})}, "properties.a"),
}


def _nested(depth: int) -> Raw:
    schema: Raw = {"type": "string", "format": "x"}
    for _ in range(depth):
        schema = of(a=schema)
    return schema


REFUSED["too deep"] = (_nested(40), ".".join(["properties.a"] * 31))
REFUSED["far too deep"] = (_nested(3000), "root")
REFUSED["too many keys"] = (of(**{f"k{i}": S for i in range(3001)}), "root")
REFUSED["too many enum values"] = (of(a={"enum": list(range(1001))}), "properties.a.enum")
