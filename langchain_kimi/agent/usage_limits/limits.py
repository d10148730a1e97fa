"""The limits of an agent in one user turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, cast

from langchain_kimi._parameter_names import checks_field_names
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage

LimitName: TypeAlias = Literal["turns", "tool_calls", "seconds", "tokens", "cost_usd"]
"""The names of the limits in `AgentLimits`."""

RemainingLimits: TypeAlias = dict[LimitName, float]
"""What the limits still allow; a limit that is not set is missing."""


@dataclass(frozen=True, slots=True)
class _Measure:
    """How a limit is measured and described."""

    unit: str
    used: Callable[[AgentUsage], float]
    """The part of a usage that counts against the limit."""
    least: int = 1
    """The smallest value; with 0, any value above 0."""
    reserved: bool = False
    """Whether it is counted before the model or a tool starts; the others are known when a request has ended."""


_MEASURES: Mapping[LimitName, _Measure] = {
    "turns": _Measure("model turns", lambda usage: usage.get("turns", 0), reserved=True),
    "tool_calls": _Measure("tool calls", lambda usage: usage.get("tool_calls", 0), reserved=True),
    "seconds": _Measure("seconds", lambda usage: usage.get("seconds", 0), least=0),
    "tokens": _Measure("tokens", lambda usage: usage.get("input_tokens", 0) + usage.get("output_tokens", 0)),
    "cost_usd": _Measure("US dollars", lambda usage: usage.get("cost_usd", 0), least=0),
}


@checks_field_names
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
            least = _MEASURES[cast(LimitName, field.name)].least
            if value is not None and not (value >= least and value != 0):
                raise ValueError(f"AgentLimits({field.name}={value!r}): at least 1, or for seconds and money above 0.")

    def reached(self, usage: AgentUsage, calls: int = 0) -> LimitName | None:
        """The name of the limit that forbids another model turn, or so many tool calls, after this usage of a turn."""
        if usage.get("turns", 0) >= self.turns:
            return "turns"
        if calls and self.tool_calls is not None and usage.get("tool_calls", 0) + calls > self.tool_calls:
            return "tool_calls"
        return first_reached(measured_limits(self._values()), usage)

    def remaining(self, usage: AgentUsage, calls: int = 0) -> RemainingLimits:
        """What sub-agents may still use, if so many calls of the agent's own have not run yet."""
        left = {name: limit - _MEASURES[name].used(usage) for name, limit in self._values().items()}
        if "tool_calls" in left:
            left["tool_calls"] -= calls
        return left

    def describe(self, name: LimitName) -> str:
        """The limit in words, such as `the limit of 300 model turns`."""
        return f"the limit of {getattr(self, name):,} {_MEASURES[name].unit}"

    def _values(self) -> RemainingLimits:
        """The limits that are set."""
        return {name: limit for name in _MEASURES if (limit := getattr(self, name)) is not None}


def measured_limits(limits: RemainingLimits) -> RemainingLimits:
    """The limits of which the use is known only when a request or a tool call has ended."""
    return {name: limit for name, limit in limits.items() if not _MEASURES[name].reserved}


def first_reached(limits: RemainingLimits, usage: AgentUsage) -> LimitName | None:
    """The name of the first of these limits that the usage reaches."""
    if "cost_usd" in limits and usage.get("unpriced", 0):
        return "cost_usd"
    return next((name for name, limit in limits.items() if _MEASURES[name].used(usage) >= limit), None)
