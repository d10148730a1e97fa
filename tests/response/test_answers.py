"""Odd answers are reported, and an answer is the same in all four ways."""

import json
import pickle
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_kimi._http import SSEParser
from langchain_kimi._raw_calls import reparse_calls
from langchain_kimi._response import ResponseDecoder, generation_chunk
from langchain_kimi._response.chunks import PlainChunks, can_skip_validation
from langchain_kimi.errors import KimiError, OverloadedError, RateLimitError
from langchain_kimi.testing import called, raw_call, said, thought
from tests.conftest import PAIRED, Serve, kimi
from tests.response.helpers import HEAD, USAGE, call, delta, event, joined, of, piece, read, sse, whole

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
