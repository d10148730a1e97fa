"""The model's turn in an agent of LangChain: what the middleware does around the model, sync and async."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import is_
from typing import Any, Self
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs, var_child_runnable_config
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command

from langchain_kimi._steps import Steps
from langchain_kimi.agent.approvals.questions import ask
from langchain_kimi.agent.compaction.excerpts import Excerpts, with_excerpts
from langchain_kimi.agent.compaction.model_turn import Thread, compacted_model_turn
from langchain_kimi.agent.events import emit
from langchain_kimi.agent.model_call import ModelTurn
from langchain_kimi.agent.routes import unknown_calls
from langchain_kimi.agent.side_effects.idempotency import identity_of
from langchain_kimi.agent.side_effects.once import clarify, unknown_result
from langchain_kimi.agent.state import LimitReason, add_kimi_messages
from langchain_kimi.agent.team.visible_messages import with_readable_calls
from langchain_kimi.agent.thread_messages import AnyCall, as_new_message, last_answer, pending_calls
from langchain_kimi.agent.tool_node.tool_call import tool_seconds
from langchain_kimi.agent.tool_node.unusable_calls import unreadable_reason, unusable_result
from langchain_kimi.agent.turn_end import closing_message, last_answer_steps, stop_description, turn_end
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage, add_agent_usage, usage_since
from langchain_kimi.agent.usage_limits.budget import RunBudget, agent_name, calling_budget, metered_usage
from langchain_kimi.middleware.langchain_types import (
    AutoStrategy,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    ProviderStrategy,
    ToolStrategy,
)
from langchain_kimi.middleware.model_context import UNNAMED, ModelContext, Policies
from langchain_kimi.usage_meter import UsageMeter

_NODE = "__kimi_node"
"""The key in `configurable` of the node around which a middleware is at work."""
_TWICE = (
    "The agent has two KimiMiddleware, which would count everything twice. Give it one with all parameters; that one "
    "may also have the name by which it takes the place of deepagents' own compaction."
)
_LEAST_STEPS = 2
"""The supersteps of a round in an agent without hooks around the model: the model and the tools."""


@dataclass(frozen=True, slots=True)
class HandlerRequest:
    """A request that LangChain's agent sends, as an operation for `run_steps`."""

    context: ModelContext
    request: ModelRequest[Any]
    handler: Callable[[ModelRequest[Any]], Any]
    """LangChain's handler; asynchronous for `arun`."""
    responses: list[ModelResponse[Any]]
    """Gets the response."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> Sequence[BaseMessage]:
        """What the model reads."""
        system = self.request.system_message
        return [*([system] if system else []), *self.request.messages]

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """The request with these settings of the model."""
        return replace(self, settings=settings)

    def run(self, config: RunnableConfig) -> AIMessage:
        """The model's answer."""
        with _as_current(config):
            return self._answer(self.handler(self._with_model()))

    async def arun(self, config: RunnableConfig) -> AIMessage:
        """The model's answer."""
        with _as_current(config):
            return self._answer(await self.handler(self._with_model()))

    def _with_model(self) -> ModelRequest[Any]:
        return self.request.override(model=self.context.model_with(self.settings))

    def _answer(self, response: ModelResponse[Any]) -> AIMessage:
        self.responses.append(response)
        return next(message for message in response.result if isinstance(message, AIMessage))


@contextmanager
def _as_current(config: RunnableConfig) -> Iterator[None]:
    """Marks a block whose models run with this config: LangChain's handler passes none to its model."""
    token = var_child_runnable_config.set(config)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def _node_of(config: RunnableConfig) -> str | None:
    namespace: str | None = config.get("configurable", {}).get("checkpoint_ns")
    return namespace


class MiddlewareTurn:
    """One call of the model's node: the model's answer, and what the policies make of it.

    If no tool call of an answer can run, the node asks the model again by itself.
    """

    def __init__(
        self,
        policies: Policies,
        context: ModelContext,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Any],
        config: RunnableConfig,
    ) -> None:
        if config.get("configurable", {}).get(_NODE, "") == _node_of(config):
            raise ValueError(_TWICE)
        self._limits, self._guard, self._once = policies.limits, policies.guard, policies.once
        self._context, self._node_config = context, config
        self._request, self._handler = request, handler
        self._state: Any = request.state
        self._thread: list[AnyMessage] = list(self._state["messages"])
        rewritten = len(request.messages) != len(self._thread) or not all(map(is_, request.messages, self._thread))
        self._rewritten = list(request.messages) if rewritten else None
        """What the model reads instead of the thread, if another middleware rewrote the request."""
        self._stored = {message.id for message in self._thread} - {None}
        self._new: list[Any] = []
        self._edits: list[Any] = []
        """Updates of messages that the thread has already."""
        self._update: dict[str, Any] = {}
        self._turns, self._decided = 0, 0
        self._responses: list[ModelResponse[Any]] = []
        self._meter = UsageMeter()
        self._start = time.perf_counter() - tool_seconds(self._thread)
        self._name = agent_name(config) or UNNAMED
        self._callers = RunBudget(calling_budget(config))
        self._step: int = config.get("metadata", {}).get("langgraph_step", 0)
        self.config = merge_configs(config, {"callbacks": [self._meter], "configurable": {_NODE: _node_of(config)}})
        """The config in which the steps run."""

    def steps(self) -> Steps[ExtendedModelResponse[Any]]:
        """The response of the node."""
        if (yield from self._must_run_calls()):
            return self._response_without_answer()
        while (yield from self._must_answer_again()):
            pass
        return self._response()

    def _must_run_calls(self) -> Steps[bool]:
        """Ask people about calls whose result is unknown; whether calls are to run before the model answers."""
        calls = unknown_calls(self._state, pending_calls(self._thread))
        answer = last_answer(self._thread)
        if not calls or answer is None:
            return False
        if self._once.asks:
            config, run_id = self._node_config, self._callers.run_id
            keys = [identity_of(call, answer.id or "", config, run_id).key for call in calls]
            update = yield from ask(config, lambda: clarify(self._state["kimi_unknown"], calls, keys))
        else:  # the thread was begun by an agent with other settings
            update = {"kimi_unknown": dict.fromkeys(call["id"] or "" for call in calls)}
            update["messages"] = list(map(unknown_result, calls))
        results = update.pop("messages", [])
        self._update |= update
        self._decided = len(results)
        if results and self._callers.caller:
            self._callers.caller.count("tool_calls", self._name, len(results))
        self._add(results)
        return bool(pending_calls(self._thread))

    def _must_answer_again(self) -> Steps[bool]:
        """One answer of the model; whether it must answer again, because none of its calls can run."""
        if reason := self._turn_limit():
            yield from self._last_answer(reason)
            return False
        turn = yield from self._model_turn([], {}, [])
        self._turns += 1
        self._update |= turn.update
        ended, closing = turn_end(turn.answer, None, has_response_format=self._request.response_format is not None)
        self._add([*turn.preceding, turn.answer, *turn.following, *closing])
        self._update |= ended
        if not (calls := pending_calls(self._thread)):
            if self._structured_response is not None:
                self._update.setdefault("stop_reason", "stop")
            return False
        if reason := self._calls_limit(calls):
            yield from self._last_answer(reason)
            return False
        results = list(self._unusable_results(turn.answer, calls))
        self._add(results)
        return len(results) == len(calls)

    def _turn_limit(self) -> LimitReason | None:
        """The reason for which the model gives its last answer now; otherwise its turn is counted for the callers."""
        reason: LimitReason | None = self._limits.reached(self._turn_usage())
        if reason is None and not self._callers.start_turn(self._name):
            reason = "caller"
        if self._remaining_steps < self._steps_per_round:
            reason = reason or "recursion_limit"
        return reason

    def _calls_limit(self, calls: Sequence[AnyCall]) -> LimitReason | None:
        """The reason for which these calls must not run and the turn ends with a last answer."""
        if limit := self._limits.reached(self._turn_usage(), len(calls)):
            return limit
        if self._callers.forbids(len(calls)):
            return "caller"
        if self._remaining_steps < 2 * self._steps_per_round - 1:
            return "recursion_limit"
        return self._guard.stop_reason(self._thread, calls) if self._guard else None

    @property
    def _remaining_steps(self) -> int:
        return int(self._state.get("remaining_steps") or sys.maxsize)

    @property
    def _steps_per_round(self) -> int:
        """The supersteps from one turn of the model to the next, with those of hooks of other middleware."""
        last = self._state.get("kimi_step")
        return self._step - last if last else _LEAST_STEPS

    def _unusable_results(self, answer: AIMessage, calls: Sequence[AnyCall]) -> Iterator[ToolMessage]:
        """Error results for the calls that cannot run."""
        for call in calls:
            if reason := unreadable_reason(answer, call):
                yield unusable_result(call, reason)
            elif self._guard:
                repeats = self._guard.repeats(self._thread, call)
                if reason := self._guard.block_reason(repeats):
                    yield unusable_result(call, reason, repeats.fingerprint)

    def _last_answer(self, reason: LimitReason) -> Steps[None]:
        """The model's last answer of a turn, without tools, with error results for all open calls."""
        why = stop_description(reason, self._limits)
        emit({"event": "limit", "reason": reason})
        self._update["stop_reason"] = reason
        if reason == "caller" and isinstance(self._thread[-1], HumanMessage):  # nothing has started yet
            self._add([closing_message(why, None)])
            return

        def model_turn(
            messages: list[Any], update: Mapping[str, Any], results: Sequence[ToolMessage]
        ) -> Steps[ModelTurn]:
            return self._model_turn(messages, update, results, allow_tools=False)

        last = yield from last_answer_steps(model_turn, pending_calls(self._thread), why, None)
        self._turns += last.turns
        self._callers.count_turns(self._name, last.turns)
        self._add(last.messages)
        self._update |= last.update

    def _model_turn(
        self,
        messages: list[Any],
        update: Mapping[str, Any],
        results: Sequence[ToolMessage],
        *,
        allow_tools: bool = True,
    ) -> Steps[ModelTurn]:
        """The model's answer to the thread with these updates and results, after a compaction if one is due."""
        context = self._context
        excerpts: Excerpts = {**self._state, **self._update, **update}.get("kimi_excerpts") or {}
        thread = add_kimi_messages(self._thread, [messages]) if messages else self._thread

        def call(messages: Sequence[BaseMessage], full_cap: bool = False) -> Steps[ModelTurn]:
            self._responses.clear()
            request = HandlerRequest(context, self._request_of(messages, allow_tools), self._handler, self._responses)
            billed: list[AIMessage] = []  # the meter counts all answers
            answer = yield from context.answers.steps(request, billed, full_cap=full_cap, retry_empty=allow_tools)
            return ModelTurn(answer, [], [])

        if context.compactor is None or self._rewritten is not None:
            read = thread if self._rewritten is None else [*self._rewritten, *self._new, *messages]
            turn = yield from call([*with_excerpts(read, excerpts), *results])
            turn = replace(turn, preceding=[*results])
        else:
            system = self._request.system_message
            own = Thread(thread, excerpts, [system] if system else [])
            turn = yield from compacted_model_turn(
                context.compactor, own, results, call, can_reduce_cap=context.answers.can_reduce_cap
            )
        return replace(turn, answer=as_new_message(turn.answer, thread), following=self._other_results())

    def _request_of(self, messages: Sequence[BaseMessage], allow_tools: bool) -> ModelRequest[Any]:
        readable: Any = list(messages) if self._context.is_kimi else with_readable_calls(messages)
        request = self._request if allow_tools else forbid_tools(self._request)
        return request.override(messages=readable)

    def _other_results(self) -> list[BaseMessage]:
        """What LangChain added to the last answer: the results of calls that stand for a structured response."""
        result = self._responses[-1].result if self._responses else []
        return [message for message in result if not isinstance(message, AIMessage)]

    @property
    def _replaces_thread(self) -> bool:
        """Whether the edits begin the thread anew. They do where its messages have no ids, and are applied last."""
        return any(isinstance(edit, RemoveMessage) and edit.id == REMOVE_ALL_MESSAGES for edit in self._edits)

    @property
    def _structured_response(self) -> Any:
        return self._responses[-1].structured_response if self._responses else None

    def _add(self, messages: Sequence[Any]) -> None:
        """Add updates of `messages`: edits of stored messages, and new messages."""
        for message in messages:
            is_edit = isinstance(message, RemoveMessage) or message.id in self._stored
            message.id = message.id or str(uuid4())
            if not is_edit:
                self._new.append(message)
            if is_edit or self._replaces_thread:
                self._edits.append(message)
        self._thread = add_kimi_messages(self._thread, [list(messages)])

    def _own_usage(self) -> AgentUsage:
        seconds = round(time.perf_counter() - self._start, 3)
        return {"turns": self._turns, "seconds": seconds, **self._decided_calls(), **metered_usage(self._meter)}

    def _decided_calls(self) -> AgentUsage:
        """Tool calls of earlier runs whose result is known only now."""
        return {"tool_calls": self._decided} if self._decided else {}

    def _turn_usage(self) -> AgentUsage:
        """The usage of the user turn so far."""
        earlier = usage_since(self._state.get("spent"), self._state.get("kimi_turn"))
        return add_agent_usage(earlier, self._own_usage())

    def _response(self) -> ExtendedModelResponse[Any]:
        emit({"event": "usage", "spent": self._turn_usage()})
        return self._response_with(self._own_usage())

    def _response_without_answer(self) -> ExtendedModelResponse[Any]:
        """The response after which LangChain's agent runs the open calls."""
        return self._response_with(self._decided_calls())

    def _response_with(self, usage: AgentUsage) -> ExtendedModelResponse[Any]:
        update = {
            **self._update,
            "spent": usage,
            "spent_by_agent": {self._name: usage},
            "kimi_step": self._step,
            **({"messages": self._edits} if self._edits else {}),
        }
        response = ModelResponse(result=self._new, structured_response=self._structured_response)
        return ExtendedModelResponse(response, Command(update=update))


def forbid_tools(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """The request with its tools and `tool_choice="none"`, as far as LangChain passes that on.

    With a ToolStrategy, LangChain forces a call by itself.
    """
    strategy: Any = request.response_format
    if strategy is None:
        return request.override(tool_choice="none") if request.tools else request
    if isinstance(strategy, ToolStrategy) or not request.tools:
        return request
    if not isinstance(strategy, ProviderStrategy):
        if not (request.model.profile or {}).get("structured_output"):
            return request
        strategy = ProviderStrategy(strategy.schema if isinstance(strategy, AutoStrategy) else strategy)
    settings = {**request.model_settings, "tool_choice": "none"}
    return request.override(response_format=strategy, model_settings=settings)
