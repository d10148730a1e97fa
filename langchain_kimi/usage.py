"""Tokens and money: what an answer used, and what that costs by the catalogue's prices."""

from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata

from langchain_kimi.catalogue import find

MILLION = 1_000_000


def usage_metadata(wire: Mapping[str, Any] | None) -> UsageMetadata | None:
    """LangChain's usage of a `usage` object on the wire, None where there is none. All counts are tokens.

    Cached tokens are part of the input and reasoning tokens part of the output; numbers that say otherwise are clamped.
    """
    if not wire:
        return None
    inputs, outputs = _count(wire, "prompt_tokens"), _count(wire, "completion_tokens")
    details = wire.get("prompt_tokens_details") or {}
    cached = min(_count(details, "cached_tokens") or _count(wire, "cached_tokens"), inputs)
    written = min(_count(details, "cache_write_tokens"), inputs - cached)
    reasoning = min(_count(wire.get("completion_tokens_details") or {}, "reasoning_tokens"), outputs)
    usage = UsageMetadata(input_tokens=inputs, output_tokens=outputs, total_tokens=inputs + outputs)
    usage["input_token_details"] = InputTokenDetails(cache_read=cached)
    if written:
        usage["input_token_details"]["cache_creation"] = written
    if reasoning:
        usage["output_token_details"] = OutputTokenDetails(reasoning=reasoning)
    return usage


def cost_of(usage: UsageMetadata | None, model: str, currency: Literal["usd", "cny"] = "usd") -> float | None:
    """What `usage` costs with `model` at list price, in US dollars or yuan; None where usage or price is unknown.

    Cache writes count at the five-minute price where the model bills them.
    """
    row = find(model)
    price = getattr(row, currency) if row else None
    if usage is None or price is None:
        return None
    details = usage.get("input_token_details", {})
    cached, written = details.get("cache_read", 0), details.get("cache_creation", 0)
    missed = usage["input_tokens"] - cached - written
    write_price = price.miss if price.write_5m is None else price.write_5m
    spent = missed * price.miss + cached * price.hit + written * write_price + usage["output_tokens"] * price.output
    return float(spent / MILLION)


def _count(counts: Mapping[str, Any], key: str) -> int:
    value = counts.get(key)
    return max(value, 0) if isinstance(value, int) else 0
