"""The whole course of a compaction: any thread stays valid, and the state gets the right update."""

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    RemoveMessage,
    SystemMessage,
)
from langgraph.store.memory import InMemoryStore

from langchain_kimi import tokens
from langchain_kimi._error_responses import from_response
from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.state import add_kimi_messages
from tests.agent.compaction.helpers import (
    SMALL,
    check_result,
    compact,
    exchange,
    kimi_model,
    many_turns,
    one_turn,
    step_names,
    summariser,
    user,
)


def test_usage_from_before_a_compaction_does_not_count() -> None:
    messages = one_turn(100, 300)
    usage: Any = {"input_tokens": 9_000, "output_tokens": 60, "total_tokens": 9_060}
    messages[-2] = messages[-2].model_copy(update={"usage_metadata": usage})
    compactor = Compactor(Compaction(**SMALL), summariser())
    assert compactor.is_due(messages)
    outcome = compact(compactor, messages)
    assert outcome.tokens_before > 9_000
    assert not compactor.is_due(outcome.messages)


@pytest.mark.parametrize(
    "error",
    [
        from_response(
            400,
            {"error": {"message": "Your request exceeded model token limit: 10000 (requested: 10500)"}},
            host="h",
            headers={},
        ),
        ContextOverflowError("This model's maximum context length is 10000 tokens."),
        ContextOverflowError("too long"),
    ],
    ids=["kimi", "others", "no figures"],
)
@pytest.mark.parametrize("window", [10_000, None])
def test_after_an_overflow_a_thread_that_seemed_to_fit_becomes_shorter(error: Exception, window: int | None) -> None:
    messages = many_turns(30, 200)
    compactor = Compactor(Compaction(window=window, reserve=1_000), summariser())
    assert not compactor.is_due(messages)
    assert isinstance(error, ContextOverflowError)
    outcome = compact(compactor, messages, overflow=error)
    check_result(outcome, messages)
    assert step_names(outcome) == ["summarised"]
    assert tokens.count(outcome.messages) < tokens.count(messages) * 0.7


sizes = st.sampled_from([0, 20, 400, 3_000])


@st.composite
def threads(draw: st.DrawFn) -> list[AnyMessage]:
    messages: list[AnyMessage] = []
    if draw(st.booleans()):
        messages.append(SystemMessage("Be kind.", id="s"))
    at = 0
    for turn in range(draw(st.integers(1, 5))):
        messages.append(user(turn, "Do it. " + "u" * draw(sizes)))
        for _ in range(draw(st.integers(0, 6))):
            at += 1
            messages += exchange(at, draw(sizes), draw(st.integers(1, 4)), draw(sizes))
        if turn and draw(st.booleans()):
            messages.append(AIMessage("Done. " + "d" * draw(sizes), id=f"f{turn}"))
    if draw(st.booleans()):
        place = max((n for n, message in enumerate(messages) if isinstance(message, AIMessage)), default=None)
        if place is not None:
            used = draw(st.integers(10, 20_000))
            usage = {"input_tokens": used, "output_tokens": 5, "total_tokens": used + 5}
            messages[place] = messages[place].model_copy(update={"usage_metadata": usage})
    return messages


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    threads(),
    st.builds(
        Compaction,
        window=st.integers(1_000, 12_000),
        reserve=st.integers(0, 800),
        keep_results=st.integers(0, 6),
        result_tokens=st.sampled_from([20, 100, 400]),
        summarise=st.booleans(),
    ),
    st.sampled_from([None, ContextOverflowError("too long")]),
    st.booleans(),
)
def test_any_thread_keeps_its_call_result_pairs_its_task_and_its_ids(
    messages: list[AnyMessage], context: Compaction, overflow: Exception | None, is_kimi: bool
) -> None:
    before = copy.deepcopy(messages)
    originals = list(messages)
    model = kimi_model("kimi-k2.6") if is_kimi else summariser()
    compactor = Compactor(context, model)
    if is_kimi:
        compactor._model = summariser()
    outcome = compact(compactor, messages, overflow=overflow)
    assert messages == before
    assert all(one is other for one, other in zip(messages, originals, strict=True))
    check_result(outcome, messages)
    last = max(place for place, message in enumerate(messages) if message.type == "human")
    assert any(message is messages[last] for message in outcome.messages)
    assert all(any(message is one for one in outcome.messages) for message in messages if message.type == "system")
    limit = context.window - context.reserve  # type: ignore[operator]
    assert outcome.tokens_after <= int(limit * context.target) or step_names(outcome)[-1] == "above_target"
    again = compact(compactor, messages, overflow=overflow)
    assert again.messages == outcome.messages
    assert [isinstance(write, RemoveMessage) for write in outcome.update] == sorted(
        isinstance(write, RemoveMessage) for write in outcome.update
    )


def test_messages_without_ids_are_replaced_as_a_whole() -> None:
    messages = [message.model_copy(update={"id": None}) for message in many_turns(60, 200)]
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), messages)
    merged = add_kimi_messages(messages, [outcome.update])
    assert [message.content for message in merged] == [message.content for message in outcome.messages]


def test_a_store_is_not_used_without_archive() -> None:
    store = InMemoryStore()
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), many_turns(60, 200), store=store)
    assert outcome.archived == []
    assert store.list_namespaces() == []
