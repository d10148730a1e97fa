"""Results that are longer than the model's window: whole in the state, an excerpt in requests, the same every time."""

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.memory import InMemoryStore

from langchain_kimi import Compaction, KimiWarning, TeamMember, create_kimi_agent, create_kimi_team, tokens
from langchain_kimi.testing import Reply, Request, refused, said, thought
from tests.agent.compaction.helpers import stream_agent
from tests.conftest import Serve, kimi

ASK: Any = {"messages": [("user", "Read it.")]}
TWO_WAYS = pytest.mark.parametrize("way", ["stream", "astream"])
WINDOW, RESERVE = 262_144, 32_768
HUGE = "".join(f"line {at} of the log\\n" for at in range(250_000))[:5_000_000]


@tool
def read(size: int) -> str:
    """Read so many characters of the log."""
    return HUGE[:size]


@tool
def read_blocks(size: int) -> list[Any]:
    """Read the log in parts."""
    return [{"type": "text", "text": HUGE[:size]}, {"type": "text", "text": "the end"}]


def reader(*sizes: int, name: str = "read") -> Callable[[Request], Reply]:
    def script(request: Request) -> Reply:
        done = sum(message["role"] == "tool" for message in request.messages)
        return thought("On.").calling(name, size=sizes[done]) if done < len(sizes) else said("Read.")

    return script


def results(state: dict[str, Any]) -> list[str]:
    return [message.text for message in state["messages"] if isinstance(message, ToolMessage)]


@TWO_WAYS
async def test_a_huge_result_is_whole_in_the_state_and_an_excerpt_on_the_wire(serve: Serve, way: str) -> None:
    server = serve(reader(5_000_000, 100, 100, 100))
    agent = create_kimi_agent(kimi(server), [read])
    with pytest.warns(KimiWarning, match="A result of 'read' with 5,000,000 characters does not fit") as caught:
        state, events = await stream_agent(agent, way, ASK)
    assert len([one for one in caught if "does not fit" in str(one.message)]) == 1
    assert results(state)[0] == HUGE
    assert state["messages"][-1].text == "Read."
    assert set(server.statuses) == {200}
    shown = server.requests[1].tool_results()[0]["content"]
    limit = WINDOW - RESERVE
    assert 0.6 * limit < tokens.count_text(shown) < 0.7 * limit
    assert shown.startswith(HUGE[:100_000])
    assert shown.endswith(HUGE[-100_000:])
    assert "of 5,000,000 characters are not shown here, because the whole result does not fit into your window" in shown
    (event,) = [event for event in events if event["event"] == "result_excerpt"]
    assert (event["name"], event["characters"]) == ("read", 5_000_000)
    assert event["shown"] == pytest.approx(len(shown), rel=0.001)
    for before, after in pairwise(server.requests):  # the same excerpt in every request
        assert after.messages[: len(before.messages)] == before.messages


@TWO_WAYS
async def test_a_result_that_fits_is_sent_whole(serve: Serve, way: str) -> None:
    server = serve(reader(550_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error", KimiWarning)
        state, events = await stream_agent(create_kimi_agent(kimi(server), [read]), way, ASK)
    assert server.requests[1].tool_results()[0]["content"] == results(state)[0] == HUGE[:550_000]
    assert not [event for event in events if event["event"] == "result_excerpt"]


@TWO_WAYS
@pytest.mark.filterwarnings("ignore:A result of")
async def test_the_longest_of_several_results_are_shortened_and_blocks_stay_blocks(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        if request.tool_results():
            return said("Read.")
        calls = thought("All.").calling("read", size=5_000_000).calling("read_blocks", size=3_000_000)
        return calls.calling("read", size=50_000)

    server = serve(script)
    state, _ = await stream_agent(create_kimi_agent(kimi(server), [read, read_blocks]), way, ASK)
    first, blocks, small = (result["content"] for result in server.requests[1].tool_results())
    assert small == HUGE[:50_000]
    assert len(first) == pytest.approx(len(str(blocks)), rel=0.3)
    assert "the end" in str(blocks)
    assert [len(text) for text in results(state)] == [5_000_000, 3_000_007, 50_000]
    assert set(server.statuses) == {200}


@pytest.mark.filterwarnings("ignore:A result of")
async def test_the_thread_keeps_the_excerpt(serve: Serve, tmp_path: Any) -> None:
    server = serve(reader(5_000_000))
    for turn in range(2):
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "t.sqlite")) as saver:
            agent = create_kimi_agent(kimi(server), [read], checkpointer=saver)
            state, events = await stream_agent(agent, "astream", ASK if not turn else {"messages": [("user", "And?")]})
            assert len([event for event in events if event["event"] == "result_excerpt"]) == 1 - turn
    assert results(state) == [HUGE]
    for before, after in pairwise(server.requests):
        assert after.messages[: len(before.messages)] == before.messages


@TWO_WAYS
@pytest.mark.filterwarnings("ignore:A result of")
async def test_in_a_team_each_member_sees_the_excerpt(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        if any(tool["function"]["name"] == "transfer_to_b" for tool in request.json["tools"]):
            if request.tool_results():
                return thought("Hand on.").calling("transfer_to_b")
            return thought("On.").calling("read", size=5_000_000)
        return said("Read.")

    server = serve(script)
    members = [TeamMember(name="a", model=kimi(server), tools=[read]), TeamMember(name="b", model=kimi(server))]
    state, _ = await stream_agent(create_kimi_team(members), way, ASK)
    assert state["messages"][-1].text == "Read."
    assert results(state)[0] == HUGE
    assert "are not shown here" in str(server.requests[-1].messages)
    assert set(server.statuses) == {200}


@TWO_WAYS
@pytest.mark.filterwarnings("ignore:A result of")
async def test_with_an_archive_the_excerpt_names_its_key(serve: Serve, way: str) -> None:
    server, store = serve(reader(5_000_000)), InMemoryStore()
    agent = create_kimi_agent(kimi(server), [read], compaction=Compaction(archive=True), store=store)
    await stream_agent(agent, way, ASK)
    shown = server.requests[1].tool_results()[0]["content"]
    (item,) = store.search(("kimi_agent",))
    assert f'recall(key="{item.key}") gives more' in shown
    assert item.value["text"] == HUGE


@TWO_WAYS
@pytest.mark.filterwarnings("ignore:A result of")
async def test_a_host_with_a_smaller_window_gets_a_shorter_excerpt(serve: Serve, way: str) -> None:
    """It says its limit when it refuses the request."""

    def script(request: Request) -> Reply:
        if len(request.body) > 400_000:
            return refused(400, "invalid_request_error", "exceeded model token limit: 100000 (requested: 250000)")
        return reader(450_000)(request)

    server = serve(script)
    state, _ = await stream_agent(create_kimi_agent(kimi(server), [read]), way, ASK)
    assert server.statuses == [200, 400, 200]
    assert results(state)[0] == HUGE[:450_000]
