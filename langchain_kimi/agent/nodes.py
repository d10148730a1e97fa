"""The nodes of the graph, except the one that runs tools (`tool_call`).

begin → model ──no calls───────────────→ END (or respond → END)
          │ ├──a limit is reached──────→ wrap_up → END (or respond → END)
          │ └──a person must decide────→ review ─→ as below, or back to model
          ├──one Send per call─────────→ tools ──────→ model
          └──one Send per unusable call→ unusable ──→ model
"""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, cast

from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.config import get_config
from langgraph.runtime import get_runtime

from langchain_kimi._finish_reasons import CONTENT_FILTER, LENGTH
from langchain_kimi._steps import Operation
from langchain_kimi.agent.agent_usage import AgentUsage, add_agent_usage
from langchain_kimi.agent.budget import agent_name, answers_usage, budget_of, metered_usage
from langchain_kimi.agent.compaction.archive import message_text, thread_id_of
from langchain_kimi.agent.compaction.compactor import CompactionResult, Compactor
from langchain_kimi.agent.compaction.excerpts import Excerpts, with_excerpts
from langchain_kimi.agent.events import emit
from langchain_kimi.agent.limits import LimitName
from langchain_kimi.agent.loop_guard import FINGERPRINT
from langchain_kimi.agent.model_call import ModelRequest, ModelTurn, request_with_retry
from langchain_kimi.agent.routes import AgentConfig, AgentRoutes, GraphConfig
from langchain_kimi.agent.state import (
    AgentState,
    LimitReason,
    add_kimi_messages,
)
from langchain_kimi.agent.thread_messages import (
    CLOSING_MESSAGE,
    as_new_message,
    error_result,
    has_unique_ids,
    is_complete,
    is_empty,
    last_answer,
    pending_calls,
    tool_calls_of,
    with_unique_ids,
)
from langchain_kimi.agent.tool_call import TOOL_SECONDS
from langchain_kimi.errors import warn
from langchain_kimi.usage_meter import UsageMeter

_NOT_RUN = "Not run: {why}. Answer now with what you have; no further tool can be called."
_TURN_ENDED = "Not run: the turn has ended."
_WITHHELD = "Not run: the host's moderation stopped the answer with this call (finish reason 'content_filter')."
_FROM_INPUT = (
    "This call was part of the input and was not run here. No result of it is recorded: it may or may not have run "
    "before."
)
_ANSWER_AS_OBJECT = "Give your last answer again, as the object that is asked for and nothing else."
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

NodeSteps: TypeAlias = Generator[Operation, Any, dict[str, Any]]
"""A node that calls the model: its operations, and as return value its update of the state."""


class AgentNodes:
    """The nodes of a graph. Those that return `NodeSteps` run with `run_steps` or `arun_steps`."""

    def __init__(self, config: GraphConfig, routes: AgentRoutes) -> None:
        self._config = config
        self._routes = routes

    def begin(self, state: AgentState) -> dict[str, Any]:
        """Starts a user turn. Usage before it does not count against its limits."""
        if compactor := self._agent(state).compactor:
            compactor.check_store(get_runtime().store)
        update: dict[str, Any] = {"kimi_turn": state.get("spent") or {}, "stop_reason": None}
        if agent := self._agent(state).model.agent:
            update["active_agent"] = agent
        if not self._config.run_input_tool_calls and (results := _input_call_results(state["messages"])):
            update["messages"] = results
        if state.get("kimi_review"):
            update["kimi_review"] = {}
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
        if seconds := self._tool_seconds(state["messages"]):
            usage = add_agent_usage(usage, {"seconds": seconds})
        reason: LimitReason | None = self._config.limits.reached(usage) or self._caller_limit(state)
        if state["remaining_steps"] <= self._config.last_step:
            reason = reason or "recursion_limit"
        if reason:
            return (yield from self._last_answer(state, reason, start))
        turn = yield from self._model_turn(state)
        ended, closing = self._turn_end(state, turn.answer)
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
        self._count_turns(state, 1)
        return {"structured_response": result["parsed"], **self._usage_update(state, metered_usage(meter), start)}

    def unusable(self, rejected: Mapping[str, Any]) -> dict[str, Any]:
        """An error result for a call that cannot run."""
        call, fingerprint = rejected["call"], rejected.get("fingerprint")
        if fingerprint:
            emit({"event": "guard", "stage": "block", "name": call["name"], "tool_call_id": call["id"]})
        additional_kwargs = {FINGERPRINT: fingerprint} if fingerprint else {}
        return {"messages": [error_result(call, rejected["reason"], **additional_kwargs)]}

    def review(self, state: AgentState) -> dict[str, Any]:
        """Asks people for decisions on calls."""
        calls = self._config.approval.undecided(state, pending_calls(state["messages"]))
        answer = last_answer(state["messages"])
        if not calls or answer is None:
            return {}
        if not has_unique_ids(answer):  # an edit of the state added the answer
            return {"messages": [with_unique_ids(answer)]}
        return self._config.approval.review(state, calls, lambda call: self._routes.rejection(state, call))

    def _agent(self, state: AgentState) -> AgentConfig:
        return self._config.active_agent(state)

    def _turn_end(self, state: AgentState, answer: AIMessage) -> tuple[dict[str, Any], list[AnyMessage]]:
        """The `stop_reason` if the answer ends the turn, and messages that must follow the answer."""
        finish_reason = answer.response_metadata.get("finish_reason") or "stop"
        calls = tool_calls_of(answer)
        if finish_reason == "tool_calls" and not calls:
            finish_reason = "stop"  # `tool_calls` as `stop_reason` is the limit of this name
        if finish_reason == CONTENT_FILTER:
            closing: list[AnyMessage] = [error_result(call, _WITHHELD) for call in calls]
            if calls or not answer.text.strip():
                closing.append(self._closing_message(state, _MODERATED))
            return {"stop_reason": finish_reason}, closing
        if is_empty(answer) and not self._config.has_response_format:
            reason = "empty" if is_complete(answer) else finish_reason
            return {"stop_reason": reason}, [self._closing_message(state, _empty_reason(answer))]
        return {} if calls else {"stop_reason": finish_reason}, []

    def _last_answer(self, state: AgentState, reason: LimitReason, start: float) -> NodeSteps:
        """The model's last answer of a turn, without tools, with error results for all open calls."""
        why = self._describe(reason)
        emit({"event": "limit", "reason": reason})
        results = [error_result(call, _NOT_RUN.format(why=why)) for call in pending_calls(state["messages"])]
        if reason == "caller" and isinstance(state["messages"][-1], HumanMessage):
            return {"messages": [self._closing_message(state, why)], "stop_reason": reason}  # nothing has started yet
        turn = yield from self._model_turn(state, results, allow_tools=False)
        messages, billed, turns = [*turn.preceding, turn.answer], list(turn.billed_answers), 1
        update = turn.update
        if calls := tool_calls_of(turn.answer):
            # A model may call tools although the request forbids it. Calls without results would make the thread
            # invalid, and without another answer the turn would end with their results.
            latest: Any = {**state, **update, "messages": add_kimi_messages(state["messages"], [messages])}
            results = [error_result(call, _NOT_RUN.format(why=why)) for call in calls]
            turn = yield from self._model_turn(latest, results, allow_tools=False)
            calls = tool_calls_of(turn.answer)
            messages += [*turn.preceding, turn.answer, *(error_result(call, _TURN_ENDED) for call in calls)]
            billed, turns, update = [*billed, *turn.billed_answers], 2, {**update, **turn.update}
        if calls or not turn.answer.text.strip():
            messages.append(self._closing_message(state, why))
        self._count_turns(state, turns)
        ended = {"messages": messages, **update, "stop_reason": reason}
        return ended | self._after_answer(state, billed, start, turns)

    def _describe(self, reason: LimitReason) -> str:
        if reason in _REASONS:
            return _REASONS[reason]
        return f"{self._config.limits.describe(cast(LimitName, reason))} is reached"

    def _closing_message(self, state: AgentState, why: str) -> AIMessage:
        """The end of a turn in which the model gave no answer."""
        name = self._agent(state).model.agent
        return AIMessage(_CLOSING.format(why=why), name=name, additional_kwargs={CLOSING_MESSAGE: True})

    def _model_turn(
        self, state: AgentState, results: Sequence[ToolMessage] = (), *, allow_tools: bool = True
    ) -> Generator[Operation, Any, ModelTurn]:
        """The model's answer to the thread with these results, after a compaction if one is due."""
        turn = yield from self._call_model(state, results, allow_tools=allow_tools)
        return replace(turn, answer=as_new_message(turn.answer, state["messages"]))

    def _call_model(
        self, state: AgentState, results: Sequence[ToolMessage], *, allow_tools: bool
    ) -> Generator[Operation, Any, ModelTurn]:
        excerpts: Excerpts = state.get("kimi_excerpts") or {}
        messages = with_excerpts(state["messages"], excerpts) if excerpts else state["messages"]
        from_hook = with_excerpts(state.get("llm_input_messages") or [], excerpts)
        agent = self._agent(state)
        model, compactor = agent.model, agent.compactor
        if compactor is None or from_hook:
            turn = yield from model.call(state, [*(from_hook or messages), *results], allow_tools=allow_tools)
            return replace(turn, preceding=[*results, *turn.preceding])
        compacted: CompactionResult | None = None
        if compactor.is_due(model.visible(messages), model.prompt(state)):
            compacted = yield from _compact(agent, compactor, state)
            messages = with_excerpts(compacted.messages, compacted.excerpts)
        full_cap = compacted is None
        try:
            turn = yield from model.call(state, [*messages, *results], allow_tools=allow_tools, full_cap=full_cap)
        except ContextOverflowError as error:
            if compacted:
                raise
            compacted = yield from _compact(agent, compactor, state, error)
            if not (compacted.update or compacted.excerpts != excerpts or model.can_reduce_cap):
                raise
            messages = with_excerpts(compacted.messages, compacted.excerpts)
            turn = yield from model.call(state, [*messages, *results], allow_tools=allow_tools)
        rewritten, billed = (compacted.update, compacted.answers) if compacted else ([], [])
        changed = {"kimi_excerpts": compacted.excerpts} if compacted and compacted.excerpts != excerpts else {}
        return replace(
            turn,
            billed_answers=[*billed, *turn.billed_answers],
            preceding=[*rewritten, *results, *turn.preceding],
            update={**turn.update, **changed},
        )

    def _after_answer(
        self, state: AgentState, billed: Sequence[AIMessage], start: float, turns: int = 1
    ) -> dict[str, Any]:
        """The updates that every answer makes: the usage, and no approvals for its calls yet."""
        approvals: dict[str, Any] = {"kimi_review": {}} if state.get("kimi_review") else {}
        usage = answers_usage(billed, self._agent(state).model.name)
        return {**approvals, **self._usage_update(state, usage, start, turns)}

    def _caller_limit(self, state: AgentState) -> LimitReason | None:
        """`caller` if a limit of an agent that calls this one forbids another model turn; otherwise counts the turn."""
        caller = budget_of(get_config()).caller
        if caller is None:
            return None
        return "caller" if caller.exhausted() or not caller.reserve("turns", self._agent_name(state)) else None

    def _count_turns(self, state: AgentState, number: int) -> None:
        """Count model turns that end the user turn for the callers, whatever their limits are."""
        if caller := budget_of(get_config()).caller:
            caller.count("turns", self._agent_name(state), number)

    def _agent_name(self, state: AgentState) -> str:
        """The name of the active agent in `spent_by_agent`."""
        return self._agent(state).model.agent or agent_name(get_config())

    def _usage_update(self, state: AgentState, usage: AgentUsage, start: float, turns: int = 1) -> dict[str, Any]:
        """The update for the usage of the model's turn, with the time that it and the tools before it took."""
        seconds = time.perf_counter() - start + self._tool_seconds(state["messages"])
        own: AgentUsage = {"turns": turns, "seconds": round(seconds, 3), **usage}
        emit({"event": "usage", "spent": add_agent_usage(self._config.turn_usage(state), own)})
        return {"spent": own, "spent_by_agent": {self._agent_name(state): own}}

    def _tool_seconds(self, messages: Sequence[AnyMessage]) -> float:
        """The time of the tools since the last answer: the sum of sequential ones, the longest of the others."""
        parallel, sequential = 0.0, 0.0
        for message in reversed(messages):
            if not isinstance(message, ToolMessage):
                break
            seconds = message.additional_kwargs.get(TOOL_SECONDS, 0.0)
            if message.name in self._config.sequential_tools:
                sequential += seconds
            else:
                parallel = max(parallel, seconds)
        return parallel + sequential


def _compact(
    agent: AgentConfig, compactor: Compactor, state: AgentState, overflow: Exception | None = None
) -> Generator[Operation, Any, CompactionResult]:
    compacted = yield from compactor.compact(
        state["messages"],
        thread_id=thread_id_of(get_config()),
        store=get_runtime().store,
        prompt=agent.model.prompt(state),
        overflow=overflow,
        excerpts=state.get("kimi_excerpts") or {},
    )
    _report_excerpts(state, compacted)
    emit(
        {
            "event": "compaction",
            "before": compacted.tokens_before,
            "after": compacted.tokens_after,
            "steps": compacted.steps,
            "archived": compacted.archived,
        }
    )
    return compacted


def _report_excerpts(state: AgentState, compacted: CompactionResult) -> None:
    """Warn about results of which the model reads only an excerpt from now on, and emit their sizes."""
    known = state.get("kimi_excerpts") or {}
    by_id = {message.id: message for message in compacted.messages}
    for message_id, excerpt in compacted.excerpts.items():
        result = by_id.get(message_id)
        if not isinstance(result, ToolMessage) or known.get(message_id) == excerpt:
            continue
        name, characters, shown = result.name or "a tool", len(message_text(result)), excerpt["characters"]
        emit(
            {
                "event": "result_excerpt",
                "name": name,
                "tool_call_id": result.tool_call_id,
                "characters": characters,
                "shown": shown,
            }
        )
        if message_id not in known:
            warn(
                f"A result of {name!r} with {characters:,} characters does not fit into the model's window: the model "
                f"is shown {shown:,} of them, and the state keeps all."
            )


def _input_call_results(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Error results for the open calls at the end of the input, after their message if it needs unique call ids."""
    answer = last_answer(messages)
    if answer is None or not pending_calls(messages):
        return []
    unique = with_unique_ids(answer)
    calls = pending_calls([unique if message is answer else message for message in messages])
    return [*([] if unique is answer else [unique]), *(error_result(call, _FROM_INPUT) for call in calls)]


def _empty_reason(answer: AIMessage) -> str:
    """The reason for which an answer has neither text nor calls, as text."""
    reason = answer.response_metadata.get("finish_reason")
    return _ONLY_THOUGHT if reason in LENGTH else _NOTHING.format(reason)
