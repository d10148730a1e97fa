"""A shortened message stays what it is to the loop guard and to other providers."""

from langchain_core.messages import (
    ToolMessage,
)

from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.loop_guard import fingerprint
from tests.agent.compaction.helpers import (
    SMALL,
    compact,
    kimi_model,
    many_turns,
    one_turn,
    step_names,
    summariser,
)


def test_reasoning_of_another_provider_stays() -> None:
    messages = many_turns(3, 10, thinking=500)
    messages[1] = messages[1].model_copy(update={"response_metadata": {"model_provider": "someone"}})
    outcome = compact(Compactor(Compaction(**SMALL), kimi_model("kimi-k2.6")), messages)
    assert outcome.messages[1] is messages[1]
    assert outcome.steps[0]["number"] == 2


def test_a_shortened_result_is_still_the_same_to_the_loop_guard() -> None:
    messages = one_turn(16, 2_000)
    compactor = Compactor(Compaction(keep_results=2, result_tokens=50, **SMALL), summariser())
    outcome = compact(compactor, messages)
    assert step_names(outcome) == ["shortened_results"]
    before = {message.id: fingerprint(message) for message in messages if isinstance(message, ToolMessage)}
    for message in outcome.messages:
        if isinstance(message, ToolMessage):
            assert fingerprint(message) == before[message.id]
