"""Decides where a turn goes after a node: to tools, to people, to an error result, to a last answer or to the end."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolCall
from langchain_core.runnables import Runnable
from langgraph.config import get_config
from langgraph.graph import END
from langgraph.types import Send

from langchain_kimi._finish_reasons import CONTENT_FILTER
from langchain_kimi.agent.approvals.approval import Approval, approved
from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.loop_guard import LoopGuard
from langchain_kimi.agent.model_call import VISIBLE_TOOLS, ModelCaller
from langchain_kimi.agent.side_effects.once import Once
from langchain_kimi.agent.state import (
    TOOLS_NODE,
    AgentState,
    LimitReason,
    is_editing_state,
)
from langchain_kimi.agent.thread_messages import (
    AnyCall,
    begins_turn,
    has_unique_ids,
    last_answer,
    pending_calls,
    tool_calls_of,
)
from langchain_kimi.agent.tool_node.tool_call import ToolJob
from langchain_kimi.agent.tool_node.unusable_calls import no_such_tool, unreadable_reason
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage, usage_since
from langchain_kimi.agent.usage_limits.budget import budget_of
from langchain_kimi.agent.usage_limits.limits import AgentLimits

_SECOND_HANDOFF = "Not done: {first} came first in this turn, and a conversation is handed over once at a time."


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent of a graph: its model with prompt and tools, its compaction and its structured output."""

    model: ModelCaller
    compactor: Compactor | None
    responder: Runnable[Any, Any] | None
    """Returns the object of a `response_format`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphConfig:
    """The settings of a graph of one agent or a team."""

    active_agent: Callable[[AgentState], AgentConfig]
    limits: AgentLimits
    guard: LoopGuard | None
    approval: Approval
    once: Once
    sequential_tools: Collection[str]
    has_response_format: bool
    handoffs: Collection[str] = frozenset()
    """The names of the tools that hand the conversation over."""
    run_input_tool_calls: bool = False
    has_pre_model_hook: bool = False
    has_post_model_hook: bool = False

    @property
    def last_step(self) -> int:
        """`remaining_steps` in the last superstep in which the model may end the turn by itself."""
        return 1 + self.has_post_model_hook + self.has_response_format

    @property
    def steps_per_round(self) -> int:
        """The `remaining_steps` after the model that tools and the model that reads their results need."""
        return self.last_step + 2 + self.has_pre_model_hook

    @property
    def model_node(self) -> str:
        """The node with which the model's turn begins."""
        return "pre_model_hook" if self.has_pre_model_hook else "model"

    def turn_usage(self, state: AgentState) -> AgentUsage:
        """The usage of the user turn so far."""
        return usage_since(state.get("spent"), state.get("kimi_turn"))


class AgentRoutes:
    """The conditional edges of the graph, and the checks that decide about calls."""

    def __init__(self, config: GraphConfig) -> None:
        self._config = config

    def after_model(self, state: AgentState) -> str | list[Send]:
        """The next node after the model answered."""
        config, calls = self._config, pending_calls(state["messages"])
        if not calls and is_editing_state() and _awaits_answer(state):
            return config.model_node
        if not calls:
            return "respond" if config.has_response_format and state.get("stop_reason") != CONTENT_FILTER else END
        answer = last_answer(state["messages"])
        if answer is not None and not has_unique_ids(answer):
            return config.model_node  # a hook or an edit of the state added the answer
        edited = is_editing_state() and answer is not None and VISIBLE_TOOLS not in answer.additional_kwargs
        if edited and config.active_agent(state).model.selects_in_run:
            return config.model_node  # the tools that the message may call are known only during a run
        if self._config.once.asks and unknown_calls(state, calls):
            return "clarify"
        if self.limit_reason(state, calls):
            return "wrap_up"
        if config.approval.undecided(state, calls):
            return "review"
        return self._sends(state, calls)

    def after_review(self, state: AgentState) -> str | list[Send]:
        """The next node after people decided on calls."""
        calls = pending_calls(state["messages"])
        if self._config.once.asks and unknown_calls(state, calls):
            return "clarify"
        if undecided := self._config.approval.undecided(state, calls):
            reviews = self._config.approval.call_reviews(state, undecided)
            return [Send("review_call", review) for review in reviews] or "review"
        answer = last_answer(state["messages"])
        if not calls or (answer is not None and not has_unique_ids(answer)):
            return self._config.model_node
        return self._sends(state, calls)

    def after_clarify(self, state: AgentState) -> str | list[Send]:
        """The next node after people decided on calls whose result was unknown."""
        return self.after_model(state) if pending_calls(state["messages"]) else self._config.model_node

    def limit_reason(self, state: AgentState, calls: Sequence[AnyCall]) -> LimitReason | None:
        """The reason for which these calls must not run and the turn ends with a last answer."""
        config = self._config
        if limit := config.limits.reached(config.turn_usage(state), len(calls)):
            return limit
        if budget_of(get_config()).forbids(len(calls)):
            return "caller"
        if state["remaining_steps"] < config.steps_per_round and not is_editing_state():
            return "recursion_limit"
        if config.guard is None:
            return None
        return config.guard.stop_reason(state["messages"], calls, handoff_streak(state["messages"], config.handoffs))

    def rejection(self, state: AgentState, call: Any) -> str | None:
        """The reason for which a call cannot run, as text for the model; None if it can run."""
        answer = last_answer(state["messages"])
        assert answer is not None
        if reason := unreadable_reason(answer, call):
            return reason
        names = answer.additional_kwargs.get(VISIBLE_TOOLS)
        if names is None:  # the message was not written by this agent's model
            names = self._config.active_agent(state).model.visible_tools(state)
        if call["name"] not in names:
            return no_such_tool(call["name"], names)
        return duplicate_handoff(answer, call, self._config.handoffs)

    def _sends(self, state: AgentState, calls: Sequence[AnyCall]) -> list[Send]:
        """One `Send` for each call that may run now: all calls before the second call of a sequential tool."""
        sends: list[Send] = []
        has_sequential = False
        for call in calls:
            if call["name"] in self._config.sequential_tools:
                if has_sequential:
                    break
                has_sequential = True
            sends.append(self._send(state, call))
        return sends

    def _send(self, state: AgentState, call: AnyCall) -> Send:
        config = self._config
        decided: Any = approved(state, call) or call
        if reason := self.rejection(state, decided):
            return Send("unusable", {"call": call, "reason": reason})
        answer = last_answer(state["messages"])
        job: ToolJob = {"call": decided, "message": (answer and answer.id) or ""}
        job["remaining"] = config.limits.remaining(config.turn_usage(state), len(pending_calls(state["messages"])))
        if agent := config.active_agent(state).model.agent:
            job["agent"] = agent
        if unknown_calls(state, [call]):
            job["unknown"] = True
        if config.guard:
            repeats = config.guard.repeats(state["messages"], call)
            if reason := config.guard.block_reason(repeats):
                return Send("unusable", {"call": call, "reason": reason, "fingerprint": repeats.fingerprint})
            if config.guard.hints(repeats):
                job["repeats"] = (repeats.count, repeats.fingerprint)
        if decided is not call and (decided["name"], decided["args"]) != (call["name"], call["args"]):
            job["edited"] = True
        return Send(TOOLS_NODE, job)


def unknown_calls(state: AgentState, pending: Sequence[AnyCall]) -> list[ToolCall]:
    """The pending calls that may have run and have no result, as they would run."""
    records = state.get("kimi_unknown")
    answer = last_answer(state["messages"]) if records else None
    if not records or answer is None:
        return []
    unknown = {call_id: record for call_id, record in records.items() if record["message"] == answer.id}
    calls: list[Any] = [call for call in pending if call["id"] in unknown]
    changed: list[Any] = [{**call, **unknown[call["id"]].get("runs", {})} for call in calls]
    return [approved(state, call) or other for call, other in zip(calls, changed, strict=True)]


def duplicate_handoff(answer: AIMessage, call: AnyCall, handoffs: Collection[str]) -> str | None:
    """The reason for which a hand-off takes no effect, if another one precedes it in the same answer."""
    if call["name"] not in handoffs:
        return None
    valid = [other for other in tool_calls_of(answer) if other["name"] in handoffs and "error" not in other]
    return _SECOND_HANDOFF.format(first=valid[0]["name"]) if valid and valid[0]["id"] != call["id"] else None


def handoff_streak(messages: Sequence[BaseMessage], handoffs: Collection[str]) -> int:
    """How many answers in a row, up to the last one, did nothing but hand the conversation over."""
    turn = takewhile(lambda message: not begins_turn(message), reversed(messages))
    answers = (message for message in turn if isinstance(message, AIMessage))
    return sum(1 for _ in takewhile(lambda answer: _only_hands_off(answer, handoffs), answers))


def _only_hands_off(answer: AIMessage, handoffs: Collection[str]) -> bool:
    return not answer.text.strip() and all(call["name"] in handoffs for call in tool_calls_of(answer))


def _awaits_answer(state: AgentState) -> bool:
    """Whether a turn runs and its last message is not an answer of the model."""
    messages = state["messages"]
    return state.get("stop_reason") is None and bool(messages) and not isinstance(messages[-1], AIMessage)
