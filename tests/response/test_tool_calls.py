"""Tool calls out of every form of deltas, and out of chunks that users join themselves."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from langchain_kimi._http import SSEParser
from langchain_kimi._raw_calls import raw_calls, reparse_calls
from langchain_kimi._response import ResponseDecoder
from langchain_kimi.testing import garbage
from tests.conftest import Serve, add, kimi
from tests.response.helpers import ARGUMENTS, call, chunks_of, delta, event, joined, of, piece, read, sse, whole

# Each form says the calls read(path=…) with id read:0 and look(at="b") with id look:1.
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


def test_call_without_an_id_gets_the_next_one_of_the_conversation(serve: Serve) -> None:
    delta = {"tool_calls": [{"index": 0, "function": {"name": "add", "arguments": "{}"}}]}
    bare = json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}]}).encode()
    history = [
        HumanMessage("go"),
        AIMessage("", tool_calls=[{"id": "add:0", "name": "add", "args": {"a": 1, "b": 1}}]),
        ToolMessage("2", tool_call_id="add:0"),
    ]
    answer = kimi(serve([garbage(bare)])).bind_tools([add]).invoke(history)
    assert [call["id"] for call in answer.tool_calls] == ["add:1"]
