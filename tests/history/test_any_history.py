"""Whatever order, ids and content a history has, Kimi takes what becomes of it, and its beginning stays."""

from typing import Any

import pytest
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

from langchain_kimi.encode import encode_request
from langchain_kimi.history import repair
from langchain_kimi.history.transcript import _Ledger, _needs_nothing
from langchain_kimi.rules import check

PNG = "iVBORw0KGgoAAAANSUhEUg=="
USER = HumanMessage("go on")

texts = st.sampled_from(["", " ", "hi", "é\n"])
names = st.sampled_from(["add", "f"])
ids = st.sampled_from(["add:0", "add:1", "add:0~2", "toolu_1"])
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
        {"type": "tool_call", "id": "add:0", "name": "add", "args": {}},
        {"type": "refusal", "refusal": "No."},
        {"type": "executable_code", "executable_code": "1"},
        {"type": "text", "text": None},
    ]
)
valid_calls = st.fixed_dictionaries({"name": names, "args": st.just({}), "id": ids | st.sampled_from([None, ""])})
invalid_calls = st.fixed_dictionaries({"name": names, "args": st.just("{"), "id": ids | st.none(), "error": st.none()})


@st.composite
def assistants(draw: st.DrawFn) -> AIMessage:
    """An answer of Kimi's or of another model, whole or edited: its record may lack calls, or hold more."""
    valid = draw(st.lists(valid_calls, max_size=3))
    invalid = draw(st.lists(invalid_calls, max_size=1))
    kept: dict[str, Any] = {}
    if draw(st.booleans()):
        record = draw(st.permutations([*valid, *invalid]))
        kept["kimi_calls"] = [
            {"id": call["id"], "name": call["name"], "arguments": call["args"] or "{}"} for call in record
        ][draw(st.integers(0, 1)) :]
    if draw(st.booleans()):
        kept["reasoning_content"] = draw(texts)
    provider = draw(st.sampled_from([{}, {"model_provider": "moonshot"}, {"model_provider": "anthropic"}]))
    content: Any = draw(texts | st.lists(blocks, max_size=4))
    return AIMessage(
        content, tool_calls=valid, invalid_tool_calls=invalid, additional_kwargs=kept, response_metadata=provider
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

judged = settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def body_of(messages: list[BaseMessage], model: str = "kimi-k3") -> dict[str, Any]:
    return encode_request({"model": model}, messages, stream=False).body


def wire(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = body_of(messages)["messages"]
    return sent


@pytest.mark.parametrize("model", ["kimi-k2.6", "kimi-k3", "kimi-k2.5"])
@judged
@given(history=histories)
def test_kimi_refuses_nothing(model: str, history: list[BaseMessage]) -> None:
    assert check(body_of(repair(history).messages or [USER], model)) == []


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
        if _needs_nothing(given_or_repaired):
            ledger = _Ledger(k2_ids=False)
            for index, message in enumerate(given_or_repaired):
                ledger.add(index, message)
            ledger.close()
            assert ledger.repairs == []
            assert all(kept is one for kept, one in zip(ledger.messages, given_or_repaired, strict=True))
