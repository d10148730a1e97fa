"""Shares the limits of a running agent with the agents below it, and counts what each of them uses.

Each run of an agent has a `RunBudget`, and each tool call of the run has a `CallBudget`. A sub-agent runs inside such a
call. Before it calls its model or a tool, it reserves that in the call's budget, which checks all budgets above it
under one lock.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, Literal, TypeAlias, cast
from uuid import uuid4

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from langchain_kimi._warning_location import CALLER, calling_line
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage, add_agent_usage, add_usage_by_agent
from langchain_kimi.agent.usage_limits.limits import LimitName, RemainingLimits, first_reached, measured_limits
from langchain_kimi.usage import Usage
from langchain_kimi.usage_meter import UsageMeter

_KEY = "__kimi_budget"
"""The key in `configurable` of a run's RunBudget and of a tool call's CallBudget. LangGraph keeps keys with this prefix
out of checkpoints and traces."""

AGENT_NAME = "__kimi_agent_name"
"""The key in `configurable` of a sub-agent's name, which is the name of its tool."""

SPAN_NAME = "agent_name"
"""The key in the metadata of a run by which OpenTelemetry's instrumentation of LangChain makes a span of an agent."""

_USAGE_FIELDS = tuple(field.name for field in fields(Usage))

Countable = Literal["turns", "tool_calls", "tool_errors"]
UsageByAgent: TypeAlias = Mapping[str, AgentUsage]


class RunBudget:
    """What the limits of one run left when its last tool calls began, and the budgets of these calls."""

    def __init__(self, caller: "CallBudget | None" = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.caller = caller
        """The budget of the tool call in which this run is a sub-agent's."""
        self.lock: threading.Lock = caller.run.lock if caller else threading.Lock()
        self._remaining: RemainingLimits | None = None
        self._calls: list[CallBudget] = []
        self._started = 0.0
        self._clock = clock
        self._resumed: list[CallBudget] = []
        self.write_error: Exception | None = None
        """The first error of the run's checkpointer while it wrote."""
        self._earlier: dict[str, UsageByAgent] = {}
        self.run_id: str = caller.run.run_id if caller else str(uuid4())
        """Stands in for the thread in idempotency keys of a run without one."""

    def check_writes(self) -> None:
        """Raise the error with which a checkpointer failed to write during this run or one around it.

        LangGraph writes in the background unless `durability="sync"`, and raises the error at the end of the run.
        """
        if self.write_error is not None:
            raise self.write_error
        if self.caller:
            self.caller.run.check_writes()

    def resume(self, finished: UsageByAgent, open_calls: Mapping[str, UsageByAgent]) -> None:
        """Count what an interrupted run used: in its finished calls, and in its open ones by checkpoint namespace."""
        self._resumed = [CallBudget(self, finished), *(CallBudget(self, usage) for usage in open_calls.values())]
        self._earlier = dict(open_calls)
        for usage in open_calls.values():  # this run reports its finished calls to the callers itself
            if self.caller:
                self.caller.add_earlier(usage)

    def start_call(self, remaining: RemainingLimits, namespace: str = "") -> "CallBudget":
        """The budget of a tool call that starts. Calls that start together have the same `remaining` limits."""
        with self.lock:
            if remaining != self._remaining:
                self._remaining, self._calls, self._started = remaining, self._resumed, self._clock()
                self._resumed = []
            call = CallBudget(self, self._earlier.pop(namespace, {}))
            # What the call used before the run was interrupted is counted once, with the call.
            self._calls = [one for one in self._calls if not (call.earlier and one.earlier is call.earlier)]
            self._calls.append(call)
        return call

    def start_turn(self, agent: str) -> bool:
        """Whether the limits of the callers allow another model turn of the agent, which is then counted."""
        return self.caller is None or (not self.caller.exhausted() and self.caller.reserve("turns", agent))

    def start_tool(self, agent: str) -> bool:
        """Whether the limits of the callers allow another tool call of the agent, which is then counted."""
        return self.caller is None or self.caller.reserve("tool_calls", agent)

    def forbids(self, calls: int) -> bool:
        """Whether a limit of a caller forbids another model turn, or so many tool calls."""
        return self.caller is not None and self.caller.forbids(calls)

    def count_turns(self, agent: str, number: int) -> None:
        """Count model turns that end the user turn for the callers, whatever their limits are."""
        if self.caller:
            self.caller.count("turns", agent, number)

    def allows(self, what: Countable, number: int) -> bool:
        """Whether the run's own limit allows so many more."""
        limit = (self._remaining or {}).get(cast(LimitName, what))
        return limit is None or sum(call.counted(what) for call in self._calls) + number <= limit

    def exhausted(self) -> bool:
        """Whether a limit of the run is reached that is known only when requests and tools have ended."""
        limits = measured_limits(self._remaining or {})
        if not limits:
            return False
        total: AgentUsage = {}
        for call in list(self._calls):
            total = add_agent_usage(total, call.usage())
        total["seconds"] = self._clock() - self._started
        return first_reached(limits, total) is not None


class CallBudget:
    """The usage of one tool call and of the agents inside it, which reserve model turns and tool calls here."""

    def __init__(self, run: RunBudget, earlier: UsageByAgent | None = None) -> None:
        self.run = run
        self.meter = UsageMeter()
        """Belongs into the callbacks of the call."""
        self.earlier: UsageByAgent = earlier or {}
        """The usage before the run was interrupted and resumed."""
        self._counted: dict[str, AgentUsage] = {}
        self._abandoned = False

    def usage(self) -> AgentUsage:
        """The usage of the call so far."""
        total: AgentUsage = {}
        for usage in self.by_agent("").values():
            total = add_agent_usage(total, usage)
        return total

    def by_agent(self, calling_agent: str) -> dict[str, AgentUsage]:
        """The usage of the call so far, by agent name."""
        counted = add_usage_by_agent(self.earlier, self._counted)
        return add_usage_by_agent(counted, metered_usage_by_agent(self.meter, calling_agent))

    def counted(self, what: Countable) -> int:
        """The number of model turns, tool calls or tool errors inside the call."""
        return sum(usage.get(what, 0) for accounts in (self.earlier, self._counted) for usage in accounts.values())

    def add_earlier(self, more: UsageByAgent) -> None:
        """Add the usage of agents further below before the run was interrupted."""
        with self.run.lock:
            call: CallBudget | None = self
            while call:
                call.earlier = add_usage_by_agent(call.earlier, more)
                call = call.run.caller

    def state_update(self, calling_agent: str, tool_errors: int, tool_calls: int = 1) -> dict[str, Any]:
        """The update of the state for the call when it has ended."""
        counted: AgentUsage = {"tool_calls": tool_calls} if tool_calls else {}
        if tool_errors:
            counted["tool_errors"] = tool_errors
        if tool_errors and self.run.caller:
            self.run.caller.count("tool_errors", calling_agent, tool_errors)
        by_agent = add_usage_by_agent({calling_agent: counted}, self.by_agent(calling_agent))
        return {"spent": add_agent_usage(counted, self.usage()), "spent_by_agent": by_agent}

    def abandon(self) -> None:
        """Refuse everything from now on: nobody waits for the call any more, but an agent may still run in it."""
        self._abandoned = True

    def reserve(self, what: Countable, agent: str) -> bool:
        """Count one more model turn or tool call of an agent in this call, and return whether all limits allow it.

        Nothing is counted if a limit does not allow it.
        """
        with self.run.lock:
            if not self._allows(what, 1):
                return False
            self._count(what, agent, 1)
        return True

    def count(self, what: Countable, agent: str, number: int) -> None:
        """Count so many more, regardless of the limits."""
        with self.run.lock:
            self._count(what, agent, number)

    def forbids(self, calls: int = 0) -> bool:
        """Whether a limit above forbids another model turn, or so many tool calls."""
        with self.run.lock:
            allowed = self._allows("turns", 1) and (not calls or self._allows("tool_calls", calls))
        return not allowed or self.exhausted()

    def exhausted(self) -> bool:
        """Whether a limit above is reached that is known only when requests and tools have ended."""
        caller = self.run.caller
        return self._abandoned or self.run.exhausted() or (caller is not None and caller.exhausted())

    def _allows(self, what: Countable, number: int) -> bool:
        caller = self.run.caller
        if self._abandoned or not self.run.allows(what, number):
            return False
        return caller is None or caller._allows(what, number)

    def _count(self, what: Countable, agent: str, number: int) -> None:
        self._counted = add_usage_by_agent(self._counted, {agent: cast(AgentUsage, {what: number})})
        if self.run.caller:
            self.run.caller._count(what, agent, number)


def with_budget(config: RunnableConfig | None, name: str) -> RunnableConfig:
    """The config for a new run of the agent `name`, below the tool call in which it runs.

    A sub-agent has the name of its tool. Elsewhere `lc_agent_name` in the caller's metadata replaces `name`, except in
    a run inside another run, which inherits that metadata.
    """
    configurable: Mapping[str, Any] = (config or {}).get("configurable", {})
    metadata = dict((config or {}).get("metadata", {}))
    inside = any(key.startswith("__pregel") for key in configurable)
    chosen = None if inside else metadata.get("lc_agent_name")
    metadata["lc_agent_name"] = configurable.get(AGENT_NAME) or chosen or name
    metadata[SPAN_NAME] = (None if inside else metadata.get(SPAN_NAME)) or metadata["lc_agent_name"]
    budget = RunBudget(calling_budget(config))
    own = {_KEY: budget, AGENT_NAME: None, CALLER: configurable.get(CALLER) or calling_line()}
    return {**(config or {}), "metadata": metadata, "configurable": {**configurable, **own}}


def call_config(call: CallBudget, agent: str) -> RunnableConfig:
    """What a tool call's config has in addition to the config of its run."""
    return {
        "callbacks": [call.meter],
        "metadata": {"lc_agent_name": agent},
        "configurable": {_KEY: call},
    }


def budget_of(config: RunnableConfig) -> RunBudget:
    """The budget of the run that a node's config belongs to."""
    budget = config.get("configurable", {}).get(_KEY)
    return budget if isinstance(budget, RunBudget) else RunBudget()


def counted_calls(config: RunnableConfig, agent: str, number: int) -> dict[str, Any]:
    """The update of the state for so many tool calls of earlier runs whose result is known only now."""
    if not number:
        return {}
    if caller := budget_of(config).caller:
        caller.count("tool_calls", agent, number)
    counted: AgentUsage = {"tool_calls": number}
    return {"spent": counted, "spent_by_agent": {agent: counted}}


def agent_name(config: RunnableConfig) -> str:
    """The name of the agent whose run a node's config belongs to, as usage and streams have it."""
    return str(config.get("metadata", {}).get("lc_agent_name") or "")


def answers_usage(answers: Iterable[AIMessage], model: str) -> AgentUsage:
    """The usage of these answers. `model` is the model of an answer that names none."""
    return _agent_usage(Usage.of_answer(answer, model) for answer in answers)


def metered_usage(meter: UsageMeter) -> AgentUsage:
    """The usage that a meter counted."""
    return _agent_usage(meter.by_model.values())


def metered_usage_by_agent(meter: UsageMeter, calling_agent: str) -> dict[str, AgentUsage]:
    """The usage that a meter counted, by agent name. Requests outside of agents count for the calling agent."""
    parts: dict[str, list[Usage]] = {}
    for (agent, _), usage in meter.by_agent_and_model.items():
        parts.setdefault(agent or calling_agent, []).append(usage)
    return {agent: _agent_usage(usages) for agent, usages in parts.items()}


def _agent_usage(parts: Iterable[Usage]) -> AgentUsage:
    total: dict[str, Any] = {}
    for part in parts:
        numbers = {name: getattr(part, name) for name in _USAGE_FIELDS}
        if part.cost_usd is None:
            numbers["unpriced"] = part.requests
        for key, value in numbers.items():
            if value:
                total[key] = total.get(key, 0) + value
    return cast(AgentUsage, total)


def calling_budget(config: RunnableConfig | None) -> CallBudget | None:
    """The tool call in which an agent runs, from its config or, if that was not passed on, from the context."""
    for known in (config, var_child_runnable_config.get()):
        budget = (known or {}).get("configurable", {}).get(_KEY)
        if budget is not None:
            return budget.caller if isinstance(budget, RunBudget) else budget
    return None
