"""Token usage and cost of responses: LangChain's usage metadata, the catalogue's prices, and sums of both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, TypeVar

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, LLMResult

from langchain_kimi.catalogue import find

MILLION = 1_000_000

_MAX_COUNT = 10**12
"""More tokens than any response has. Larger counts are clamped, because checkpoints hold no number beyond 64 bits."""

REPEATED = "kimi_repeated"
"""The key of `response_metadata` with the usage of earlier attempts at the same request, of which the host began to
respond and no content arrived."""

WAITS = "kimi_waits"
"""The key of `response_metadata` with the waits before retries of a request: a list of `seconds`, the type of the error
(`error`) and its `status`, None where there was no response. Absent where nothing was retried."""

_Key = TypeVar("_Key")


def usage_metadata(wire: Mapping[str, Any] | None) -> UsageMetadata | None:
    """LangChain's usage metadata of a `usage` object on the wire; None where there is none. All counts are tokens.

    Cached tokens are part of the input and reasoning tokens part of the output; larger numbers are clamped.
    """
    if not wire:
        return None
    counts = _Counts.of(wire)
    cached = min(counts.cached, counts.inputs)
    written = min(counts.written, counts.inputs - cached)
    reasoning = min(counts.reasoning, counts.outputs)
    usage = UsageMetadata(
        input_tokens=counts.inputs, output_tokens=counts.outputs, total_tokens=counts.inputs + counts.outputs
    )
    usage["input_token_details"] = InputTokenDetails(cache_read=cached)
    if written:
        usage["input_token_details"]["cache_creation"] = written
    if reasoning:
        usage["output_token_details"] = OutputTokenDetails(reasoning=reasoning)
    return usage


def usage_of_headers(headers: Mapping[str, str], output_tokens: int) -> dict[str, int] | None:
    """A `usage` object from the headers with which Kimi reports the prompt before a response; None without them.

    The headers do not count the output: `output_tokens` is the caller's count or estimate.
    """
    read, cached = headers.get("x-msh-usage-prompt-tokens", ""), headers.get("x-msh-usage-cached-tokens", "")
    if not _is_count(read):
        return None
    return {
        "prompt_tokens": int(read),
        "cached_tokens": int(cached) if _is_count(cached) else 0,
        "completion_tokens": output_tokens,
    }


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) <= len(str(_MAX_COUNT))


def is_inconsistent(wire: Mapping[str, Any] | None) -> bool:
    """Whether the numbers of a `usage` object contradict each other: a part exceeds its whole, or the total the sum."""
    if not wire:
        return False
    counts = _Counts.of(wire)
    return (
        counts.cached + counts.written > counts.inputs
        or counts.reasoning > counts.outputs
        or counts.total not in (None, counts.inputs + counts.outputs)
    )


class TokenCosts(NamedTuple):
    """What the tokens of a response cost, by their kind."""

    uncached: float
    cached: float
    cache_writes: float
    output: float
    reasoning: float
    """The part of `output` that is thinking."""

    @property
    def total(self) -> float:
        """The cost of the response."""
        return self.uncached + self.cached + self.cache_writes + self.output


def token_costs(usage: UsageMetadata | None, model: str, currency: Literal["usd", "cny"] = "usd") -> TokenCosts | None:
    """The costs of `usage` with `model` at list price, in US dollars or yuan; None where usage or price is unknown.

    Cache writes count at the five-minute price where the model bills them.
    """
    row = find(model)
    price = getattr(row, currency) if row else None
    if usage is None or price is None:
        return None
    input_details, output_details = usage.get("input_token_details", {}), usage.get("output_token_details", {})
    cached, written = input_details.get("cache_read") or 0, input_details.get("cache_creation") or 0
    return TokenCosts(
        uncached=(usage["input_tokens"] - cached - written) * price.miss / MILLION,
        cached=cached * price.hit / MILLION,
        cache_writes=written * (price.miss if price.write_5m is None else price.write_5m) / MILLION,
        output=usage["output_tokens"] * price.output / MILLION,
        reasoning=(output_details.get("reasoning") or 0) * price.output / MILLION,
    )


def cost_of(usage: UsageMetadata | None, model: str, currency: Literal["usd", "cny"] = "usd") -> float | None:
    """The cost of `usage` with `model` at list price, in US dollars or yuan; None where usage or price is unknown.

    Cache writes count at the five-minute price where the model bills them.
    """
    costs = token_costs(usage, model, currency)
    return None if costs is None else costs.total


@dataclass(frozen=True, slots=True)
class Usage:
    """The sum of the usage of responses. Input includes cached and written tokens, output includes reasoning."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    requests: int = 0
    cost_usd: float | None = 0.0
    """At list price, fees included; None as soon as the usage or the price of one answer is unknown."""
    fees_usd: float | None = 0.0
    """The part of the cost that is fees for tools which Kimi runs, such as web searches; None where one is unknown."""

    @classmethod
    def of_response(cls, usage: UsageMetadata | None, model: str) -> Self:
        """The usage of one response."""
        if usage is None:
            return cls(requests=1, cost_usd=None)
        input_details, output_details = usage.get("input_token_details", {}), usage.get("output_token_details", {})
        return cls(
            input_tokens=usage["input_tokens"],
            cached_tokens=input_details.get("cache_read") or 0,
            cache_write_tokens=input_details.get("cache_creation") or 0,
            output_tokens=usage["output_tokens"],
            reasoning_tokens=output_details.get("reasoning") or 0,
            requests=1,
            cost_usd=cost_of(usage, model),
        )

    @classmethod
    def of_answer(cls, answer: AIMessage, model: str) -> "Usage":
        """The usage of an answer and of earlier attempts at it. `model`: the model's name where the answer has none."""
        metadata = answer.response_metadata
        name = str(metadata.get("model_name") or model)
        attempts = [answer.usage_metadata, *metadata.get(REPEATED, ())]
        return sum((cls.of_response(usage, name) for usage in attempts), Usage())

    @classmethod
    def of_fee(cls, usd: float | None) -> Self:
        """The fee of one run of a tool."""
        return cls(cost_usd=usd, fees_usd=usd)

    @property
    def cache_hit_rate(self) -> float | None:
        """The share of the input that came from the cache; None without input."""
        return self.cached_tokens / self.input_tokens if self.input_tokens else None

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.requests + other.requests,
            sum_if_known(self.cost_usd, other.cost_usd),
            sum_if_known(self.fees_usd, other.fees_usd),
        )


def sum_if_known(one: float | None, other: float | None) -> float | None:
    """The sum of two amounts; None if one of them is not known."""
    return None if one is None or other is None else one + other


def answers_by_prompt(result: LLMResult | None) -> list[list[AIMessage]]:
    """The answers in a result, for each of its prompts."""
    return [
        [
            generation.message
            for generation in generations
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage)
        ]
        for generations in (result.generations if result else [])
    ]


def is_from_cache(answer: AIMessage) -> bool:
    """Whether an answer is from LangChain's cache, which sets a total cost of 0."""
    return dict(answer.usage_metadata or {}).get("total_cost") == 0


class _Counts(NamedTuple):
    """The numbers of a `usage` object on the wire; hosts send some of them flat, some nested, some in both ways."""

    inputs: int
    outputs: int
    cached: int
    written: int
    reasoning: int
    total: int | None

    @classmethod
    def of(cls, wire: Mapping[str, Any]) -> "_Counts":
        prompt, completion = _nested(wire, "prompt_tokens_details"), _nested(wire, "completion_tokens_details")
        return cls(
            inputs=_count(wire, "prompt_tokens"),
            outputs=_count(wire, "completion_tokens"),
            cached=_count(prompt, "cached_tokens") or _count(wire, "cached_tokens"),
            written=_count(prompt, "cache_write_tokens") or _count(wire, "cache_write_tokens"),
            reasoning=_count(completion, "reasoning_tokens") or _count(wire, "reasoning_tokens"),
            total=_count(wire, "total_tokens") if wire.get("total_tokens") is not None else None,
        )


def _nested(wire: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = wire.get(key)
    return value if isinstance(value, Mapping) else {}


def _count(counts: Mapping[str, Any], key: str) -> int:
    value = counts.get(key)
    return int(min(max(value, 0), _MAX_COUNT)) if isinstance(value, (int, float)) else 0
