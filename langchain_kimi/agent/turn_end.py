"""How a user turn ends: with an answer of the model, or with a last answer where the agent stops the turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from langchain_kimi._finish_reasons import CONTENT_FILTER, LENGTH
from langchain_kimi._steps import Steps
from langchain_kimi.agent.model_call import ModelTurn
from langchain_kimi.agent.state import LimitReason
from langchain_kimi.agent.thread_messages import (
    CLOSING_MESSAGE,
    AnyCall,
    error_result,
    is_complete,
    is_empty,
    pending_calls,
    tool_calls_of,
)
from langchain_kimi.agent.usage_limits.limits import AgentLimits, LimitName

_NOT_RUN = "Not run: {why}. Answer now with what you have; no further tool can be called."
_TURN_ENDED = "Not run: the turn has ended."
_WITHHELD = "Not run: the host's moderation stopped the answer with this call (finish reason 'content_filter')."
_CLOSING = "I have to stop here without an answer: {why}."
_MODERATED = "the host's moderation stopped it"
_ONLY_THOUGHT = "the model used up its output cap by thinking, twice"
_NOTHING = "the model answered with neither text nor tool calls (finish reason {!r})"
_REASONS: Mapping[LimitReason, str] = {
    "recursion_limit": "LangGraph's recursion limit is reached",
    "loop": "the same calls were made over and over",
    "errors": "every call of the last turns failed",
    "caller": "a limit of the calling agent is reached",
}

ModelTurnOf: TypeAlias = Callable[[list[Any], Mapping[str, Any], Sequence[ToolMessage]], Steps[ModelTurn]]
"""The steps of a model turn without tools, after these updates of `messages` and of other keys of the state, with these
results behind the thread. The results are part of `ModelTurn.preceding`."""


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """The end of a turn that the agent stopped."""

    messages: list[Any]
    """The updates of `messages`."""
    update: dict[str, Any]
    """The updates of other keys of the state."""
    billed_answers: list[AIMessage]
    turns: int
    """How many answers the model gave."""


def stop_description(reason: LimitReason, limits: AgentLimits) -> str:
    """Why the agent stops a turn, in words."""
    return _REASONS[reason] if reason in _REASONS else f"{limits.describe(cast(LimitName, reason))} is reached"


def closing_message(why: str, name: str | None) -> AIMessage:
    """The end of a turn in which the model gave no answer. `name`: of the member of a team."""
    return AIMessage(_CLOSING.format(why=why), name=name, additional_kwargs={CLOSING_MESSAGE: True})


def turn_end(
    answer: AIMessage, name: str | None, *, has_response_format: bool
) -> tuple[dict[str, Any], list[AnyMessage]]:
    """The update with the `stop_reason` if the answer ends the turn, and messages that must follow the answer."""
    finish_reason = answer.response_metadata.get("finish_reason") or "stop"
    calls = tool_calls_of(answer)
    if finish_reason == "tool_calls" and not calls:
        finish_reason = "stop"  # `tool_calls` as `stop_reason` is the limit of this name
    if finish_reason == CONTENT_FILTER:
        closing: list[AnyMessage] = [error_result(call, _WITHHELD) for call in calls]
        if calls or not answer.text.strip():
            closing.append(closing_message(_MODERATED, name))
        return {"stop_reason": finish_reason}, closing
    if is_empty(answer) and not has_response_format:
        reason = "empty" if is_complete(answer) else finish_reason
        return {"stop_reason": reason}, [closing_message(_empty_reason(answer), name)]
    return {} if calls else {"stop_reason": finish_reason}, []


def last_answer_steps(
    model_turn: ModelTurnOf, calls: Sequence[AnyCall], why: str, name: str | None
) -> Steps[LastAnswer]:
    """The model's last answer of a turn, without tools, with error results for the open calls."""
    turn = yield from model_turn([], {}, [error_result(call, _NOT_RUN.format(why=why)) for call in calls])
    messages, billed, turns = [*turn.preceding, turn.answer, *turn.following], list(turn.billed_answers), 1
    update = turn.update
    if made := pending_calls([turn.answer, *turn.following]):
        # A model may call tools although the request forbids it. Calls without results would make the thread
        # invalid, and without another answer the turn would end with their results.
        results = [error_result(call, _NOT_RUN.format(why=why)) for call in made]
        turn = yield from model_turn(messages, update, results)
        made = pending_calls([turn.answer, *turn.following])
        messages += [*turn.preceding, turn.answer, *turn.following]
        messages += [error_result(call, _TURN_ENDED) for call in made]
        billed, turns, update = [*billed, *turn.billed_answers], 2, {**update, **turn.update}
    if made or not (turn.answer.text.strip() or turn.following):
        messages.append(closing_message(why, name))
    return LastAnswer(messages, update, billed, turns)


def _empty_reason(answer: AIMessage) -> str:
    """The reason for which an answer has neither text nor calls, as text."""
    reason = answer.response_metadata.get("finish_reason")
    return _ONLY_THOUGHT if reason in LENGTH else _NOTHING.format(reason)
