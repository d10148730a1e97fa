"""Whatever order, ids and content a history has, Kimi takes what becomes of it, and its beginning stays."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)

from langchain_kimi._raw_calls import RawCall, parse_calls
from langchain_kimi._request import encode_request
from langchain_kimi._request.repair import _TranscriptRewriter, is_plainly_valid, repair
from langchain_kimi._rules import check
from tests.request.random_transcripts import OBJECTS, TRANSCRIPTS, USER, exchanges, histories, judged, strictly


def body_of(messages: list[BaseMessage], model: str = "kimi-k3") -> dict[str, Any]:
    return encode_request({"model": model}, messages, stream=False).body


def wire(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = body_of(messages)["messages"]
    return sent


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
