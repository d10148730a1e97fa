"""Agents whose threads outgrow the model's window, on the wire."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from langchain_kimi import Compaction, create_kimi_agent
from langchain_kimi.errors import ContextOverflowError
from langchain_kimi.testing import Reply, Request, called, refused, said, thought
from tests.agent.compaction.helpers import stream_agent
from tests.conftest import PAIRED, SYNC_AND_ASYNC, Serve, kimi

pytestmark = pytest.mark.slow

ASK: Any = {"messages": [("user", "Read the book.")]}
SMALL = Compaction(window=10_000, reserve=1_000, keep_results=2)
PAGES = 20


@tool
def page(number: int) -> str:
    """A page of the book."""
    return f"PAGE {number}: " + f"word{number} " * 400


def is_summary_request(request: Request) -> bool:
    return "tools" not in request.json


def reader(last_page: int = PAGES) -> Callable[[Request], Reply]:
    """Reads page after page, as far as its own thoughts tell, then says what it saw; writes a summary on request."""

    def script(request: Request) -> Reply:
        if is_summary_request(request):
            return said("SUMMARY: so far only words.")
        calls = [call for message in request.messages for call in message.get("tool_calls", ())]
        numbers = [int(call["function"]["arguments"].partition(":")[2].strip(" }")) for call in calls]
        following = max(numbers, default=0) + 1
        if following > last_page or request.json.get("tool_choice") == "none":
            return said("The end.", thinking="That was all.")
        return thought(f"Now page {following}.").calling("page", number=following)

    return script


@SYNC_AND_ASYNC
async def test_one_long_turn_stays_under_the_window_and_keeps_its_question(serve: Serve, way: str) -> None:
    server = serve(reader())
    agent = create_kimi_agent(kimi(server), [page], compaction=SMALL, checkpointer=InMemorySaver())
    state, events = await stream_agent(agent, way, ASK)
    assert state["messages"][-1].text == "The end."
    assert set(server.statuses) == {200}
    requests = [request for request in server.requests if not is_summary_request(request)]
    assert len(requests) == PAGES + 1
    assert max(len(request.body) for request in requests) < 10_000 * 4
    assert all(request.messages[0] == {"role": "user", "content": "Read the book."} for request in requests)
    compactions = [event for event in events if event["event"] == "compaction"]
    assert compactions
    assert all(part["after"] < part["before"] for part in compactions)
    assert state["spent"]["requests"] == len(server.requests)
    again, _ = await stream_agent(agent, way, {"messages": [("user", "And now?")]})
    assert again["messages"][-1].text == "The end."
    assert set(server.statuses) == {200}


@SYNC_AND_ASYNC
async def test_without_compaction_nothing_is_removed(serve: Serve, way: str) -> None:
    server = serve(reader())
    state, events = await stream_agent(create_kimi_agent(kimi(server), [page], compaction=None), way, ASK)
    assert len([message for message in state["messages"] if isinstance(message, ToolMessage)]) == PAGES
    assert not [event for event in events if event["event"] == "compaction"]


OVERFLOW = "Invalid request: Your request exceeded model token limit: 262144 (requested: 274613)"


@SYNC_AND_ASYNC
async def test_a_thread_is_compacted_and_the_request_sent_again_after_a_refusal_as_too_long(
    serve: Serve, way: str
) -> None:
    refusals = iter([True])

    def script(request: Request) -> Reply:
        if not is_summary_request(request) and len(request.messages) > 20 and next(refusals, False):
            return refused(400, "invalid_request_error", OVERFLOW)
        return reader()(request)

    server = serve(script)
    state, events = await stream_agent(create_kimi_agent(kimi(server), [page]), way, ASK)
    assert state["messages"][-1].text == "The end."
    assert len([event for event in events if event["event"] == "compaction"]) == 1
    refusal = server.statuses.index(400)
    retried = next(request for request in server.requests[refusal + 1 :] if not is_summary_request(request))
    assert len(retried.body) < len(server.requests[refusal].body)


@SYNC_AND_ASYNC
async def test_a_thread_surely_longer_than_the_window_is_compacted_before_the_request_is_sent(
    serve: Serve, way: str
) -> None:
    """The agent believes in a larger window than the model has."""
    server = serve(reader())
    context = Compaction(window=4_000_000, keep_results=2)
    agent = create_kimi_agent(kimi(server), [page], compaction=context, checkpointer=InMemorySaver())
    earlier: list[Any] = []
    for number in range(10):
        earlier += [("user", "xxxxx" * 45_000), ("assistant", f"Read {number}.")]
    state, events = await stream_agent(agent, way, {"messages": [*earlier, ("user", "Read the book.")]})
    assert state["messages"][-1].text == "The end."
    assert len([event for event in events if event["event"] == "compaction"]) == 1
    assert set(server.statuses) == {200}


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize("removable", [True, False])
@pytest.mark.filterwarnings("ignore:The prompt is about", "ignore:.*The request is sent again")
async def test_a_thread_is_compacted_before_the_output_cap_is_less_than_an_answer_needs(
    serve: Serve, way: str, removable: bool
) -> None:
    server = serve(reader(3))
    context = Compaction(window=4_000_000, keep_results=2)
    agent = create_kimi_agent(kimi(server, max_retries=None), [page], compaction=context, checkpointer=InMemorySaver())
    earlier: list[Any] = [("user", "xxxxx" * 200_000), ("assistant", "Read.")] if removable else []
    last = "xxxxx" * (1_000 if removable else 200_000)
    state, events = await stream_agent(agent, way, {"messages": [*earlier, ("user", last)]})
    assert state["messages"][-1].text == "The end."
    caps = [request.json["max_completion_tokens"] for request in server.requests if not is_summary_request(request)]
    assert caps[0] == 16_000
    compaction = next(event for event in events if event["event"] == "compaction")
    assert (compaction["after"] < compaction["before"]) == removable
    assert caps[1] == (32_768 if removable else 16_000)
    assert removable or 4_096 < caps[2] < 16_000


@SYNC_AND_ASYNC
async def test_a_request_that_stays_too_long_is_an_error(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        if not is_summary_request(request) and len(request.messages) > 8:
            return refused(400, "invalid_request_error", OVERFLOW)
        return reader()(request)

    with pytest.raises(ContextOverflowError):
        await stream_agent(
            create_kimi_agent(kimi(serve(script)), [page], compaction=Compaction(keep_results=20)), way, ASK
        )


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize("rounds", [3, 40])
async def test_a_host_that_refuses_everything_as_too_long_gets_five_requests(
    serve: Serve, way: str, rounds: int
) -> None:
    """The request, three tries of a summary, each half as long, and the request of the shorter thread."""
    healthy = True

    def script(request: Request) -> Reply:
        return reader(rounds)(request) if healthy else refused(400, "invalid_request_error", OVERFLOW)

    server = serve(script)
    agent = create_kimi_agent(kimi(server), [page], checkpointer=InMemorySaver())
    await stream_agent(agent, way, ASK)
    healthy, before = False, len(server.requests)
    for turn in (1, 2):
        with pytest.raises(ContextOverflowError):
            await stream_agent(agent, way, {"messages": [("user", "And now?")]})
        assert len(server.requests) - before <= 5 * turn


@SYNC_AND_ASYNC
async def test_removed_messages_are_archived_and_recalled(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        if request.last.get("content") == "What was on page 2?":
            return called("recall", query="word2")
        if request.last.get("tool_call_id", "").startswith("recall"):
            return said("I found it again.")
        return reader()(request)

    server, store = serve(script), InMemoryStore()
    context = Compaction(window=10_000, reserve=1_000, keep_results=2, archive=True)
    agent = create_kimi_agent(kimi(server), [page], compaction=context, store=store, checkpointer=InMemorySaver())
    state, _ = await stream_agent(agent, way, ASK)
    assert state["messages"][-1].text == "The end."
    state, _ = await stream_agent(agent, way, {"messages": [("user", "What was on page 2?")]})
    recalled = [str(m.content) for m in state["messages"] if isinstance(m, ToolMessage) and m.name == "recall"]
    assert "word2 word2" in recalled[-1]
    assert {item.namespace for item in store.search(("kimi_agent",))} == {("kimi_agent", "t1", "archive")}
    assert set(server.statuses) == {200}
