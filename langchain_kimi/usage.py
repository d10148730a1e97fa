"""Token usage and cost: of one response, at the catalogue's prices, and summed over many responses (`UsageMeter`)."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, TypeVar
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, LLMResult

from langchain_kimi.catalogue import find

MILLION = 1_000_000

FEE = "kimi_fee"
"""The custom event with which a tool that Kimi runs reports its fee: `{"tool": uri, "usd": fee or None}`."""

_MAX_COUNT = 10**12
"""More tokens than any response has. Larger counts are clamped, because checkpoints hold no number beyond 64 bits."""

REPEATED = "kimi_repeated"
"""The key of `response_metadata` with the usage of earlier attempts at the same request, of which the host began to
respond and no content arrived."""

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


def cost_of(usage: UsageMetadata | None, model: str, currency: Literal["usd", "cny"] = "usd") -> float | None:
    """The cost of `usage` with `model` at list price, in US dollars or yuan; None where usage or price is unknown.

    Cache writes count at the five-minute price where the model bills them.
    """
    row = find(model)
    price = getattr(row, currency) if row else None
    if usage is None or price is None:
        return None
    details = usage.get("input_token_details", {})
    cached, written = details.get("cache_read") or 0, details.get("cache_creation") or 0
    missed = usage["input_tokens"] - cached - written
    write_price = price.miss if price.write_5m is None else price.write_5m
    cost = missed * price.miss + cached * price.hit + written * write_price + usage["output_tokens"] * price.output
    return float(cost / MILLION)


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
    def on(cls, usage: UsageMetadata | None, model: str) -> Self:
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
    def of(cls, answer: AIMessage, model: str) -> "Usage":
        """The usage of an answer and of earlier attempts at it. `model`: the model's name where the answer has none."""
        metadata = answer.response_metadata
        name = str(metadata.get("model_name") or model)
        attempts = [answer.usage_metadata, *metadata.get(REPEATED, ())]
        return sum((cls.on(usage, name) for usage in attempts), Usage())

    @classmethod
    def fee(cls, usd: float | None) -> Self:
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
            _sum(self.cost_usd, other.cost_usd),
            _sum(self.fees_usd, other.fees_usd),
        )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


class RunKey(NamedTuple):
    """What a sum belongs to: the id of the outermost run and, inside a graph, the names of the agent and the node."""

    root: UUID
    agent: str | None = None
    node: str | None = None


class UsageMeter(BaseCallbackHandler):
    """A callback handler that sums the usage of all models below it: `config={"callbacks": [meter]}`.

    It counts the responses to agents, sub-agents, retries and internal calls, and the fees of tools that Kimi runs, in
    synchronous and asynchronous runs. Threads may share one meter. Of a response that broke off, the prompt counts as
    Kimi's headers report it and the output as estimated from what arrived; without these headers its cost is unknown.
    A refused request and an answer from LangChain's cache do not count. Each outermost run adds entries to `by_run` for
    the lifetime of the meter.
    """

    run_inline = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._roots: dict[UUID, UUID] = {}
        self._open_requests: dict[UUID, tuple[RunKey, str]] = {}
        self._by_run: dict[tuple[RunKey, str], Usage] = {}

    def __repr__(self) -> str:
        return f"UsageMeter({self.total})"

    @property
    def total(self) -> Usage:
        """The sum of everything."""
        return sum(self._sums(lambda run, model: None).values(), Usage())

    @property
    def by_model(self) -> dict[str, Usage]:
        """The sums per model id, as the answers name it; fees stand under the tool's name."""
        return self._sums(lambda run, model: model)

    @property
    def by_agent(self) -> dict[str | None, Usage]:
        """The sums per agent, by its name; None stands for requests outside of agents."""
        return self._sums(lambda run, model: run.agent)

    @property
    def by_agent_and_model(self) -> dict[tuple[str | None, str], Usage]:
        """The sums per agent and model id."""
        return self._sums(lambda run, model: (run.agent, model))

    @property
    def by_run(self) -> dict[RunKey, Usage]:
        """The sums per outermost run, agent and node."""
        return self._sums(lambda run, model: run)

    def _sums(self, key: Callable[[RunKey, str], _Key]) -> dict[_Key, Usage]:
        with self._lock:
            parts = list(self._by_run.items())
        sums: dict[_Key, Usage] = {}
        for (run, model), spent in parts:
            own = key(run, model)
            sums[own] = sums.get(own, Usage()) + spent
        return sums

    # LangChain's callbacks.

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A run began, maybe inside another."""
        self._begin(run_id, kwargs.get("parent_run_id"))

    def on_tool_start(self, serialized: Any, input_str: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool began; a model in it belongs to the run that the tool is in."""
        self._begin(run_id, kwargs.get("parent_run_id"))

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A request to a model begins."""
        root, metadata = self._begin(run_id, kwargs.get("parent_run_id")), kwargs.get("metadata") or {}
        run = RunKey(root, metadata.get("lc_agent_name"), metadata.get("langgraph_node"))
        with self._lock:
            self._open_requests[run_id] = run, str(metadata.get("ls_model_name") or "unknown")

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A model responded."""
        self._count(run_id, _billed_answers(response))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A request failed: the answer that the error carries counts, else what had arrived.

        A response that broke off before any usage arrived counts as a request of unknown cost.
        """
        carried = getattr(error, "message", None)
        arrived = [carried] if isinstance(carried, AIMessage) else _billed_answers(kwargs.get("response"))
        unknown = [AIMessage("")] if getattr(error, "broke_off", False) else []
        self._count(run_id, arrived or unknown)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A run ended."""
        self._end(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A run failed."""
        self._end(run_id)

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool that Kimi runs reports its fee."""
        if name == FEE:
            metadata = kwargs.get("metadata") or {}
            with self._lock:
                root = self._roots.get(run_id, run_id)
                run = RunKey(root, metadata.get("lc_agent_name"), metadata.get("langgraph_node"))
                tool = str(data["tool"])
                self._by_run[run, tool] = self._by_run.get((run, tool), Usage()) + Usage.fee(data["usd"])

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool ended."""
        self._end(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool failed."""
        self._end(run_id)

    def _begin(self, run_id: UUID, parent: UUID | None) -> UUID:
        """The outermost run that this one is in, as far as the meter knows."""
        with self._lock:
            root = run_id if parent is None else self._roots.get(parent, parent)
            self._roots[run_id] = root
        return root

    def _end(self, run_id: UUID) -> None:
        with self._lock:
            self._roots.pop(run_id, None)

    def _count(self, run_id: UUID, answers: list[AIMessage]) -> None:
        self._end(run_id)
        with self._lock:
            run, requested_model = self._open_requests.pop(run_id, (RunKey(run_id), "unknown"))
            for answer in answers:
                model = str(answer.response_metadata.get("model_name") or requested_model)
                spent = Usage.of(answer, requested_model)
                self._by_run[run, model] = self._by_run.get((run, model), Usage()) + spent


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


def _billed_answers(result: LLMResult | None) -> list[AIMessage]:
    """The answers with usage of their own: all answers to one prompt share the usage of one request."""
    firsts = [answer for answers in answers_by_prompt(result) for answer in answers[:1]]
    return [answer for answer in firsts if not is_from_cache(answer)]


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
