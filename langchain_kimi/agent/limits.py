"""How far an agent may go in one user turn."""

from dataclasses import dataclass, fields

from langchain_kimi.agent.state import SpentSoFar

_WORDS = {
    "turns": "model turns",
    "tool_calls": "tool calls",
    "seconds": "seconds",
    "tokens": "tokens",
    "cost_usd": "US dollars",
}


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """A budget for one user turn. At a limit the agent answers with what it has, instead of raising; that last answer
    comes on top.

    Every limit holds for the agent with all agents below it together, however deep, in parallel or resumed; each of
    them ends with a last answer of its own, and one that has not begun yet sends no request. A sub-agent's own limits
    hold beside its callers'. Model turns and tool calls are counted before they begin, so these two limits are exact;
    seconds, tokens and money are known when a request has ended, so they are exceeded by at most the requests and tool
    calls under way when they are reached.

    `turns`: model answers. `tool_calls`: tools run. `seconds`: spent in the model and in tools, waits for people
    excluded. `tokens`: input and output of all requests. `cost_usd`: at list price; an answer whose price is not known
    counts as reaching it.
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
                raise ValueError(f"AgentLimits({field.name}={value!r}): a number, or None for no such limit.")
            least = 1 if field.name in ("turns", "tool_calls", "tokens") else 0
            if value is not None and not (value >= least and value != 0):
                raise ValueError(f"AgentLimits({field.name}={value!r}): at least 1, or for seconds and money above 0.")

    def reached(self, spent: SpentSoFar, calls: int = 0) -> str | None:
        """The name of the limit that forbids another round with so many calls; `spent` is the turn's account."""
        spent = {**spent, "tokens": spent.get("input_tokens", 0) + spent.get("output_tokens", 0)}
        if spent.get("turns", 0) >= self.turns:
            return "turns"
        if calls and self.tool_calls is not None and spent.get("tool_calls", 0) + calls > self.tool_calls:
            return "tool_calls"
        if self.cost_usd is not None and spent.get("unpriced", 0):
            return "cost_usd"
        for name in ("seconds", "tokens", "cost_usd"):
            most = getattr(self, name)
            if most is not None and spent.get(name, 0) >= most:
                return name
        return None

    def left(self, spent: SpentSoFar, calls: int = 0) -> SpentSoFar:
        """What sub-agents may still use, beside so many calls of the agent's own that have not run yet."""
        spent = {**spent, "tokens": spent.get("input_tokens", 0) + spent.get("output_tokens", 0)}
        spent["tool_calls"] = spent.get("tool_calls", 0) + calls
        most = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: limit - spent.get(name, 0) for name, limit in most.items() if limit is not None}

    def words(self, name: str) -> str:
        """The limit for people, such as `the limit of 300 model turns`."""
        return f"the limit of {getattr(self, name):,} {_WORDS[name]}"
