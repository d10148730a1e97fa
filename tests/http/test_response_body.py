"""What a host sends is read as what it is, whatever the request asked for and the content type says."""

import json
from typing import Any

import pytest

from langchain_kimi import ResponseLimits, errors
from langchain_kimi._http.response_body import ResponseBody
from tests.clock import VirtualClock
from tests.conftest import KEY, PAIRED
from tests.http.helpers import EVENTS, HEAD, WAYS, ask, error_body, model, sse, whole
from tests.raw_server import Sent, raw_server

CALL = {"id": "functions.add:0", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


ADD = {"type": "function", "function": {"name": "add", "description": "x", "parameters": {"type": "object"}}}


FORMS = {
    "a stream": Sent(sse(*EVENTS), "text/event-stream"),
    "a stream called JSON": Sent(sse(*EVENTS), "application/json"),
    "a stream called plain text": Sent(sse(*EVENTS), "text/plain"),
    "a stream called HTML": Sent(sse(*EVENTS), "text/html; charset=utf-8"),
    "a stream without a type": Sent(sse(*EVENTS), None),
    "a stream after comments": Sent(b": hello\n\n: still\n\n" + sse(*EVENTS), "application/json"),
    "a stream after a BOM": Sent(b"\xef\xbb\xbf" + sse(*EVENTS), "text/plain"),
    "a stream after blank lines": Sent(b"\r\n\r\n" + sse(*EVENTS), "application/json"),
    "a stream with lines that end in CR": Sent(sse(*EVENTS, end=b"\r"), "text/event-stream"),
    "a stream with lines that end in CR LF": Sent(sse(*EVENTS, end=b"\r\n"), "text/event-stream"),
    "a stream with empty events": Sent(b"data:\n\ndata: \n\n" + sse(EVENTS[0], b"", *EVENTS[1:]), "text/event-stream"),
    "a stream with named events": Sent(b"event: message\nid: 1\nretry: 5\n" + sse(*EVENTS), "application/json"),
    "a stream with text after its end": Sent(sse(*EVENTS, b"bye", b'{"error": "x"}'), "text/event-stream"),
    "a whole answer": Sent(whole(), "application/json"),
    "a whole answer called a stream": Sent(whole(), "text/event-stream"),
    "a whole answer called HTML": Sent(whole(), "text/html"),
    "a whole answer after a BOM": Sent(b"\xef\xbb\xbf" + whole(), "application/json"),
    "a whole answer after blank lines": Sent(b"\n\n  " + whole() + b"\n", "application/json"),
    "byte by byte, a stream": Sent(lambda: (bytes([one]) for one in sse(*EVENTS, end=b"\r")), "text/plain"),
    "byte by byte, a whole answer": Sent(lambda: (bytes([one]) for one in b"\xef\xbb\xbf" + whole()), "text/plain"),
}


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_is_read_as_what_it_is(form: str, way: str) -> None:
    with raw_server(FORMS[form]) as server:
        message = await ask(way, server)
        assert len(server.requests) == 1
    assert message.text == "Good day"
    assert message.additional_kwargs["reasoning_content"] == "Hm"
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.usage_metadata
    assert message.usage_metadata["total_tokens"] == 7


@PAIRED
@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("blank", [b"", b"\r\n \n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("sent", "documents"),
    [
        (whole(), [whole()]),
        (sse(*EVENTS), EVENTS),
        (b"event: message\n" + sse(*EVENTS), EVENTS),
        (b"retry: 1\r\n" + sse(*EVENTS, end=b"\r\n"), EVENTS),
        (b": hello\n\n" + sse(*EVENTS), EVENTS),
    ],
)
def test_a_body_is_recognised_however_its_beginning_is_cut(
    sent: bytes, documents: list[bytes], bom: bytes, blank: bytes, size: int
) -> None:
    body = ResponseBody(200, {"content-type": "text/plain"}, ResponseLimits(), "h")
    sent = bom + blank + sent
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert [*(one for piece in pieces for one in body.feed(piece)), *body.end()] == documents


@pytest.mark.parametrize("way", [way for way in WAYS if way != "agent"])
async def test_the_calls_of_a_whole_answer_to_a_stream_request_are_calls(way: str) -> None:
    with raw_server(Sent(whole(content=None, tool_calls=[CALL]))) as server:
        (call,) = (await ask(way, server)).tool_calls
    assert (call["name"], call["args"], call["id"]) == ("add", {"a": 1}, "functions.add:0")


@PAIRED
@pytest.mark.parametrize("way", [way for way in WAYS if way != "agent"])
@pytest.mark.parametrize("index", [{}, {"index": 0}])
async def test_calls_of_a_whole_answer_that_share_an_id_stay_several(way: str, index: dict[str, int]) -> None:
    calls = [
        {"id": "x", **index, "type": "function", "function": {"name": "add", "arguments": f'{{"a": {number}}}'}}
        for number in range(3)
    ]
    with raw_server(Sent(whole(content=None, tool_calls=calls))) as server:
        message = await ask(way, server)
    assert [call["args"] for call in message.tool_calls] == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert len({call["id"] for call in message.tool_calls}) == 3
    assert message.invalid_tool_calls == []


ERRORS = {
    "rate limit": (error_body("rate_limit_reached_error"), errors.RateLimitError, True),
    "overload": (error_body("engine_overloaded_error"), errors.OverloadedError, True),
    "quota": (error_body("exceeded_current_quota_error"), errors.QuotaExceededError, False),
    "key": (error_body("invalid_authentication_error"), errors.AuthenticationError, False),
    "permission": (error_body("permission_denied_error"), errors.PermissionDeniedError, False),
    "request": (error_body("invalid_request_error"), errors.BadRequestError, False),
    "code in place of a type": (error_body(code=429), errors.RateLimitError, True),
    "unknown": (error_body("something_else"), errors.ServerError, True),
    "a string": (json.dumps({"error": "the host's words"}).encode(), errors.ServerError, True),
}


OVERLOAD = {"error": {"message": "the host's words", "type": "engine_overloaded_error"}}


DELTA = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "error"}


@PAIRED
@pytest.mark.parametrize("way", ["invoke", "astream"])
@pytest.mark.parametrize("state", [{}, {"status": "failed"}, {"status": 200}], ids=str)
@pytest.mark.parametrize("choices", [{}, {"choices": []}, {"choices": None}, {"choices": [DELTA]}])
async def test_a_first_event_with_an_error_is_retried_as_its_type_says(
    choices: dict[str, Any], state: dict[str, Any], way: str
) -> None:
    event = json.dumps({**HEAD, "object": "chat.completion.chunk", **choices, **state, **OVERLOAD}).encode()
    failed, clock = Sent(sse(event, b"[DONE]"), "text/event-stream"), VirtualClock()
    with raw_server(failed, Sent(sse(*EVENTS), "text/event-stream")) as server:
        assert (await ask(way, server, max_retries=1, clock=clock)).text == "Good day"
        assert len(server.requests) == 2
    assert clock.waited[0] > 7
    with raw_server(failed) as server, pytest.raises(errors.OverloadedError, match="the host's words"):
        await ask(way, server)


LABELS = {
    "JSON": lambda body: Sent(body, "application/json"),
    "JSON called a stream": lambda body: Sent(body, "text/event-stream"),
    "event": lambda body: Sent(sse(body), "text/event-stream"),
    "event called JSON": lambda body: Sent(sse(body, b"[DONE]"), "application/json"),
    "after a BOM": lambda body: Sent(b"\xef\xbb\xbf" + body, "text/html"),
}


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("kind", ERRORS)
async def test_an_error_with_status_200_is_what_its_type_says(kind: str, label: str, way: str) -> None:
    body, error_class, retried = ERRORS[kind]
    with raw_server(LABELS[label](body)) as server:
        with pytest.raises(errors.KimiError) as raised:
            await ask(way, server, max_retries=1)
        assert len(server.requests) == 1 + retried
    assert type(raised.value) is error_class
    assert raised.value.status == 200
    assert "the host's words" in str(raised.value)
    assert not any(f"answered {status}" in str(raised.value) for status in (500, 502, 429, 401))


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("label", LABELS)
async def test_an_overload_with_status_200_passes(label: str, way: str) -> None:
    clock = VirtualClock()
    with raw_server(LABELS[label](error_body("engine_overloaded_error")), Sent(whole())) as server:
        assert (await ask(way, server, max_retries=None, clock=clock)).text == "Good day"
    assert clock.waited[0] > 7


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (Sent(b"<html><h1>Sign in</h1>\x1b[31m to ak-12345678</html>", "text/html"), ("Sign in", "text/html")),
        (Sent(b"data center offline", "text/plain"), ("data center offline", "text/plain")),
        (Sent(b'["a"]'), ('["a"]', "application/json")),
        (Sent(b"null", None), ("null", "unknown")),
        (Sent(b'{"detail": "Not \\u001b[31m found"}'), ("Not ", "found", "application/json")),
    ],
)
async def test_a_body_that_is_no_answer_is_quoted(way: str, sent: Sent, words: tuple[str, ...]) -> None:
    with raw_server(sent) as server, pytest.raises(errors.ServerError) as raised:
        await ask(way, server)
    told = str(raised.value)
    assert all(word in told for word in (*words, "answered 200"))
    assert "answered 502" not in told
    assert "\x1b" not in told
    assert "12345678" not in told
    assert raised.value.status == 200


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", [b"", whole()[:-40], b"data: [DONE]\n\n", b": only a comment\n\n", b"\n\n"])
async def test_an_answer_that_is_not_there_or_not_whole_is_a_broken_one_and_asked_for_again(
    way: str, body: bytes
) -> None:
    with raw_server(Sent(body), Sent(whole())) as server:
        assert (await ask(way, server, max_retries=1)).text == "Good day"
        assert len(server.requests) == 2
    with raw_server(Sent(body)) as server, pytest.raises(errors.BrokenStreamError):
        await ask(way, server)


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", [b"", b"\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("form", [sse, bytes])
async def test_an_error_with_a_status_of_its_own_is_read_in_any_form(form: Any, before: bytes, way: str) -> None:
    body = before + form(error_body("rate_limit_reached_error"))
    told = "answered 429 rate_limit_reached_error: the host's words"
    with (
        raw_server(Sent(body, "text/event-stream", status=429)) as server,
        pytest.raises(errors.RateLimitError, match=told),
    ):
        await ask(way, server)


@pytest.mark.parametrize("way", WAYS)
async def test_a_redirect_is_an_error_that_names_its_target_without_secrets(way: str) -> None:
    target = f"https://user:hunter2hunter2@new.example/{KEY}/v1\x7f?token=0123456789#x"
    with raw_server(Sent(b"<h1>Moved</h1>", "text/html", status=308, headers={"location": target})) as server:
        with pytest.raises(errors.BadRequestError) as raised:
            await ask(way, server, max_retries=2)
        assert len(server.requests) == 1
    told = str(raised.value)
    assert "answered 308: Moved. It redirects to https://new.example/" in told
    assert "base_url" in told
    assert not any(secret in told for secret in ("hunter2", KEY, "0123456789", "\x7f"))
    assert raised.value.status == 308


@pytest.mark.parametrize("way", WAYS)
async def test_a_date_to_wait_for_is_waited_for(way: str) -> None:
    clock = VirtualClock()
    dates = {"retry-after": "Fri, 27 Nov 2026 10:00:20 GMT", "date": "Fri, 27 Nov 2026 10:00:00 GMT"}
    refusal = Sent(error_body("rate_limit_reached_error"), status=429, headers=dates)
    with raw_server(refusal, Sent(whole())) as server:
        assert (await ask(way, server, max_retries=1, clock=clock)).text == "Good day"
    assert 20 <= clock.waited[0] < 21


OBJECT_ERROR = {"object": "error", "message": "the host's words", "type": "invalid_request_error", "code": 400}


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("label", LABELS)
async def test_an_object_that_calls_itself_an_error_is_one(label: str, way: str) -> None:
    with raw_server(LABELS[label](json.dumps(OBJECT_ERROR).encode())) as server:
        with pytest.raises(errors.BadRequestError, match="the host's words"):
            await ask(way, server, max_retries=2)
        assert len(server.requests) == 1


async def test_disable_streaming_asks_for_one_piece() -> None:
    with raw_server(Sent(whole())) as server:
        kimi = model(server, disable_streaming=True)
        assert [one.text for one in kimi.stream("hi")] == ["Good day"]
        assert [one.text async for one in kimi.astream("hi")] == ["Good day"]
        model(server, disable_streaming="tool_calling").bind_tools([ADD]).invoke("hi")
        model(server, disable_streaming="tool_calling").invoke("hi")
    asked = [json.loads(request.partition(b"\r\n\r\n")[2]).get("stream") for request in server.requests]
    assert [bool(stream) for stream in asked] == [False, False, False, True]
