"""Runs one tool call: checks its arguments, keeps its timeout, and reports its result."""

import asyncio
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NotRequired, TypedDict

from langchain_core.messages import BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langgraph.errors import GraphInterrupt, is_invalid_resume
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from langchain_kimi._steps import Steps, arun_steps, run_steps
from langchain_kimi.agent.events import KimiEvent, LoopGuardEvent, ToolFinishedEvent, emitter
from langchain_kimi.agent.loop_guard import fingerprint, with_hint
from langchain_kimi.agent.measured_times import SECONDS, measured_times
from langchain_kimi.agent.side_effects.idempotency import CallIdentity, identity_of, running, with_injected_key
from langchain_kimi.agent.side_effects.intents import Attempt, check_durability, record_intent
from langchain_kimi.agent.side_effects.once import Once, OnUnknown, given_up, interrupted, unknown_result
from langchain_kimi.agent.thread_messages import ADDED_BY_CALL, call_text, error_result
from langchain_kimi.agent.tool_node.argument_checks import ArgumentChecks
from langchain_kimi.agent.tool_node.event_loop_thread import is_async_only, with_sync_invoke
from langchain_kimi.agent.tool_node.tool_errors import (
    ToolErrors,
    collected_errors,
    error_handler,
    error_text,
    log_errors,
    with_recorded_errors,
)
from langchain_kimi.agent.tool_node.tool_threads import (
    Interruption,
    ToolTimeoutError,
    interruption_of,
    run_in_thread,
    start_in_thread,
    with_interruption,
)
from langchain_kimi.agent.usage_limits.budget import RunBudget, agent_name, budget_of, call_config, counted_calls
from langchain_kimi.agent.usage_limits.limits import RemainingLimits

_EDITED = (
    "A person changed this call before it ran, on purpose; your own call was not executed. Do not make it again. "
    "Executed instead: {name} with {args}."
)
_TIMED_OUT = (
    "{name} gave no result within {seconds:g} seconds and was given up. It may or may not have taken effect: find out "
    "before calling it again."
)
_CALLERS_LIMIT = "Not run: a limit of the calling agent is reached."


class ToolJob(TypedDict):
    """One call for the node that runs tools."""

    call: ToolCall
    message: str
    """The id of the message with the call."""
    agent: NotRequired[str]
    """The member of a team that made the call."""
    remaining: NotRequired[RemainingLimits]
    """What the limits of the agent still allow; stored with the call, so that a resumed run has the same limits."""
    edited: NotRequired[bool]
    """Whether a person changed the call."""
    repeats: NotRequired[tuple[int, str]]
    """How often the call had one and the same result before, and the fingerprint of that result."""
    unknown: NotRequired[bool]
    """Whether the call may have run before, so that the model is told that its result is unknown."""


class ToolRunner:
    """Runs jobs in LangGraph's ToolNode, each within its timeout.

    Synchronous tools run in threads of their own, asynchronous tools on the event loop of the run, or in a synchronous
    run on that of `event_loop_thread`.
    """

    def __init__(
        self,
        tools: Sequence[BaseTool],
        timeout: float | Mapping[str, float] | None,
        tool_errors: ToolErrors = True,
        once: Collection[str] = (),
        on_unknown: OnUnknown = "ask",
    ) -> None:
        self._node = ToolNode(
            [with_injected_key(with_sync_invoke(with_recorded_errors(tool))) for tool in tools],
            handle_tool_errors=error_handler(tool_errors),
            wrap_tool_call=self._run_in_thread,
            awrap_tool_call=self._arun,
        )
        self.tools_by_name = self._node.tools_by_name
        self.once = Once(once, on_unknown)
        self.once.check_tools(self.tools_by_name)
        self._checks = ArgumentChecks(self.tools_by_name)
        self._timeout = timeout
        self._sync = {name for name, tool in self.tools_by_name.items() if _is_sync(tool)}
        self._check_timeout()

    def _check_timeout(self) -> None:
        timeouts = self._timeout if isinstance(self._timeout, Mapping) else {"": self._timeout}
        for name, seconds in timeouts.items():
            if name and name not in self.tools_by_name:
                known = ", ".join(self.tools_by_name) or "none"
                raise ValueError(f"tool_timeout names {name!r}, which is none of the tools: {known}.")
            if seconds is not None and not seconds > 0:
                raise ValueError(f"tool_timeout={self._timeout!r}: give seconds above 0.")

    def check_durability(self, config: RunnableConfig) -> None:
        """Raise DurabilityError if the run of a node's config cannot record that a call starts."""
        if self.once.tools:
            check_durability(config)

    def run(self, job: ToolJob, config: RunnableConfig) -> Any:
        """The state updates of one call."""
        if job["call"]["name"] not in self.once.tools:
            return self._run_call(job, config)
        attempt = run_steps(_record_intent(job, config), None)
        if attempt is None:
            return self._unknown(job, config)
        try:
            return self._run_call(job, config)
        except Exception as error:
            if waits_for_a_person(error):
                run_steps(attempt.release(), None)
            raise

    async def arun(self, job: ToolJob, config: RunnableConfig) -> Any:
        """`run` for asynchronous use."""
        if job["call"]["name"] not in self.once.tools:
            return await self._arun_call(job, config)
        attempt = await arun_steps(_record_intent(job, config), None)
        if attempt is None:
            return self._unknown(job, config)
        try:
            return await self._arun_call(job, config)
        except Exception as error:
            if waits_for_a_person(error):
                await arun_steps(attempt.release(), None)
            raise

    def _unknown(self, job: ToolJob, config: RunnableConfig) -> dict[str, Any]:
        """The state update of a call that may have run before."""
        call = job["call"]
        _emit_unknown(emitter(), call)
        if self.once.asks:
            return {"kimi_unknown": {call["id"]: interrupted(call_text(call), job["message"])}}
        return {"messages": [unknown_result(call)]} | counted_calls(config, _agent_of(job, config), 1)

    def _given_up(self, report: "CallReport", job: ToolJob, seconds: float) -> Any:
        """The state updates of a call that exceeded its timeout."""
        report.budget.abandon()
        call = job["call"]
        if self.once.asks and call["name"] in self.once.tools:
            return report.finish_unknown({"kimi_unknown": {call["id"]: given_up(call, job["message"], seconds)}})
        return report.finish(_timed_out(call, seconds))

    def _run_call(self, job: ToolJob, config: RunnableConfig) -> Any:
        report = self._start(job, config)
        if not isinstance(report, CallReport):
            return report
        with collected_errors() as report.errors, running(_identity(job, config)):
            try:
                output = self._invoke(job["call"], report.config)
            except ToolTimeoutError as timeout:
                return self._given_up(report, job, timeout.seconds)
            return report.finish(output)

    async def _arun_call(self, job: ToolJob, config: RunnableConfig) -> Any:
        report = self._start(job, config)
        if not isinstance(report, CallReport):
            return report
        with collected_errors() as report.errors, running(_identity(job, config)):
            try:
                invoke = self._ainvoke_in_thread if job["call"]["name"] in self._sync else self._ainvoke
                output = await invoke(job["call"], report.config)
            except ToolTimeoutError as timeout:
                return self._given_up(report, job, timeout.seconds)
            return report.finish(output)

    def _start(self, job: ToolJob, config: RunnableConfig) -> "CallReport | dict[str, Any] | list[Any]":
        """The report of a call that starts, or the state updates of one that must not run."""
        budget = budget_of(config)
        if (refused := refused_by_caller(job, config, budget)) is not None:
            return {"messages": [refused]}
        report = CallReport(job, config, budget)
        if reason := self._checks.invalid(job["call"]):
            return report.finish({"messages": [error_result(job["call"], reason)]})
        return report

    def _invoke(self, call: ToolCall, config: RunnableConfig) -> Any:
        interruption, seconds = interruption_of(config), self._timeout_of(call)
        if interruption is None and seconds is None:
            return self._node.invoke([call], config)
        with (interruption or Interruption()).for_call(seconds) as own:
            return self._node.invoke([call], with_interruption(config, own))

    async def _ainvoke_in_thread(self, call: ToolCall, config: RunnableConfig) -> Any:
        with Interruption().for_call(self._timeout_of(call)) as own:
            own_config = with_interruption(config, own)
            return await run_in_thread(lambda: self._node.invoke([call], own_config), call["name"])

    async def _ainvoke(self, call: ToolCall, config: RunnableConfig) -> Any:
        seconds = self._timeout_of(call)
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await self._node.ainvoke([call], config)
        except TimeoutError as error:
            if not deadline.expired():
                raise  # the tool itself raised it
            raise ToolTimeoutError(seconds or 0) from error

    def _run_in_thread(self, request: ToolCallRequest, execute: Callable[[ToolCallRequest], Any]) -> Any:
        """Run a tool in a thread of its own, if the run or a timeout may have to leave it behind."""
        interruption = interruption_of(request.runtime.config)
        if interruption is None or (request.tool is not None and is_async_only(request.tool)):
            return execute(request)
        return interruption.wait_for(start_in_thread(lambda: execute(request)), request.tool_call["name"])

    async def _arun(self, request: ToolCallRequest, execute: Callable[[ToolCallRequest], Any]) -> Any:
        return await execute(request)

    def _timeout_of(self, call: ToolCall) -> float | None:
        return self._timeout.get(call["name"]) if isinstance(self._timeout, Mapping) else self._timeout


class CallReport:
    """Emits the events of one call, and adds to its result what the agent stores there."""

    def __init__(self, job: ToolJob, config: RunnableConfig, run: RunBudget) -> None:
        self._job = job
        self._agent = _agent_of(job, config)
        namespace = config.get("configurable", {}).get("checkpoint_ns", "")
        self.budget = run.start_call(job.get("remaining", {}), namespace)
        self._emit = emitter()
        # Models that the tool calls by itself count for the agent.
        self.config = merge_configs(config, call_config(self.budget, self._agent))
        call = job["call"]
        self._name, self._id = call["name"], call["id"]
        self._emit({"event": "tool_started", "name": self._name, "tool_call_id": self._id, "args": call["args"]})
        self._started, self._start = time.time(), time.perf_counter()
        self.errors: list[Exception] = []
        """The exceptions of the tool that became its result."""

    def finish(self, output: Any) -> dict[str, Any] | list[Any]:
        """The updates of the state for the tool's output."""
        seconds = time.perf_counter() - self._start
        updates = [self._completed(update, seconds) for update in (output if isinstance(output, list) else [output])]
        event: ToolFinishedEvent = {
            "event": "tool_finished",
            "name": self._name,
            "tool_call_id": self._id,
            "seconds": seconds,
            "status": "error" if any(result.status == "error" for result in self._results(updates)) else "success",
        }
        if self.errors:
            event["error"] = error_text(self.errors[0])
        self._emit(event)
        log_errors(self._name, self.errors)
        usage = self.budget.state_update(self._agent, tool_errors=len(self.errors))
        return updates[0] | usage if isinstance(updates[0], dict) and len(updates) == 1 else [*updates, usage]

    def finish_unknown(self, update: dict[str, Any], tool_calls: int = 0) -> dict[str, Any]:
        """The update of the state for a call without a known result, which may not count as a call yet."""
        _emit_unknown(self._emit, self._job["call"])
        return update | self.budget.state_update(self._agent, tool_errors=0, tool_calls=tool_calls)

    def _results(self, updates: Sequence[Any]) -> list[ToolMessage]:
        contents = [update.update if isinstance(update, Command) else update for update in updates]
        results = [message for content in contents for message in _tool_messages(content)]
        return [message for message in results if message.tool_call_id == self._id]

    def _completed(self, update: Any, seconds: float) -> Any:
        """The update with what the agent stores in its messages."""
        content: Any = update.update if isinstance(update, Command) else update
        if not _tool_messages(content):
            return update
        completed = {**content, "messages": [self._completed_message(one, seconds) for one in content["messages"]]}
        return replace(update, update=completed) if isinstance(update, Command) else completed

    def _completed_message(self, message: Any, seconds: float) -> Any:
        if isinstance(message, HumanMessage):
            additional_kwargs = {**message.additional_kwargs, ADDED_BY_CALL: self._id}
            return message.model_copy(update={"additional_kwargs": additional_kwargs})
        if not isinstance(message, ToolMessage) or message.tool_call_id != self._id:
            return message
        additional_kwargs = {**message.additional_kwargs, **measured_times(self._started, seconds)}
        message = message.model_copy(update={"additional_kwargs": additional_kwargs})
        count, earlier = self._job.get("repeats", (0, ""))
        if count and fingerprint(message) == earlier:
            about: LoopGuardEvent = {"event": "guard", "stage": "hint", "name": self._name, "tool_call_id": self._id}
            self._emit({**about, "count": count + 1})
            message = with_hint(message, count + 1)
        return self._with_edit_notice(message) if self._job.get("edited") else message

    def _with_edit_notice(self, message: ToolMessage) -> ToolMessage:
        args = json.dumps(self._job["call"]["args"], ensure_ascii=False, default=str)
        notice = _EDITED.format(name=self._name, args=args)
        content = message.content
        noted = f"{notice}\n\n{content}" if isinstance(content, str) else [{"type": "text", "text": notice}, *content]
        return message.model_copy(update={"content": noted})


def _emit_unknown(emit: Callable[[KimiEvent], None], call: ToolCall) -> None:
    """Emit the event that the result of a call is unknown."""
    emit({"event": "tool_unknown", "name": call["name"], "tool_call_id": call["id"], "args": call["args"]})


def _identity(job: ToolJob, config: RunnableConfig) -> CallIdentity:
    return identity_of(job["call"], job["message"], config, budget_of(config).run_id)


def waits_for_a_person(error: Exception) -> bool:
    """Whether a tool ended because a question of it has no response, or one that does not fit."""
    return isinstance(error, GraphInterrupt) or is_invalid_resume(error)


def _record_intent(job: ToolJob, config: RunnableConfig) -> Steps[Attempt | None]:
    """Record that the call is about to start; None if it may have run before."""
    if job.get("unknown"):
        return None
    return (yield from record_intent(_identity(job, config), config, budget_of(config).check_writes))


def _tool_messages(content: Any) -> list[ToolMessage]:
    messages = content.get("messages") if isinstance(content, Mapping) else None
    return [one for one in messages if isinstance(one, ToolMessage)] if isinstance(messages, list) else []


def _is_sync(tool: BaseTool) -> bool:
    """Whether the tool has no coroutine of its own."""
    return getattr(tool, "coroutine", None) is None and type(tool)._arun in (
        BaseTool._arun,
        StructuredTool._arun,
        Tool._arun,
    )


def _agent_of(job: ToolJob, config: RunnableConfig) -> str:
    return job.get("agent") or agent_name(config)


def refused_by_caller(job: ToolJob, config: RunnableConfig, run: RunBudget) -> ToolMessage | None:
    """An error result if a caller's limit does not allow the call any more, because parallel agents used it up.

    Raises the checkpointer's error if an earlier write failed.
    """
    run.check_writes()
    return None if run.start_tool(_agent_of(job, config)) else error_result(job["call"], _CALLERS_LIMIT)


def tool_seconds(messages: Sequence[BaseMessage], sequential: Collection[str] = ()) -> float:
    """The time of the tools since the last answer: the sum of `sequential` ones, the longest of the others."""
    parallel, in_sequence = 0.0, 0.0
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        seconds = message.additional_kwargs.get(SECONDS, 0.0)
        if message.name in sequential:
            in_sequence += seconds
        else:
            parallel = max(parallel, seconds)
    return parallel + in_sequence


def _timed_out(call: ToolCall, seconds: float) -> dict[str, Any]:
    return {"messages": [error_result(call, _TIMED_OUT.format(name=call["name"], seconds=seconds))]}
