"""The limits of an agent in one user turn."""

from dataclasses import dataclass, fields
from typing import TypeAlias

from langchain_kimi.agent.state import AgentUsage, LimitName

RemainingLimits: TypeAlias = dict[LimitName, float]
"""What the limits still allow; a limit that is not set is missing."""

_UNITS: dict[LimitName, str] = {
    "turns": "model turns",
    "tool_calls": "tool calls",
    "seconds": "seconds",
    "tokens": "tokens",
    "cost_usd": "US dollars",
}


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """A budget for one user turn. At a limit the agent gives a last answer, which comes on top, and raises nothing.

    Every limit holds for the agent together with all agents below it, however deep, in parallel or resumed. Each of
    them ends with a last answer of its own; one that has not started yet sends no request. A sub-agent's own limits
    hold in addition to those of its callers. Model turns and tool calls are counted before they start, so these two
    limits are exact. Seconds, tokens and money are known when a request has ended, so they are exceeded by at most the
    requests and tool calls that are under way when they are reached.

    `turns`: answers of the model. `tool_calls`: tools that run. `seconds`: time in the model and in tools, without
    waits for people. `tokens`: input and output of all requests. `cost_usd`: at list price; an answer whose price is
    not known counts as reaching it.
    """

    turns: int = 300
    tool_calls: int | None = None
    seconds: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "turns":
                raise ValueError("AgentLimits(turns=None): a turn always ends; give a number.")
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise ValueError(f"AgentLimits({field.name}={value!r}): give a number, or None for no such limit.")
            least = 1 if field.name in ("turns", "tool_calls", "tokens") else 0
            if value is not None and not (value >= least and value != 0):
                raise ValueError(f"AgentLimits({field.name}={value!r}): at least 1, or for seconds and money above 0.")

    def reached(self, usage: AgentUsage, calls: int = 0) -> LimitName | None:
        """The name of the limit that forbids another model turn, or so many tool calls, after this usage of a turn."""
        if usage.get("turns", 0) >= self.turns:
            return "turns"
        if calls and self.tool_calls is not None and usage.get("tool_calls", 0) + calls > self.tool_calls:
            return "tool_calls"
        if self.cost_usd is not None and usage.get("unpriced", 0):
            return "cost_usd"
        used = _used(usage)
        for name in ("seconds", "tokens", "cost_usd"):
            limit = getattr(self, name)
            if limit is not None and used[name] >= limit:
                return name
        return None

    def remaining(self, usage: AgentUsage, calls: int = 0) -> RemainingLimits:
        """What sub-agents may still use, if so many calls of the agent's own have not run yet."""
        used = _used(usage)
        used["tool_calls"] += calls
        return {name: limit - used[name] for name in used if (limit := getattr(self, name)) is not None}

    def describe(self, name: LimitName) -> str:
        """The limit in words, such as `the limit of 300 model turns`."""
        return f"the limit of {getattr(self, name):,} {_UNITS[name]}"


def _used(usage: AgentUsage) -> RemainingLimits:
    """What the usage takes of each limit."""
    return {
        "turns": usage.get("turns", 0),
        "tool_calls": usage.get("tool_calls", 0),
        "seconds": usage.get("seconds", 0),
        "tokens": usage.get("input_tokens", 0) + usage.get("output_tokens", 0),
        "cost_usd": usage.get("cost_usd", 0),
    }
