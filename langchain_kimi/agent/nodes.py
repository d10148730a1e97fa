"""The nodes of the graph, except the one that runs tools (`tool_call`).

begin → model ──no calls───────────────→ END (or respond → END)
          │ ├──a limit is reached──────→ wrap_up → END (or respond → END)
          │ ├──a person must decide────→ review ─→ as below, or back to model
          │ │        one Send per call──→ review_call ─→ review (interrupt_mode="per_call")
          │ └──a result is unknown─────→ clarify ─→ as below, or back to model
          ├──one Send per call─────────→ tools ──────→ model
          └──one Send per unusable call→ unusable ──→ model
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langgraph.config import get_config
from langgraph.runtime import get_runtime

from langchain_kimi._steps import Steps
from langchain_kimi.agent.approvals.approval import CallReview
from langchain_kimi.agent.approvals.questions import ask
from langchain_kimi.agent.compaction.archive import check_store
from langchain_kimi.agent.compaction.excerpts import Excerpts, with_excerpts
from langchain_kimi.agent.compaction.model_turn import Thread, compacted_model_turn
from langchain_kimi.agent.events import emit
from langchain_kimi.agent.model_call import ModelTurn
from langchain_kimi.agent.model_request import ModelRequest, request_with_retry
from langchain_kimi.agent.recovery import input_call_results
from langchain_kimi.agent.routes import AgentConfig, AgentRoutes, GraphConfig, unknown_calls
from langchain_kimi.agent.side_effects.idempotency import identity_of
from langchain_kimi.agent.side_effects.once import clarify
from langchain_kimi.agent.state import AgentState, LimitReason, add_kimi_messages
from langchain_kimi.agent.thread_messages import (
    as_new_message,
    has_unique_ids,
    last_answer,
    pending_calls,
    with_unique_ids,
)
from langchain_kimi.agent.tool_node.tool_call import tool_seconds
from langchain_kimi.agent.tool_node.unusable_calls import unusable_result
from langchain_kimi.agent.turn_end import closing_message, last_answer_steps, stop_description, turn_end
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage, add_agent_usage
from langchain_kimi.agent.usage_limits.budget import agent_name, answers_usage, budget_of, counted_calls, metered_usage
from langchain_kimi.usage_meter import UsageMeter

_ANSWER_AS_OBJECT = "Give your last answer again, as the object that is asked for and nothing else."

NodeSteps: TypeAlias = Steps[dict[str, Any]]
"""A node that calls the model: its operations, and as return value its update of the state."""


class AgentNodes:
    """The nodes of a graph. Those that return `NodeSteps` run with `run_steps` or `arun_steps`."""

    def __init__(self, config: GraphConfig, routes: AgentRoutes) -> None:
        self._config = config
        self._routes = routes

    def begin(self, state: AgentState) -> dict[str, Any]:
        """Starts a user turn. Usage before it does not count against its limits."""
        if compactor := self._agent(state).compactor:
            check_store(compactor.settings, get_runtime().store)
        update: dict[str, Any] = {"kimi_turn": state.get("spent") or {}, "stop_reason": None}
        if agent := self._agent(state).model.agent:
            update["active_agent"] = agent
        if not self._config.run_input_tool_calls and (results := input_call_results(state["messages"])):
            update["messages"] = results
        if state.get("kimi_review"):
            update["kimi_review"] = {}
        if records := state.get("kimi_unknown"):
            update["kimi_unknown"] = dict.fromkeys(records)
        return update | ({"structured_response": None} if self._config.has_response_format else {})

    def model(self, state: AgentState) -> NodeSteps:
        """The model's next answer, or its last answer if a limit was reached meanwhile."""
        if pending_calls(state["messages"]):
            # The next sequential tool's turn, or an edited or resumed thread: the route continues with the calls.
            answer = last_answer(state["messages"])
            return {} if answer is None or has_unique_ids(answer) else {"messages": [with_unique_ids(answer)]}
        budget_of(get_config()).check_writes()
        start = time.perf_counter()
        usage = self._config.turn_usage(state)
        if seconds := tool_seconds(state["messages"], self._config.sequential_tools):
            usage = add_agent_usage(usage, {"seconds": seconds})
        reason: LimitReason | None = self._config.limits.reached(usage)
        if reason is None and not budget_of(get_config()).start_turn(self._agent_name(state)):
            reason = "caller"
        if state["remaining_steps"] <= self._config.last_step:
            reason = reason or "recursion_limit"
        if reason:
            return (yield from self._last_answer(state, reason, start))
        turn = yield from self._model_turn(state)
        ended, closing = turn_end(
            turn.answer, self._agent(state).model.agent, has_response_format=self._config.has_response_format
        )
        messages = [*turn.preceding, turn.answer, *closing]
        return {"messages": messages, **turn.update, **ended, **self._after_answer(state, turn.billed_answers, start)}

    def wrap_up(self, state: AgentState) -> NodeSteps:
        """One last answer without tools. Open calls get error results."""
        calls = pending_calls(state["messages"])
        reason = self._routes.limit_reason(state, calls) or "recursion_limit"
        return (yield from self._last_answer(state, reason, time.perf_counter()))

    def respond(self, state: AgentState) -> NodeSteps:
        """The last answer as a validated object."""
        start = time.perf_counter()
        agent = self._agent(state)
        assert agent.responder is not None
        visible = agent.model.visible(with_excerpts(state["messages"], state.get("kimi_excerpts") or {}))
        messages = [*agent.model.prompt(state), *visible, HumanMessage(_ANSWER_AS_OBJECT)]
        meter = UsageMeter()  # the model may be called more than once
        request = ModelRequest(agent.responder, messages, callbacks=[meter], metadata=agent.model.metadata)
        result = yield from request_with_retry(request, [])
        if result["parsing_error"] is not None:
            raise result["parsing_error"]
        budget_of(get_config()).count_turns(self._agent_name(state), 1)
        return {"structured_response": result["parsed"], **self._usage_update(state, metered_usage(meter), start)}

    def unusable(self, rejected: Mapping[str, Any]) -> dict[str, Any]:
        """An error result for a call that cannot run."""
        return {"messages": [unusable_result(rejected["call"], rejected["reason"], rejected.get("fingerprint"))]}

    def review(self, state: AgentState) -> NodeSteps:
        """Asks people for decisions on calls."""
        calls = self._config.approval.undecided(state, pending_calls(state["messages"]))
        answer = last_answer(state["messages"])
        if not calls or answer is None:
            return {}
        if not has_unique_ids(answer):  # an edit of the state added the answer
            return {"messages": [with_unique_ids(answer)]}
        return (yield from ask(get_config(), lambda: self._decided(state, calls)))

    def review_call(self, review: CallReview) -> NodeSteps:
        """Asks a person for a decision on one call."""
        return (yield from ask(get_config(), lambda: self._config.approval.review_call(review)))

    def clarify(self, state: AgentState) -> NodeSteps:
        """Asks people what became of calls whose result is unknown."""
        calls, answer = unknown_calls(state, pending_calls(state["messages"])), last_answer(state["messages"])
        if not calls or answer is None:
            return {}
        config = get_config()
        run_id = budget_of(config).run_id
        keys = [identity_of(call, answer.id or "", config, run_id).key for call in calls]
        update = yield from ask(config, lambda: clarify(state["kimi_unknown"], calls, keys))
        return update | counted_calls(config, self._agent_name(state), len(update.get("messages", ())))

    def _decided(self, state: AgentState, calls: Sequence[ToolCall]) -> dict[str, Any]:
        return self._config.approval.review(state, calls, lambda call: self._routes.rejection(state, call))

    def _agent(self, state: AgentState) -> AgentConfig:
        return self._config.active_agent(state)

    def _last_answer(self, state: AgentState, reason: LimitReason, start: float) -> NodeSteps:
        """The model's last answer of a turn, without tools, with error results for all open calls."""
        why, agent = stop_description(reason, self._config.limits), self._agent(state).model.agent
        emit({"event": "limit", "reason": reason})
        if reason == "caller" and isinstance(state["messages"][-1], HumanMessage):
            return {"messages": [closing_message(why, agent)], "stop_reason": reason}  # nothing has started yet

        def model_turn(
            messages: list[Any], update: Mapping[str, Any], results: Sequence[ToolMessage]
        ) -> Steps[ModelTurn]:
            latest: Any = {**state, **update, "messages": add_kimi_messages(state["messages"], [messages])}
            return self._model_turn(latest if messages else state, results, allow_tools=False)

        last = yield from last_answer_steps(model_turn, pending_calls(state["messages"]), why, agent)
        budget_of(get_config()).count_turns(self._agent_name(state), last.turns)
        ended = {"messages": last.messages, **last.update, "stop_reason": reason}
        return ended | self._after_answer(state, last.billed_answers, start, last.turns)

    def _model_turn(
        self, state: AgentState, results: Sequence[ToolMessage] = (), *, allow_tools: bool = True
    ) -> Steps[ModelTurn]:
        """The model's answer to the thread with these results, after a compaction if one is due."""
        turn = yield from self._call_model(state, results, allow_tools=allow_tools)
        return replace(turn, answer=as_new_message(turn.answer, state["messages"]))

    def _call_model(self, state: AgentState, results: Sequence[ToolMessage], *, allow_tools: bool) -> Steps[ModelTurn]:
        excerpts: Excerpts = state.get("kimi_excerpts") or {}
        from_hook = with_excerpts(state.get("llm_input_messages") or [], excerpts)
        model, compactor = self._agent(state).model, self._agent(state).compactor

        def call(messages: Sequence[BaseMessage], full_cap: bool = False) -> Steps[ModelTurn]:
            return model.call(state, messages, allow_tools=allow_tools, full_cap=full_cap)

        if compactor is None or from_hook:
            messages = from_hook or with_excerpts(state["messages"], excerpts)
            turn = yield from call([*messages, *results])
            return replace(turn, preceding=[*results, *turn.preceding])
        thread = Thread(state["messages"], excerpts, model.prompt(state), model.visible)
        return (yield from compacted_model_turn(compactor, thread, results, call, can_reduce_cap=model.can_reduce_cap))

    def _after_answer(
        self, state: AgentState, billed: Sequence[AIMessage], start: float, turns: int = 1
    ) -> dict[str, Any]:
        """The updates that every answer makes: the usage, and no approvals for its calls yet."""
        approvals: dict[str, Any] = {"kimi_review": {}} if state.get("kimi_review") else {}
        usage = answers_usage(billed, self._agent(state).model.name)
        return {**approvals, **self._usage_update(state, usage, start, turns)}

    def _agent_name(self, state: AgentState) -> str:
        """The name of the active agent in `spent_by_agent`."""
        return self._agent(state).model.agent or agent_name(get_config())

    def _usage_update(self, state: AgentState, usage: AgentUsage, start: float, turns: int = 1) -> dict[str, Any]:
        """The update for the usage of the model's turn, with the time that it and the tools before it took."""
        seconds = time.perf_counter() - start + tool_seconds(state["messages"], self._config.sequential_tools)
        own: AgentUsage = {"turns": turns, "seconds": round(seconds, 3), **usage}
        emit({"event": "usage", "spent": add_agent_usage(self._config.turn_usage(state), own)})
        return {"spent": own, "spent_by_agent": {self._agent_name(state): own}}
