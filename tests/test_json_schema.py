"""Values checked against JSON Schemas as others wrote them: odd, invalid and hostile ones."""

import json
import logging
import time
from typing import Any

import pytest

from langchain_kimi import _json_schema
from langchain_kimi._json_schema import SchemaCheck


def reasons(schema: dict[str, Any], value: Any) -> str | None:
    return SchemaCheck("the tool take", schema).reasons(value)


def of(property_schema: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": property_schema}, **others}


DRAFT = "https://json-schema.org/draft/2020-12/schema"
SLOW = "^(a|aa)+$"
VICTIM = "a" * 60 + "!"
DOUBLING = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {"type": "string"}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (of({"type": "string", "pattern": SLOW}), {"x": VICTIM}),
        (of({}, patternProperties={SLOW: {"type": "string"}}), {VICTIM: "y"}),
        (of({}, patternProperties={SLOW: {}}, additionalProperties=False), {VICTIM: "y"}),
        (of({"$ref": "#/$defs/loop"}, **{"$defs": {"loop": {"propertyNames": {"pattern": SLOW}}}}), {"x": {VICTIM: 1}}),
        (
            {"$schema": DRAFT, "pattern": SLOW, "items": {"$ref": "#"}},
            [VICTIM],
        ),
        (of({"$ref": "#/$defs/d0"}, **{"$defs": DOUBLING}), {"x": "y"}),
        (of({"type": "array", "items": {"pattern": SLOW}}), {"x": [VICTIM] * 1_000}),
    ],
    ids=[
        "pattern",
        "property pattern",
        "additional property",
        "behind $ref",
        "behind # and $schema",
        "doubling",
        "many",
    ],
)
def test_a_hostile_schema_is_given_up_after_a_second(
    schema: dict[str, Any],
    value: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    assert _json_schema._SECONDS == 1
    if request.node.callspec.id != "pattern":  # one waits as long as users do
        monkeypatch.setattr(_json_schema, "_SECONDS", 0.1)
    check = SchemaCheck("the tool take", schema)
    before = time.process_time()
    assert check.reasons(value) is None
    assert time.process_time() - before < 5
    assert "the schema of the tool take cannot be applied" in caplog.text
    assert f"took longer than {_json_schema._SECONDS:g} second" in caplog.text
    before = time.process_time()
    assert check.reasons(value) is None
    assert time.process_time() - before < 0.5


def test_a_pattern_is_one_of_json_schema_not_only_of_python() -> None:
    assert reasons(of({"type": "string", "pattern": r"^\p{L}+$"}), {"x": "Ærø"}) is None
    assert "does not match" in (reasons(of({"type": "string", "pattern": r"^\p{L}+$"}), {"x": "1"}) or "")


def test_a_pattern_that_cannot_be_read_is_left_out_alone(caplog: pytest.LogCaptureFixture) -> None:
    schema = of({"type": "string", "pattern": "(", "maxLength": 2}, patternProperties={"[": {"type": "integer"}})
    schema["additionalProperties"] = False
    check = SchemaCheck("the tool take", schema)
    assert check.reasons({"x": "ab", "other": "y"}) is None
    assert "too long" in (check.reasons({"x": "abc"}) or "")
    assert sum("is no regular expression" in record.getMessage() for record in caplog.records) == 2


def test_property_patterns_and_others_still_hold() -> None:
    schema = {"patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": False}
    assert reasons(schema, {"n_a": 1}) is None
    assert "is not of type 'integer'" in (reasons(schema, {"n_a": "1"}) or "")
    assert "'other' was unexpected" in (reasons(schema, {"other": 1}) or "")
    schema["additionalProperties"] = {"type": "string"}
    assert "`$.other`: 1 is not of type 'string'." in (reasons(schema, {"other": 1, "n_b": 1}) or "")


def nested(depth: int) -> Any:
    return json.loads('{"x":' * depth + "1" + "}" * depth)


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": ["odd"], "type": "object"},
        {"$schema": 5, "type": "object"},
        {"type": "objekt"},
        {"properties": []},
        {"$ref": 5},
        {"$ref": "#"},
    ],
    ids=str,
)
def test_a_schema_that_is_broken_never_raises(schema: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    assert reasons(schema, {"x": 1}) is None
    assert "cannot be applied" in caplog.text


def test_a_value_that_nests_too_deep_does_not_switch_the_check_off(caplog: pytest.LogCaptureFixture) -> None:
    check = SchemaCheck("the tool take", {"properties": {"x": {"$ref": "#"}}, "required": ["x"]})
    deep: Any = {}
    for _ in range(3_000):
        deep = {"x": deep}
    with caplog.at_level(logging.WARNING):
        assert "nested too deeply" in (check.reasons(deep) or "")
    assert "'x' is a required property" in (check.reasons({}) or "")


def test_a_format_is_not_asserted() -> None:
    assert reasons(of({"type": "string", "format": "email"}), {"x": "nobody"}) is None
