"""Answers, whole and cut in every way, become the same message."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk

from langchain_kimi._http import SSEParser
from langchain_kimi._response import ResponseDecoder
from langchain_kimi.errors import BrokenStreamError, KimiError, OverloadedError
from tests.response.helpers import HEAD, USAGE, chunks_of, event, read, sse, whole

CALLS: list[dict[str, Any]] = [
    {"index": 0, "id": "add:0", "type": "function", "function": {"name": "add", "arguments": '{"a":1,  "b": 2}'}},
    {"index": 1, "id": "look:1", "type": "function", "function": {"name": "look", "arguments": '{"at":"线条\\u2028"}'}},
]


THOUGHT = "Zuerst rechnen … 然后看。\u2028 "


def streamed() -> list[dict[str, Any]]:
    """The answer in pieces, arguments three characters at a time."""
    events = [event({"role": "assistant", "content": ""})]
    events += [event({"reasoning_content": letter}) for letter in THOUGHT]
    events += [event({"content": part}) for part in ("I look", " it up.")]
    for call in CALLS:
        function = call["function"]
        events.append(event({"tool_calls": [{**call, "function": {"name": function["name"], "arguments": ""}}]}))
        for start in range(0, len(function["arguments"]), 3):
            piece = {"index": call["index"], "function": {"arguments": function["arguments"][start : start + 3]}}
            events.append(event({"tool_calls": [piece]}))
    return [*events, event({}, "tool_calls", usage=USAGE), {**HEAD, "choices": [], "usage": USAGE}]


WHOLE = whole({"role": "assistant", "content": "I look it up.", "reasoning_content": THOUGHT, "tool_calls": CALLS})


def test_whole_answer() -> None:
    message = ResponseDecoder().decode_body(WHOLE)
    assert message.content == "I look it up."
    assert message.additional_kwargs["reasoning_content"] == THOUGHT
    assert [call["args"] for call in message.tool_calls] == [{"a": 1, "b": 2}, {"at": "线条\u2028"}]
    assert [call["arguments"] for call in message.additional_kwargs["kimi_calls"]] == [
        call["function"]["arguments"] for call in CALLS
    ]
    assert message.usage_metadata is not None
    assert message.usage_metadata["input_token_details"] == {"cache_read": 256}
    assert message.response_metadata["finish_reason"] == "tool_calls"
    assert message.response_metadata["model_name"] == "kimi-k2.6"


def test_stream_cut_at_every_byte_gives_the_whole_message() -> None:
    body, expected = sse(streamed()), ResponseDecoder().decode_body(WHOLE)
    whole_events = list(SSEParser().feed(body))
    for cut in range(len(body)):
        events = SSEParser()
        assert [*events.feed(body[:cut]), *events.feed(body[cut:]), *events.end()] == whole_events
    for cut in range(0, len(body), 97):
        assert read([body[:cut], body[cut:]]) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(min_value=1, max_value=4000), max_size=12), st.booleans())
def test_stream_in_random_pieces_gives_the_whole_message(cuts: list[int], crlf: bool) -> None:
    body = sse(streamed())
    if crlf:
        body = b": comment\r\n" + body.replace(b"\n", b"\r\n")
    edges = [0, *sorted({min(cut, len(body)) for cut in cuts}), len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(edges)]
    assert read(pieces) == ResponseDecoder().decode_body(WHOLE)


def test_take_collects_what_chunks_collect() -> None:
    answer, events = ResponseDecoder(), SSEParser()
    for data in events.feed(sse(streamed())):
        answer.feed(data)
    assert answer.message() == ResponseDecoder().decode_body(WHOLE)


@pytest.mark.parametrize("reasoning", [None, "", "text"])
def test_absent_empty_and_text_reasoning_stay_three_things(reasoning: str | None) -> None:
    message = {"role": "assistant", "content": "x"} | ({} if reasoning is None else {"reasoning_content": reasoning})
    expected = {} if reasoning is None else {"reasoning_content": reasoning}
    assert ResponseDecoder().decode_body(whole(message, "stop")).additional_kwargs == expected
    assert read([sse([event(message), event({}, "stop")])]).additional_kwargs == expected


def test_null_reasoning_counts_as_absent() -> None:
    assert (
        ResponseDecoder().decode_body(whole({"content": "x", "reasoning_content": None}, "stop")).additional_kwargs
        == {}
    )


def test_deltas_without_index_are_told_apart_by_place_and_id() -> None:
    bare = [{key: value for key, value in call.items() if key != "index"} for call in CALLS]
    message = read([sse([event({"tool_calls": bare}), event({}, "tool_calls")])])
    assert [call["name"] for call in message.tool_calls] == ["add", "look"]


def test_same_index_with_a_new_id_is_a_new_call() -> None:
    calls = [{**call, "index": 0} for call in CALLS]
    message = read([sse([*(event({"tool_calls": [call]}) for call in calls), event({}, "tool_calls")])])
    assert [call["id"] for call in message.tool_calls] == ["add:0", "look:1"]


def test_arguments_cut_short_are_never_a_call() -> None:
    cut = {"index": 0, "id": "rm:0", "function": {"name": "rm", "arguments": '{"path": "/etc/pas'}}
    message = read([sse([event({"tool_calls": [cut]}), event({}, "length")])])
    assert message.tool_calls == []
    (invalid,) = message.invalid_tool_calls
    assert invalid["args"] == '{"path": "/etc/pas'
    assert "Unterminated string" in (invalid["error"] or "")
    assert message == ResponseDecoder().decode_body(whole({"content": "", "tool_calls": [cut]}, "length")).model_copy(
        update={"usage_metadata": None}
    )


@pytest.mark.parametrize(("arguments", "error"), [("[1]", "not list"), ("null", "not NoneType"), ("{", "Expecting")])
def test_arguments_that_are_no_object_are_invalid_with_a_reason(arguments: str, error: str) -> None:
    call = {"index": 0, "id": "a:0", "function": {"name": "a", "arguments": arguments}}
    (invalid,) = ResponseDecoder().decode_body(whole({"content": "", "tool_calls": [call]})).invalid_tool_calls
    assert error in (invalid["error"] or "")


def test_empty_arguments_mean_none() -> None:
    call = {"index": 0, "id": "a:0", "function": {"name": "a", "arguments": ""}}
    assert ResponseDecoder().decode_body(whole({"content": "", "tool_calls": [call]})).tool_calls[0]["args"] == {}


@pytest.mark.parametrize("kept", [0, 1, 5, 40])
def test_stream_that_ends_before_its_finish_is_an_error(kept: int) -> None:
    answer = ResponseDecoder(host="kimi.example")
    for one in streamed()[:kept]:
        answer.feed(json.dumps(one).encode())
    with pytest.raises(BrokenStreamError, match=r"kimi\.example ended its answer before the finish"):
        answer.message()


def test_error_event_is_raised_as_its_type() -> None:
    error = {"error": {"type": "engine_overloaded_error", "message": "The engine is currently overloaded"}}
    with pytest.raises(OverloadedError):
        ResponseDecoder().feed(json.dumps(error).encode())
    with pytest.raises(KimiError, match="is no JSON"):
        ResponseDecoder().feed(b"<html>")


@pytest.mark.parametrize("place", ["top", "choice", "last", "all"])
def test_usage_is_read_from_any_place_and_never_summed(place: str) -> None:
    finish = event({}, "stop", **({"usage": USAGE} if place in ("choice", "all") else {}))
    if place in ("top", "all"):
        finish["usage"] = USAGE
    last = [{**HEAD, "choices": [], "usage": USAGE}] if place in ("last", "all") else []
    usage = read([sse([event({"content": "x"}), finish, *last])]).usage_metadata
    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (300, 40, 340)


def test_v1_chunks_join_to_whole_blocks_in_order() -> None:
    first, *rest = chunks_of([sse(streamed())], v1=True)
    joined = first + rest
    assert isinstance(joined, AIMessageChunk)
    assert [block["type"] for block in joined.content_blocks] == ["reasoning", "text", "tool_call", "tool_call"]
    assert joined.content_blocks[0]["reasoning"] == THOUGHT  # type: ignore[typeddict-item]
    assert joined.additional_kwargs["reasoning_content"] == THOUGHT
