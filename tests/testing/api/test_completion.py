"""Whole and streamed answers, and the thinking in them."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from langchain_kimi.testing import (
    called,
    no_choice,
    overloaded,
    raw_call,
    said,
    thought,
)
from tests.testing.wire import (
    ADD,
    WAIT,
    KimiServer,
    ask,
    body,
    chunks,
    deltas,
    fragment,
    message,
    opening,
    read_until,
    user,
)


class TestWholeAnswers:
    def test_text_and_thinking(self, http: httpx2.Client) -> None:
        with KimiServer([said("Hello, 世界", thinking="A greeting.")]) as server:
            answer = ask(http, server)
        assert answer.headers["content-type"] == "application/json"
        parsed = answer.json()
        assert parsed["id"].startswith("chatcmpl-")
        assert (parsed["object"], parsed["model"]) == ("chat.completion", "kimi-k3")
        assert parsed["choices"] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello, 世界", "reasoning_content": "A greeting."},
                "finish_reason": "stop",
            }
        ]
        assert "世界".encode() in answer.content

    def test_parallel_calls(self, http: httpx2.Client) -> None:
        with KimiServer([called("add", a=1, b=2).calling("add", a=3, b=4)]) as server:
            choice = ask(http, server, tools=[ADD]).json()["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] == ""
        assert choice["message"]["tool_calls"] == [
            {
                "index": n,
                "id": f"add:{n}",
                "type": "function",
                "function": {"name": "add", "arguments": arguments},
            }
            for n, arguments in enumerate(['{"a":1,"b":2}', '{"a":3,"b":4}'])
        ]

    def test_call_numbers_go_on_over_the_conversation(self, http: httpx2.Client) -> None:
        with KimiServer([called("add", a=1).calling("mul", a=2), called("add", a=3), called("add", a=4)]) as server:
            first = message(ask(http, server, tools=[ADD]))
            results = [{"role": "tool", "tool_call_id": call_id, "content": "1"} for call_id in ("add:0", "mul:1")]
            history = [user("hi"), {**first, "reasoning_content": "hm"}, *results]
            second = message(ask(http, server, history, tools=[ADD]))
            # Shortened to one call, whose number is 1: the next number must not be taken.
            kept = {**first, "tool_calls": first["tool_calls"][1:], "reasoning_content": "hm"}
            kept["tool_calls"][0]["id"] = "add:1"
            shortened = [user("hi"), kept, {"role": "tool", "tool_call_id": "add:1", "content": "1"}]
            third = message(ask(http, server, shortened, tools=[ADD]))
        assert [call["id"] for call in second["tool_calls"]] == ["add:2"]
        assert [call["id"] for call in third["tool_calls"]] == ["add:2"]

    def test_exact_arguments_and_ids(self, http: httpx2.Client) -> None:
        with KimiServer([raw_call("add", '{"a": 1,', id="call_x").calling_raw("$web_search", "")]) as server:
            calls = message(ask(http, server, tools=[ADD]))["tool_calls"]
        assert calls[0]["id"] == "call_x"
        assert calls[0]["function"] == {"name": "add", "arguments": '{"a": 1,'}
        assert (calls[1]["id"], calls[1]["type"]) == ("$web_search:1", "builtin_function")
        assert calls[1]["function"]["arguments"] == ""

    def test_another_finish(self, http: httpx2.Client) -> None:
        with KimiServer([thought("long").finish("length")]) as server:
            choice = ask(http, server).json()["choices"][0]
        assert (choice["finish_reason"], choice["message"]["content"]) == ("length", "")

    def test_pieces_are_joined(self, http: httpx2.Client) -> None:
        with KimiServer([said(iter(["a", "b "]), thinking=["c", "d"])]) as server:
            answer = message(ask(http, server))
        assert (answer["content"], answer["reasoning_content"]) == ("ab ", "cd")

    def test_request_ids(self, http: httpx2.Client) -> None:
        with KimiServer([said("a"), said("b")]) as server:
            answers = [ask(http, server), ask(http, server, stream=True), http.get(f"{server.url}/nothing")]
        ids = [answer.headers["x-request-id"] for answer in answers]
        assert [answer.headers["msh-request-id"] for answer in answers] == ids
        assert len(set(ids)) == 3

    @pytest.mark.parametrize("stream", [False, True])
    def test_headers_tell_what_the_answer_reads(self, http: httpx2.Client, stream: bool) -> None:
        with KimiServer([said("a"), said("b"), no_choice(), overloaded()]) as server:
            answers = [ask(http, server, "word " * 1_000, stream=stream) for _ in range(4)]
        told = [
            {name.removeprefix("x-msh-usage-"): int(value) for name, value in answer.headers.items() if "usage" in name}
            for answer in answers
        ]
        usages = [
            {"prompt-tokens": usage["prompt_tokens"], "cached-tokens": usage["cached_tokens"]} if usage else {}
            for usage in server.usages
        ]
        assert told == usages
        assert told[1]["cached-tokens"] > 500 > told[0]["cached-tokens"]
        assert told[3] == {}

    @pytest.mark.parametrize("stream", [False, True])
    def test_an_answer_may_have_no_choice(self, http: httpx2.Client, stream: bool) -> None:
        with KimiServer([no_choice()]) as server:
            answer = ask(http, server, stream=stream, **({"stream_options": {"include_usage": True}} if stream else {}))
        if stream:
            body, done = answer.text.split("\n\n")[:2]
            assert done == "data: [DONE]"
            assert json.loads(body.removeprefix("data: "))["choices"] == []
        else:
            assert answer.json()["choices"] == []
            assert answer.json()["usage"]["prompt_tokens"] > 0

    def test_lone_surrogates_are_escaped_and_an_empty_id_is_left_out(self, http: httpx2.Client) -> None:
        with KimiServer([said("a\ud800").calling_raw("add", "{}", id="")]) as server:
            answer = ask(http, server)
        assert b"a\\ud800" in answer.content
        assert "id" not in answer.json()["choices"][0]["message"]["tool_calls"][0]


class TestThinking:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("fields", "seen"),
        [
            ({"model": "kimi-k3"}, True),
            ({"model": "kimi-k2.6"}, True),
            ({"model": "kimi-k2.6", "thinking": {"type": "disabled"}}, False),
            ({"model": "my-own-kimi"}, True),
        ],
    )
    def test_it_comes_where_the_request_thinks(
        self, http: httpx2.Client, fields: dict[str, Any], seen: bool, stream: bool
    ) -> None:
        with KimiServer([said("x", thinking="hm")], models=("my-own-kimi",)) as server:
            answer = ask(http, server, stream=stream, **fields)
        assert (b"reasoning_content" in answer.content) is seen

    def test_empty_is_not_absent(self, http: httpx2.Client) -> None:
        with KimiServer([said("x", thinking=""), said("x"), said("x", thinking=""), said("x")]) as server:
            assert message(ask(http, server))["reasoning_content"] == ""
            assert "reasoning_content" not in message(ask(http, server))
            assert {"reasoning_content": ""} in deltas(ask(http, server, stream=True))
            assert b"reasoning_content" not in ask(http, server, stream=True).content


class TestStreams:
    def test_order_and_shape(self, http: httpx2.Client) -> None:
        reply = thought("I add").saying("Let me see").calling("add", a=1000, b=2000).calling("add", a=3)
        with KimiServer([reply]) as server:
            answer = ask(http, server, stream=True, tools=[ADD])
        assert answer.headers["content-type"] == "text/event-stream"
        found = chunks(answer)
        assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in found}) == 1
        assert found[0]["object"] == "chat.completion.chunk"
        assert [chunk["choices"][0]["finish_reason"] for chunk in found] == [None] * (len(found) - 1) + ["tool_calls"]
        first, *middle, last = deltas(answer)
        assert (first, last) == ({"role": "assistant", "content": ""}, {})
        assert middle == [
            {"reasoning_content": "I"},
            {"reasoning_content": " add"},
            {"reasoning_content": ""},
            {"content": "Let"},
            {"content": " me"},
            {"content": " see"},
            opening(0, "add:0"),
            fragment(0, '{"a":1000,"b'),
            fragment(0, '":2000}'),
            opening(1, "add:1"),
            fragment(1, '{"a":3}'),
        ]

    def test_pieces_make_the_text(self, http: httpx2.Client) -> None:
        text = "  Words,\n\nextraordinarily\u2028long, 还有很多没有空格的中文句子 \t "
        with KimiServer([said(text).calling_raw("add", "a\nb" * 9)]) as server:
            found = deltas(ask(http, server, stream=True, tools=[ADD]))
        pieces = [delta["content"] for delta in found[1:] if "content" in delta]
        assert "".join(pieces) == text
        assert max(len(piece.strip()) for piece in pieces) <= 8
        fragments = [delta["tool_calls"][0]["function"]["arguments"] for delta in found if "tool_calls" in delta]
        assert [len(each) for each in fragments] == [0, 12, 12, 3]
        assert "".join(fragments) == "a\nb" * 9

    def test_usage_stands_in_the_last_choice(self, http: httpx2.Client) -> None:
        with KimiServer([said("x")]) as server:
            *_, last = chunks(ask(http, server, stream=True))
        assert last["choices"][0]["usage"]["completion_tokens"] == 1
        assert "usage" not in last

    def test_usage_comes_again_where_it_was_asked_for(self, http: httpx2.Client) -> None:
        with KimiServer([said("x")]) as server:
            *_, finish, last = chunks(ask(http, server, stream=True, stream_options={"include_usage": True}))
        assert last["choices"] == []
        assert last["usage"] == finish["choices"][0]["usage"]

    def test_live_pieces_arrive_one_by_one(self, http: httpx2.Client) -> None:
        go = threading.Event()

        def pieces() -> Iterator[str]:
            yield "first"
            assert go.wait(WAIT)
            yield "second"

        with KimiServer([said(pieces()), thought(pieces())]) as server:
            for key in ("content", "reasoning_content"):
                go.clear()
                with http.stream("POST", f"{server.url}/chat/completions", json=body(stream=True)) as answer:
                    arriving = answer.iter_raw()
                    early = read_until(arriving, b"first")
                    assert b"second" not in early
                    go.set()
                    late = b"".join(arriving)
                assert f'"{key}":"second"'.encode() in late
                assert late.endswith(b"data: [DONE]\n\n")

    def test_many_events(self, http: httpx2.Client) -> None:
        with KimiServer([said("word " * 20_000)]) as server:
            assert len(chunks(ask(http, server, stream=True))) == 20_000 + 3
