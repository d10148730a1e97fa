"""Runs one tool call: in its own time, with its result told, timed and, where the agent goes in circles, commented."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NotRequired, TypedDict

from langchain_core.messages import HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langgraph.config import get_stream_writer
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from langchain_kimi.agent import tool_threads as threads
from langchain_kimi.agent.argument_checks import ArgumentChecks
from langchain_kimi.agent.budget import agent_name, budget_of, of_call
from langchain_kimi.agent.interruption import Interruption, ToolTimeoutError, interruption_of, with_interruption
from langchain_kimi.agent.loop_guard import fingerprint, hinted
from langchain_kimi.agent.state import BROUGHT, SpentSoFar, refused
from langchain_kimi.agent.tool_errors import (
    ToolErrors,
    collected_errors,
    error_handler,
    error_text,
    is_async_only,
    log_errors,
    noting,
)
from langchain_kimi.errors import AsyncOnlyToolError

SECONDS = "kimi_seconds"
"""Where a result keeps how long its tool took."""

_EDITED = (
    "A person changed this call before it ran, on purpose; your own call was not executed. Do not make it again. "
    "Executed instead: {name} with {args}."
)
_TOO_LATE = (
    "{name} gave no result within {seconds:g} seconds and was given up. It may or may not have taken effect: find out "
    "before calling it again."
)

_CALLERS_LIMIT = "Not run: a limit of the calling agent is reached."


class Job(TypedDict):
    """One call on its way to its tool."""

    call: ToolCall
    agent: NotRequired[str]
    """Which agent of a team made it."""
    left: NotRequired[SpentSoFar]
    """What its agent's limits still allow; kept with the call, so that it holds in a resumed run too."""
    edited: NotRequired[bool]
    """Whether a person changed the call."""
    repeats: NotRequired[tuple[int, str]]
    """How often the call had one and the same result before, and that result's fingerprint."""


class ToolCalls:
    """Runs jobs in LangGraph's ToolNode: synchronous tools in threads of their own, each within its timeout."""

    def __init__(
        self, tools: Sequence[BaseTool], timeout: float | Mapping[str, float] | None, tool_errors: ToolErrors = True
    ) -> None:
        self._node = ToolNode(
            [noting(tool) for tool in tools],
            handle_tool_errors=error_handler(tool_errors),
            wrap_tool_call=self._supervised,
            awrap_tool_call=self._unsupervised,
        )
        self.by_name = self._node.tools_by_name
        self._checks = ArgumentChecks(self.by_name)
        self._async_only = [name for name, tool in self.by_name.items() if is_async_only(tool)]
        self._timeout = timeout
        self._sync = {name for name, tool in self.by_name.items() if _is_sync(tool)}
        self._check_timeout()

    def _check_timeout(self) -> None:
        each = self._timeout if isinstance(self._timeout, Mapping) else {"": self._timeout}
        for name, seconds in each.items():
            if name and name not in self.by_name:
                known = ", ".join(self.by_name) or "none"
                raise ValueError(f"tool_timeout names {name!r}, which is none of the tools: {known}.")
            if seconds is not None and not seconds > 0:
                raise ValueError(f"tool_timeout={self._timeout!r}: seconds above 0.")

    def check_sync(self) -> None:
        """Raise AsyncOnlyToolError where a synchronous run could not run every tool."""
        if self._async_only:
            raise AsyncOnlyToolError(self._async_only)

    def run(self, job: Job, config: RunnableConfig) -> Any:
        """The updates of one call."""
        if (over := _not_begun(job, config)) is not None:
            return over
        told = _Telling(job, config)
        call = job["call"]
        if call["name"] in self._async_only:
            raise AsyncOnlyToolError([call["name"]])
        if why := self._checks.invalid(call):
            return told.finished({"messages": [refused(call, why)]})
        with collected_errors() as told.errors:
            try:
                output = self._in_thread(call, told.config)
            except ToolTimeoutError as late:
                told.account.give_up()
                output = _too_late(call, late.seconds)
            return told.finished(output)

    async def arun(self, job: Job, config: RunnableConfig) -> Any:
        """The updates of one call."""
        if (over := _not_begun(job, config)) is not None:
            return over
        told = _Telling(job, config)
        call = job["call"]
        if why := self._checks.invalid(call):
            return told.finished({"messages": [refused(call, why)]})
        with collected_errors() as told.errors:
            try:
                output = await (self._ain_thread if call["name"] in self._sync else self._on_loop)(call, told.config)
            except ToolTimeoutError as late:
                told.account.give_up()
                output = _too_late(call, late.seconds)
            return told.finished(output)

    def _in_thread(self, call: ToolCall, config: RunnableConfig) -> Any:
        interruption = interruption_of(config)
        if interruption is None and self._seconds(call) is None:
            return self._node.invoke([call], config)
        with (interruption or Interruption()).below() as own:
            return self._node.invoke([call], with_interruption(config, own))

    async def _ain_thread(self, call: ToolCall, config: RunnableConfig) -> Any:
        with Interruption().below() as own:
            return await threads.run(lambda: self._node.invoke([call], with_interruption(config, own)))

    async def _on_loop(self, call: ToolCall, config: RunnableConfig) -> Any:
        seconds = self._seconds(call)
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await self._node.ainvoke([call], config)
        except TimeoutError as error:
            if not deadline.expired():
                raise  # the tool's own
            raise ToolTimeoutError(seconds or 0) from error

    def _supervised(self, request: ToolCallRequest, execute: Callable[[ToolCallRequest], Any]) -> Any:
        """Run a tool where it can be given up: after its timeout, or with its run."""
        interruption = interruption_of(request.runtime.config)
        if interruption is None:
            return execute(request)
        work = threads.submit(lambda: execute(request))
        return interruption.result(work, self._seconds(request.tool_call), request.tool_call["name"])

    async def _unsupervised(self, request: ToolCallRequest, execute: Callable[[ToolCallRequest], Any]) -> Any:
        return await execute(request)

    def _seconds(self, call: ToolCall) -> float | None:
        return self._timeout.get(call["name"]) if isinstance(self._timeout, Mapping) else self._timeout


class _Telling:
    """What is told of a call on the `custom` stream, and kept with its result."""

    def __init__(self, job: Job, config: RunnableConfig) -> None:
        self._job = job
        self._agent = _agent_of(job, config)
        namespace = config.get("configurable", {}).get("checkpoint_ns", "")
        self.account = budget_of(config).begin_call(job.get("left", {}), namespace)
        self._writer: Callable[[Any], None] = get_stream_writer()
        # What models inside the tool use is the agent's spending too.
        self.config = merge_configs(config, of_call(self.account, self._agent))
        self._about = {"name": job["call"]["name"], "tool_call_id": job["call"]["id"]}
        self._writer({"event": "tool_started", **self._about, "args": job["call"]["args"]})
        self._begun = time.perf_counter()
        self.errors: list[Exception] = []
        """The exceptions of the tool that became its result."""

    def finished(self, output: Any) -> dict[str, Any] | list[Any]:
        """The updates of the graph's state for what the tool gave."""
        seconds = time.perf_counter() - self._begun
        updates = [self._noted(update, seconds) for update in (output if isinstance(output, list) else [output])]
        results = self._results(updates)
        status = "error" if any(message.status == "error" for message in results) else "success"
        failed = {"error": error_text(self.errors[0])} if self.errors else {}
        self._writer({"event": "tool_finished", **self._about, "seconds": seconds, "status": status, **failed})
        log_errors(self._job["call"]["name"], self.errors)
        spent = self.account.update(self._agent, tool_errors=len(self.errors))
        return updates[0] | spent if isinstance(updates[0], dict) and len(updates) == 1 else [*updates, spent]

    def _results(self, updates: Sequence[Any]) -> list[ToolMessage]:
        contents = [update.update if isinstance(update, Command) else update for update in updates]
        messages = [message for content in contents for message in _messages(content)]
        return [message for message in messages if message.tool_call_id == self._job["call"]["id"]]

    def _noted(self, update: Any, seconds: float) -> Any:
        """The update with what is to be known of the call's result."""
        content: Any = update.update if isinstance(update, Command) else update
        if not _messages(content):
            return update
        messages = [self._commented(message, seconds) for message in content["messages"]]
        noted = {**content, "messages": messages}
        return replace(update, update=noted) if isinstance(update, Command) else noted

    def _commented(self, message: Any, seconds: float) -> Any:
        call = self._job["call"]
        if isinstance(message, HumanMessage):
            kept = {**message.additional_kwargs, BROUGHT: call["id"]}
            return message.model_copy(update={"additional_kwargs": kept})
        if not isinstance(message, ToolMessage) or message.tool_call_id != call["id"]:
            return message
        kept = {**message.additional_kwargs, SECONDS: round(seconds, 3)}
        message = message.model_copy(update={"additional_kwargs": kept})
        count, before = self._job.get("repeats", (0, ""))
        if count and fingerprint(message) == before:
            self._writer({"event": "guard", "stage": "hint", **self._about, "count": count + 1})
            message = hinted(message, count + 1)
        if self._job.get("edited"):
            args = json.dumps(call["args"], ensure_ascii=False, default=str)
            notice = _EDITED.format(name=call["name"], args=args)
            own = message.content
            content = f"{notice}\n\n{own}" if isinstance(own, str) else [{"type": "text", "text": notice}, *own]
            message = message.model_copy(update={"content": content})
        return message


def _messages(content: Any) -> list[ToolMessage]:
    found = content.get("messages") if isinstance(content, Mapping) else None
    return [one for one in found if isinstance(one, ToolMessage)] if isinstance(found, list) else []


def _is_sync(tool: BaseTool) -> bool:
    """Whether the tool has no coroutine of its own."""
    return getattr(tool, "coroutine", None) is None and type(tool)._arun in (
        BaseTool._arun,
        StructuredTool._arun,
        Tool._arun,
    )


def _agent_of(job: Job, config: RunnableConfig) -> str:
    return job.get("agent") or agent_name(config)


def _not_begun(job: Job, config: RunnableConfig) -> dict[str, Any] | None:
    """The result of a call that no limit of a caller has room for any more: agents beside this one used it up.

    Raises the checkpointer's error where what was done before could not be recorded.
    """
    budget = budget_of(config)
    budget.check_writes()
    caller = budget.caller
    if caller is None or caller.take("tool_calls", _agent_of(job, config)):
        return None
    return {"messages": [refused(job["call"], _CALLERS_LIMIT)]}


def _too_late(call: ToolCall, seconds: float) -> dict[str, Any]:
    return {"messages": [refused(call, _TOO_LATE.format(name=call["name"], seconds=seconds))]}
