"""Replies as values."""

import dataclasses
import json

import pytest

from langchain_kimi.testing import (
    KimiServer,
    Reply,
    ScriptedToolCall,
    called,
    cut_after,
    overloaded,
    rate_limited,
    raw_call,
    refused,
    said,
    thought,
)


def test_a_reply_is_built_step_by_step() -> None:
    reply = thought("hm").saying("Adding.").calling("add", a=1, b=2).calling("now")
    assert reply == Reply(
        text="Adding.",
        reasoning="hm",
        calls=(ScriptedToolCall("add", '{"a":1,"b":2}'), ScriptedToolCall("now", "{}")),
        finish_reason=None,
    )


def test_building_on_a_reply_leaves_it_as_it_was() -> None:
    first = called("add", a=1)
    first.calling("add", a=2).saying("x").thinking("y").finish("length")
    assert first == Reply(calls=(ScriptedToolCall("add", '{"a":1}'),))
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
    assert reply.calls == (ScriptedToolCall("add", '{"a": 1', "call_7"), ScriptedToolCall("add", "", None))


def test_missing_thinking_is_not_empty_thinking() -> None:
    assert said("x").reasoning is None
    assert said("x", thinking="").reasoning == ""


def test_cutting_keeps_the_reply() -> None:
    assert cut_after(said("x"), events=3) == Reply(text="x", cut_events=3)


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


def test_a_script_of_anything_else_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"consists of replies such as said\('…'\) or called\('…'\), not of 'hello'"):
        KimiServer([said("x"), "hello"])  # type: ignore[list-item]


def test_cut_after_wants_one_measure() -> None:
    for wrong in ({}, {"events": 1, "bytes": 1}):
        with pytest.raises(TypeError, match="either"):
            cut_after(said("x"), **wrong)
