"""Replies as values, and requests as a script reads them."""

import dataclasses
import json

import pytest

from langchain_kimi.testing import (
    Call,
    KimiServer,
    Reply,
    Request,
    called,
    cut_after,
    overloaded,
    rate_limited,
    raw_call,
    refused,
    said,
    thought,
)


def received(**body: object) -> Request:
    return Request("POST", "/v1/chat/completions", {}, json.dumps(body).encode(), 1)


CONVERSATION = [
    {"role": "user", "content": "2 + 3?"},
    {"role": "assistant", "content": "", "tool_calls": [{"id": "add:0"}]},
    {"role": "tool", "tool_call_id": "add:0", "content": "4"},
    {"role": "assistant", "content": "", "tool_calls": [{"id": "add:1"}, {"id": "add:2"}]},
    {"role": "tool", "tool_call_id": "add:1", "content": "5"},
    {"role": "tool", "tool_call_id": "add:2", "content": "6"},
]


def test_a_reply_is_built_step_by_step() -> None:
    reply = thought("hm").saying("Adding.").calling("add", a=1, b=2).calling("now")
    assert reply == Reply(
        text="Adding.", reasoning="hm", calls=(Call("add", '{"a":1,"b":2}'), Call("now", "{}")), finish_reason=None
    )


def test_building_on_a_reply_leaves_it_as_it_was() -> None:
    first = called("add", a=1)
    first.calling("add", a=2).saying("x").thinking("y").finish("length")
    assert first == Reply(calls=(Call("add", '{"a":1}'),))
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.text = "changed"  # type: ignore[misc]


def test_every_argument_name_is_possible() -> None:
    reply = called("add", name=1, self=2).calling("add", name=3, self=4, text=5)
    assert [call.arguments for call in reply.calls] == ['{"name":1,"self":2}', '{"name":3,"self":4,"text":5}']


def test_arguments_are_compact_and_unescaped() -> None:
    reply = called("get_weather", city="São Paulo", days=[1, 2])
    assert reply.calls[0].arguments == '{"city":"São Paulo","days":[1,2]}'


def test_raw_calls_keep_their_string_and_id() -> None:
    reply = raw_call("add", '{"a": 1', id="call_7").calling_raw("add", "")
    assert reply.calls == (Call("add", '{"a": 1', "call_7"), Call("add", "", None))


def test_missing_thinking_is_not_empty_thinking() -> None:
    assert said("x").reasoning is None
    assert said("x", thinking="").reasoning == ""


def test_cutting_keeps_the_reply() -> None:
    assert cut_after(said("x"), events=3) == Reply(text="x", cut=3)


def test_refusals_have_kimis_error_object() -> None:
    refusal = refused(403, "permission_denied_error", "The API you are accessing is not open", headers={"x-a": "1"})
    assert (refusal.status, refusal.headers) == (403, {"x-a": "1"})
    assert json.loads(refusal.body) == {
        "error": {"message": "The API you are accessing is not open", "type": "permission_denied_error"}
    }


def test_refusals_can_be_a_gateways_page() -> None:
    assert refused(504, page="<h1>504 Gateway Time-out</h1>").body == b"<h1>504 Gateway Time-out</h1>"


def test_overload_names_no_waiting_time() -> None:
    refusal = overloaded()
    assert (refusal.status, refusal.type, refusal.headers) == (429, "engine_overloaded_error", {})


def test_rate_limits_name_their_waiting_time_twice() -> None:
    refusal = rate_limited(2)
    assert (refusal.status, refusal.type, refusal.headers) == (429, "rate_limit_reached_error", {"retry-after": "2"})
    assert refusal.message.endswith("please try again after 2 seconds")


def test_a_request_reads_its_body_once() -> None:
    request = received(model="kimi-k3", messages=CONVERSATION, stream=True)
    assert (request.model, request.stream, request.messages) == ("kimi-k3", True, CONVERSATION)
    assert request.json is request.json


def test_a_request_lists_its_functions() -> None:
    function = {"name": "add", "parameters": {"type": "object"}}
    assert received(tools=[{"type": "function", "function": function}]).tools == [function]
    assert received(messages=[]).tools == []


def test_tool_results_are_those_after_the_last_assistant_message() -> None:
    assert received(messages=CONVERSATION).tool_results() == CONVERSATION[4:]
    assert received(messages=CONVERSATION[:2]).tool_results() == []
    assert received(messages=CONVERSATION[:1]).tool_results() == []


def test_the_last_message() -> None:
    assert received(messages=CONVERSATION).last == CONVERSATION[-1]
    assert received(messages=[]).last == {}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"temperature":NaN}', b"\xff"])
def test_a_body_that_is_no_json_object(body: bytes) -> None:
    request = Request("POST", "/v1/chat/completions", {}, body, 1)
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own words
        _ = request.json


def test_a_script_of_anything_else_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"made of replies such as said\('…'\) or called\('…'\), not of 'hello'"):
        KimiServer([said("x"), "hello"])  # type: ignore[list-item]
