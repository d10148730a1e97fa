"""The comparison with the known deviations, and the scripted model. The verifier itself is no part of the tests."""

import json
from typing import Any

import httpx2
import pytest

from langchain_kimi.testing import KimiServer
from tests.vendor.deviations import DEVIATIONS, DIALECTS, Comparison, Deviation, comparison, known
from tests.vendor.model import answer
from tests.vendor.run import SUITES

DEVIATION = Deviation(("a::one", "a::two"), ("kimi-k3",), "why", "seen")


def test_a_run_is_as_expected_where_just_the_deviations_fail() -> None:
    outcomes: Any = {"a::one": "failed", "a::two": "failed", "a::three": "passed", "a::four": "skipped"}
    assert comparison(outcomes, [DEVIATION]) == Comparison(("a::one", "a::two"), (), (), ())


@pytest.mark.parametrize(
    ("outcomes", "unexpected"),
    [
        (
            {"a::one": "failed", "a::two": "failed", "a::three": "failed"},
            Comparison(("a::one", "a::two"), ("a::three",), (), ()),
        ),
        ({"a::one": "failed", "a::two": "passed"}, Comparison(("a::one",), (), ("a::two",), ())),
        ({"a::one": "failed"}, Comparison(("a::one",), (), (), ("a::two",))),
        ({"b::one": "passed"}, Comparison((), (), (), ())),
    ],
    ids=["failure", "pass", "renamed", "not run"],
)
def test_anything_else_is_told(outcomes: Any, unexpected: Comparison) -> None:
    assert comparison(outcomes, [DEVIATION]) == unexpected


def test_each_deviation_is_of_a_model_that_is_verified_and_says_why() -> None:
    names = [
        (name, model, dialect)
        for one in DEVIATIONS
        for name in one.tests
        for model in one.models
        for dialect in one.dialects
    ]
    assert len(names) == len(set(names))
    for one in DEVIATIONS:
        assert set(one.models) <= SUITES.keys()
        assert set(one.dialects) <= set(DIALECTS)
        assert one.reason
        assert one.evidence
    assert known("vendor", "kimi-k2.6") == [one for one in DEVIATIONS if "walle" in one.reason]


TREE = {
    "$defs": {
        "Tree": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "left": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]},
                "rest": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
            },
            "required": ["name", "left", "rest"],
        }
    },
    "type": "object",
    "properties": {"tree": {"$ref": "#/$defs/Tree"}},
    "required": ["tree"],
}
FREE = {"type": "object", "properties": {"value": {}}}


@pytest.mark.parametrize("as_dynamic_tool", [False, True])
@pytest.mark.parametrize("schema", [TREE, FREE])
def test_the_model_fills_schemas_that_contain_themselves_or_say_nothing(schema: Any, as_dynamic_tool: bool) -> None:
    import jsonschema

    tool = {"type": "function", "function": {"name": "plant", "parameters": schema}}
    messages: list[Any] = [{"role": "user", "content": "Plant one."}]
    fields: Any = {"tools": [tool]}
    if as_dynamic_tool:
        messages, fields = [*messages, {"role": "system", "content": "", "tools": [tool]}], {}
    body = {"model": "kimi-k3", "messages": messages, "tool_choice": "required", **fields}
    with KimiServer(answer) as server, httpx2.Client(trust_env=False) as http:
        response = http.post(f"{server.url}/chat/completions", json=body, headers={"authorization": "Bearer sk-x"})
    (call,) = response.json()["choices"][0]["message"]["tool_calls"]
    jsonschema.validate(json.loads(call["function"]["arguments"]), schema)
