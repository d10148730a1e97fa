"""Whatever order, ids and content a history has, Kimi takes what becomes of it, and its beginning stays."""

import json
import os
from typing import Any, Never

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_kimi._raw_calls import RawCall, parse_calls
from langchain_kimi._request import encode_request
from langchain_kimi._request.repair import _TranscriptRewriter, is_plainly_valid, repair
from langchain_kimi._rules import check

PNG = "iVBORw0KGgoAAAANSUhEUg=="
USER = HumanMessage("go on")

texts = st.sampled_from(["", " ", "hi", "é\n", "half \ud83d", "\ude00 half", "\ud83d\ude00", "\x00"])
names = st.sampled_from(["add", "f", "g\udc00"])
ids = st.sampled_from(["add:0", "add:1", "add:0~2", "toolu_1", "add_0", "x\ud800", "x\ud801"])
OBJECTS = [
    "{}",
    '{"x":1}',
    '{ "x" : "\\u00e9", "y":[1.50, {"z": null}]}',
    '{"x":1,"x":2}\n',
    '{"n":18446744073709551617}',
]
"""Argument strings that go back as they came."""
BROKEN = [
    *("", " ", "{", '{"x": ', '{"x":1,}', '{"x":"a\nb"}', "null", "[1]", '"a"', '"{\\"x\\":1}"', '{"x":NaN}', "1e999"),
    *('{"x":1e999}', '{"x":"\\ud800"}', '{"x":"\ud800"}', "{'x': 1}", '{"x":1}{"x":1}', "\ufeff{}", "{" * 40_000),
]
"""Argument strings that a host cannot read as an object."""
FINISHES = [None, "stop", "tool_calls", "length", "content_filter", "engine_overloaded", "repeat", "strange", 7]
text_parts = texts | texts.map(lambda text: {"type": "text", "text": text})
images = st.sampled_from(
    [
        {"type": "image", "base64": PNG, "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
)
objects = st.sampled_from(
    [
        {"rows": [1, None]},
        {"type": "json", "json": {"a": 1}},
        {"type": "text", "text": 5},
        {"type": "image", "url": "https://x.y/z.png"},
        {"type": "image_url", "image_url": "https://x.y/z.png"},
        {"type": "file", "base64": "aGk="},
    ]
)
blocks = text_parts | st.sampled_from(
    [
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "add:0", "name": "add", "input": {}},
        {"type": "tool_use", "id": "add:1", "name": "add", "input": '{"x": '},
        {"type": "invalid_tool_call", "id": "add:1", "name": "add", "args": '{"x": ', "error": None},
        {"type": "tool_call", "id": "add:0", "name": "add", "args": {}},
        {"type": "refusal", "refusal": "No."},
        {"type": "executable_code", "executable_code": "1"},
        {"type": "text", "text": None},
    ]
)
arguments = st.sampled_from([{}, {"x": 1}, {"x": "half \ud800"}, {"x": float("nan")}, {"x\udc00": [{"y": "\ud83d"}]}])
valid_calls = st.fixed_dictionaries({"name": names, "args": arguments, "id": ids | st.sampled_from([None, ""])})
invalid_calls = st.fixed_dictionaries(
    {
        "name": names | st.none(),
        "args": st.sampled_from([*BROKEN, *OBJECTS]) | st.none(),
        "id": ids | st.none(),
        "error": st.none() | st.just("no JSON"),
    }
)


def written(draw: st.DrawFn, args: Any) -> str:
    """The argument string that a call is recorded with: its own, or one that holds no longer."""
    own = args if isinstance(args, str) else json.dumps(args)
    return own if draw(st.booleans()) else draw(st.sampled_from([*BROKEN, *OBJECTS]))


@st.composite
def assistants(draw: st.DrawFn) -> AIMessage:
    """An answer of Kimi's or of another model, whole or edited: its record may lack calls, or hold more."""
    valid = draw(st.lists(valid_calls, max_size=3))
    invalid = draw(st.lists(invalid_calls, max_size=1))
    kept: dict[str, Any] = {}
    if draw(st.booleans()):
        record = draw(st.permutations([*valid, *invalid]))
        kept["kimi_calls"] = [
            {"id": call["id"], "name": call["name"], "arguments": written(draw, call["args"])} for call in record
        ][draw(st.integers(0, 1)) :]
    if draw(st.booleans()):
        kept["reasoning_content"] = draw(texts)
    metadata = dict(draw(st.sampled_from([{}, {"model_provider": "moonshot"}, {"model_provider": "anthropic"}])))
    metadata |= {"finish_reason": draw(st.sampled_from(FINISHES))}
    content: Any = draw(texts | st.lists(blocks, max_size=4))
    return AIMessage(
        content, tool_calls=valid, invalid_tool_calls=invalid, additional_kwargs=kept, response_metadata=metadata
    )


results = st.builds(
    ToolMessage,
    texts | st.lists(text_parts | images | objects, max_size=3),
    tool_call_id=ids | st.just(""),
)
inputs = texts | st.lists(text_parts | images, max_size=3)
others = st.one_of(
    st.builds(HumanMessage, inputs),
    st.builds(SystemMessage, texts | st.lists(text_parts, max_size=2)),
    st.builds(ChatMessage, texts, role=st.sampled_from(["developer", "user", "assistant", "model", "tool", "critic"])),
    st.builds(FunctionMessage, texts, name=names),
    st.just(RemoveMessage(id="1")),
)
histories = st.lists(assistants() | results | others, max_size=12)
exchanges = st.lists(
    st.lists(ids | st.none(), min_size=1, max_size=3).flatmap(
        lambda keys: st.permutations([ToolMessage(f"{at}", tool_call_id=key or "") for at, key in enumerate(keys)]).map(
            lambda answers: [
                AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": key} for key in keys]),
                *answers,
            ]
        )
    ),
    min_size=1,
    max_size=2,
).map(lambda pairs: [message for pair in pairs for message in pair])

TRANSCRIPTS = int(os.environ.get("KIMI_RANDOM_TRANSCRIPTS", "150"))
"""How many random transcripts the strictest test reads."""

judged = settings(
    max_examples=max(100, TRANSCRIPTS // 10),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def body_of(messages: list[BaseMessage], model: str = "kimi-k3") -> dict[str, Any]:
    return encode_request({"model": model}, messages, stream=False).body


def wire(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = body_of(messages)["messages"]
    return sent


def no_constant(constant: str) -> Never:
    raise ValueError(constant)


def strictly(text: str) -> Any:
    """A JSON text as the strictest hosts read it: no NaN, no infinity, no surrogate. Raises ValueError."""
    value = json.loads(text, parse_constant=no_constant)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


@settings(judged, max_examples=TRANSCRIPTS)
@given(history=histories, model=st.sampled_from(["kimi-k2.6", "kimi-k3", "kimi-k2.5"]), k2_ids=st.booleans())
def test_a_host_that_reads_every_argument_string_refuses_nothing(
    history: list[BaseMessage], model: str, k2_ids: bool
) -> None:
    encoded = encode_request({"model": model, "k2_ids": k2_ids}, history or [USER], stream=False)
    sent = json.loads(encoded.json.decode())
    if not sent["messages"]:
        assert [one.rule for one in encoded.violations] == ["messages_empty"]
        return
    assert check(sent) == []
    for message in sent["messages"]:
        for call in message.get("tool_calls", ()):
            assert isinstance(strictly(call["function"]["arguments"]), dict)


@st.composite
def answered(draw: st.DrawFn) -> list[BaseMessage]:
    """A valid conversation as Kimi's answers make it, with argument strings in any spelling."""
    history: list[BaseMessage] = [HumanMessage(draw(st.sampled_from(["go", "é\n", "😀\x00"])))]
    for turn in range(draw(st.integers(1, 4))):
        heard = [
            RawCall(id=f"{draw(st.sampled_from(['add_', 'add:', 'call-']))}{turn}.{place}", name="add", arguments=one)
            for place, one in enumerate(draw(st.lists(st.sampled_from(OBJECTS), min_size=1, max_size=3)))
        ]
        valid, _ = parse_calls(heard)
        kept = {"kimi_calls": heard, "reasoning_content": draw(st.sampled_from([" ", "hm", "第一\u2028"]))}
        history.append(AIMessage(draw(st.sampled_from(["", "So. "])), tool_calls=valid, additional_kwargs=kept))
        history += [ToolMessage(f"{place}", tool_call_id=call["id"] or "") for place, call in enumerate(heard)]
    return history


@settings(judged, max_examples=TRANSCRIPTS // 4)
@given(history=answered())
def test_a_valid_transcript_goes_back_byte_for_byte(history: list[BaseMessage]) -> None:
    before = [message.model_dump() for message in history]
    encoded = encode_request({"model": "kimi-k3"}, history, stream=False)
    assert (encoded.repairs, encoded.notes, encoded.violations) == ((), (), [])
    for message, sent in zip(history, json.loads(encoded.json)["messages"], strict=True):
        assert sent["content"] == message.content
        if isinstance(message, AIMessage):
            assert sent["reasoning_content"] == message.additional_kwargs["reasoning_content"]
            heard = message.additional_kwargs["kimi_calls"]
            assert [{"id": call["id"], **call["function"]} for call in sent["tool_calls"]] == heard
    assert [message.model_dump() for message in history] == before


@judged
@given(history=histories)
def test_results_stand_behind_their_calls_in_order(history: list[BaseMessage]) -> None:
    sent = wire(repair(history).messages)
    for at, message in enumerate(sent):
        made = [call["id"] for call in message.get("tool_calls", ())]
        assert [answer.get("tool_call_id") for answer in sent[at + 1 : at + 1 + len(made)]] == made
    assert sum(len(message.get("tool_calls", ())) for message in sent) == sum(one["role"] == "tool" for one in sent)


@judged
@given(history=histories)
def test_a_repaired_history_needs_no_repair_and_the_given_one_is_untouched(history: list[BaseMessage]) -> None:
    before = [message.model_dump() for message in history]
    once = repair(history)
    twice = repair(once.messages)
    assert twice.repairs == ()
    assert all(kept is message for kept, message in zip(twice.messages, once.messages, strict=True))
    assert [message.model_dump() for message in history] == before
    assert repair(history) == once
    if not once.repairs:
        assert all(kept is message for kept, message in zip(once.messages, history, strict=True))


@judged
@given(start=histories, exchange=exchanges, more=histories)
def test_what_was_sent_after_whole_exchanges_begins_all_that_follows(
    start: list[BaseMessage], exchange: list[BaseMessage], more: list[BaseMessage]
) -> None:
    sent = wire(repair(start + exchange).messages)
    assert wire(repair(start + exchange + more).messages)[: len(sent)] == sent


@judged
@given(history=histories)
def test_what_looks_valid_at_a_glance_is_valid(history: list[BaseMessage]) -> None:
    for given_or_repaired in (history, repair(history).messages):
        if is_plainly_valid(given_or_repaired):
            rewriter = _TranscriptRewriter(k2_ids=False)
            for index, message in enumerate(given_or_repaired):
                rewriter.add(index, message)
            rewriter.close_group()
            assert rewriter.repairs == []
            assert all(kept is one for kept, one in zip(rewriter.messages, given_or_repaired, strict=True))
