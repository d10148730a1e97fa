"""Scripts in YAML, scripts that do not fit, and replies that are made to the request."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from langchain_kimi._rules.moonshot_schema import problems
from langchain_kimi.testing import (
    FakeKimi,
    FakeKimiAPI,
    KimiServer,
    Reply,
    ScriptError,
    called,
    continued,
    conversation,
    cut_after,
    empty,
    error_event,
    garbage,
    no_choice,
    overloaded,
    rate_limited,
    raw_call,
    refused,
    said,
    shaped,
    slowly,
    stall,
    thought,
    too_many,
)
from langchain_kimi.testing.script import yaml_script as conversations
from langchain_kimi.testing.script.schema_replies import example_of
from tests.conftest import kimi

Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(text: str) -> Path:
        path = tmp_path / "talk.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


VERBS = [
    ("said: Grüße", said("Grüße")),
    ("said: 5", said("5")),
    ("{said: x, thinking: hm}", said("x", thinking="hm")),
    ("thinking: hm", thought("hm")),
    ("called: {add: {a: 1, b: 2}}", called("add", a=1, b=2)),
    ("called: {add: {a: 1}, mul: }", called("add", a=1).calling("mul")),
    ("called: [{add: {a: 1}}, {add: {a: 2}}]", called("add", a=1).calling("add", a=2)),
    ("called: {add: '{\"a\": 1,'}", raw_call("add", '{"a": 1,')),
    ("{said: x, finish: length}", said("x").finish("length")),
    ("no_choice: ", no_choice()),
    ("overloaded: ", overloaded()),
    ("overloaded: 3", overloaded(times=3)),
    ("rate_limited: 1.5", rate_limited(1.5)),
    ("too_many: 3", too_many(3)),
    ("empty: 204", empty(204)),
    (
        "refused: {status: 400, type: content_filter, message: risky}",
        refused(400, "content_filter", "risky"),
    ),
    ("refused: {status: 504, page: <html>}", refused(504, page="<html>")),
    ("{said: a b, cut_after: 2}", cut_after(said("a b"), events=2)),
    ("{said: a b, stall: 2}", stall(said("a b"), after_events=2)),
    ("{said: a, stall: {after_events: 2, seconds: 0.5}}", stall(said("a"), after_events=2, seconds=0.5)),
    ("{said: a, cut_after: {bytes: 9}}", cut_after(said("a"), bytes=9)),
    ("{said: a b, slowly: 1}", slowly(said("a b"), bytes=1)),
    ("garbage: '{'", garbage(b"{")),
    ("{said: a, garbage: {data: x, after_events: 1}}", garbage(b"x", within=said("a"), after_events=1)),
    (
        "{said: a, error_event: {after_events: 1, message: gone}}",
        error_event(said("a"), after_events=1, message="gone"),
    ),
    ("{said: a, expect: {user: hi, tool: 5}}", said("a").expecting(user="hi", tool="5")),
]


@pytest.mark.parametrize(("text", "reply"), VERBS)
def test_yaml_has_the_words_of_python(written: Written, text: str, reply: Reply) -> None:
    assert conversation(written(f"- {text}\n")) == [reply]


def test_the_verbs_that_are_made_to_the_request(written: Written) -> None:
    model = FakeKimi(written("- shaped: {name: Oslo}\n- {continued: abc, thinking: hm}\n"), thinking=False)
    assert model.with_structured_output(NAMED).invoke("x") == {"name": "Oslo"}
    assert model.continue_from("a").invoke("x").text == "abc"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- said: x\n- sayd: x\n", "talk.yaml, reply 2: sayd is not known; known are said, "),
        ("- {said: x, overloaded: 1}\n", "reply 1: said and overloaded exclude each other"),
        ("- refused: {code: 4}\n", "reply 1: .*unexpected keyword argument 'code'"),
        ("- expect: hi\n  said: x\n", "reply 1: 'hi' is no mapping"),
        ("- {said: x, cut_after: soon}\n", "reply 1: invalid literal"),
        ("- hello\n", "reply 1: 'hello' is no mapping"),
        ("said: x\n", "holds no list of replies"),
        ("- [\n", "is no YAML"),
        ("", "holds no list of replies"),
    ],
)
def test_what_is_not_understood_is_named(written: Written, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        conversation(written(text))


def test_a_server_plays_a_file(written: Written, serve: Callable[..., KimiServer]) -> None:
    path = written("- {said: Hello., expect: {user: hi}}\n- {said: Bye., times: 2}\n")
    server = serve(path)
    assert [kimi(server).invoke(text).text for text in ("hi", "x", "y")] == ["Hello.", "Bye.", "Bye."]
    server.verify()


def test_the_docstring_is_a_conversation(written: Written) -> None:
    text = conversations.__doc__ or ""
    shown = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    replies = conversation(written(shown))
    assert replies[0] == thought("A sum.").calling("add", a=2, b=3).expecting(user="2 + 3")
    assert [replies[1], replies[2]] == [overloaded(times=2), said("It is 5.").expecting(tool="5")]


class TestStrict:
    def test_a_left_over_reply_fails_the_block(self) -> None:
        with (
            pytest.raises(ScriptError, match=r"1 replies .* not asked for; asked last was 'one'\. Left:\n  'two'"),
            KimiServer([said("one"), said("two")]) as server,
        ):
            kimi(server).invoke("one")

    def test_an_unscripted_request_fails_the_block_even_where_its_error_is_swallowed(self) -> None:
        with pytest.raises(AssertionError, match="no reply left for request 1: 'hi'"), KimiServer() as server:
            _swallowed(server)

    def test_the_tests_own_failure_is_not_hidden(self) -> None:
        with pytest.raises(KeyError), KimiServer([said("one")]):
            raise KeyError

    def test_it_can_be_switched_off(self) -> None:
        with KimiServer([said("one")], strict=False) as server:
            assert server.script_left == 1

    def test_a_function_has_no_left_over_replies_but_may_fail(self) -> None:
        with KimiServer(lambda request: said("x")) as server:
            kimi(server).invoke("hi")

        def script(request: Any) -> Reply:
            pytest.fail("never asked")

        with pytest.raises(ScriptError, match="Failed: never asked"), KimiServer(script) as server:
            _swallowed(server)

    def test_an_unknown_setting_is_named(self) -> None:
        with pytest.raises(TypeError, match="modles is no setting; those are api_key, models"):
            KimiServer([], modles=("kimi-k2-thinking",))  # type: ignore[call-arg]

    def test_a_script_of_something_else_is_refused_at_once(self) -> None:
        with pytest.raises(TypeError, match="a script is made of replies"):
            FakeKimiAPI(["hello"])  # type: ignore[list-item]


def _swallowed(server: KimiServer) -> None:
    with pytest.raises(Exception, match="script"):
        kimi(server).invoke("hi")


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
        with pytest.raises(ValueError, match="never ends"):
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


def test_a_body_over_100_mb_is_refused() -> None:
    double = FakeKimiAPI([said("x")])
    answer = double.answer(
        "POST",
        "/v1/chat/completions",
        {"authorization": "Bearer x"},
        b'{"a":"%b"}' % bytes(104_857_600).replace(b"\0", b"a"),
    )
    assert (answer.status, b"Request exceeds the maximum size" in b"".join(answer.body)) == (413, True)


def test_cut_after_wants_one_measure() -> None:
    for wrong in ({}, {"events": 1, "bytes": 1}):
        with pytest.raises(TypeError, match="either"):
            cut_after(said("x"), **wrong)
