"""Every shape of answer becomes the right message: tool-call deltas, cut answers, hosts' reasoning keys, oddities."""

import itertools
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.block_translators import get_translator
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from langchain_kimi._http import SSEParser
from langchain_kimi._raw_calls import raw_calls, reparse_calls
from langchain_kimi._response import ResponseDecoder, check_output_cap, generation_chunk
from langchain_kimi._response.chunks import PlainChunks, can_skip_validation
from langchain_kimi.errors import AnswerCutShort, KimiError, OverloadedError, RateLimitError
from langchain_kimi.testing import called, raw_call, said, thought
from tests.conftest import PAIRED, Serve, kimi
from tests.response.test_decode import HEAD, USAGE, chunks_of, event, read, sse, whole

ARGUMENTS = '{"path": "/tmp/ä\\"b",  "lines": [1, 2, {"x": null}], "deep": {"a": [[], {}]}}'


def call(name: str, arguments: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


def delta(*calls: dict[str, Any]) -> dict[str, Any]:
    return event({"tool_calls": list(calls)})


def piece(arguments: Any, **more: Any) -> dict[str, Any]:
    return {"function": {"arguments": arguments}, **more}


def joined(events: list[dict[str, Any]], **settings: Any) -> AIMessageChunk:
    """What a user has who adds up the chunks of `model.stream()`."""
    first, *rest = chunks_of([sse(events)], **settings)
    return first + rest


def of(*events: dict[str, Any], finish: str = "tool_calls", **settings: Any) -> AIMessage:
    return read([sse([*events, event({}, finish)])], **settings)


# Tool-call deltas. Each form says the calls read(path=…) with id read:0 and look(at="b") with id look:1.

TEXT = '{"path": "a\\u00e4"}'
LOOK = '{"at":"b"}'
FORMS: dict[str, list[dict[str, Any]]] = {
    "whole, with index": [
        delta(call("read", TEXT, id="read:0", index=0)),
        delta(call("look", LOOK, id="look:1", index=1)),
    ],
    "both in one event": [delta(call("read", TEXT, id="read:0", index=0), call("look", LOOK, id="look:1", index=1))],
    "both in one event, without index": [delta(call("read", TEXT, id="read:0"), call("look", LOOK, id="look:1"))],
    "without index, one after the other": [
        delta(call("read", "", id="read:0")),
        *(delta(piece(letter)) for letter in TEXT),
        delta(call("look", "", id="look:1")),
        *(delta(piece(letter)) for letter in LOOK),
    ],
    "letter by letter": [
        delta(call("read", "", id="read:0", index=0)),
        *(delta(piece(letter, index=0)) for letter in TEXT),
        delta(call("look", "", id="look:1", index=1)),
        *(delta(piece(letter, index=1)) for letter in LOOK),
    ],
    "interleaved": [
        delta(call("read", TEXT[:5], id="read:0", index=0)),
        delta(call("look", LOOK[:3], id="look:1", index=1)),
        delta(piece(TEXT[5:], index=0)),
        delta(piece(LOOK[3:], index=1)),
    ],
    "out of order in one event": [
        delta(call("read", "", id="read:0", index=0), call("look", "", id="look:1", index=1)),
        delta(piece(LOOK, index=1), piece(TEXT, index=0)),
    ],
    "without index, out of order, by id": [
        delta(call("read", "", id="read:0"), call("look", "", id="look:1")),
        delta(piece(LOOK, id="look:1"), piece(TEXT, id="read:0")),
    ],
    "all at index 0, interleaved by id": [
        delta(call("read", TEXT[:5], id="read:0", index=0)),
        delta(call("look", LOOK[:3], id="look:1", index=0)),
        delta(piece(TEXT[5:], id="read:0", index=0)),
        delta(piece(LOOK[3:], id="look:1", index=0)),
    ],
    "the same index with a new id": [
        delta(call("read", TEXT, id="read:0", index=0)),
        delta(call("look", LOOK, id="look:1", index=0)),
    ],
    "indices with gaps": [
        delta(call("read", TEXT, id="read:0", index=3)),
        delta(call("look", LOOK, id="look:1", index=7)),
    ],
    "name and id late": [
        delta(piece(TEXT[:4], index=0)),
        delta({"index": 0, "id": "read:0", "function": {"arguments": TEXT[4:]}}),
        delta({"index": 0, "function": {"name": "read"}}),
        delta(call("look", LOOK, id="look:1", index=1)),
    ],
    "name and id repeated": [
        *(delta(call("read", letter, id="read:0", index=0)) for letter in TEXT),
        *(delta(call("look", letter, id="look:1", index=1)) for letter in LOOK),
    ],
    "name empty, in the id": [
        delta(call("", TEXT, id="read:0", index=0)),
        delta(piece(LOOK, id="look:1", index=1)),
    ],
    "no ids": [delta(call("read", TEXT, index=0)), delta(piece("", index=0)), delta(call("look", LOOK, index=1))],
    "empty ids": [delta(call("read", TEXT, id="", index=0), call("look", LOOK, id=None, index=1))],
    "neither ids nor indices": [delta(call("read", TEXT)), delta(call("look", LOOK))],
    "null where nothing is": [
        delta({"index": 0, "id": "read:0", "function": {"name": "read", "arguments": None}}),
        event({"tool_calls": None, "content": None}),
        delta({"index": 0, "id": None, "function": {"name": None, "arguments": TEXT}}),
        delta({"index": 1, "id": "look:1", "function": {"name": "look", "arguments": LOOK}}),
    ],
    "an object for a string": [
        delta(call("read", json.loads(TEXT), id="read:0", index=0), call("look", {"at": "b"}, id="look:1", index=1))
    ],
    "twice encoded": [
        delta(
            call("read", json.dumps(TEXT), id="read:0", index=0), call("look", json.dumps(LOOK), id="look:1", index=1)
        )
    ],
}


@pytest.mark.parametrize("v1", [False, True], ids=["v0", "v1"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_tool_call_deltas(form: str, v1: bool) -> None:
    message = of(*FORMS[form], v1=v1)
    ids = {
        "no ids": ("read:0", "look:0"),
        "empty ids": ("read:0", "look:0"),
        "neither ids nor indices": ("read:0", "look:0"),
    }
    assert [(one["name"], one["args"]) for one in message.tool_calls] == [
        ("read", {"path": "aä"}),
        ("look", {"at": "b"}),
    ]
    assert tuple(one["id"] for one in message.tool_calls) == ids.get(form, ("read:0", "look:1"))
    answer = ResponseDecoder()
    for data in SSEParser().feed(sse([*FORMS[form], event({}, "tool_calls")])):
        answer.feed(data)
    assert answer.message().tool_calls == message.tool_calls
    sent = [json.loads(one["arguments"]) for one in raw_calls(message)]
    assert sent == [{"path": "aä"}, {"at": "b"}]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.lists(st.integers(1, 3000), max_size=8), st.booleans(), st.booleans())
def test_every_form_in_random_pieces(form: str, cuts: list[int], crlf: bool, v1: bool) -> None:
    events = [event({"reasoning_content": "Erst … "}), event({"content": "线条"}), *FORMS[form], event({}, "stop")]
    body = sse(events)
    if crlf:
        body = b": comment\r\n" + body.replace(b"\n", b"\r\n")
    edges = [0, *sorted({min(cut, len(body)) for cut in cuts}), len(body)]
    assert read([body[a:b] for a, b in itertools.pairwise(edges)], v1=v1) == read([sse(events)], v1=v1)


def test_made_up_ids_are_unique_and_go_on_from_a_number() -> None:
    calls = [call("add", "{}", index=0), call("add", "{}", index=1, id="add:4"), call("add", "{}", index=2, id="add:4")]
    message = of(delta(*calls), first_call=4)
    assert [one["id"] for one in message.tool_calls] == ["add:5", "add:4", "add:6"]
    assert message == ResponseDecoder(first_call=4).decode_body(whole({"content": "", "tool_calls": calls})).model_copy(
        update={"usage_metadata": None}
    )
    pieces = joined([delta(*calls), event({}, "stop")], first_call=4)
    assert [one["id"] for one in pieces.tool_calls] == ["add:5", "add:4", "add:6"]


def test_names_of_the_wire_become_the_users_also_out_of_an_id() -> None:
    calls = delta(call("read_2", "{}", index=0, id="x"), call("", "{}", index=1, id="functions.read_2:1"))
    assert [one["name"] for one in of(calls, names={"read_2": "read!"}).tool_calls] == ["read!", "read!"]
    pieces = joined([calls, event({}, "stop")], names={"read_2": "read!"})
    assert [one["name"] for one in pieces.tool_calls] == ["read!", "read!"]


def test_control_characters_in_arguments_are_read() -> None:
    message = of(delta(call("say", '{"text": "a\nb\tc\x01"}', id="say:0", index=0)))
    assert message.tool_calls[0]["args"] == {"text": "a\nb\tc\x01"}
    assert raw_calls(message)[0]["arguments"] == '{"text": "a\nb\tc\x01"}'


@pytest.mark.parametrize("arguments", ['{"a": NaN}', "[" * 100_000, '{"a": 1} {"b": 2}', '"text"', '"{"', "{a: 1}"])
def test_what_is_no_json_object_is_invalid_with_raw_text_and_reason(arguments: str) -> None:
    message = of(delta(call("a", arguments, id="a:0", index=0)))
    assert message.tool_calls == []
    (invalid,) = message.invalid_tool_calls
    assert (invalid["args"], bool(invalid["error"])) == (arguments, True)
    assert raw_calls(message)[0]["arguments"] == arguments


@pytest.mark.parametrize("junk", [[], "x", [None], [{}], [{"function": None}], [{"function": "x", "index": [1]}]])
def test_junk_for_tool_calls_breaks_nothing(junk: Any) -> None:
    assert of(event({"content": "ok", "tool_calls": junk}), finish="stop").content == "ok"
    ResponseDecoder().decode_body(whole({"content": "ok", "tool_calls": junk}, "stop"))


# A stringified array or object.

SCHEMA = {
    "type": "object",
    "$defs": {"Point": {"type": "object"}, "Loop": {"$ref": "#/$defs/Loop"}},
    "properties": {
        "items": {"type": "array", "items": {"type": "integer"}},
        "maybe": {"anyOf": [{"type": "array"}, {"type": "null"}]},
        "point": {"$ref": "#/$defs/Point"},
        "either": {"anyOf": [{"type": "string"}, {"type": "array"}]},
        "text": {"type": "string"},
        "free": {},
        "loose": {"anyOf": [{"type": "array"}, {"description": "or whatever"}]},
        "loop": {"$ref": "#/$defs/Loop"},
    },
}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("items", "[1, 2]", [1, 2]),
        ("items", '["[1]"]', ["[1]"]),
        ("items", '"[1]"', '"[1]"'),
        ("items", '{"a": 1}', '{"a": 1}'),
        ("items", "[1", "[1"),
        ("maybe", "[]", []),
        ("maybe", "null", "null"),
        ("point", '{"x": 1}', {"x": 1}),
        ("either", "[1]", "[1]"),
        ("text", "[1]", "[1]"),
        ("free", "[1]", "[1]"),
        ("loose", "[1]", "[1]"),
        ("loop", "[1]", "[1]"),
        ("unknown", "[1]", "[1]"),
    ],
)
@pytest.mark.parametrize("v1", [False, True], ids=["v0", "v1"])
def test_strings_are_unwrapped_once_where_only_the_schema_allows(
    name: str, value: str, expected: Any, v1: bool
) -> None:
    raw = json.dumps({name: value, "other": "[]"})
    said_call = call("draw", raw, id="draw:0", index=0)
    message = of(delta(said_call), schemas={"draw": SCHEMA}, v1=v1)
    assert message.tool_calls[0]["args"] == {name: expected, "other": "[]"}
    assert raw_calls(message)[0]["arguments"] == raw
    assert of(delta(said_call), v1=v1).tool_calls[0]["args"] == {name: value, "other": "[]"}
    if v1:
        assert message.content[0]["args"] == {name: expected, "other": "[]"}  # type: ignore[index]


def test_an_unwrapped_call_that_was_edited_goes_back_as_edited() -> None:
    message = of(delta(call("draw", '{"items": "[1]"}', id="draw:0", index=0)), schemas={"draw": SCHEMA})
    message.tool_calls[0]["args"] = {"items": [1, 2]}
    assert raw_calls(message)[0]["arguments"] == '{"items":[1,2]}'
    message.tool_calls[0]["args"] = {"items": "[1]"}
    assert raw_calls(message)[0]["arguments"] == '{"items": "[1]"}'


# Chunks that users join themselves.


@pytest.mark.parametrize("v1", [False, True], ids=["v0", "v1"])
@pytest.mark.parametrize(
    "arguments",
    [
        ARGUMENTS,
        '{"a": "\\\\\\" \\u00e4 \\\\"}',
        '{"a": [1, [2, {"b": "]}"}]], "c": -1.5e3, "d": true}',
        "[[1]]",
        '{"a":"\n"}',
    ],
)
def test_joined_chunks_never_have_a_call_that_was_cut(arguments: str, v1: bool) -> None:
    for cut in range(1, len(arguments)):
        events = [delta(call("rm", arguments[:cut], id="rm:0", index=0)), event({}, "length")]
        message = joined(events, v1=v1)
        assert message.tool_calls == [], arguments[:cut]
        assert [block["type"] for block in message.content_blocks] != ["tool_call"]
        (invalid,) = message.invalid_tool_calls
        assert invalid["args"] == arguments[:cut] + '"[}"[}'
        assert raw_calls(message)[0]["arguments"] == arguments[:cut]
        reparse_calls(message)
        assert message.invalid_tool_calls[0]["args"] == arguments[:cut]


@pytest.mark.parametrize("v1", [False, True], ids=["v0", "v1"])
def test_a_call_cut_before_its_arguments_is_not_one_without_arguments(v1: bool) -> None:
    begun = call("wipe", "", id="wipe:1", index=1)
    events = [delta(call("look", "{}", id="look:0", index=0)), delta(begun)]
    for message in (of(*events, finish="length", v1=v1), joined([*events, event({}, "length")], v1=v1)):
        assert [one["name"] for one in message.tool_calls] == ["look"]
        assert [one["name"] for one in message.invalid_tool_calls] == ["wipe"]
        assert [one["arguments"] for one in raw_calls(message)] == ["{}", ""]
    (invalid,) = (
        ResponseDecoder().decode_body(whole({"content": "", "tool_calls": [begun]}, "length")).invalid_tool_calls
    )
    assert invalid["error"] == "the answer was cut before the arguments"
    assert [one["name"] for one in of(*events, v1=v1).tool_calls] == ["look", "wipe"]


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ),
    st.data(),
)
def test_joined_chunks_never_have_a_call_that_was_cut_whatever_it_says(value: Any, data: st.DataObject) -> None:
    arguments = json.dumps({"value": value}, ensure_ascii=data.draw(st.booleans()))
    cut = data.draw(st.integers(1, len(arguments) - 1))
    pieces = [arguments[:cut][start : start + 3] for start in range(0, cut, 3)]
    events = [delta(call("rm", "", id="rm:0", index=0)), *(delta(piece(one, index=0)) for one in pieces)]
    message = joined([*events, event({}, "length")])
    assert message.tool_calls == []
    assert len(message.invalid_tool_calls) == 1


def test_joined_chunks_of_whole_arguments_are_left_alone() -> None:
    message = joined([delta(call("read", ARGUMENTS, id="read:0", index=0)), event({}, "tool_calls")])
    assert message.tool_call_chunks[0]["args"] == ARGUMENTS
    assert message.tool_calls[0]["args"] == json.loads(ARGUMENTS)


class Recorded(BaseChatModel):
    """A model that streams a recorded answer, as ChatKimi does."""

    events: list[dict[str, Any]]

    @property
    def _llm_type(self) -> str:
        return "recorded"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        for chunk in chunks_of([sse(self.events)], v1=self.output_version == "v1"):
            yield ChatGenerationChunk(message=chunk)


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_a_cut_call_is_invalid_by_every_way_to_stream(version: Any) -> None:
    events = [event({"content": "I"}), delta(call("rm", "", index=0)), delta(piece('{"path": "/etc', index=0))]
    model = Recorded(events=[*events, event({}, "length")], output_version=version)
    first, *rest = list(model.stream("Hi"))
    v3 = model.stream_events("Hi", version="v3").output
    for message in (first + rest, v3):
        assert message.tool_calls == []
        (invalid,) = message.invalid_tool_calls
        assert (invalid["name"], invalid["id"]) == ("rm", "rm:0")
        assert (invalid["args"] or "").startswith('{"path": "/etc')
        assert raw_calls(message) == [{"id": "rm:0", "name": "rm", "arguments": '{"path": "/etc'}]


# Answers that were cut, and odd ones.


def test_a_cap_spent_on_thinking_is_an_error_that_says_what_to_raise() -> None:
    message = ResponseDecoder().decode_body(whole({"content": "", "reasoning_content": "Hm"}, "length"))
    with pytest.raises(
        AnswerCutShort, match=r"cap of 32,768 tokens.*40 output.*raise max_tokens.*thinking=False"
    ) as caught:
        check_output_cap(message, 32_768)
    assert (caught.value.message, caught.value.max_tokens) == (message, 32_768)
    assert caught.value.usage_metadata == message.usage_metadata
    assert not caught.value.is_retryable
    assert pickle.loads(pickle.dumps(caught.value)).message == message
    message.response_metadata["model_name"] = "kimi-k3"
    with pytest.raises(AnswerCutShort, match="thinking='low'") as caught:
        check_output_cap(message)
    assert "thinking=False" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "finish"),
    [
        ({"content": "Half a sen"}, "length"),
        ({"content": "Half", "reasoning_content": "Hm"}, "length"),
        ({"content": "", "tool_calls": [call("a", '{"a', id="a:0", index=0)]}, "length"),
        ({"content": "", "tool_calls": [call("a", "{}", id="a:0", index=0)]}, "length"),
        ({"content": "", "reasoning_content": "Hm"}, "stop"),
        ({"content": "Half a sen", "reasoning_content": "Hm"}, None),
    ],
)
def test_other_answers_are_not_cut_short(message: dict[str, Any], finish: str) -> None:
    check_output_cap(ResponseDecoder().decode_body(whole(message, finish)))


MARKUP = "<|tool_calls_section_begin|><|tool_call_begin|>functions.rm:0<|tool_call_argument_begin|>{}<|tool_call_end|>"


@pytest.mark.parametrize(
    ("message", "finish", "report"),
    [
        ({"content": "All fine."}, "stop", None),
        ({"content": "", "tool_calls": [call("a", "{}", id="a:0", index=0)]}, "stop", None),
        ({"content": "", "reasoning_content": "Hm"}, "length", None),
        ({"content": "", "reasoning_content": "Hm"}, "stop", ["think_only"]),
        ({"content": " \n", "reasoning_content": "Hm"}, "stop", ["think_only"]),
        ({"content": None}, "stop", ["empty"]),
        ({"content": "x"}, None, ["finish_missing"]),
        ({"content": "x"}, "brand_new", ["finish_unknown"]),
        ({"content": ""}, "content_filter", ["content_filter"]),
        ({"content": "Sure. " + MARKUP}, "stop", ["leaked_tool_markup"]),
        ({"content": "ok", "reasoning_content": MARKUP}, "stop", ["leaked_tool_markup"]),
        ({"content": '<|open|>toolscall tool="rm" index="1"<|sep|>'}, "stop", ["leaked_tool_markup"]),
    ],
)
def test_oddities_are_reported_and_never_run(message: dict[str, Any], finish: str | None, report: Any) -> None:
    answer = ResponseDecoder().decode_body(whole(message, finish))  # type: ignore[arg-type]
    assert answer.response_metadata.get("kimi_report") == report
    assert answer.response_metadata["finish_reason"] == finish
    assert len(answer.tool_calls) == len(message.get("tool_calls", ()))
    streamed = joined([event(message), event({}, finish), {**HEAD, "choices": [], "usage": USAGE}])
    assert streamed.response_metadata.get("kimi_report") == report


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"type": "engine_overloaded_error", "message": "The engine is currently overloaded"}},
        {"error": {"message": "Provider returned error", "code": 429}},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 429, "message": "full"}}]},
        {"choices": [{"index": 0, "error": {"code": 429, "message": "full"}}]},
    ],
)
def test_errors_inside_an_answer_are_raised(body: dict[str, Any]) -> None:
    with pytest.raises(RateLimitError):
        ResponseDecoder().feed(json.dumps(body).encode())
    with pytest.raises(RateLimitError):
        ResponseDecoder().decode_body(body)


def test_content_in_parts_is_text() -> None:
    parts = [{"type": "text", "text": "It is "}, {"type": "text", "text": "there."}, {"type": "image_url"}, "odd"]
    assert ResponseDecoder().decode_body(whole({"content": parts}, "stop")).content == "It is there."
    assert of(event({"content": parts[:1]}), event({"content": parts[1:]}), finish="stop").content == "It is there."


def test_error_of_no_known_status_is_an_error_all_the_same() -> None:
    with pytest.raises(KimiError, match="gone"):
        ResponseDecoder().decode_body({"error": "gone"})
    with pytest.raises(OverloadedError):
        ResponseDecoder().feed(b'{"error": {"type": "engine_overloaded_error", "message": "x", "code": "full"}}')


# Reasoning keys of other hosts.

TEXT_DETAIL = {"type": "reasoning.text", "text": "Erst ", "format": "unknown", "index": 0}
SUMMARY = {"type": "reasoning.summary", "summary": "dann.", "index": 1}
SEALED = {"type": "reasoning.encrypted", "data": "c2VhbA==", "index": 2}


def cut_detail(detail: dict[str, Any]) -> list[dict[str, Any]]:
    """The detail in pieces of two letters."""
    key = next(key for key in ("text", "summary", "data") if key in detail)
    return [{**detail, key: detail[key][start : start + 2]} for start in range(0, len(detail[key]), 2)]


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ({"reasoning_content": "Hm"}, {"reasoning_content": "Hm"}),
        (
            {"reasoning_content": "Hm", "reasoning": "Hm"},
            {"reasoning_content": "Hm", "kimi_reasoning_key": "both"},
        ),
        ({"reasoning": "Hm"}, {"reasoning_content": "Hm", "kimi_reasoning_key": "reasoning"}),
        (
            {"reasoning": "Hm", "reasoning_content": None},
            {"reasoning_content": "Hm", "kimi_reasoning_key": "reasoning"},
        ),
        ({"reasoning": None, "reasoning_details": []}, {}),
        (
            {"reasoning": "Erst dann.", "reasoning_details": [TEXT_DETAIL, SUMMARY]},
            {
                "reasoning_content": "Erst dann.",
                "kimi_reasoning_key": "reasoning",
                "kimi_reasoning_details": [TEXT_DETAIL, SUMMARY],
            },
        ),
        (
            {"reasoning_details": [TEXT_DETAIL, SUMMARY, SEALED]},
            {
                "reasoning_content": "Erst dann.",
                "kimi_reasoning_key": "reasoning_details",
                "kimi_reasoning_details": [TEXT_DETAIL, SUMMARY, SEALED],
            },
        ),
    ],
)
@pytest.mark.parametrize("v1", [False, True], ids=["v0", "v1"])
def test_reasoning_is_read_under_every_hosts_key(message: dict[str, Any], kept: dict[str, Any], v1: bool) -> None:
    assert ResponseDecoder().decode_body(whole({"content": "x", **message}, "stop")).additional_kwargs == kept
    events = [event({key: value}) for key, value in message.items() if key != "reasoning_details" and value is None]
    texts = {key: value for key, value in message.items() if isinstance(value, str)}
    details = [piece for detail in message.get("reasoning_details", ()) for piece in cut_detail(detail)]
    pieces = [{key: value[start : start + 2] for key, value in texts.items()} for start in range(0, 10, 2)]
    for text, detail in itertools.zip_longest(pieces, details):
        said_now = {key: value for key, value in (text or {}).items() if value}
        events.append(event(said_now | ({"reasoning_details": [detail]} if detail else {})))
    streamed = of(*events, event({"content": "x"}), finish="stop", v1=v1)
    assert streamed.additional_kwargs == kept


def test_whole_details_stay_as_they_came() -> None:
    twins = [TEXT_DETAIL, dict(TEXT_DETAIL), {"type": "reasoning.text", "text": "x"}, "odd"]
    kept = ResponseDecoder().decode_body(whole({"content": "x", "reasoning_details": twins}, "stop")).additional_kwargs
    assert kept["kimi_reasoning_details"] == twins
    assert kept["reasoning_content"] == "Erst Erst x"


# Metadata.


def test_metadata_is_there_once_with_the_ids_of_the_response() -> None:
    headers = {"msh-request-id": "r-1", "x-trace-id": "t-1", "content-type": "text/event-stream"}
    events = [event({"content": "x"}), event({"content": "y"}), {**event({}, "stop"), "system_fingerprint": "fp"}]
    for metadata in (
        joined(events, headers=headers).response_metadata,
        joined(events, headers=headers, v1=True).response_metadata,
        ResponseDecoder(headers=headers)
        .decode_body({**whole({"content": "xy"}, "stop"), "system_fingerprint": "fp"})
        .response_metadata,
    ):
        metadata.pop("output_version", None)
        assert metadata == {
            "model_name": "kimi-k2.6",
            "id": "chatcmpl-7",
            "created": 1790000000,
            "system_fingerprint": "fp",
            "model_provider": "moonshot",
            "finish_reason": "stop",
            "normalized_finish_reason": "stop",
            "request_id": "r-1",
            "trace_id": "t-1",
        }


# Content blocks.


def test_blocks_of_joined_chunks_are_right_at_every_point_of_a_stream() -> None:
    events = [event({"reasoning_content": "Hm"}), event({"content": "I read."})]
    events += [delta(call("read", '{"path": "/a', id="read:0", index=0)), delta(piece('/b"}', index=0))]
    first, *rest = chunks_of([sse([*events, event({}, "tool_calls")])])
    reasoning, text = {"type": "reasoning", "reasoning": "Hm"}, {"type": "text", "text": "I read."}
    half = first + rest[:2]
    begun = {"type": "tool_call_chunk", "name": "read", "args": '{"path": "/a', "id": "read:0", "index": 0}
    assert half.content_blocks == [reasoning, text, begun]
    done = {"type": "tool_call", "name": "read", "args": {"path": "/a/b"}, "id": "read:0"}
    assert (first + rest).content_blocks == [reasoning, text, done]
    assert rest[-1].content_blocks == []


def test_blocks_of_a_whole_message_and_of_list_content() -> None:
    message = ResponseDecoder().decode_body(
        whole({"content": "x", "reasoning_content": "Hm", "tool_calls": [call("a", "{}", id="a:0", index=0)]})
    )
    assert [block["type"] for block in message.content_blocks] == ["reasoning", "text", "tool_call"]
    listed = message.model_copy(update={"content": ["a", {"type": "text", "text": "b"}]})
    assert [block["type"] for block in listed.content_blocks] == ["reasoning", "text", "text", "tool_call"]
    assert get_translator("moonshot") is not None


# Four ways, one result.

THINKS = {"reasoning_content": "Zuerst … 然后。 "}
A, B = call("add", '{"a":1,  "b": 2}', id="add:0", index=0), call("look", '{"at":"线条"}', id="look:1", index=1)
ANSWERS: list[tuple[dict[str, Any], str | None]] = [
    *(
        ({**thinking, "content": content, **calls}, finish)
        for thinking in ({}, {"reasoning_content": ""}, THINKS, {"reasoning": "Other key"})
        for content in ("", "Gut. \u2028\n")
        for calls, finish in (({}, "stop"), ({"tool_calls": [A]}, "tool_calls"), ({"tool_calls": [A, B]}, "stop"))
    ),
    ({"content": None, "tool_calls": [A]}, "tool_calls"),
    ({**THINKS, "content": "", "tool_calls": [call("rm", '{"path": "/etc', id="rm:0", index=0)]}, "length"),
    ({**THINKS, "content": "x", "tool_calls": [A, call("rm", '{"p": "\\', id="rm:0", index=1), B]}, "length"),
    ({"content": "x", "tool_calls": [call("a", "[1]", id="a:0", index=0), A]}, "tool_calls"),
    ({"content": "x", "tool_calls": [call("a", "", id="a:0", index=0)]}, "tool_calls"),
    ({"content": "x", "tool_calls": [call("a", "{}", index=0), call("a", "{}", index=1)]}, "tool_calls"),
    ({"content": "x", "tool_calls": [call("a", json.dumps("{}"), id="a:0", index=0)]}, "tool_calls"),
    ({"content": "x", "tool_calls": [A, call("a", "", id="a:0", index=1)]}, "length"),
    ({**THINKS, "content": "Half"}, "length"),
    ({**THINKS, "content": ""}, "length"),
    ({"content": MARKUP}, "stop"),
    ({"content": ""}, "content_filter"),
]


def in_pieces(message: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """The stream of a whole message in pieces of so many letters."""
    events = [event({"role": "assistant", "content": ""})]
    for key in ("reasoning_content", "reasoning", "content"):
        if (text := message.get(key)) is not None:
            events += [event({key: text[start : start + size]}) for start in range(0, max(len(text), 1), size)]
    for one in message.get("tool_calls", ()):
        arguments = one["function"]["arguments"]
        events.append(delta({**one, "function": {"name": one["function"]["name"], "arguments": ""}}))
        events += [delta(piece(arguments[s : s + size], index=one["index"])) for s in range(0, len(arguments), size)]
    return events


def as_v1(message: AIMessage) -> AIMessage:
    """What LangChain and `reparse_calls` make of a whole message with `output_version="v1"`."""
    metadata = {**message.response_metadata, "output_version": "v1"}
    made = message.model_copy(update={"content": message.content_blocks, "response_metadata": metadata})
    reparse_calls(made)
    return made


@PAIRED
@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("message", "finish"), ANSWERS)
def test_whole_and_streamed_answers_are_equal(message: dict[str, Any], finish: str, size: int) -> None:
    events = [*in_pieces(message, size), event({}, finish, usage=USAGE), {**HEAD, "choices": [], "usage": USAGE}]
    expected, answer = ResponseDecoder().decode_body(whole(message, finish)), ResponseDecoder()
    for data in SSEParser().feed(sse(events)):
        answer.feed(data)
    assert answer.message() == expected
    assert read([sse(events)]) == expected
    assert read([sse(events)], v1=True) == as_v1(expected)


REPLIES = {
    "text": thought("Hm. ").saying("Fine."),
    "call": thought("Hm. ").saying("I look.").calling("look", at="线条").calling("look", at="b"),
    "bare call": called("look", at="b"),
    "cut call": raw_call("look", '{"at": "/etc/pas').finish("length"),
    "plain": said("Hello there."),
}


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("reply", REPLIES)
async def test_four_ways_over_the_wire(serve: Serve, reply: str, version: Any) -> None:
    server = serve(lambda request: REPLIES[reply])
    model, whole_model = (kimi(server, output_version=version, streaming=one) for one in (None, False))
    first, *rest = list(model.stream("Hi"))
    afirst, *arest = [chunk async for chunk in model.astream("Hi")]
    results: list[Any] = [model.invoke("Hi"), await model.ainvoke("Hi"), whole_model.invoke("Hi"), first + rest]
    results += [afirst + arest, await whole_model.ainvoke("Hi")]
    shown = []
    for message in results:
        reparse_calls(message)
        metadata = {key: message.response_metadata[key] for key in ("model_name", "finish_reason", "model_provider")}
        calls = (message.tool_calls, message.invalid_tool_calls)
        shown.append(
            (message.content, calls, message.additional_kwargs, metadata, message.usage_metadata["output_tokens"])
        )
    assert all(one == shown[0] for one in shown)


@pytest.mark.parametrize("reply", ["text", "call"])
async def test_events_of_v3_and_v2_end_in_the_same_message(serve: Serve, reply: str) -> None:
    server = serve(lambda request: REPLIES[reply])
    model = kimi(server)
    expected = model.invoke("Hi")
    output = model.stream_events("Hi", version="v3").output
    assert (output.text, output.tool_calls) == (expected.text, expected.tool_calls)
    assert output.additional_kwargs == expected.additional_kwargs
    assert [block["type"] for block in output.content_blocks] == [block["type"] for block in expected.content_blocks]
    ends = [one async for one in model.astream_events("Hi", version="v2") if one["event"] == "on_chat_model_end"]
    assert ends[0]["data"]["output"].tool_calls == expected.tool_calls
    assert ends[0]["data"]["output"].content_blocks == expected.content_blocks


def test_plain_chunks_are_those_of_the_constructors() -> None:
    pieces = PlainChunks()
    assert can_skip_validation()
    for made, plain in (
        (pieces.text("a"), AIMessageChunk(content="a")),
        (pieces.reasoning("b"), AIMessageChunk(content="", additional_kwargs={"reasoning_content": "b"})),
    ):
        generation, expected = generation_chunk(made), ChatGenerationChunk(message=plain)
        for one, other in ((made, plain), (generation, expected)):
            assert one == other
            assert one.model_dump() == other.model_dump()
            assert one.model_dump_json() == other.model_dump_json()
            assert repr(one) == repr(other)
            for copy in (pickle.loads(pickle.dumps(one)), one.model_copy(deep=True), one.model_copy()):
                assert copy == other
        assert made + made == plain + plain
        assert generation + generation == expected + expected
        made.id = "x"
        assert (made.id, pieces.text("c").id) == ("x", None)
