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

from langchain_kimi.catalogue import MODELS
from langchain_kimi.testing import (
    ConnectionCut,
    FakeKimiAPI,
    Reply,
    Request,
    cut_after,
    overloaded,
    rate_limited,
    refused,
    said,
    thought,
)
from tests.testing.wire import ADD, KEY, WAIT, KimiServer, ask, body, error, message, read_until, user

BROKEN = (httpx2.RemoteProtocolError, httpx2.ReadError)


NOT_KIMI = ". This is a failure of the test's script, not of Kimi."


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
