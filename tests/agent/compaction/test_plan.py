"""What a compaction shortens and removes, in which order, and what always stays."""

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
)

from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.message_groups import is_summary
from langchain_kimi.testing import said
from tests.agent.compaction.helpers import (
    SMALL,
    check_result,
    compact,
    compacted,
    exchange,
    kimi_model,
    many_turns,
    one_turn,
    step_names,
    summariser,
    user,
)
from tests.conftest import SYNC_AND_ASYNC, Serve, kimi


def test_reasoning_of_earlier_turns_is_dropped_first_where_the_model_does_not_read_it() -> None:
    messages = [*many_turns(3, 10, thinking=2_000), *exchange(9, 10, thinking=2_000)]
    outcome = compact(Compactor(Compaction(summarise=False, **SMALL), kimi_model("kimi-k2.6")), messages)
    check_result(outcome, messages)
    assert step_names(outcome) == ["dropped_reasoning"]
    assert outcome.steps[0]["number"] == 3
    thoughts = [message.additional_kwargs.get("reasoning_content") for message in outcome.messages]
    assert [thought for thought in thoughts if thought] == [" ", " ", " ", "t" * 2_000]
    assert outcome.messages[-2] is messages[-2]


@pytest.mark.parametrize(
    "model",
    [
        kimi_model("kimi-k3"),
        kimi_model("kimi-k2.7-code"),
        kimi_model("kimi-k2.6", keep_thinking=True),
        kimi_model("kimi-k2.6", extra_body={"thinking": {"type": "enabled", "keep": "all"}}),
        kimi_model("someones-own", base_url="http://127.0.0.1:9/v1"),
        summariser(model="kimi-k2.6"),
    ],
    ids=["k3", "k2.7", "kept", "kept by hand", "unknown", "no kimi"],
)
def test_reasoning_stays_where_the_model_reads_it_or_that_is_not_known(model: Any) -> None:
    messages = many_turns(3, 10, thinking=500)
    outcome = compact(Compactor(Compaction(**SMALL), model), messages)
    assert outcome.messages == messages
    assert outcome.update == outcome.steps == []


def test_an_unknown_part_of_the_request_does_not_shrink_with_the_thread() -> None:
    usage: Any = {"input_tokens": 9_000, "output_tokens": 60, "total_tokens": 9_060}
    messages = one_turn(20, 100)
    messages[-2] = messages[-2].model_copy(update={"usage_metadata": usage})
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), messages)
    assert outcome.tokens_before > 9_000
    assert 4_000 < outcome.tokens_after < 9_000
    assert step_names(outcome)[-1] == "above_target"


def test_old_results_are_shortened_before_anything_is_summarised() -> None:
    messages = [*many_turns(5, 6_000), *exchange(8, 4_000), *exchange(9, 4_000)]
    model = summariser()
    compactor = Compactor(Compaction(keep_results=2, result_tokens=100, **SMALL), model)
    assert compactor.is_due(messages)
    outcome = compact(compactor, messages)
    check_result(outcome, messages)
    assert step_names(outcome) == ["shortened_results"]
    assert outcome.tokens_after <= 4_500 < outcome.tokens_before
    assert model.requests == []
    cut = [message for message in outcome.messages if "left out" in message.text]
    assert [message.id for message in cut] == [f"r{at}:0" for at in range(outcome.steps[0]["number"])]  # the oldest
    for message in cut:
        assert message.text.startswith(f"{message.id[1:]} rrr")  # type: ignore[index]
        assert message.text.endswith("rrr")
        assert "of 6,004 characters" in message.text
    assert outcome.messages[-1] is messages[-1]


def test_big_results_are_shortened_before_small_ones() -> None:
    messages = many_turns(8, 1_200)
    messages[6] = messages[6].model_copy(update={"content": "big " * 6_000})
    outcome = compact(Compactor(Compaction(keep_results=0, result_tokens=100, **SMALL), summariser()), messages)
    assert [message.id for message in outcome.messages if "left out" in message.text] == ["r1:0"]


@SYNC_AND_ASYNC
async def test_a_running_turn_that_is_too_long_by_itself_keeps_its_task_and_its_end(way: str) -> None:
    messages = one_turn(200, 300, thinking=200)
    outcome = await compacted(way, Compactor(Compaction(keep_results=4, **SMALL), summariser()), messages)
    check_result(outcome, messages)
    assert step_names(outcome) == ["summarised"]
    task, summary, *rest = outcome.messages
    assert task is messages[0]
    assert is_summary(summary)
    assert summary.id == "a0"
    assert len(rest) > 8
    assert all(one is other for one, other in zip(rest, messages[-len(rest) :], strict=True))
    assert isinstance(rest[0], AIMessage)


def test_within_a_running_turn_results_are_shortened_first_but_not_the_latest() -> None:
    messages = one_turn(16, 2_000)
    outcome = compact(Compactor(Compaction(keep_results=4, result_tokens=50, **SMALL), summariser()), messages)
    check_result(outcome, messages)
    assert step_names(outcome) == ["shortened_results"]
    assert outcome.messages[-8:] == messages[-8:]
    assert outcome.messages[0] is messages[0]


def test_of_a_batch_of_huge_results_requests_have_excerpts_and_the_state_has_all() -> None:
    messages = one_turn(1, 8_000, calls=32)
    outcome = compact(Compactor(Compaction(result_tokens=100, **SMALL), summariser()), messages)
    check_result(outcome, messages)
    assert outcome.messages == messages
    assert set(outcome.excerpts) == {message.id for message in messages[2:]}
    assert step_names(outcome)[0] == "excerpts_of_results"
    assert outcome.tokens_after <= 0.85 * 9_000


def test_a_thread_that_cannot_be_shortened_is_reported() -> None:
    messages: list[Any] = [user(0, "x" * 80_000)]
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), messages)
    assert outcome.messages == messages
    assert step_names(outcome) == ["above_target"]
    assert outcome.tokens_after > 4_500


def test_two_user_messages_in_a_row_both_stay() -> None:
    messages = [*many_turns(60, 200), user(61, "Wait: subtract it.")]
    outcome = compact(Compactor(Compaction(window=400, reserve=0), summariser()), messages)
    assert len(outcome.messages) == 3
    assert [message.text for message in outcome.messages[-2:]] == ["And now the last one.", "Wait: subtract it."]
    assert outcome.messages[-2] is messages[-2]


@SYNC_AND_ASYNC
async def test_kimi_accepts_the_request_after_reasoning_was_dropped(serve: Serve, way: str) -> None:
    server = serve([said("fine")])
    model = kimi(server, missing_reasoning="raise")
    messages = [*many_turns(3, 10, thinking=500), *exchange(9, 10, thinking=500)]
    outcome = await compacted(way, Compactor(Compaction(**SMALL), model), messages)
    assert step_names(outcome) == ["dropped_reasoning"]
    await model.ainvoke(outcome.messages)
    sent = [message.get("reasoning_content") for message in server.requests[0].messages if message.get("tool_calls")]
    assert sent == [" ", " ", " ", "t" * 500]


def test_open_calls_are_not_changed() -> None:
    messages = [*one_turn(60, 400), *exchange(99, calls=2)[:-1]]
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), messages)
    assert outcome.messages[-2:] == messages[-2:]
