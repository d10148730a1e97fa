"""The usage that the state of a thread sums, of all of its requests and by agent."""

from collections.abc import Mapping
from typing import Any

from langchain_kimi._recorded_runs.checkpoint_log import Superstep
from langchain_kimi.usage import Usage


def usage_of_state(spent: Mapping[str, Any]) -> Usage:
    """A usage as an agent's state sums it."""
    known = not spent.get("unpriced")
    return Usage(
        input_tokens=spent.get("input_tokens", 0),
        cached_tokens=spent.get("cached_tokens", 0),
        cache_write_tokens=spent.get("cache_write_tokens", 0),
        output_tokens=spent.get("output_tokens", 0),
        reasoning_tokens=spent.get("reasoning_tokens", 0),
        requests=spent.get("requests", 0),
        cost_usd=spent.get("cost_usd", 0.0) if known else None,
        fees_usd=spent.get("fees_usd", 0.0),
    )


def usage_difference(whole: Usage, part: Usage) -> Usage:
    """What a part leaves of the tokens, requests and costs of a whole, without fees."""
    costs = (whole.cost_usd, part.cost_usd)
    return Usage(
        input_tokens=whole.input_tokens - part.input_tokens,
        cached_tokens=whole.cached_tokens - part.cached_tokens,
        cache_write_tokens=whole.cache_write_tokens - part.cache_write_tokens,
        output_tokens=whole.output_tokens - part.output_tokens,
        reasoning_tokens=whole.reasoning_tokens - part.reasoning_tokens,
        requests=whole.requests - part.requests,
        cost_usd=None if costs[0] is None or costs[1] is None else costs[0] - costs[1],
    )


def usage_by_agent_of_state(last: Superstep) -> dict[str, Usage]:
    """The usage by agent, as the state of a superstep sums it; empty where it sums none."""
    by_agent = last.values.get("spent_by_agent")
    if not isinstance(by_agent, Mapping):
        return {}
    return {str(name): usage_of_state(spent) for name, spent in by_agent.items()}
