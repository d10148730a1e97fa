"""The tool calls of an agent of LangChain: what the middleware does around each, sync and async."""

import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt.tool_node import ToolCallRequest, is_invalid_resume  # type: ignore[attr-defined]
from langgraph.types import Command

from langchain_kimi.agent.agent_usage import usage_since
from langchain_kimi.agent.argument_checks import ArgumentChecks
from langchain_kimi.agent.budget import RunBudget, agent_name, calling_budget
from langchain_kimi.agent.event_loop_thread import with_sync_invoke
from langchain_kimi.agent.thread_messages import error_result, last_answer, pending_calls
from langchain_kimi.agent.tool_call import CallReport, ToolJob, refused_by_caller
from langchain_kimi.agent.tool_errors import collected_errors, error_handler, with_recorded_errors
from langchain_kimi.middleware.middleware_state import OUTPUT_KEYS
from langchain_kimi.middleware.model_context import UNNAMED, Policies


class ToolCalls:
    """Runs LangChain's handler of a tool call within the limits, and adds to the result what the policies store."""

    def __init__(self, policies: Policies) -> None:
        self._limits, self._guard = policies.limits, policies.guard
        self._error_text = error_handler(policies.tool_errors)
        self._checks: dict[str, tuple[BaseTool, ArgumentChecks]] = {}
        self._budgets = _AnswerBudgets()

    def run(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """The result of one call."""
        report = self._start(request)
        if isinstance(report, ToolMessage):
            return report
        with collected_errors() as report.errors:
            try:
                output = self._invalid(request) or handler(_with_sync_tool(_recording_errors(request)))
            except Exception as error:
                output = self._error_result(request, error)
            return _as_output(report.finish(_as_updates(output)))

    async def arun(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]) -> Any:
        """`run` for asynchronous use."""
        report = self._start(request)
        if isinstance(report, ToolMessage):
            return report
        with collected_errors() as report.errors:
            try:
                output = self._invalid(request) or await handler(_recording_errors(request))
            except Exception as error:
                output = self._error_result(request, error)
            return _as_output(report.finish(_as_updates(output)))

    def _start(self, request: ToolCallRequest) -> CallReport | ToolMessage:
        """The report of a call that starts, or its result if a limit of a caller does not allow it any more."""
        state: Any = request.state
        config, messages = request.runtime.config, state["messages"]
        answer = last_answer(messages)
        run = self._budgets.of(answer, config)
        usage = usage_since(state.get("spent"), state.get("kimi_turn"))
        remaining = self._limits.remaining(usage, len(pending_calls(messages)))
        job = ToolJob(
            call=request.tool_call,
            message=(answer and answer.id) or "",
            remaining=remaining,
            agent=agent_name(config) or UNNAMED,
        )
        if self._guard:
            repeats = self._guard.repeats(messages, request.tool_call)
            if self._guard.hints(repeats):
                job["repeats"] = (repeats.count, repeats.fingerprint)
        if refused := refused_by_caller(job, config, run):
            return refused
        report = CallReport(job, config, run)
        # LangGraph's ToolNode passes this very dict to the tool, whatever the wrapper does.
        config.update(report.config)
        return report

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


def _recording_errors(request: ToolCallRequest) -> ToolCallRequest:
    tool = request.tool
    return request.override(tool=with_recorded_errors(tool)) if tool and tool.handle_tool_error else request


def _with_sync_tool(request: ToolCallRequest) -> ToolCallRequest:
    return request.override(tool=with_sync_invoke(request.tool)) if request.tool else request


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
