"""Random schemas of every form become legal and take every instance that they took."""

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from langchain_kimi._rules.moonshot_schema import problems
from langchain_kimi._schema import normalise

Schema = Any
NAMES = st.sampled_from(["a", "b", "größe", "type", "items", "required", "x/y"])
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-3, 5), st.sampled_from([0.5, "", "a", "abc", "2020-01-01"]))
JSON = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=5
)
NOTES = st.fixed_dictionaries(
    {}, optional={"title": st.just("t"), "description": st.just("d"), "default": VALUES, "x-y": VALUES}
)


@st.composite
def with_some(draw: st.DrawFn, base: dict[str, Any], **optional: st.SearchStrategy[Any]) -> Schema:
    """A schema with some optional keywords and notes."""
    return {**base, **draw(st.fixed_dictionaries({}, optional=optional)), **draw(NOTES)}


COUNTS = st.integers(0, 3)
STRING = with_some(
    {"type": "string"},
    minLength=COUNTS,
    maxLength=COUNTS,
    pattern=st.sampled_from(["^a", "b$"]),
    format=st.just("date"),
)
NUMBER = st.sampled_from(["integer", "number"]).flatmap(
    lambda kind: with_some(
        {"type": kind}, minimum=COUNTS, exclusiveMinimum=COUNTS, exclusiveMaximum=COUNTS, multipleOf=st.just(2)
    )
)
ENUM = with_some({}, enum=st.lists(VALUES, min_size=1, max_size=4)) | with_some({}, const=JSON)
TYPES = st.lists(
    st.sampled_from(["string", "integer", "null", "boolean", "object", "array"]), min_size=1, max_size=3, unique=True
)
MANY = TYPES.flatmap(
    lambda kinds: with_some({"type": kinds}, minLength=COUNTS, minimum=COUNTS, enum=st.lists(VALUES, min_size=1))
)
REFS = st.sampled_from(["#/$defs/Leaf", "#/$defs/Loop", "#/definitions/Old", "#"]).flatmap(
    lambda ref: with_some({"$ref": ref})
)
LEAF = st.one_of(STRING, NUMBER, ENUM, MANY, REFS, with_some({}), st.booleans(), st.just({"type": "null"}))


def _object(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return with_some(
        {"type": "object"},
        properties=st.dictionaries(NAMES, inner, max_size=3),
        required=st.lists(NAMES, max_size=2, unique=True),
        additionalProperties=st.booleans() | inner,
        patternProperties=st.dictionaries(st.just("^x"), inner, max_size=1),
        minProperties=COUNTS,
    )


def _array(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    bounds = {"minItems": COUNTS, "maxItems": COUNTS, "uniqueItems": st.booleans()}
    listed = with_some({"type": "array"}, items=inner, **bounds)
    positions = st.lists(inner, min_size=1, max_size=2)
    return listed | with_some({"type": "array", "items": False}, prefixItems=positions, **bounds)


def _inner(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    branches = st.lists(inner, min_size=1, max_size=3)
    typed = st.sampled_from([{"type": "object"}, {"type": "string"}, {"type": ["integer", "null"]}])
    return st.one_of(
        _object(inner),
        _array(inner),
        with_some({}, anyOf=branches, oneOf=branches),
        with_some({}, allOf=branches),
        typed.flatmap(lambda base: with_some(base, anyOf=branches)),
        with_some({"$ref": "#/$defs/Leaf"}, minLength=COUNTS, allOf=branches),
        with_some({}, **{"not": inner}),
    )


PARTS = st.recursive(LEAF, _inner, max_leaves=6)
LOOP = {
    "type": "object",
    "properties": {"up": {"$ref": "#/$defs/Loop"}, "n": {"type": "integer", "exclusiveMinimum": 1}},
}
DEFS = {
    "$defs": {"Leaf": {"type": "string", "format": "x"}, "Loop": LOOP},
    "definitions": {"Old": {"enum": ["a", 1], "title": "old"}},
}
SCHEMAS = st.dictionaries(st.sampled_from("pq"), PARTS, min_size=1, max_size=2).map(
    lambda properties: {"type": "object", "properties": properties, **DEFS}
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    schema=SCHEMAS,
    instances=st.lists(st.dictionaries(st.sampled_from("pqr"), JSON, max_size=2), min_size=4, max_size=8),
)
def test_a_random_schema_becomes_legal_and_takes_what_it_took(schema: Schema, instances: list[Any]) -> None:
    before = orjson.dumps(schema)
    outcome = normalise(schema)
    assert orjson.dumps(schema) == before
    if outcome.problems:
        assert {message for _, message in outcome.problems} == {"no object meets the schema"}
        assert not any(map(Draft202012Validator(schema).is_valid, instances))
        return
    assert list(problems(outcome.schema)) == []
    again = normalise(outcome.schema)
    assert (orjson.dumps(again.schema), again.changes) == (orjson.dumps(outcome.schema), ())
    original, rewritten = Draft202012Validator(schema), Draft202012Validator(outcome.schema)
    for instance in instances:
        if original.is_valid(instance):
            assert rewritten.is_valid(instance), (instance, outcome.schema)
        elif not outcome.changes:
            assert not rewritten.is_valid(instance), instance
