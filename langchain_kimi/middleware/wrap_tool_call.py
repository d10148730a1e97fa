"""The tool calls of an agent of LangChain: what the middleware does around each, sync and async."""

import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp, is_invalid_resume
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from langchain_kimi.agent.routes import unknown_calls
from langchain_kimi.agent.side_effects.once import interrupted, unknown_result
from langchain_kimi.agent.thread_messages import call_text, error_result, last_answer, pending_calls
from langchain_kimi.agent.tool_node.argument_checks import ArgumentChecks
from langchain_kimi.agent.tool_node.tool_call import CallReport, ToolJob, refused_by_caller
from langchain_kimi.agent.tool_node.tool_errors import collected_errors, error_handler
from langchain_kimi.agent.usage_limits.agent_usage import usage_since
from langchain_kimi.agent.usage_limits.budget import RunBudget, agent_name, calling_budget
from langchain_kimi.middleware.guarded_tools import GuardedCall, GuardedTools, UnknownCallError, guarding
from langchain_kimi.middleware.middleware_state import OUTPUT_KEYS
from langchain_kimi.middleware.model_context import UNNAMED, Policies


@dataclass(frozen=True, slots=True)
class _StartedCall:
    """A call that has started: its report, and the request that LangChain's handler gets."""

    report: CallReport
    guard: GuardedCall
    request: ToolCallRequest


class ToolCalls:
    """Runs LangChain's handler of a tool call within the limits, and adds to the result what the policies store."""

    def __init__(self, policies: Policies) -> None:
        self._limits, self._guard, self._once = policies.limits, policies.guard, policies.once
        self._error_text = error_handler(policies.tool_errors)
        self._checks: dict[str, tuple[BaseTool, ArgumentChecks]] = {}
        self._budgets = _AnswerBudgets()
        self._tools = GuardedTools()

    def run(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """The result of one call."""
        started = self._start(request)
        if not isinstance(started, _StartedCall):
            return started
        with collected_errors() as started.report.errors, guarding(started.guard):
            try:
                output = self._invalid(request) or handler(started.request)
            except UnknownCallError as error:
                return _as_output(self._unknown(started, error.call))
            except Exception as error:
                output = self._error_result(request, error)
            return _as_output(started.report.finish(_as_updates(output)))

    async def arun(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]) -> Any:
        """`run` for asynchronous use."""
        started = self._start(request)
        if not isinstance(started, _StartedCall):
            return started
        with collected_errors() as started.report.errors, guarding(started.guard):
            try:
                output = self._invalid(request) or await handler(started.request)
            except UnknownCallError as error:
                return _as_output(self._unknown(started, error.call))
            except Exception as error:
                output = self._error_result(request, error)
            return _as_output(started.report.finish(_as_updates(output)))

    def _start(self, request: ToolCallRequest) -> _StartedCall | ToolMessage | Command[Any]:
        """What belongs to a call that starts.

        A result if a limit of a caller does not allow the call any more, and nothing if people decide about it first.
        """
        state: Any = request.state
        config, messages = request.runtime.config, state["messages"]
        answer = last_answer(messages)
        message = (answer and answer.id) or ""
        if any(call["id"] == request.tool_call["id"] for call in unknown_calls(state, pending_calls(messages))):
            return Command(update={})
        run = self._budgets.of(answer, config)
        usage = usage_since(state.get("spent"), state.get("kimi_turn"))
        remaining = self._limits.remaining(usage, len(pending_calls(messages)))
        job = ToolJob(call=request.tool_call, message=message, remaining=remaining, agent=agent_name(config) or UNNAMED)
        if self._guard:
            repeats = self._guard.repeats(messages, request.tool_call)
            if self._guard.hints(repeats):
                job["repeats"] = (repeats.count, repeats.fingerprint)
        if refused := refused_by_caller(job, config, run):
            return refused
        report = CallReport(job, config, run)
        # LangGraph's ToolNode passes this very dict to the tool, whatever the wrapper does.
        config.update(report.config)
        return _StartedCall(
            report, GuardedCall(self._once, request.tool_call, message, config, run), self._with_guarded_tools(request)
        )

    def _with_guarded_tools(self, request: ToolCallRequest) -> ToolCallRequest:
        """The request with guarded tools: its own, and those by which another middleware may replace it."""
        tools = [self._tools.of(tool) for tool in request.runtime.tools]
        own = self._tools.of(request.tool) if request.tool else None
        return replace(request, tool=own, runtime=replace(request.runtime, tools=tools))

    def _unknown(self, started: _StartedCall, runs: ToolCall) -> dict[str, Any]:
        """The update of the state for a call that may have run before. `runs`: the call as it runs."""
        guard, call = started.guard, started.guard.call
        if not self._once.asks:
            return started.report.finish_unknown({"messages": [unknown_result(call)]}, tool_calls=1)
        record = interrupted(call_text(runs), guard.message)
        if call_text(runs) != call_text(call):
            record["runs"] = {"name": runs["name"], "args": runs["args"]}
        return started.report.finish_unknown({"kimi_unknown": {call["id"]: record}})

    def _invalid(self, request: ToolCallRequest) -> ToolMessage | None:
        """An error result for arguments that do not fit the JSON Schema of the tool."""
        tool = request.tool
        if tool is None or not isinstance(tool.args_schema, dict):
            return None
        known = self._checks.get(tool.name)
        if known is None or known[0] is not tool:
            known = self._checks[tool.name] = (tool, ArgumentChecks({tool.name: tool}))
        reason = known[1].invalid({**request.tool_call, "name": tool.name})
        return error_result(request.tool_call, reason) if reason else None

    def _error_result(self, request: ToolCallRequest, error: Exception) -> ToolMessage:
        """The error result for an exception of the tool. Raises the exception where it must not become one."""
        if isinstance(error, GraphBubbleUp) or is_invalid_resume(error):
            raise error
        return error_result(request.tool_call, self._error_text(error))


class _AnswerBudgets:
    """The budgets that the tool calls of one answer share.

    LangGraph gives the tasks of a superstep nothing in common but the state, so a budget belongs to the answer's object
    in memory and exists as long as it does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._budgets: dict[int, tuple[weakref.ref[AIMessage], RunBudget]] = {}

    def of(self, answer: AIMessage | None, config: RunnableConfig) -> RunBudget:
        """The budget of the answer's calls."""
        if answer is None:
            return RunBudget(calling_budget(config))
        key = id(answer)
        with self._lock:
            known = self._budgets.get(key)
            if known is None or known[0]() is not answer:
                reference = weakref.ref(answer, lambda _: self._budgets.pop(key, None))
                known = self._budgets[key] = (reference, RunBudget(calling_budget(config)))
        return known[1]


def _as_updates(output: Any) -> Any:
    """The output of a tool as updates of the state, without the accounts of a sub-agent with the same keys."""
    if isinstance(output, list):
        return [_as_updates(one) for one in output]
    if not isinstance(output, Command):
        return {"messages": [output]}
    if not isinstance(output.update, Mapping):
        return output
    return replace(output, update={key: value for key, value in output.update.items() if key not in OUTPUT_KEYS})


def _as_output(updates: dict[str, Any] | list[Any]) -> Any:
    """Updates of the state as LangGraph's ToolNode takes them: one command where that is possible."""
    if isinstance(updates, dict):
        return Command(update=updates)
    commands = [Command(update=update) if isinstance(update, dict) else update for update in updates]
    if len(commands) == 2 and commands[0].graph is None and isinstance(commands[0].update, Mapping):
        return replace(commands[0], update={**commands[0].update, **commands[1].update})
    return commands
