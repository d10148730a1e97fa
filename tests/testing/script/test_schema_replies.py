"""Replies that the request completes."""

import re
from typing import Any

import jsonschema
import pytest

from langchain_kimi._rules.moonshot_schema import problems
from langchain_kimi.testing import FakeKimi, ScriptError, continued, cut_after, shaped
from langchain_kimi.testing.script.schema_replies import example_of

NAMED = {"title": "Named", "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
    "required": ["value", "next"],
}
TREE = {
    "type": "object",
    "properties": {"leaves": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}, "name": {"type": "string"}},
    "required": ["name"],
}
SCHEMAS: list[dict[str, Any]] = [
    NAMED,
    {"type": "object", "properties": {}},
    {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": ["b", "a"]},
            "long": {"type": "string", "minLength": 40},
            "short": {"type": "string", "maxLength": 2},
            "least": {"type": "number", "minimum": 7.5},
            "most": {"type": "integer", "maximum": -3},
            "pair": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2},
            "none": {"type": "array", "items": {"type": "integer"}, "maxItems": 0},
            "maybe": {"type": ["null", "string"]},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "given": {"type": "string", "default": "as it is"},
            "free": {"type": "object", "additionalProperties": True},
        },
        "required": ["kind"],
    },
    {"type": "object", "properties": {"list": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": NODE}, "required": ["list"]},
    {"type": "object", "properties": {"tree": {"$ref": "#/$defs/Tree"}}, "$defs": {"Tree": TREE}, "required": ["tree"]},
]


class TestShaped:
    @pytest.mark.parametrize("schema", SCHEMAS)
    def test_what_is_made_to_a_schema_is_valid(self, schema: dict[str, Any]) -> None:
        assert list(problems(schema)) == []
        jsonschema.validate(example_of(schema), schema)

    def test_a_schema_without_end_is_named(self) -> None:
        endless = {"type": "object", "properties": {"self": {"$ref": "#"}}, "required": ["self"]}
        with pytest.raises(ValueError, match="without an end"):
            example_of(endless)

    def test_where_no_json_is_asked_for_the_script_fails(self) -> None:
        model = FakeKimi([shaped()], max_retries=0)
        with pytest.raises(Exception, match="the request asks for no JSON"):
            model.invoke("hi")
        with pytest.raises(ScriptError):
            model.verify()

    def test_faults_apply_to_what_is_made(self) -> None:
        model = FakeKimi([cut_after(shaped(), events=2)], max_retries=0)
        with pytest.raises(Exception, match="broke off"):
            model.with_structured_output(NAMED).invoke("hi")

    def test_thinking_comes_first(self) -> None:
        model = FakeKimi([shaped(thinking="hm"), continued("ab", thinking="hm")])
        raw = model.with_structured_output(NAMED, include_raw=True).invoke("hi")["raw"]
        assert raw.additional_kwargs["reasoning_content"] == "hm"
        assert re.fullmatch(r'\{"name":"text"\}', raw.text)
