"""Usage of responses on the wire, and their cost."""

from typing import Any

import pytest
from langchain_core.messages.ai import UsageMetadata
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import create_kimi_agent
from langchain_kimi._response import ResponseDecoder
from langchain_kimi.testing import garbage
from langchain_kimi.usage import Usage, cost_of, is_inconsistent, usage_metadata
from tests.conftest import Serve, kimi
from tests.response.helpers import event, read, sse, whole

PLAIN = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}


# What an answer used.


@pytest.mark.parametrize(
    ("wire", "cached", "written", "reasoning"),
    [
        ({}, 0, 0, 0),
        ({"cached_tokens": 60}, 60, 0, 0),
        ({"prompt_tokens_details": {"cached_tokens": 60}}, 60, 0, 0),
        ({"cached_tokens": 60, "prompt_tokens_details": {"cached_tokens": 60}}, 60, 0, 0),
        ({"cached_tokens": 60, "prompt_tokens_details": {"cached_tokens": 0}}, 60, 0, 0),
        ({"cached_tokens": 60, "prompt_tokens_details": None}, 60, 0, 0),
        ({"prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30}}, 60, 30, 0),
        ({"cached_tokens": 60, "cache_write_tokens": 30}, 60, 30, 0),
        ({"completion_tokens_details": {"reasoning_tokens": 20}}, 0, 0, 20),
        ({"completion_tokens_details": {"reasoning_tokens": 20.0}, "cached_tokens": None}, 0, 0, 20),
    ],
)
def test_details_are_read_wherever_they_are(wire: dict[str, Any], cached: int, written: int, reasoning: int) -> None:
    usage = usage_metadata(PLAIN | wire)
    assert usage is not None
    read_details, said_details = usage["input_token_details"], usage.get("output_token_details", {})
    found = (read_details["cache_read"], read_details.get("cache_creation", 0), said_details.get("reasoning", 0))
    assert found == (cached, written, reasoning)
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (100, 50, 150)
    assert not is_inconsistent(PLAIN | wire)


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"completion_tokens_details": {"reasoning_tokens": 51}}, (100, 0, 0, 50, 50)),
        ({"cached_tokens": 101}, (100, 100, 0, 50, 0)),
        ({"prompt_tokens_details": {"cached_tokens": 80, "cache_write_tokens": 30}}, (100, 80, 20, 50, 0)),
        ({"total_tokens": 151}, (100, 0, 0, 50, 0)),
        ({"total_tokens": 0}, (100, 0, 0, 50, 0)),
    ],
)
def test_numbers_that_contradict_each_other_are_clamped_and_flagged(wire: dict[str, Any], expected: Any) -> None:
    message = ResponseDecoder().decode_body({**whole({"content": "x"}, "stop"), "usage": PLAIN | wire})
    spent = Usage.of_response(message.usage_metadata, "kimi-k2.6")
    counts = (spent.input_tokens, spent.cached_tokens, spent.cache_write_tokens, spent.output_tokens)
    assert (*counts, spent.reasoning_tokens) == expected
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 150
    assert message.response_metadata["kimi_report"] == ["usage_inconsistent"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_number_that_no_checkpoint_can_hold_breaks_no_thread(serve: Serve, way: str) -> None:
    event = (
        b'{"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}], "usage": %s, "model": "y"}'
    )
    usage = b'{"prompt_tokens": 1e300, "completion_tokens": 99999999999999999999, "cached_tokens": -1e300}'
    agent = create_kimi_agent(kimi(serve(lambda request: garbage(event % usage))), checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    for _ in range(2):
        asked: Any = {"messages": [("user", "go")]}
        state = await agent.ainvoke(asked, config) if way == "ainvoke" else agent.invoke(asked, config)
    assert state["messages"][-1].text == "x"
    assert state["spent"]["requests"] == 2


@pytest.mark.parametrize("junk", [None, {}, "x", 7])
def test_no_usage_is_none(junk: Any) -> None:
    assert ResponseDecoder().decode_body({**whole({"content": "x"}, "stop"), "usage": junk}).usage_metadata is None


def test_the_last_usage_that_is_there_wins() -> None:
    growing = [
        event({"content": "x"}) | {"usage": PLAIN | {"completion_tokens": n, "total_tokens": 100 + n}} for n in (1, 2)
    ]
    last: dict[str, Any] = {"choices": [], "usage": None}
    usage = read([sse([*growing, event({}, "stop", usage=PLAIN), last])]).usage_metadata
    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"]) == (100, 50)


# What it costs.


def used(inputs: int, outputs: int, **details: int) -> UsageMetadata:
    return {
        "input_tokens": inputs,
        "output_tokens": outputs,
        "total_tokens": inputs + outputs,
        "input_token_details": details,  # type: ignore[typeddict-item]
    }


@pytest.mark.parametrize(
    ("usage", "model", "currency", "cost"),
    [
        (used(1_000_000, 0), "kimi-k2.6", "usd", 0.95),
        (used(1_000_000, 0, cache_read=1_000_000), "kimi-k2.6", "usd", 0.16),
        (used(0, 1_000_000), "kimi-k2.6", "usd", 4.0),
        (used(1_000_000, 1_000_000, cache_read=500_000), "kimi-k2.6", "cny", 0.55 + 3.25 + 27),
        (used(1_000_000, 0, cache_creation=1_000_000), "kimi-k3", "usd", 3.0),
        (used(1_000_000, 0, cache_creation=1_000_000), "kimi-k2.6", "usd", 0.95),
        (used(1_000_000, 0, cache_read=200_000, cache_creation=300_000), "kimi-k3", "cny", 0.4 + 6 + 10),
        (used(1_000_000, 0), "moonshotai/Kimi-K2-Thinking", "usd", 0.6),
        (used(0, 0), "kimi-k3", "usd", 0.0),
        (used(1, 1), "gpt-9", "usd", None),
        (used(1, 1), "kimi-latest", "usd", None),
        (used(1, 1), "kimi-k3.1-pro", "cny", None),
        (None, "kimi-k3", "usd", None),
    ],
)
def test_cost(usage: UsageMetadata | None, model: str, currency: Any, cost: float | None) -> None:
    assert cost_of(usage, model, currency) == (None if cost is None else pytest.approx(cost))
