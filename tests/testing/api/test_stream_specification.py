"""Moonshot's specification of streams, point by point: what every host must, should and may send, over a socket."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from langchain_kimi.testing import KimiServer, Reply, called, no_choice, refused, said, thought
from tests.testing.wire import ADD

Json = dict[str, Any]

HOSTS = pytest.mark.parametrize("dialect", ["kimi", "vendor"])
WEATHER = "北京晴，26 °C ☀️ 👨‍👩‍👧 naïve"
REPLIES = {
    "text": said("A long answer about the sea."),
    "thinking": thought("I have to think first.").saying("42"),
    "calls": thought("Two sums.").saying("I add.").calling("add", a=1_000, b=2_000).calling("add", a=3, b=4),
    "call without arguments": Reply().calling_raw("add", ""),
    "unicode": thought(WEATHER * 3).saying(WEATHER * 3),
    "cut off": said("An answer with no").finish("length"),
    "given up": said("An answer with no").finish("repeat"),
    "nothing": said(""),
}


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False, timeout=10) as client:
        yield client


def ask(http: httpx2.Client, server: KimiServer, **fields: Any) -> httpx2.Response:
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": "kimi-k3", "messages": messages, "tools": [ADD], "max_completion_tokens": 99, **fields}
    return http.post(f"{server.url}/chat/completions", json=body, headers={"authorization": "Bearer sk-x"})


def stream(http: httpx2.Client, reply: Reply, dialect: Any = "kimi", **fields: Any) -> list[Json]:
    """The frames of a streamed answer; each event is one line."""
    with KimiServer([reply], dialect=dialect, models=["some-model"]) as server:
        answer = ask(http, server, stream=True, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream"
    events = answer.content.decode("utf-8").split("\n\n")
    assert all(re.fullmatch("data: .*", event) for event in events[:-1])
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def choices(frames: list[Json]) -> list[Json]:
    return [choice for frame in frames for choice in frame["choices"]]


WITH_USAGE = {"stream_options": {"include_usage": True}}
EACH_REPLY = pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)


@HOSTS
@EACH_REPLY
@pytest.mark.parametrize("options", [{}, WITH_USAGE], ids=["plain", "include_usage"])
def test_every_frame_has_its_form(http: httpx2.Client, reply: Reply, dialect: Any, options: Json) -> None:
    frames = stream(http, reply, dialect, **options)
    heads = [{key: frame[key] for key in ("id", "object", "created", "model")} for frame in frames]
    assert heads == heads[:1] * len(frames)
    assert re.fullmatch("chatcmpl-[0-9a-f]{24}", heads[0]["id"])
    assert (heads[0]["object"], type(heads[0]["created"])) == ("chat.completion.chunk", int)
    *within, end = frames[:-1] if options else frames
    for frame in (*within, end):
        (choice,) = frame["choices"]
        assert choice.keys() >= {"index", "delta", "finish_reason"}
        assert "error" not in frame
    assert within[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    for frame in within:
        (choice,) = frame["choices"]
        assert choice["finish_reason"] is None
        assert frame.get("usage") is choice.get("usage") is None
        assert ("role" in choice["delta"]) is (frame is within[0])
        assert len(choice["delta"].keys() & {"content", "reasoning_content", "tool_calls"}) == 1
    (last,) = end["choices"]
    assert (last["delta"], last["finish_reason"]) == (
        {},
        reply.finish_reason or ("tool_calls" if reply.calls else "stop"),
    )


@HOSTS
@EACH_REPLY
def test_usage_stands_in_the_last_frame_the_summary_and_the_headers(
    http: httpx2.Client, reply: Reply, dialect: Any
) -> None:
    with KimiServer([reply, reply], dialect=dialect) as server:
        streamed, whole = ask(http, server, stream=True, **WITH_USAGE), ask(http, server)
    *_, end, summary = [json.loads(line[6:]) for line in streamed.text.split("\n\n") if line.startswith("data: {")]
    usage = end["choices"][0]["usage"]
    assert (summary["choices"], summary["usage"]) == ([], usage)
    counts = [usage[key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")]
    details = (usage["completion_tokens_details"]["reasoning_tokens"], usage["prompt_tokens_details"]["cached_tokens"])
    assert all(type(count) is int for count in (*counts, *details))
    assert counts[2] == counts[0] + counts[1]
    for answer, said_usage in [(streamed, usage), (whole, whole.json()["usage"])]:
        assert int(answer.headers["X-Msh-Usage-Prompt-Tokens"]) == said_usage["prompt_tokens"]
        cached = said_usage["prompt_tokens_details"]["cached_tokens"]
        assert int(answer.headers["X-Msh-Usage-Cached-Tokens"]) == cached


@HOSTS
def test_calls_begin_whole_and_go_on_in_order(http: httpx2.Client, dialect: Any) -> None:
    frames = stream(http, REPLIES["calls"], dialect)
    pieces = [call for choice in choices(frames) for call in choice["delta"].get("tool_calls", ())]
    assert [piece["index"] for piece in pieces] == sorted(piece["index"] for piece in pieces)
    arguments = {}
    for piece in pieces:
        if piece["index"] not in arguments:
            assert piece.keys() == {"index", "id", "type", "function"}
            assert (piece["type"], piece["function"]) == ("function", {"name": "add", "arguments": ""})
            arguments[piece["index"]] = ""
        else:
            assert (piece.keys(), piece["function"].keys()) == ({"index", "function"}, {"arguments"})
            arguments[piece["index"]] += piece["function"]["arguments"]
    assert {index: json.loads(text) for index, text in arguments.items()} == {
        0: {"a": 1000, "b": 2000},
        1: {"a": 3, "b": 4},
    }


@pytest.mark.parametrize(("dialect", "ids"), [("kimi", ["add:0", "add:1"]), ("vendor", ["add_0", "add_1"])])
def test_a_vendors_call_ids_have_an_underscore(http: httpx2.Client, dialect: Any, ids: list[str]) -> None:
    with KimiServer([REPLIES["calls"], called("add", a=1, b=1)], dialect=dialect) as server:
        message = ask(http, server).json()["choices"][0]["message"]
        assert [call["id"] for call in message["tool_calls"]] == ids
        results = [{"role": "tool", "tool_call_id": call_id, "content": "7"} for call_id in ids]
        history = [{"role": "user", "content": "hi"}, message, *results]
        (later,) = ask(http, server, messages=history).json()["choices"][0]["message"]["tool_calls"]
    assert later["id"] == ids[0].replace("0", "2")


@HOSTS
def test_thinking_ends_with_an_empty_piece_before_anything_else(http: httpx2.Client, dialect: Any) -> None:
    for name in ("thinking", "calls", "unicode"):
        deltas = [choice["delta"] for choice in choices(stream(http, REPLIES[name], dialect))][1:-1]
        thinking = [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta]
        assert all(thinking[:-1])
        assert thinking[-1] == ""
        assert all("reasoning_content" in delta for delta in deltas[: len(thinking)])
    assert '"reasoning_content"' not in json.dumps(stream(http, REPLIES["text"], dialect))


@HOSTS
def test_every_piece_is_whole_unicode(http: httpx2.Client, dialect: Any) -> None:
    frames = stream(http, REPLIES["unicode"], dialect)
    for key in ("content", "reasoning_content"):
        pieces = [choice["delta"][key] for choice in choices(frames) if choice["delta"].get(key)]
        assert all(piece.encode("utf-8").decode("utf-8") == piece and "\ufffd" not in piece for piece in pieces)
        assert "".join(pieces) == WEATHER * 3


@pytest.mark.parametrize("streamed", [True, False])
def test_several_choices_come_one_a_frame_and_the_sum_last(http: httpx2.Client, streamed: bool) -> None:
    reply = thought(iter(["Hm", "m."])).saying(iter(["The", " sea"]))
    with KimiServer([reply], models=["some-model"]) as server:
        answer = ask(http, server, model="some-model", n=3, stream=streamed, **(WITH_USAGE if streamed else {}))
        total = server.usages[0]
    if streamed:
        frames = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: {")]
        assert all(len(frame["choices"]) == 1 for frame in frames[:-1])
        assert (frames[-1]["choices"], frames[-1]["usage"]) == ([], total)
        for index in range(3):
            own = [choice for choice in choices(frames) if choice["index"] == index]
            assert own[0]["delta"] == {"role": "assistant", "content": ""}
            assert "".join(choice["delta"].get("content") or "" for choice in own) == "The sea"
            assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["stop"]
            assert own[-1]["usage"]["completion_tokens"] * 3 == total["completion_tokens"]
    else:
        found = answer.json()["choices"]
        assert [choice["index"] for choice in found] == [0, 1, 2]
        assert {choice["message"]["content"] for choice in found} == {"The sea"}
        assert answer.json()["usage"] == total


@HOSTS
def test_token_ids_come_with_every_piece_where_they_are_asked_for(http: httpx2.Client, dialect: Any) -> None:
    options = {"stream_options": {"include_internal_content": True}}
    first, *within, end = choices(stream(http, REPLIES["calls"], dialect, **options))
    for choice in within:
        ids = choice["delta"]["internal_content"]["token_ids"]
        assert ids
        assert all(type(one) is int and one >= 0 for one in ids)
    assert "internal_content" not in first["delta"].keys() | end["delta"].keys()
    assert not any("internal_content" in choice["delta"] for choice in choices(stream(http, REPLIES["calls"], dialect)))


def entries_are_sound(logprobs: Json, top: int) -> bool:
    for entry in logprobs["content"]:
        assert bytes(entry["bytes"]).decode() == entry["token"]
        assert entry["logprob"] <= 0
        assert len(entry["top_logprobs"]) == top
        assert all(bytes(one["bytes"]).decode() == one["token"] for one in entry["top_logprobs"])
    return bool(logprobs["content"])


def test_log_probabilities_come_where_a_host_is_asked_for_them(http: httpx2.Client) -> None:
    asked = {"logprobs": True, "top_logprobs": 2}
    first, *within, _ = choices(stream(http, REPLIES["thinking"], "vendor", **asked))
    assert "logprobs" not in first
    for choice in within:
        if "content" in choice["delta"]:
            assert entries_are_sound(choice["logprobs"], 2)
            assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == choice["delta"]["content"]
        else:
            assert "logprobs" not in choice
    assert not any("logprobs" in choice for choice in choices(stream(http, REPLIES["thinking"], "vendor")))
    with KimiServer([REPLIES["text"]], dialect="vendor") as server:
        (choice,) = ask(http, server, **asked).json()["choices"]
    assert entries_are_sound(choice["logprobs"], 2)
    with KimiServer() as server:
        answer = ask(http, server, **asked)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "invalid logprobs: only false is allowed for this model"


@HOSTS
def test_an_error_before_the_stream_is_a_status_with_json(http: httpx2.Client, dialect: Any) -> None:
    with KimiServer([refused(429, "engine_overloaded_error", "later")], dialect=dialect) as server:
        for status, fields in [(404, {"model": "kimi-k0"}), (400, {"top_p": 0.1}), (429, {})]:
            answer = ask(http, server, stream=True, **fields)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
            error = answer.json()["error"]
            assert all(isinstance(error[key], str) and error[key] for key in ("message", "type"))


@HOSTS
def test_no_summary_comes_unasked(http: httpx2.Client, dialect: Any) -> None:
    for options in ({}, {"stream_options": {"include_usage": False}}):
        assert all(frame["choices"] for frame in stream(http, REPLIES["text"], dialect, **options))
    (summary,) = stream(http, no_choice(), dialect, **WITH_USAGE)
    assert summary["choices"] == []


@pytest.mark.parametrize(
    "reason",
    [
        *("stop", "length", "tool_calls", "content_filter"),
        *(
            "engine_overloaded",
            "server_interrupted",
            "malformed_byte_sequence",
            "unexpected_state",
            "repeat",
            "unknown",
        ),
    ],
)
def test_every_finish_reason_can_be_played(http: httpx2.Client, reason: str) -> None:
    *_, end = choices(stream(http, said("x").finish(reason)))
    assert end["finish_reason"] == reason
