"""Transcripts as LangChain apps leave them, and what Kimi is shown instead."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_kimi._raw_calls import RawCall, parse_calls
from langchain_kimi._request import encode_message
from langchain_kimi._request.content import NO_OUTPUT
from langchain_kimi._request.repair import MISSING_RESULT, repair

IMAGE: dict[str, Any] = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}


def calls(*ids: str | None, content: Any = "", **more: Any) -> AIMessage:
    """An assistant message that calls `add` once for each id."""
    return AIMessage(content, tool_calls=[{"name": "add", "args": {}, "id": key} for key in ids], **more)


def said(*heard: tuple[str, str], content: Any = "") -> AIMessage:
    """An assistant message as ChatKimi reads it: the calls with their record."""
    record = [RawCall(id=key, name="add", arguments=arguments) for key, arguments in heard]
    valid, invalid = parse_calls(record)
    kept = {"kimi_calls": record}
    return AIMessage(content, tool_calls=valid, invalid_tool_calls=invalid, additional_kwargs=kept)


def result(key: str, content: Any = "4", **more: Any) -> ToolMessage:
    return ToolMessage(content, tool_call_id=key, **more)


def shape(messages: Sequence[BaseMessage]) -> list[str]:
    """A transcript in short: `a[add:0 add:1]` for calls, `t(add:0)=4` for a result, `u:text` for the rest."""
    return [_shape(encode_message(message, thinks=False)) for message in messages]


def _shape(message: dict[str, Any]) -> str:
    content = message["content"]
    said = content if isinstance(content, str) else json.dumps(content)
    if message["role"] == "tool":
        said = "!" if said.startswith("This call was not run: its arguments cannot be used.") else said
        return f"t({message['tool_call_id']})={'?' if said == MISSING_RESULT else said}"
    made = " ".join(call["id"] for call in message.get("tool_calls", ()))
    thought = f"<{message['reasoning_content']}>" if "reasoning_content" in message else ""
    return f"{message['role'][0]}{f'[{made}]' if made else ''}{thought}:{said}"


USER = HumanMessage("go on")
PAIRING: dict[str, tuple[list[BaseMessage], list[str], list[str]]] = {
    "no result": ([calls("a"), USER], ["a[a]:", "t(a)=?", "u:go on"], ["missing_result"]),
    "no result at the very end": ([USER, calls("a")], ["u:go on", "a[a]:", "t(a)=?"], ["missing_result"]),
    "one of two results": (
        [calls("a", "b"), result("b")],
        ["a[a b]:", "t(a)=?", "t(b)=4"],
        ["missing_result"],
    ),
    "more than one thing wrong": (
        [calls("a"), USER, HumanMessage("")],
        ["a[a]:", "t(a)=?", "u:go on"],
        ["missing_result", "empty_message"],
    ),
    "an invalid call": (
        [AIMessage("", invalid_tool_calls=[{"name": "f", "args": "{", "id": "a", "error": None}])],
        ["a[a]:", "t(a)=!"],
        ["missing_result"],
    ),
    "a result before its call": (
        [result("a"), calls("a")],
        ["a[a]:", "t(a)=?"],
        ["stray_result", "missing_result"],
    ),
    "a result of no call": ([calls("a"), result("b"), result("a")], ["a[a]:", "t(a)=4"], ["stray_result"]),
    "a result of no call at the end": ([USER, result("a")], ["u:go on"], ["stray_result"]),
    "a result too many": (
        [calls("a"), result("a", "1"), result("a", "2")],
        ["a[a]:", "t(a)=1"],
        ["doubled_result"],
    ),
    "a result too many, later": (
        [calls("a"), result("a", "1"), USER, result("a", "2")],
        ["a[a]:", "t(a)=1", "u:go on"],
        ["doubled_result"],
    ),
    "results out of order": (
        [calls("a", "b"), result("b", "2"), result("a", "1")],
        ["a[a b]:", "t(a)=1", "t(b)=2"],
        ["reordered_results"],
    ),
    "a user between": (
        [calls("a", "b"), result("a"), USER, result("b")],
        ["a[a b]:", "t(a)=4", "t(b)=4", "u:go on"],
        ["moved_after_results"],
    ),
    "a system message and a plain answer between": (
        [calls("a"), SystemMessage("s"), AIMessage("hm"), result("a"), USER],
        ["a[a]:", "t(a)=4", "s:s", "a:hm", "u:go on"],
        ["moved_after_results", "moved_after_results"],
    ),
    "an empty assistant message between": (
        [calls("a"), AIMessage(""), result("a")],
        ["a[a]:", "t(a)=4"],
        ["empty_message"],
    ),
    "a result behind the next calls": (
        [calls("a"), calls("b"), result("b"), result("a")],
        ["a[a]:", "t(a)=?", "a[b]:", "t(b)=4"],
        ["missing_result", "stray_result"],
    ),
    "a function's result": (
        [calls("a", "b"), FunctionMessage("4", name="add"), FunctionMessage("5", name="add")],
        ["a[a b]:", "t(a)=4", "t(b)=5"],
        ["function_message", "function_message"],
    ),
    "a function's result of no call": (
        [calls("a"), result("a"), FunctionMessage("4", name="add")],
        ["a[a]:", "t(a)=4"],
        ["function_message"],
    ),
    "the same id in a later turn": (
        [calls("a"), result("a", "1"), calls("a"), result("a", "2"), calls("a"), result("a", "3")],
        ["a[a]:", "t(a)=1", "a[a~2]:", "t(a~2)=2", "a[a~3]:", "t(a~3)=3"],
        ["duplicate_id", "duplicate_id"],
    ),
    "the same id twice in a message": (
        [calls("a", "a"), result("a", "1"), result("a", "2")],
        ["a[a a~2]:", "t(a)=1", "t(a~2)=2"],
        ["duplicate_id"],
    ),
    "a new id that was said before": (
        [calls("a~2", "a"), result("a~2", "1"), result("a", "2"), calls("a"), result("a", "3")],
        ["a[a~2 a]:", "t(a~2)=1", "t(a)=2", "a[a~3]:", "t(a~3)=3"],
        ["duplicate_id"],
    ),
    "a new id that is said later": (
        [calls("a", "a"), result("a", "1"), result("a", "2"), calls("a~2"), result("a~2", "3")],
        ["a[a a~2]:", "t(a)=1", "t(a~2)=2", "a[a~2~2]:", "t(a~2~2)=3"],
        ["duplicate_id", "duplicate_id"],
    ),
    "no ids": (
        [calls(None, ""), result("", "1"), result("", "2")],
        ["a[add add~2]:", "t(add)=1", "t(add~2)=2"],
        ["missing_id", "missing_id"],
    ),
}


CONTENT: dict[str, tuple[list[BaseMessage], list[str], list[str]]] = {
    "empty assistant messages": (
        [AIMessage(""), AIMessage([]), AIMessage(["", {"type": "text", "text": ""}]), AIMessageChunk("")],
        [],
        ["empty_message"] * 4,
    ),
    "thinking alone": (
        [
            AIMessage("", additional_kwargs={"reasoning_content": "hm"}),
            AIMessage([{"type": "reasoning", "reasoning": "x"}]),
        ],
        ["a<hm>:", "a<x>:"],
        [],
    ),
    "empty thinking alone": ([AIMessage("", additional_kwargs={"reasoning_content": ""})], [], ["empty_message"]),
    "another provider's thinking alone": (
        [
            AIMessage(
                "", additional_kwargs={"reasoning_content": "hm"}, response_metadata={"model_provider": "deepseek"}
            )
        ],
        [],
        ["empty_message"],
    ),
    "empty input": (
        [HumanMessage(""), SystemMessage([]), HumanMessage([{"type": "text", "text": " "}, ""]), HumanMessage(" \n")],
        [],
        ["empty_message"] * 4,
    ),
    "empty parts": (
        [HumanMessage(["", "a", {"type": "text", "text": ""}]), SystemMessage([{"type": "text", "text": "b"}, " "])],
        ['u:[{"type": "text", "text": "a"}]', "s:b"],
        ["empty_part", "empty_part"],
    ),
    "empty results": (
        [calls("a", "b", "c"), result("a", ""), result("b", []), result("c", [{"type": "text", "text": "\n"}])],
        ["a[a b c]:", *(f"t({key})={NO_OUTPUT}" for key in "abc")],
        ["empty_result"] * 3,
    ),
    "objects in a result": (
        [calls("a"), result("a", ["x", {"é": [1, None]}, {"type": "json", "json": {}}, {"type": "text", "text": ""}])],
        ["a[a]:", 't(a)=x\n{"é":[1,null]}\n{"type":"json","json":{}}'],
        ["empty_part", "result_part"],
    ),
    "images in a result": (
        [calls("a"), result("a", [IMAGE, {"type": "image_url", "image_url": {"url": "ms://f"}}])],
        [
            "a[a]:",
            't(a)=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}, '
            '{"type": "image_url", "image_url": {"url": "ms://f"}}]',
        ],
        [],
    ),
    "an image on the web in a result": (
        [calls("a"), result("a", [{"type": "image", "url": "https://x.y/z.png"}])],
        ["a[a]:", 't(a)={"type":"image","url":"https://x.y/z.png"}'],
        ["result_part"],
    ),
    "roles": (
        [ChatMessage("d", role="developer"), ChatMessage("m", role="model"), ChatMessage("c", role="critic")],
        ["s:d", "a:m", "u:c"],
        ["developer_role", "unknown_role", "unknown_role"],
    ),
    "an empty developer message": (
        [ChatMessage("", role="developer")],
        [],
        ["developer_role", "empty_message"],
    ),
    "an order to the graph": ([USER, RemoveMessage(id="1")], ["u:go on"], ["remove_message"]),
    "Anthropic": (
        [
            calls(
                "a",
                content=[
                    {"type": "thinking", "thinking": "secret", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                    {"type": "text", "text": "Hm."},
                    {"type": "tool_use", "id": "a", "name": "add", "input": {}},
                ],
            ),
            result("a"),
        ],
        ["a[a]:Hm.", "t(a)=4"],
        ["foreign_block"] * 3,
    ),
    "Anthropic's calls in content alone": (
        [AIMessage([{"type": "tool_use", "id": "a", "name": "add", "input": {"x": 1}}]), result("a")],
        ["a[a]:", "t(a)=4"],
        ["foreign_block", "calls_in_content"],
    ),
    "Anthropic's thinking alone": (
        [AIMessage([{"type": "thinking", "thinking": "secret", "signature": "s"}])],
        [],
        ["foreign_block", "empty_message"],
    ),
    "OpenAI's refusals": (
        [
            AIMessage([{"type": "refusal", "refusal": "No."}]),
            AIMessage([{"type": "non_standard", "value": {"type": "refusal", "refusal": "Not."}}]),
            AIMessage("", additional_kwargs={"refusal": "Never."}),
        ],
        ["a:No.", "a:Not.", "a:Never."],
        ["refusal"] * 3,
    ),
    "Gemini": (
        [AIMessage(["Sum: ", {"type": "executable_code", "executable_code": "1+1"}, {"type": "text", "text": "2"}])],
        ["a:Sum: 2"],
        ["foreign_block"],
    ),
}


@pytest.mark.parametrize(("given", "expected", "rules"), (PAIRING | CONTENT).values(), ids=PAIRING | CONTENT)
def test_repair(given: list[BaseMessage], expected: list[str], rules: list[str]) -> None:
    before = [message.model_dump() for message in given]
    repaired = repair(given)
    assert shape(repaired.messages) == expected
    assert [made.rule for made in repaired.repairs] == rules
    assert all(made.detail.startswith(f"messages[{made.index}]: ") for made in repaired.repairs)
    assert [message.model_dump() for message in given] == before, "the given messages were mutated"


VALID: dict[str, list[BaseMessage]] = {
    "nothing": [],
    "a turn": [SystemMessage("s"), USER, calls("a", "b"), result("a"), result("b"), AIMessage("Done."), USER],
    "Kimi's record": [said(("add:0", "{"), ("add:1", "{}")), result("add:0"), result("add:1", status="error")],
    "v1 blocks": [
        AIMessage(
            content_blocks=[
                {"type": "reasoning", "reasoning": "x"},
                {"type": "text", "text": ""},
                {"type": "tool_call", "id": "a", "name": "add", "args": {}},
            ]
        ),
        result("a"),
    ],
    "parts": [
        HumanMessage(["look", IMAGE]),
        SystemMessage([{"type": "text", "text": "a"}]),
        ChatMessage("x", role="user"),
    ],
    "chunks": [AIMessageChunk("x"), ChatMessage("x", role="assistant")],
    "results of parts": [
        calls("a"),
        result("a", ["x", {"type": "text", "text": "y"}, IMAGE]),
        calls("b"),
        result(
            "b", [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]
        ),
    ],
}


@pytest.mark.parametrize("given", VALID.values(), ids=VALID)
def test_a_valid_transcript_keeps_its_very_messages(given: list[BaseMessage]) -> None:
    repaired = repair(given)
    assert repaired.repairs == ()
    assert len(repaired.messages) == len(given)
    assert all(kept is message for kept, message in zip(repaired.messages, given, strict=True))


def test_a_missing_result_is_an_error_that_promises_nothing() -> None:
    answer = repair([calls("a")]).messages[1]
    assert isinstance(answer, ToolMessage)
    assert (answer.status, answer.name, answer.tool_call_id) == ("error", "add", "a")
    assert "may or may not have run" in answer.text


def test_a_new_id_is_written_wherever_the_old_one_stood() -> None:
    blocks = [{"type": "text", "text": "Hm."}, {"type": "tool_call", "id": "add:0", "name": "add", "args": {"x": 2}}]
    later = said(("add:0", '{"x" : 2}'), content=blocks)
    repaired = repair([said(("add:0", "{}")), result("add:0"), later, result("add:0", "two")])
    message, answer = repaired.messages[2:]
    assert isinstance(message, AIMessage)
    assert [call["id"] for call in message.tool_calls] == ["add:0~2"]
    assert message.additional_kwargs["kimi_calls"] == [{"id": "add:0~2", "name": "add", "arguments": '{"x" : 2}'}]
    assert message.content == [blocks[0], {**blocks[1], "id": "add:0~2"}]
    assert isinstance(answer, ToolMessage)
    assert (answer.tool_call_id, answer.content) == ("add:0~2", "two")


def test_calls_that_share_an_id_keep_their_arguments_and_their_order() -> None:
    heard = [("add:0", '{"x" : 1}'), ("add:0", '{"x": '), ("add:0", '{"x" : 3}')]
    results = [result("add:0", "one"), result("add:0", "not run"), result("add:0", "three")]
    repaired = repair([said(*heard), *results])
    encoded = [encode_message(message, thinks=False) for message in repaired.messages]
    assert [(call["id"], call["function"]["arguments"]) for call in encoded[0]["tool_calls"]] == [
        ("add:0", '{"x" : 1}'),
        ("add:0~2", '{"invalid_arguments":"{\\"x\\": "}'),
        ("add:0~3", '{"x" : 3}'),
    ]
    assert [(answer["tool_call_id"], answer["content"]) for answer in encoded[1:]] == [
        ("add:0", "one"),
        ("add:0~2", "not run"),
        ("add:0~3", "three"),
    ]


def test_a_record_of_calls_that_were_taken_back_goes_with_them() -> None:
    edited = said(("add:0", "{}"), ("add:0", '{"x":2}'), ("add:0", '{"x":3}'))
    edited = edited.model_copy(update={"tool_calls": edited.tool_calls[1:]})
    message = repair([edited, result("add:0"), result("add:0")]).messages[0]
    calls = encode_message(message, thinks=False)["tool_calls"]
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [
        ("add:0", '{"x":2}'),
        ("add:0~2", '{"x":3}'),
    ]


def test_call_blocks_of_anthropic_keep_their_input() -> None:
    message = AIMessage(
        [
            {"type": "tool_use", "id": "a", "name": "add", "input": {"x": "é"}},
            {"type": "tool_use", "id": "b", "name": "add", "input": '{"x": '},
        ]
    )
    repaired = repair([message]).messages[0]
    assert isinstance(repaired, AIMessage)
    assert [call["args"] for call in repaired.tool_calls] == [{"x": "é"}]
    assert [call["args"] for call in repaired.invalid_tool_calls] == ['{"x": ']


def test_a_message_that_changes_its_class_keeps_its_id() -> None:
    given = [ChatMessage("d", role="developer", id="1"), calls("a"), FunctionMessage("4", name="add", id="2")]
    repaired = repair(given).messages
    assert [(type(message), message.id) for message in (repaired[0], repaired[2])] == [
        (SystemMessage, "1"),
        (ToolMessage, "2"),
    ]
    assert repaired[2].name == "add"


def test_ids_of_other_makers_take_k2s_form_on_demand() -> None:
    given: list[BaseMessage] = [
        HumanMessage("go"),
        calls("functions.add:0"),
        result("functions.add:0"),
        calls("toolu_01", "call_9", "add:1"),
        result("call_9"),
        result("toolu_01"),
        result("add:1"),
        calls("functions.add:0"),
        result("functions.add:0"),
    ]
    repaired = repair(given, k2_ids=True).messages
    ids = [call["id"] for message in repaired if isinstance(message, AIMessage) for call in message.tool_calls]
    assert ids == ["functions.add:0", "functions.add:1", "functions.add:2", "add:1", "functions.add:4"]
    results = [message.tool_call_id for message in repaired if isinstance(message, ToolMessage)]
    assert results == ids
    assert repair(repaired, k2_ids=True).repairs == ()
    assert repair(given[:3], k2_ids=True).messages == given[:3]
