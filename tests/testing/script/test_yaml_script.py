"""Scripts in YAML."""

from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_kimi.testing import (
    FakeKimi,
    KimiServer,
    Reply,
    called,
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
    slowly,
    stall,
    thought,
    too_many,
)
from langchain_kimi.testing.script import yaml_script as conversations
from tests.conftest import kimi

Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(text: str) -> Path:
        path = tmp_path / "talk.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


NAMED = {"title": "Named", "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
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
        ("- said: x\n- sayd: x\n", "talk.yaml, reply 2: unknown key sayd; the keys are said, "),
        ("- {said: x, overloaded: 1}\n", "reply 1: said and overloaded exclude each other"),
        ("- refused: {code: 4}\n", "reply 1: .*unexpected keyword argument 'code'"),
        ("- expect: hi\n  said: x\n", "reply 1: 'hi' is not a mapping"),
        ("- {said: x, cut_after: soon}\n", "reply 1: invalid literal"),
        ("- hello\n", "reply 1: 'hello' is not a mapping"),
        ("said: x\n", "holds no list of replies"),
        ("- [\n", "is not valid YAML"),
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
