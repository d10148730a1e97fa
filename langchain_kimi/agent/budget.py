"""What an agent's run has left, as its sub-agents see it while they run."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig

from langchain_kimi.agent.limits import Limits
from langchain_kimi.agent.spending import spent_by
from langchain_kimi.agent.state import SpentSoFar, add_spent
from langchain_kimi.usage import UsageMeter

_KEY = "__kimi_budget"
"""Where a run's config holds its budget; LangGraph keeps keys that begin so out of checkpoints and traces."""


class Budget:
    """The limits of one run, what it had spent when its last tool calls began, and what these have used since."""

    def __init__(self, above: "Budget | None", clock: Callable[[], float] = time.perf_counter) -> None:
        self._above = above
        self._limits: Limits | None = None
        self._spent: SpentSoFar = {}
        self._meters: list[UsageMeter] = []
        self._clock = clock
        self._begun = 0.0

    def begin(self, limits: Limits, spent: SpentSoFar) -> None:
        """Tool calls begin."""
        self._limits, self._spent, self._meters, self._begun = limits, spent, [], self._clock()

    def watch(self, meter: UsageMeter) -> None:
        """Count what this meter of a tool call counts."""
        self._meters.append(meter)

    def used_up(self) -> bool:
        """Whether nothing is left, here or above."""
        if self._limits is not None:
            used = {**self._spent, "seconds": self._spent.get("seconds", 0) + self._clock() - self._begun}
            for meter in list(self._meters):
                used = add_spent(used, spent_by(meter))
            if self._limits.reached(used):
                return True
        return self.callers_used_up()

    def callers_used_up(self) -> bool:
        """Whether an agent that called this one has nothing left."""
        return self._above is not None and self._above.used_up()


def with_budget(config: RunnableConfig | None) -> RunnableConfig:
    """The config for a new run of an agent, below that of the agent in whose tool it runs."""
    above = budget_of(config)
    given: Mapping[str, Any] = (config or {}).get("configurable", {})
    return {**(config or {}), "configurable": {**given, _KEY: Budget(above)}}


def budget_of(config: RunnableConfig | None) -> Budget | None:
    """The budget of the run that a config belongs to."""
    found = (config or {}).get("configurable", {}).get(_KEY)
    return found if isinstance(found, Budget) else None
