"""The limits of an agent's run, as the agents below it see them while they run.

Each run of an agent has a `Budget`, and each tool call of the run a `CallAccount` in it. A sub-agent runs inside such a
call: before it calls its model or a tool it asks the call's account, which asks every budget above, under one lock.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from langchain_kimi._warning_location import CALLER, calling_line
from langchain_kimi.agent.spending import spent_by_agent
from langchain_kimi.agent.state import SpentSoFar, add_spent, add_spent_by_agent
from langchain_kimi.usage import UsageMeter

_KEY = "__kimi_budget"
"""Where a run's config holds its Budget, and a tool call's config its CallAccount; LangGraph keeps keys that begin so
out of checkpoints and traces."""

AGENT_NAME = "__kimi_agent_name"
"""Where the config of a sub-agent's run holds the name of the tool that it is."""

Countable = Literal["turns", "tool_calls", "tool_errors"]
Accounts = Mapping[str, SpentSoFar]
"""Accounts by the name of the agent."""


class Budget:
    """What one run had left when its last tool calls began, and the accounts of these calls."""

    def __init__(self, caller: "CallAccount | None" = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.caller = caller
        """The account of the call in which this run is a sub-agent's."""
        self.lock: threading.Lock = caller.budget.lock if caller else threading.Lock()
        self._left: SpentSoFar | None = None
        self._calls: list[CallAccount] = []
        self._begun = 0.0
        self._clock = clock
        self._resumed: list[CallAccount] = []
        self.write_error: Exception | None = None
        """The first error of the run's checkpointer while it wrote."""
        self._before: dict[str, Accounts] = {}

    def check_writes(self) -> None:
        """Raise the error with which a checkpointer failed to write during this run or one around it.

        LangGraph writes in the background unless `durability="sync"`, and tells of a failure at the end of the run.
        """
        if self.write_error is not None:
            raise self.write_error
        if self.caller:
            self.caller.budget.check_writes()

    def resume(self, finished: Accounts, open_calls: Mapping[str, Accounts]) -> None:
        """The run is resumed: what its finished calls spent, and what its open ones did, by checkpoint namespace."""
        self._resumed = [CallAccount(self, finished), *(CallAccount(self, spent) for spent in open_calls.values())]
        self._before = dict(open_calls)
        for spent in open_calls.values():  # callers know of the finished calls only: these are in this run's account
            if self.caller:
                self.caller.add_before(spent)

    def begin_call(self, left: SpentSoFar, namespace: str = "") -> "CallAccount":
        """The account of a tool call that begins. Calls that begin together have the same `left`."""
        with self.lock:
            if left != self._left:
                self._left, self._calls, self._begun = left, self._resumed, self._clock()
                self._resumed = []
            call = CallAccount(self, self._before.pop(namespace, {}))
            # What the call spent before the run was interrupted is counted once, with the call.
            self._calls = [one for one in self._calls if not (call.before and one.before is call.before)]
            self._calls.append(call)
        return call

    def allows(self, what: Countable, number: int) -> bool:
        """Whether the run's own limit leaves room for so many."""
        if self._left is None or what not in self._left:
            return True
        return sum(call.counted(what) for call in self._calls) + number <= self._left[what]

    def used_up(self) -> bool:
        """Whether seconds, tokens or money are used up."""
        limits = {name: left for name, left in (self._left or {}).items() if name not in ("turns", "tool_calls")}
        if not limits:
            return False
        spent: SpentSoFar = {}
        for call in list(self._calls):
            spent = add_spent(spent, call.spent())
        spent["seconds"] = self._clock() - self._begun
        spent["tokens"] = spent.get("input_tokens", 0) + spent.get("output_tokens", 0)
        if spent.get("unpriced") and "cost_usd" in limits:
            return True
        return any(spent.get(name, 0) >= left for name, left in limits.items())


class CallAccount:
    """What one tool call has spent so far, with the agents in it; the agents in it ask here for more."""

    def __init__(self, budget: Budget, before: Accounts | None = None) -> None:
        self.budget = budget
        self.meter = UsageMeter()
        """To be among the callbacks of the call."""
        self.before: Accounts = before or {}
        """What was spent before the run was interrupted and resumed."""
        self._counted: dict[str, SpentSoFar] = {}
        self._given_up = False

    def spent(self) -> SpentSoFar:
        """What the call has spent."""
        total: SpentSoFar = {}
        for spent in self.by_agent("").values():
            total = add_spent(total, spent)
        return total

    def by_agent(self, own: str) -> dict[str, SpentSoFar]:
        """What the call has spent, by agent; `own` is the agent that makes the call."""
        return add_spent_by_agent(add_spent_by_agent(dict(self.before), self._counted), spent_by_agent(self.meter, own))

    def counted(self, what: Countable) -> float:
        """How many model turns or tool calls there were in the call."""
        return sum(spent.get(what, 0) for accounts in (self.before, self._counted) for spent in accounts.values())

    def add_before(self, more: Accounts) -> None:
        """What agents further below spent before the run was interrupted."""
        with self.budget.lock:
            call: CallAccount | None = self
            while call:
                call.before = add_spent_by_agent(dict(call.before), more)
                call = call.budget.caller

    def update(self, own: str, tool_errors: int) -> dict[str, Any]:
        """The update of the state for the call, which is over; `own` is the agent that made it."""
        counted: SpentSoFar = {"tool_calls": 1}
        if tool_errors:
            counted["tool_errors"] = tool_errors
        if tool_errors and self.budget.caller:
            self.budget.caller.count("tool_errors", own, tool_errors)
        by_agent = add_spent_by_agent({own: counted}, self.by_agent(own))
        return {"spent": add_spent(counted, self.spent()), "spent_by_agent": by_agent}

    def give_up(self) -> None:
        """Nobody waits for the call any more: an agent that goes on in it gets nothing more."""
        self._given_up = True

    def take(self, what: Countable, agent: str) -> bool:
        """Count one more model turn or tool call of an agent in this call, if all limits above leave room for it."""
        with self.budget.lock:
            if not self._allows(what, 1):
                return False
            self._count(what, agent, 1)
        return True

    def count(self, what: Countable, agent: str, number: int) -> None:
        """Count so many more, whatever the limits are."""
        with self.budget.lock:
            self._count(what, agent, number)

    def reached(self, calls: int = 0) -> bool:
        """Whether a limit above forbids another model turn, or so many tool calls."""
        with self.budget.lock:
            allowed = self._allows("turns", 1) and (not calls or self._allows("tool_calls", calls))
        return not allowed or self.used_up()

    def used_up(self) -> bool:
        """Whether seconds, tokens or money above are used up."""
        caller = self.budget.caller
        return self._given_up or self.budget.used_up() or (caller is not None and caller.used_up())

    def _allows(self, what: Countable, number: int) -> bool:
        caller = self.budget.caller
        if self._given_up or not self.budget.allows(what, number):
            return False
        return caller is None or caller._allows(what, number)

    def _count(self, what: Countable, agent: str, number: int) -> None:
        self._counted = add_spent_by_agent(self._counted, {agent: {what: number}})
        if self.budget.caller:
            self.budget.caller._count(what, agent, number)


def with_budget(config: RunnableConfig | None, name: str) -> RunnableConfig:
    """The config for a new run of the agent `name`, below the tool call in which it runs.

    A sub-agent goes by the name of its tool; and `lc_agent_name` in the metadata is the caller's wish, but in a run
    inside another run, which inherits it.
    """
    configurable: Mapping[str, Any] = (config or {}).get("configurable", {})
    metadata = dict((config or {}).get("metadata", {}))
    inside = any(key.startswith("__pregel") for key in configurable)
    wish = None if inside else metadata.get("lc_agent_name")
    metadata["lc_agent_name"] = configurable.get(AGENT_NAME) or wish or name
    own = {_KEY: Budget(_caller(config)), AGENT_NAME: None, CALLER: configurable.get(CALLER) or calling_line()}
    return {**(config or {}), "metadata": metadata, "configurable": {**configurable, **own}}


def of_call(account: CallAccount, agent: str) -> RunnableConfig:
    """What the config of a tool call has beside that of its run."""
    return {
        "callbacks": [account.meter],
        "metadata": {"lc_agent_name": agent},
        "configurable": {_KEY: account},
    }


def budget_of(config: RunnableConfig) -> Budget:
    """The budget of the run that a node's config belongs to."""
    found = config.get("configurable", {}).get(_KEY)
    return found if isinstance(found, Budget) else Budget()


def agent_name(config: RunnableConfig) -> str:
    """The name of the agent whose run a node's config belongs to, as accounts, meters and streams have it."""
    return str(config.get("metadata", {}).get("lc_agent_name") or "")


def _caller(config: RunnableConfig | None) -> CallAccount | None:
    """The tool call in which an agent is run, by its config or, where that was not handed on, by the context."""
    for known in (config, var_child_runnable_config.get()):
        found = (known or {}).get("configurable", {}).get(_KEY)
        if found is not None:
            return found.caller if isinstance(found, Budget) else found
    return None
