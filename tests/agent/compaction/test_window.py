"""How many tokens a request has, how many it may have, and when a thread is compacted."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_kimi import ChatKimi, Compaction, tokens
from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.recorded_usage import OUTDATED_USAGE
from langchain_kimi.agent.compaction.window import Window
from tests.agent.compaction.helpers import SMALL, kimi_model, many_turns, one_turn, summariser, user

USAGE: Any = {"input_tokens": 900, "output_tokens": 100, "total_tokens": 1_000}


def test_the_window_and_the_reserve_are_those_of_the_model() -> None:
    def trigger(model: Any, **more: Any) -> int:
        """The first size of a thread at which it is due."""
        compactor = Compactor(Compaction(trigger=1.0, **more), model)
        low, high = 0, 2_000_000
        while high - low > 1:
            middle = (low + high) // 2
            usage: Any = {"input_tokens": middle, "output_tokens": 0, "total_tokens": middle}
            is_due = compactor.is_due([AIMessage("x", id="1", usage_metadata=usage)])
            low, high = (low, middle) if is_due else (middle, high)
        return low

    def model(**settings: Any) -> ChatKimi:
        return ChatKimi(**{"model": "kimi-k2.6", "api_key": "sk-test", **settings})

    assert trigger(model()) == 262_144 - 32_768
    assert trigger(model(max_tokens=200_000)) == 262_144 - 200_000
    assert trigger(model(model="kimi-k3")) == 1_048_576 - 131_072
    assert trigger(model(), window=50_000, reserve=0) == 50_000
    assert trigger(summariser(profile={"max_input_tokens": 100_000, "max_output_tokens": 64_000})) == 75_000


def test_nothing_is_due_for_a_model_whose_window_is_not_known() -> None:
    assert not Compactor(Compaction(), summariser()).is_due(one_turn(2_000))


def test_a_reserve_as_large_as_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing of the window"):
        Compactor(Compaction(reserve=300_000), ChatKimi(model="kimi-k2.6", api_key="sk-test"))


def test_reported_usage_decides_and_not_the_estimate() -> None:
    compactor = Compactor(Compaction(**SMALL), summariser())
    messages = one_turn(2)
    assert not compactor.is_due(messages)
    usage: Any = {"input_tokens": 7_600, "output_tokens": 60, "total_tokens": 7_660}
    spoke = AIMessage("x", id="last", usage_metadata=usage)
    assert compactor.is_due([*messages, spoke])
    assert not compactor.is_due(
        [*messages, spoke, user(1), AIMessage("y", usage_metadata={**usage, "input_tokens": 10})]
    )


def test_is_due_takes_less_than_a_millisecond() -> None:
    messages = one_turn(300, 3_000, thinking=2_000)
    usage: Any = {"input_tokens": 100_000, "output_tokens": 60, "total_tokens": 100_060}
    messages[-2] = messages[-2].model_copy(update={"usage_metadata": usage})
    compactor = Compactor(Compaction(), ChatKimi(model="kimi-k2.6", api_key="sk-test"))
    best = min(_seconds(lambda: compactor.is_due(messages)) for _ in range(30))
    assert best < 0.001


def _seconds(work: Callable[[], Any]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


def test_reasoning_that_the_model_does_not_read_does_not_count() -> None:
    messages = many_turns(6, 10, thinking=8_000)
    assert Compactor(Compaction(**SMALL), kimi_model("kimi-k3")).is_due(messages)
    assert not Compactor(Compaction(**SMALL), kimi_model("kimi-k2.6")).is_due(messages)
    usage: Any = {"input_tokens": 5_000, "output_tokens": 3_000, "total_tokens": 8_000}
    spoke = AIMessage("x", id="last", additional_kwargs={"reasoning_content": "t" * 11_900}, usage_metadata=usage)
    running = [user(0), spoke]
    assert Compactor(Compaction(**SMALL), kimi_model("kimi-k2.6")).is_due(running)
    assert not Compactor(Compaction(**SMALL), kimi_model("kimi-k2.6")).is_due([*running, user(1)])
    # The thinking of turns before was not in the record.
    spoke = spoke.model_copy(update={"additional_kwargs": {"reasoning_content": "t"}})
    assert Compactor(Compaction(**SMALL), kimi_model("kimi-k2.6")).is_due([*messages, spoke, user(9)])


def size(messages: list[BaseMessage]) -> int:
    return Window(summariser(), [], None, None).size(messages, [])


def answer(**fields: Any) -> AIMessage:
    call = {"id": "add:0", "name": "add", "args": {"a": 1}}
    return AIMessage("", tool_calls=[call], **fields)


def test_reported_usage_counts_and_only_later_messages_are_estimated() -> None:
    before: list[BaseMessage] = [HumanMessage("x" * 40_000), answer(usage_metadata=USAGE, id="a1")]
    result = ToolMessage("y" * 400, tool_call_id="add:0")
    without_usage = AIMessage("no usage")
    assert size(before) == 1_000
    assert size([*before, result]) == 1_000 + tokens.count_message(result)
    assert size([*before, without_usage]) == 1_000 + tokens.count_message(without_usage)
    assert size([HumanMessage("hi")]) == tokens.count([HumanMessage("hi")])


def test_usage_does_not_hold_where_messages_before_it_were_replaced() -> None:
    summary = HumanMessage("in short", additional_kwargs={OUTDATED_USAGE: "a1"})
    old: list[BaseMessage] = [summary, AIMessage("done", usage_metadata=USAGE, id="a1")]
    assert size(old) == tokens.count(old)
    newer: Any = {**USAGE, "input_tokens": 50, "output_tokens": 10}
    assert size([*old, HumanMessage("next"), AIMessage("done", usage_metadata=newer, id="a2")]) == 60
