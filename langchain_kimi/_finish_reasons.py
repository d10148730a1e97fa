"""Which finish reasons mean that an answer is whole, and which that the host gave up on it.

Moonshot's specification of streams names the abnormal ones; `abort` (vLLM, SGLang) and `error` (OpenRouter) are those
of other hosts. Words of other providers that mean a regular end are known too, since an agent takes any chat model.
"""

from collections.abc import Mapping
from typing import Literal

CONTENT_FILTER = "content_filter"

COMPLETE = frozenset(
    (
        *("stop", "tool_calls", "function_call", "tool_use", "end_turn", "stop_sequence", "eos", "eos_token"),
        "complete",
    )
)
"""The model ended the answer by itself."""

LENGTH = frozenset({"length", "max_tokens"})
"""The answer ended at its output cap or at the end of the window: what is there is right, and more is missing."""

ABNORMAL: Mapping[str, str] = {
    "engine_overloaded": "the engine was overloaded before the answer was finished",
    "server_interrupted": "the server was interrupted before the answer was finished",
    "malformed_byte_sequence": "the model wrote bytes that are no text",
    "unexpected_state": "the server was in a state that it did not expect",
    "repeat": "the model repeated itself without an end",
    "unknown": "the host does not know why",
    "abort": "the host aborted the answer",
    "error": "the host failed before the answer was finished",
}
"""The answer is not whole, and why."""

RETRYABLE = frozenset({"engine_overloaded", "server_interrupted", "abort", "error"})
"""The abnormal reasons that have nothing to do with the request: the same request may well succeed."""

KNOWN = COMPLETE | LENGTH | ABNORMAL.keys() | {CONTENT_FILTER}


NormalizedFinishReason = Literal[
    "stop", "length", "tool_call", "content_filter", "refusal", "context_exceeded", "error", "other"
]
"""LangChain's words for why an answer ended. Kimi's finish reasons give neither `refusal` nor `context_exceeded`."""

_OF_CALLS = frozenset({"tool_calls", "function_call", "tool_use"})
_UNEXPLAINED = frozenset({"repeat", "unknown"})


def normalized(finish_reason: str, *, has_calls: bool) -> NormalizedFinishReason:
    """A finish reason in LangChain's words; `has_calls` says whether the answer has tool calls."""
    if finish_reason in _OF_CALLS or (has_calls and finish_reason in COMPLETE):
        return "tool_call"
    if finish_reason in COMPLETE:
        return "stop"
    if finish_reason in LENGTH:
        return "length"
    if finish_reason == CONTENT_FILTER:
        return "content_filter"
    return "error" if finish_reason in ABNORMAL.keys() - _UNEXPLAINED else "other"


def calls_may_run(finish_reason: str | None) -> bool:
    """Whether tool calls with whole arguments may run after this finish reason. A missing one says nothing."""
    return finish_reason is None or finish_reason in COMPLETE or finish_reason in LENGTH
