"""Requests as a script reads them."""

import json

import pytest

from langchain_kimi.testing import Request


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
