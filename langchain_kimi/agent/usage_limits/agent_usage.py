"""`AgentUsage`, which the agent's state sums, and its sums and differences."""

from collections.abc import Mapping
from typing import Any, cast

from typing_extensions import TypedDict


class AgentUsage(TypedDict, total=False):
    """The usage that `state["spent"]` sums: requests, tokens, time and money. A key is missing while its sum is 0."""

    turns: int
    """Answers of the model."""
    tool_calls: int
    """Tools that ran."""
    tool_errors: int
    """Exceptions that tools raised."""
    seconds: float
    """Time in the model and in tools, without waits for people."""
    requests: int
    """Requests to models, with retries and summaries."""
    input_tokens: int
    cached_tokens: int
    """The part of `input_tokens` that came from the cache."""
    cache_write_tokens: int
    """The part of `input_tokens` that was written to the cache."""
    output_tokens: int
    reasoning_tokens: int
    """The part of `output_tokens` that is thinking."""
    cost_usd: float
    """At list price, with `fees_usd`, without the answers that `unpriced` counts."""
    fees_usd: float
    """The part of `cost_usd` that is fees for tools that run on Kimi's side."""
    unpriced: int
    """Answers whose cost is not known."""


def add_agent_usage(before: AgentUsage | None, more: AgentUsage | None) -> AgentUsage:
    """The sum of two usages, key by key."""
    total: dict[str, Any] = dict(before or {})
    for key, value in (more or {}).items():
        total[key] = total.get(key, 0) + value
    return cast(AgentUsage, total)


def usage_since(now: AgentUsage | None, earlier: AgentUsage | None) -> AgentUsage:
    """The usage since an earlier sum."""
    before: Mapping[str, Any] = {**(earlier or {})}
    return cast(AgentUsage, {key: value - before.get(key, 0) for key, value in cast(Any, now or {}).items()})


def add_usage_by_agent(
    before: Mapping[str, AgentUsage] | None, more: Mapping[str, AgentUsage] | None
) -> dict[str, AgentUsage]:
    """The sums of the usages of many agents, by agent name."""
    total = dict(before or {})
    for agent, usage in (more or {}).items():
        total[agent] = add_agent_usage(total.get(agent), usage)
    return total
