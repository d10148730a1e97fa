"""KimiServer over real sockets: accepted and refused requests, and the bytes of responses."""

import base64
import itertools
import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from langchain_kimi import testing
from langchain_kimi.catalogue import MODELS
from langchain_kimi.testing import (
    ConnectionCut,
    FakeKimiAPI,
    Reply,
    Request,
    Script,
    called,
    cut_after,
    no_choice,
    overloaded,
    rate_limited,
    raw_call,
    refused,
    said,
    thought,
)

KEY = {"authorization": "Bearer sk-test"}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}
BROKEN = (httpx2.RemoteProtocolError, httpx2.ReadError)
NOT_KIMI = ". This is a failure of the test's script, not of Kimi."
WAIT = 20.0
"""Seconds after which a test gives up on another thread."""


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(headers=KEY, trust_env=False, timeout=WAIT) as client:
        yield client


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def body(messages: str | list[dict[str, Any]] = "hi", **fields: Any) -> dict[str, Any]:
    return {"model": "kimi-k3", "messages": [user(messages)] if isinstance(messages, str) else messages, **fields}


def ask(
    http: httpx2.Client, server: testing.KimiServer, messages: str | list[dict[str, Any]] = "hi", **fields: Any
) -> httpx2.Response:
    return http.post(f"{server.url}/chat/completions", json=body(messages, **fields))


def message(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["choices"][0]["message"]
    return found


def chunks(answer: httpx2.Response) -> list[dict[str, Any]]:
    """The events of a whole stream, without its `[DONE]`."""
    assert answer.status_code == 200, answer.text
    *events, done, rest = answer.content.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert all(event.startswith(b"data: {") for event in events)
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def deltas(answer: httpx2.Response) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(answer) if chunk["choices"]]


def error(answer: httpx2.Response) -> tuple[int, str, str]:
    assert answer.json().keys() == {"error"}
    return answer.status_code, answer.json()["error"]["type"], answer.json()["error"]["message"]


def cached(answer: httpx2.Response) -> int:
    usage = answer.json()["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": usage["cached_tokens"]}
    found: int = usage["cached_tokens"]
    return found


class KimiServer(testing.KimiServer):
    """Many of these tests leave replies unused, or play broken scripts, on purpose."""

    def __init__(self, script: Script = (), **settings: Any) -> None:
        super().__init__(script, strict=False, **settings)


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


def opening(index: int, call_id: str) -> dict[str, Any]:
    call = {"index": index, "id": call_id, "type": "function", "function": {"name": "add", "arguments": ""}}
    return {"tool_calls": [call]}


def fragment(index: int, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def read_until(arriving: Iterator[bytes], wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        seen += next(arriving)
    return seen


class TestRefusals:
    def test_without_a_key(self) -> None:
        with KimiServer([said("x")]) as server, httpx2.Client(trust_env=False) as keyless:
            for answer in (ask(keyless, server), keyless.get(f"{server.url}/models")):
                assert error(answer) == (401, "incorrect_api_key_error", "Incorrect API key provided")
        assert server.script_left == 1

    def test_with_another_key(self, http: httpx2.Client) -> None:
        with KimiServer([said("x")], api_key="sk-other") as server:
            assert error(ask(http, server)) == (401, "invalid_authentication_error", "Invalid Authentication")

    def test_with_the_right_key(self, http: httpx2.Client) -> None:
        with KimiServer([said("x")], api_key="sk-test") as server:
            assert ask(http, server).status_code == 200

    @pytest.mark.parametrize("model", ["kimi-k2-thinking", "kimi-k9", "moonshotai/kimi-k3"])
    def test_a_model_that_is_not_served(self, http: httpx2.Client, model: str) -> None:
        with KimiServer([said("x")]) as server:
            message = f"Not found the model {model} or Permission denied"
            assert error(ask(http, server, model=model)) == (404, "resource_not_found_error", message)

    @pytest.mark.parametrize("model", ["kimi-k2-thinking", "moonshotai/kimi-k3", "my-own-kimi"])
    def test_a_model_that_another_host_serves(self, http: httpx2.Client, model: str) -> None:
        with KimiServer([said("x")], models=(model,)) as server:
            assert ask(http, server, model=model).json()["model"] == model

    @pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"model":"kimi-k3","temperature":NaN}', b"\xff\xfe"])
    def test_a_body_that_is_no_json_object(self, http: httpx2.Client, raw: bytes) -> None:
        with KimiServer([said("x")]) as server:
            status, kind, message = error(http.post(f"{server.url}/chat/completions", content=raw))
        assert (status, kind) == (400, "invalid_request_error")
        assert message.startswith("Invalid request: the body is not a JSON object")

    def test_a_prompt_and_cap_beyond_the_window(self, http: httpx2.Client) -> None:
        with KimiServer([said("x"), said("y")]) as server:
            used = ask(http, server, model="kimi-k2.6").json()["usage"]["prompt_tokens"]
            fits = 262_144 - used
            assert ask(http, server, model="kimi-k2.6", max_completion_tokens=fits).status_code == 200
            text = "Invalid request: Your request exceeded model token limit: 262144 (requested: 262145)"
            for field in ("max_completion_tokens", "max_tokens"):
                answer = ask(http, server, model="kimi-k2.6", **{field: fits + 1})
                assert error(answer) == (400, "invalid_request_error", text)

    def test_a_picture_is_not_counted_by_its_bytes(self, http: httpx2.Client) -> None:
        url = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(1_500_000)).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
        with KimiServer([said("x")]) as server:
            answer = ask(http, server, [{"role": "user", "content": content}], model="kimi-k2.6")
        assert 1_024 < answer.json()["usage"]["prompt_tokens"] < 1_100

    def test_a_broken_rule(self, http: httpx2.Client) -> None:
        with KimiServer([said("x")]) as server:
            answer = ask(http, server, temperature=0.3)
        message = "invalid temperature: only 1 is allowed for this model"
        assert error(answer) == (400, "invalid_request_error", message)
        assert server.script_left == 1

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/embeddings"),
            ("GET", "/v1/chat/completions"),
            ("DELETE", "/v1/models"),
            ("PUT", "/"),
            ("PATCH", "/v2/models"),
            ("GET", "/models?limit=1"),
            ("POST", "/chat/completions"),
            ("POST", "/v1/v1/chat/completions"),
        ],
    )
    def test_every_other_path(self, http: httpx2.Client, method: str, path: str) -> None:
        with KimiServer() as server:
            answer = http.request(method, server.url.removesuffix("/v1") + path)
        assert (answer.status_code, answer.json()["error"]) == (404, "url.not_found")
        assert server.requests == []

    def test_a_path_that_is_not_there_is_told_before_a_key_is_missed(self) -> None:
        with KimiServer() as server:
            answer = httpx2.post(server.url.removesuffix("/v1") + "/chat/completions", json=body(), trust_env=False)
        assert answer.status_code == 404


class TestModels:
    def test_the_live_and_the_given(self, http: httpx2.Client) -> None:
        with KimiServer(models=("kimi-k2-thinking", "my-own-kimi")) as server:
            parsed = http.get(f"{server.url}/models").json()
        live = {row.id: row.context for row in MODELS if not row.is_retired()}
        assert parsed["object"] == "list"
        assert {entry["id"]: entry.get("context_length") for entry in parsed["data"]} == {
            **live,
            "kimi-k2-thinking": 262_144,
            "my-own-kimi": None,
        }
        assert {entry["object"] for entry in parsed["data"]} == {"model"}


class TestScripts:
    def test_replies_in_order_of_arrival(self, http: httpx2.Client) -> None:
        with KimiServer(said(text) for text in "abc") as server:
            assert server.script_left == 3
            assert [message(ask(http, server))["content"] for _ in "ab"] == ["a", "b"]
            assert server.script_left == 1

    def test_every_reply_is_used_once(self, http: httpx2.Client) -> None:
        texts = [str(n) for n in range(64)]
        with KimiServer([said(text) for text in texts]) as server, ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: message(ask(http, server))["content"], texts))
        assert sorted(answers) == sorted(texts)

    def test_an_exhausted_script(self, http: httpx2.Client) -> None:
        with KimiServer([said("x")]) as server:
            ask(http, server)
            text = "the script has no reply left for request 2: 'and now?'"
            assert error(ask(http, server, "and now?")) == (400, "script_error", text + NOT_KIMI)
        assert server.script_errors == [text]

    def test_a_function(self, http: httpx2.Client) -> None:
        def script(request: Request) -> Reply:
            results = request.tool_results()
            return said(f"It is {results[0]['content']}.") if results else thought("hm").calling("add", a=1, b=2)

        with KimiServer(script) as server:
            call = message(ask(http, server, "1 + 2?", tools=[ADD]))
            result = {"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "3"}
            assert message(ask(http, server, [user("1 + 2?"), call, result], tools=[ADD]))["content"] == "It is 3."
            assert server.script_left == 0

    def test_a_function_that_raises(self, http: httpx2.Client) -> None:
        def script(request: Request) -> Reply:
            pytest.fail("not this one")

        with KimiServer(script) as server:
            text = "the script raised at request 1: Failed: not this one"
            assert error(ask(http, server)) == (400, "script_error", text + NOT_KIMI)
        assert server.script_errors == [text]

    def test_a_function_that_gives_no_reply(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: "hello") as server:  # type: ignore[arg-type, return-value]
            text = "the script returned 'hello' for request 1, which is no Reply"
            assert error(ask(http, server)) == (400, "script_error", text + NOT_KIMI)

    def test_pieces_that_raise(self, http: httpx2.Client) -> None:
        def pieces() -> Iterator[str]:
            yield "first"
            raise LookupError("no second")

        with KimiServer(lambda request: said(pieces())) as server:
            assert error(ask(http, server))[:2] == (400, "script_error")
            last = json.loads(ask(http, server, stream=True).text.split("\n\n")[-2].removeprefix("data: "))
            assert last["error"]["message"] == f"the script raised at request 2: LookupError: no second{NOT_KIMI}"
        assert server.script_errors == [f"the script raised at request {n}: LookupError: no second" for n in (1, 2)]

    def test_functions_run_in_parallel(self, http: httpx2.Client) -> None:
        together = threading.Barrier(16)

        def script(request: Request) -> Reply:
            together.wait(WAIT)
            return said(request.last["content"])

        with KimiServer(script) as server, ThreadPoolExecutor(16) as pool:
            answers = pool.map(lambda n: message(ask(http, server, str(n)))["content"], range(16))
            assert sorted(answers, key=int) == [str(n) for n in range(16)]
        assert sorted(request.number for request in server.requests) == list(range(1, 17))

    def test_scripted_refusals(self, http: httpx2.Client) -> None:
        page = "<html>504 Gateway Time-out</html>"
        with KimiServer([overloaded(), rate_limited(1.5), refused(503, "server_unavailable", "down")]) as server:
            answers = [ask(http, server, stream=True) for _ in range(3)]
        assert [error(answer)[:2] for answer in answers] == [
            (429, "engine_overloaded_error"),
            (429, "rate_limit_reached_error"),
            (503, "server_unavailable"),
        ]
        assert [answer.headers.get("retry-after") for answer in answers] == [None, "1.5", None]
        with KimiServer([refused(504, page=page)]) as server:
            answer = ask(http, server)
        assert (answer.status_code, answer.headers["content-type"], answer.text) == (504, "text/html", page)


class TestRequests:
    def test_they_are_kept_as_received(self, http: httpx2.Client) -> None:
        raw = b'{ "model" : "kimi-k3",\n"messages":[{"role":"user","content":"\\u00e9"}] }'
        with KimiServer([said("x")]) as server:
            headers = {"X-Mine": "1", "Cookie": "session=1"}
            http.post(f"{server.url}/chat/completions", content=raw, headers=headers)
        (request,) = server.requests
        assert (request.method, request.path, request.body) == ("POST", "/v1/chat/completions", raw)
        assert request.headers["x-mine"] == "1"
        assert (request.headers["authorization"], request.headers["cookie"]) == ("Bearer ***", "***")
        assert request.last["content"] == "é"

    def test_refused_ones_are_kept_with_their_status(self, http: httpx2.Client) -> None:
        with KimiServer([said("x"), overloaded()]) as server:
            ask(http, server)
            ask(http, server, model="kimi-k9")
            ask(http, server, temperature=0.1)
            http.get(f"{server.url}/models")
            ask(http, server)
            ask(http, server)
        assert server.statuses == [200, 404, 400, 429, 400]
        assert [request.number for request in server.requests] == [1, 2, 3, 4, 5]

    def test_a_status_is_none_before_the_answer(self, http: httpx2.Client) -> None:
        seen: list[list[int | None]] = []

        def script(request: Request) -> Reply:
            seen.append(list(server.statuses))
            return said("x")

        with KimiServer(script) as server:
            ask(http, server)
        assert (seen, server.statuses) == ([[None]], [200])

    def test_no_key_is_shown(self, http: httpx2.Client) -> None:
        with KimiServer([said("x")], api_key="sk-test") as server:
            assert repr(server) == f"<KimiServer {server.url}, 0 requests>"
            ask(http, server)
            assert "sk-test" not in repr(server) + repr(server.requests)


class TestUsage:
    def test_four_bytes_of_an_answer_are_a_token(self, http: httpx2.Client) -> None:
        reply = said("12345", thinking="你好你").calling("add", a=1)
        with KimiServer([reply, reply]) as server:
            whole = ask(http, server, "hello", tools=[ADD]).json()["usage"]
            streamed = chunks(ask(http, server, "hello", tools=[ADD], stream=True))[-1]["choices"][0]["usage"]
        prompt = whole["prompt_tokens"]
        assert 7 + 67 + 35 + 11 < prompt < 200  # the frames of K3; the tool and the word
        assert whole == {
            "prompt_tokens": prompt,
            "completion_tokens": 3 + 3,  # 9 bytes of thinking; 5 of text and 7 of arguments
            "total_tokens": prompt + 6,
            "cached_tokens": 0,
            "completion_tokens_details": {"reasoning_tokens": 3},
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        assert streamed == whole

    def test_the_cached_prefix_grows_with_the_conversation(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: said("x")) as server:
            first = [{"role": "system", "content": numbers(600)}, user("one")]
            second = [*first, {"role": "assistant", "content": "x"}, user(numbers(900))]
            third = [*second, {"role": "assistant", "content": "x"}, user("three")]
            assert cached(ask(http, server, first)) == 0
            # All but the closing brackets of the earlier prompt, in whole blocks of 256 tokens of four bytes.
            assert cached(ask(http, server, second)) == (size(first) - 2) // 1024 * 256 > 0
            assert cached(ask(http, server, third)) == (size(second) - 2) // 1024 * 256 > size(first) // 4

    def test_a_changed_early_message_or_tool_drops_it(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: said("x")) as server:
            early, late = {"role": "system", "content": "Be brief."}, user(numbers(600))
            ask(http, server, [early, late], tools=[ADD])
            assert cached(ask(http, server, [early, late], tools=[ADD])) > 0
            assert cached(ask(http, server, [{**early, "content": "Be long."}, late], tools=[ADD])) == 0
            assert cached(ask(http, server, [early, late])) == 0

    def test_each_model_has_its_own(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: said("x")) as server:
            assert cached(ask(http, server, numbers(600), model="kimi-k3")) == 0
            assert cached(ask(http, server, numbers(600), model="kimi-k2.6")) == 0
            assert cached(ask(http, server, numbers(600), model="kimi-k2.6")) > 0

    def test_short_prompts_are_not_cached(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: said("x")) as server:
            ask(http, server, "a" * 900)
            assert cached(ask(http, server, "a" * 900)) == 0

    def test_the_oldest_prompts_are_forgotten(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: said("x")) as server:
            ask(http, server, numbers(600))
            for n in range(32):
                ask(http, server, f"another {n}")
            assert cached(ask(http, server, numbers(600))) == 0

    def test_refused_requests_leave_nothing_in_the_cache(self, http: httpx2.Client) -> None:
        with KimiServer([overloaded(), said("x")]) as server:
            ask(http, server, numbers(600))
            assert cached(ask(http, server, numbers(600))) == 0


def numbers(count: int) -> str:
    return " ".join(map(str, range(count)))


def size(messages: list[dict[str, Any]]) -> int:
    return len(json.dumps([[], messages], separators=(",", ":")).encode())


class TestBrokenConnections:
    def test_a_stream_ends_after_so_many_events(self, http: httpx2.Client) -> None:
        with KimiServer([cut_after(said("one two three four", thinking="hm"), events=4)]) as server:
            assert read_broken(http, server, stream=True).count(b"data: ") == 4

    @pytest.mark.parametrize("events", [0, 1, 2, 5, 99])
    def test_no_cut_stream_has_an_end(self, http: httpx2.Client, events: int) -> None:
        reply = said("one two")  # with its opening, its finish and [DONE]: five events
        with KimiServer([cut_after(reply, events=events)]) as server:
            assert read_broken(http, server, stream=True).count(b"data: ") == min(events, 5)

    def test_live_pieces_beyond_the_cut_are_not_asked_for(self, http: httpx2.Client) -> None:
        pieces = itertools.count()
        with KimiServer([cut_after(said(str(n) for n in pieces), events=3)]) as server:
            assert read_broken(http, server, stream=True).count(b"data: ") == 3
        assert next(pieces) == 2

    def test_a_whole_answer_ends_in_the_middle(self, http: httpx2.Client) -> None:
        with KimiServer([cut_after(said("x"), events=1)]) as server:
            arrived = read_broken(http, server)
        assert arrived.startswith(b'{"id":')
        assert not arrived.endswith(b"}")

    def test_closing_breaks_streams_off_and_ends_all_threads(self, http: httpx2.Client) -> None:
        before = set(threading.enumerate())
        server = KimiServer([said(itertools.repeat("on and "))]).start()
        with http.stream("POST", f"{server.url}/chat/completions", json=body(stream=True)) as answer:
            arriving = answer.iter_raw()
            read_until(arriving, b"on and")
            server.close()
            assert set(threading.enumerate()) == before
            with pytest.raises(BROKEN):
                exhaust(arriving)
        with pytest.raises(httpx2.ConnectError):
            http.get(f"{server.url}/models")
        server.close()

    def test_a_client_that_goes_away_is_no_error(self, http: httpx2.Client, capfd: pytest.CaptureFixture[str]) -> None:
        ended = threading.Event()

        def pieces() -> Iterator[str]:
            try:
                yield from itertools.repeat("on and ")
            finally:
                ended.set()

        with KimiServer([said(pieces())]) as server:
            with http.stream("POST", f"{server.url}/chat/completions", json=body(stream=True)) as answer:
                read_until(answer.iter_raw(), b"on and")
            assert ended.wait(WAIT)
        assert capfd.readouterr() == ("", "")
        assert server.script_errors == []


def read_broken(http: httpx2.Client, server: KimiServer, **fields: Any) -> bytes:
    """What arrives of an answer that must not end properly."""
    arrived: list[bytes] = []
    with http.stream("POST", f"{server.url}/chat/completions", json=body(**fields)) as answer, pytest.raises(BROKEN):
        arrived.extend(answer.iter_raw())
    return b"".join(arrived)


def exhaust(pieces: Iterable[bytes]) -> None:
    for _ in pieces:
        pass


class TestLife:
    def test_connections_are_kept(self, http: httpx2.Client) -> None:
        ports: set[int] = set()
        with KimiServer([said("a"), said("b"), overloaded()]) as server, httpx2.Client(headers=KEY) as client:
            for stream in (True, False, False):
                answer = ask(client, server, stream=stream)
                ports.add(answer.extensions["network_stream"].get_extra_info("client_addr")[1])
        assert len(ports) == 1

    def test_the_url_needs_a_started_server(self) -> None:
        server = KimiServer()
        assert repr(server) == "<KimiServer not started, 0 requests>"
        with pytest.raises(RuntimeError, match=r"call start\(\)"):
            _ = server.url

    def test_it_starts_again_on_the_same_port(self, http: httpx2.Client) -> None:
        server = KimiServer([said("a"), said("b")])
        for text in "ab":
            with server as started:
                url = started.url
                assert message(ask(http, server))["content"] == text
            assert server.url == url

    def test_a_given_port(self, http: httpx2.Client) -> None:
        with KimiServer() as first:
            url = first.url
        with KimiServer(port=int(url.split(":")[2].removesuffix("/v1"))) as second:
            assert second.url == url
            assert http.get(f"{url}/models").status_code == 200

    def test_the_double_needs_no_socket(self) -> None:
        api = FakeKimiAPI([said("x"), cut_after(said("y"), events=1)])
        sent = json.dumps(body()).encode()
        answer = api.respond("POST", "/v1/chat/completions", {"Authorization": "Bearer k"}, sent)
        assert json.loads(b"".join(answer.body))["choices"][0]["message"]["content"] == "x"
        broken = api.respond("POST", "/v1/chat/completions", {"Authorization": "Bearer k"}, sent)
        with pytest.raises(ConnectionCut):
            exhaust(broken.body)


@pytest.mark.parametrize("stream", [True, False])
def test_the_usage_of_every_answer_is_on_record(stream: bool) -> None:
    asked = {"model": "kimi-k2.6", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    with testing.KimiServer(
        [said("Hello.", thinking="Hm."), refused(500), cut_after(said("Hello."), events=2)]
    ) as server:
        bodies = []
        for _ in range(3):
            try:
                bodies.append(httpx2.post(f"{server.url}/chat/completions", json=asked, headers=KEY).text)
            except httpx2.HTTPError:
                bodies.append("")
        told, of_refused, of_broken = server.usages
    assert told is not None
    assert json.dumps(told, separators=(",", ":")) in bodies[0]
    assert of_refused is None
    assert of_broken is None or not stream
