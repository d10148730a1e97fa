"""A misspelt keyword of a class is named, with the one that was probably meant and all that there are."""

import copy
import pickle
import re
from dataclasses import replace
from typing import Any

import pytest

from langchain_kimi import AgentLimits, Compaction, LoopGuard, RateLimits, ResponseLimits, TeamMember, Timeouts


@pytest.mark.parametrize(
    ("owner", "wrong", "words"),
    [
        (AgentLimits, "max_tool_calls", "Did you mean 'tool_calls'? It has turns, tool_calls, seconds, tokens, cost"),
        (AgentLimits, "steps", "AgentLimits() has no argument 'steps'. It has turns, tool_calls, seconds"),
        (Compaction, "triger", "Did you mean 'trigger'? It has window, reserve, trigger, target"),
        (LoopGuard, "hints", "Did you mean 'hint'? It has hint, block, stop, errors, exempt."),
        (
            TeamMember,
            "prompt",
            "TeamMember() has no argument 'prompt'. Did you mean 'system_prompt'? It has name",
        ),
        (Timeouts, "first_bytes", "Did you mean 'first_byte'? It has connect, first_byte, silence"),
        (ResponseLimits, "character", "Did you mean 'characters'? It has "),
        (RateLimits, "concurency", "Did you mean 'concurrency'? It has concurrency, rpm, tpm"),
    ],
)
def test_a_misspelt_keyword_is_named_with_those_that_exist(owner: Any, wrong: str, words: str) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        owner(**{wrong: 2})


def test_a_checked_class_is_as_before() -> None:
    limits = AgentLimits(3, tool_calls=2)
    for again in (replace(limits), copy.deepcopy(limits), pickle.loads(pickle.dumps(limits))):
        assert again == limits
    assert replace(limits, turns=5) == AgentLimits(turns=5, tool_calls=2)
    with pytest.raises(TypeError, match="multiple values"):
        AgentLimits(3, turns=2)  # type: ignore[misc]
