"""Cache breaks of recorded runs: of recordings made by hand, and of a thread that a fake of Kimi's cache answered."""

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import create_kimi_agent
from langchain_kimi._recorded_runs import read_thread
from langchain_kimi._recorded_runs.interactions import run_of_interactions
from langchain_kimi._recorded_runs.run_cache_breaks import cache_breaks_of
from langchain_kimi.testing import FakeKimi, said
from langchain_kimi.testing.cassettes import Interaction

LONG = "The quick brown fox jumps over the lazy dog. " * 60


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def interaction(texts: list[str], cached: int, read: int, **settings: Any) -> Interaction:
    """A request whose messages are, in turn, a user's and an assistant's, and its answer."""
    messages = [message(("user", "assistant")[at % 2], text) for at, text in enumerate(texts)]
    body = {"model": "kimi-k3", "messages": messages, **settings}
    usage = {"prompt_tokens": read, "completion_tokens": 5, "total_tokens": read + 5, "cached_tokens": cached}
    choice = {"index": 0, "finish_reason": "stop", "message": message("assistant", f"Answer {len(texts)}.")}
    answer = {"id": "x", "object": "chat.completion", "model": "kimi-k3", "choices": [choice], "usage": usage}
    request = {"method": "POST", "path": "/v1/chat/completions", "json": body}
    return Interaction(request, {"status": 200, "headers": {}, "json": answer})


def tools(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in names]


@pytest.mark.parametrize(
    ("cached", "second", "settings", "reason"),
    [
        (768, [LONG, "Answer 1.", LONG], {}, None),
        (0, [LONG, "Answer 1.", LONG], {"tools": tools("fetch", "search")}, "tools changed: +search"),
        (0, [LONG, "Answer 1.", LONG], {"reasoning_effort": "low"}, "other effort: low after the default"),
        (0, [LONG, "Answer 1.", LONG], {"model": "kimi-k2.6"}, "other model: kimi-k2.6 after kimi-k3"),
    ],
)
def test_breaks_of_a_recording(cached: int, second: list[str], settings: dict[str, Any], reason: str | None) -> None:
    first = interaction([LONG], 0, 900, tools=tools("fetch"))
    later = interaction(second, cached, 1_800, **{"tools": tools("fetch"), **settings})
    breaks = cache_breaks_of(run_of_interactions([first, later], "run"))
    assert [lost.reasons for lost in breaks] == ([] if reason is None else [(reason,)])
    assert all((lost.request, lost.tokens_again, lost.cached_tokens) == (2, 900, 0) for lost in breaks)


def test_edit_in_a_recording_is_named() -> None:
    texts = [LONG, "Answer 1.", LONG, "Answer 3.", "More. " + LONG]
    first, edited = interaction(texts, 0, 2_700), interaction(["Edited", *texts[1:], "Answer 5.", "And?"], 0, 2_000)
    (lost,) = cache_breaks_of(run_of_interactions([first, edited], "run"))
    assert lost.reasons == ("messages[0] changed",)
    assert 1_900 < lost.tokens_again < 2_000


def test_edit_of_a_thread_is_named() -> None:
    agent = create_kimi_agent(FakeKimi(lambda request: said(f"Answer {request.number}.")), checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    for number in range(3):
        agent.invoke({"messages": [("user", f"{number} {LONG}")]}, config)
    assert isinstance(agent.checkpointer, InMemorySaver)
    assert cache_breaks_of(read_thread(agent.checkpointer, "1")) == []
    first = agent.get_state(config).values["messages"][0]
    agent.update_state(config, {"messages": [HumanMessage("Edited. " + LONG, id=first.id)]})
    agent.invoke({"messages": [("user", "And?")]}, config)
    (lost,) = cache_breaks_of(read_thread(agent.checkpointer, "1"))
    assert lost.reasons == ("messages[0] changed",)
    assert lost.request == 4
    assert lost.tokens_again > 1_500
    assert lost.cost_usd == pytest.approx(lost.tokens_again * 2.7 / 1e6)
