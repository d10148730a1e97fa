"""The corpus becomes legal, the same way in every process, twice as once, without a touch to what was passed."""

import copy
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from langchain_kimi._rules.moonshot_schema import problems
from langchain_kimi._schema import normalise
from tests.schema.corpus import CORPUS, LEGAL, REFUSED


def fingerprint() -> str:
    """A digest of every outcome of the corpus with its report."""
    digest = hashlib.sha256()
    for name, schema in CORPUS.items():
        outcome = normalise(schema)
        digest.update(orjson.dumps([name, outcome.schema, outcome.changes, outcome.problems]))
    return digest.hexdigest()


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 150


@pytest.mark.parametrize("name", CORPUS)
def test_a_schema_of_the_corpus_becomes_legal(name: str) -> None:
    schema = CORPUS[name]
    before = copy.deepcopy(schema)

    outcome = normalise(schema)

    assert repr(schema) == repr(before)
    assert outcome.problems == ()
    assert list(problems(outcome.schema)) == []
    assert outcome.schema["type"] == "object"
    assert all(change.path and change.rule.isidentifier() and change.detail for change in outcome.changes)
    again = normalise(outcome.schema)
    assert orjson.dumps(again.schema) == orjson.dumps(outcome.schema)
    assert again.changes == ()


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_schema_stays_as_it_is(name: str) -> None:
    outcome = normalise(LEGAL[name])
    assert orjson.dumps(outcome.schema) == orjson.dumps(LEGAL[name])
    assert outcome.changes == ()


@pytest.mark.parametrize("name", [name for name, schema in CORPUS.items() if not list(problems(schema))])
def test_a_change_is_never_silent(name: str) -> None:
    outcome = normalise(CORPUS[name])
    assert outcome.changes or orjson.dumps(outcome.schema) == orjson.dumps(CORPUS[name])


@pytest.mark.parametrize("name", REFUSED)
def test_a_schema_that_cannot_be_legal_is_left_alone_with_the_reason(name: str) -> None:
    schema, path = REFUSED[name]
    outcome = normalise(schema)
    assert outcome.problems[0][0] == path
    assert outcome.changes == ()
    assert outcome.schema == schema
    assert normalise(outcome.schema) == outcome


def test_another_process_makes_the_same_bytes() -> None:
    code = "from tests.schema.test_normalise_corpus import fingerprint; print(fingerprint())"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
    )
    assert ran.stdout.strip() == fingerprint()


GARBAGE: list[Any] = [None, True, 0, -1.5, "", "x", [], {}, [None], {"a": 1}, [[]], [{"$ref": "#"}]]
KEYWORDS = (
    *("type", "$ref", "$defs", "definitions", "properties", "required", "items", "prefixItems", "additionalItems"),
    *("additionalProperties", "enum", "const", "anyOf", "oneOf", "allOf", "not", "if", "patternProperties", "minimum"),
    *("maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxItems", "nullable", "title", "description"),
    *("default", "format", "discriminator", "$id", "$schema", "examples", "dependentRequired", "uniqueItems"),
)


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_garbage_never_raises(keyword: str) -> None:
    for value in GARBAGE:
        for schema in ({keyword: value}, {"type": "object", "properties": {"a": {"type": "string", keyword: value}}}):
            outcome = normalise(schema)
            assert outcome.problems or not list(problems(outcome.schema))
            assert normalise(outcome.schema).schema == outcome.schema


def test_a_schema_that_holds_itself_is_a_problem() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    schema["properties"]["a"] = schema
    assert normalise(schema).problems
