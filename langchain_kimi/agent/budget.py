"""What an agent's run has left, as its sub-agents see it while they run."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig

from langchain_kimi.agent.spending import spent_by
from langchain_kimi.agent.state import SpentSoFar, add_spent
from langchain_kimi.usage import UsageMeter

_KEY = "__kimi_budget"
"""Where a run's config holds its budget; LangGraph keeps keys that begin so out of checkpoints and traces."""


class Budget:
    """What one run had left when its last tool calls began, and what these have used since."""

    def __init__(self, above: "Budget | None", clock: Callable[[], float] = time.perf_counter) -> None:
        self._above = above
        self._left: SpentSoFar = {}
        self._meters: list[UsageMeter] = []
        self._clock = clock
        self._begun = 0.0
        self._lock = threading.Lock()

    def watch(self, meter: UsageMeter, left: SpentSoFar) -> None:
        """A tool call begins: count what its meter counts. Calls that begin together have the same `left`."""
        with self._lock:
            if left != self._left:
                self._left, self._meters, self._begun = left, [], self._clock()
            if left:
                self._meters.append(meter)

    def used_up(self) -> bool:
        """Whether nothing is left, here or above."""
        if not self._left:
            return self.callers_used_up()
        used: SpentSoFar = {"seconds": self._clock() - self._begun}
        for meter in list(self._meters):
            used = add_spent(used, spent_by(meter))
        used["tokens"] = used.get("input_tokens", 0) + used.get("output_tokens", 0)
        if used.get("unpriced") and "cost_usd" in self._left:
            return True
        return any(used.get(key, 0) >= left for key, left in self._left.items()) or self.callers_used_up()

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
