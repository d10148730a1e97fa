"""Messages on the wire: what Kimi said goes back as it said it, everything else in a form it takes."""

import json
import pickle
from typing import Any

import pytest
from langchain_core.load import dumpd, load
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from langchain_kimi._request import encode_message
from langchain_kimi._response import ResponseDecoder
from langchain_kimi.errors import IllegalRequestError

REASONING = "  Tricky:\u2028 « ünïcödé » \\n\n\t"
ARGUMENTS = '{"b":2 , "a": 1.0, "é":"\\u00e9"}'
SAID = {
    "role": "assistant",
    "content": "One moment.",
    "reasoning_content": REASONING,
    "tool_calls": [{"id": "functions.add:0", "type": "function", "function": {"name": "add", "arguments": ARGUMENTS}}],
}


def heard(message: dict[str, Any]) -> AIMessage:
    body = {"model": "kimi-k2.6", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    return ResponseDecoder().decode_body(body)


def to_serde(message: BaseMessage) -> BaseMessage:
    serde = JsonPlusSerializer()
    return serde.loads_typed(serde.dumps_typed(message))


ROUND_TRIPS = {
    "as it is": lambda message: message,
    "model_copy": lambda message: message.model_copy(deep=True),
    "dumpd and load": lambda message: load(dumpd(message), allowed_objects="messages"),
    "messages_to_dict": lambda message: messages_from_dict(messages_to_dict([message]))[0],
    "JSON": lambda message: AIMessage.model_validate_json(message.model_dump_json()),
    "checkpoint": to_serde,
    "pickle": lambda message: pickle.loads(pickle.dumps(message)),
    "v1 blocks": lambda message: message.model_copy(
        update={"content": message.content_blocks, "response_metadata": {"output_version": "v1"}}
    ),
}


@pytest.mark.parametrize("way", ROUND_TRIPS)
def test_what_kimi_said_goes_back_byte_for_byte(way: str) -> None:
    assert encode_message(ROUND_TRIPS[way](heard(SAID)), thinks=True) == SAID


def test_reasoning_in_blocks_alone_goes_back() -> None:
    blocks: list[str | dict[str, Any]] = [
        {"type": "reasoning", "reasoning": "step one, "},
        {"type": "reasoning", "reasoning": "step two"},
        {"type": "text", "text": "Done."},
    ]
    encoded = encode_message(AIMessage(content=blocks), thinks=True)
    assert encoded == {"role": "assistant", "content": "Done.", "reasoning_content": "step one, step two"}


@pytest.mark.parametrize("reasoning", [None, "", "x"])
def test_reasoning_of_a_plain_answer_keeps_its_three_forms(reasoning: str | None) -> None:
    said = {"role": "assistant", "content": "Hi."} | ({} if reasoning is None else {"reasoning_content": reasoning})
    assert encode_message(heard(said), thinks=True) == said


@pytest.mark.parametrize("reasoning", [None, ""])
def test_call_without_reasoning_gets_a_space_while_the_model_thinks(reasoning: str | None) -> None:
    message = heard({**SAID, "reasoning_content": reasoning})
    assert encode_message(message, thinks=True)["reasoning_content"] == " "
    assert encode_message(message, thinks=False).get("reasoning_content") == reasoning


def test_reasoning_of_another_provider_is_not_kimis() -> None:
    foreign = AIMessage("Hi.", additional_kwargs={"reasoning_content": "hm"}, response_metadata={"model_provider": "x"})
    assert "reasoning_content" not in encode_message(foreign, thinks=True)


def test_edited_call_is_sent_as_edited() -> None:
    message = heard(SAID)
    message.tool_calls[0]["args"] = {"a": 5}
    assert encode_message(message, thinks=True)["tool_calls"][0]["function"]["arguments"] == '{"a":5}'


def test_an_invalid_call_goes_back_in_its_place_with_its_text_in_an_object() -> None:
    bad = {"id": "add:0", "type": "function", "function": {"name": "add", "arguments": '{"a": '}}
    good = {"id": "add:1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    sent = encode_message(heard({**SAID, "tool_calls": [bad, good]}), thinks=True)
    wrapped = {"name": "add", "arguments": '{"invalid_arguments":"{\\"a\\": "}'}
    assert sent == {**SAID, "tool_calls": [{**bad, "function": wrapped}, good]}


def test_builtin_function_keeps_its_type() -> None:
    call = {"id": "w:0", "type": "builtin_function", "function": {"name": "$web_search", "arguments": '{"q":1}'}}
    assert encode_message(heard({**SAID, "tool_calls": [call]}), thinks=True)["tool_calls"] == [call]


IMAGE = "data:image/png;base64,aGk="
IMAGE_PART = {"type": "image_url", "image_url": {"url": IMAGE}}
FOREIGN: list[tuple[BaseMessage, dict[str, Any]]] = [
    (HumanMessage("hi", name="ann"), {"role": "user", "content": "hi"}),
    (SystemMessage([{"type": "text", "text": "a"}, "b"]), {"role": "system", "content": "a\nb"}),
    (ChatMessage(role="user", content="x"), {"role": "user", "content": "x"}),
    (ToolMessage("4", tool_call_id="add:0"), {"role": "tool", "tool_call_id": "add:0", "content": "4"}),
    (
        ToolMessage([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], tool_call_id="t"),
        {"role": "tool", "tool_call_id": "t", "content": "a\nb"},
    ),
    (
        HumanMessage(["look", {"type": "image", "base64": "aGk=", "mime_type": "image/png"}]),
        {"role": "user", "content": [{"type": "text", "text": "look"}, IMAGE_PART]},
    ),
    (
        HumanMessage([{"type": "image", "source_type": "base64", "data": "aGk=", "mime_type": "image/png"}]),
        {"role": "user", "content": [IMAGE_PART]},
    ),
    (
        HumanMessage([{"type": "image", "source": {"type": "base64", "data": "aGk=", "media_type": "image/png"}}]),
        {"role": "user", "content": [IMAGE_PART]},
    ),
    (HumanMessage([IMAGE_PART]), {"role": "user", "content": [IMAGE_PART]}),
    (
        AIMessage([{"type": "text", "text": "Hm."}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}]),
        {"role": "assistant", "content": "Hm."},
    ),
]


@pytest.mark.parametrize(("message", "wire"), FOREIGN)
def test_messages_of_other_makers_take_kimis_form(message: BaseMessage, wire: dict[str, Any]) -> None:
    assert encode_message(message, thinks=True) == wire


@pytest.mark.parametrize(
    "message",
    [
        FunctionMessage(name="f", content="x"),
        HumanMessage([{"type": "audio", "base64": "aGk=", "mime_type": "audio/wav"}]),
        HumanMessage([{"type": "file", "file": {"file_id": "1"}}]),
        HumanMessage([{"type": "image"}]),
    ],
)
def test_message_without_a_form_on_the_wire_raises_and_says_what_to_do(message: BaseMessage) -> None:
    with pytest.raises(IllegalRequestError, match=r"Use System|transcribe it|upload it|Give images"):
        encode_message(message, thinks=True)


def test_encoding_never_touches_the_message() -> None:
    message = heard(SAID)
    before = json.dumps(messages_to_dict([message]))
    encode_message(message, thinks=True)
    assert json.dumps(messages_to_dict([message])) == before
