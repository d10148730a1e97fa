"""The `recall` tool: an agent with `Compaction(archive=True)` has it, and finds only what its own thread archived."""

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from langchain_kimi import Compaction, KimiState, TeamMember, agent_as_tool, create_kimi_agent, create_kimi_team
from langchain_kimi.agent.compaction.archive import archive_namespace
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said
from tests.agent.compaction.helpers import archive_facts, run_agent
from tests.conftest import FOUR_WAYS, PAIRED, TWO_OF_FOUR_WAYS, Serve, add, kimi

ARCHIVE = Compaction(archive=True)


@tool
def look(at: str) -> str:
    """Look at something."""
    return f"{at} is there"


class ToolResults(BaseCallbackHandler):
    """Collects the results of all tools, those of sub-agents included."""

    def __init__(self, results: list[str]) -> None:
        self._results = results

    def on_tool_end(self, output: Any, **about: Any) -> None:
        self._results.append(str(output.content))


async def recalled(serve: Serve, way: str, store: BaseStore, thread: str = "t1", **args: Any) -> str:
    """The result of the tool for a model that calls it, in an agent."""
    server = serve([called("recall", **args), said("done")])
    agent = create_kimi_agent(kimi(server), compaction=ARCHIVE, store=store)
    config: Any = {"configurable": {"thread_id": thread} if thread else {}}
    state = await run_agent(agent, way, {"messages": [("user", "go")]}, config)
    (declared,) = server.requests[0].json["tools"]
    assert declared["function"]["name"] == "recall"
    assert set(declared["function"]["parameters"]["properties"]) == {"query", "key", "limit"}
    result = state["messages"][2]
    assert result.status == "success"
    return str(result.content)


@TWO_OF_FOUR_WAYS
async def test_the_model_finds_removed_messages_by_words(serve: Serve, way: str) -> None:
    store = InMemoryStore()
    archive_facts(store)
    text = await recalled(serve, way, store, query="Harbour noon", limit=3)
    assert text.startswith("[key r0:0, user turn 1] result of add:\nThe harbour of t1 opens at noon.")
    assert "xxx" in text
    assert "Nothing" in await recalled(serve, way, store, query="zeppelin")
    assert await recalled(serve, way, store, key="u0") == "[key u0, user turn 1] user:\nAdd number 0."
    assert "has the key 'u999'" in await recalled(serve, way, store, key="u999")
    assert (await recalled(serve, way, store, limit=4)).count("[key ") == 4


@TWO_OF_FOUR_WAYS
async def test_a_store_with_an_index_is_searched_by_it(serve: Serve, way: str) -> None:
    store = InMemoryStore(index={"embed": DeterministicFakeEmbedding(size=16), "dims": 16, "fields": ["text"]})
    archive_facts(store)
    exactly = store.get(archive_namespace("t1"), "f0")
    assert exactly
    text = await recalled(serve, way, store, query=exactly.value["text"], limit=1)
    assert text == "[key f0, user turn 1] assistant:\nSum 0."


def test_no_thread_sees_the_archive_of_another(serve: Serve, store: BaseStore) -> None:
    threads = ["a_b", "aXb", "a", "a.b", "a~db", "%", "a%"]
    for thread in threads:
        archive_facts(store, thread)
    for thread in threads:
        text = asyncio.run(recalled(serve, "invoke", store, thread, query="harbour", limit=20))
        assert text.count("harbour") == 1
        assert f"The harbour of {thread} opens" in text
    assert "Nothing" in asyncio.run(recalled(serve, "invoke", store, "other", query="harbour"))
    assert "Nothing" in asyncio.run(recalled(serve, "invoke", store, "a%b", key="r0:0"))


@TWO_OF_FOUR_WAYS
async def test_a_model_without_an_archive_reads_why(serve: Serve, way: str) -> None:
    assert "There is no archive here" in await recalled(serve, way, InMemoryStore(), thread="")
    assert "Nothing in the archive" in await recalled(serve, way, InMemoryStore())


@TWO_OF_FOUR_WAYS
async def test_the_result_of_recall_has_a_limit(serve: Serve, way: str) -> None:
    store = InMemoryStore()
    for at in range(30):
        value = {"thread": "t1", "turn": at, "role": "tool", "name": "f", "text": f"{at} " + "w" * 90_000}
        store.put(archive_namespace("t1"), f"k{at}", value)
    many = await recalled(serve, way, store, query="w", limit=500)
    assert many.count("[key ") == 20
    assert len(many) < 30_000
    one = await recalled(serve, way, store, key="k3")
    assert 20_000 < len(one) < 30_000
    assert "characters left out" in one


def test_an_archive_of_many_entries_is_searched_completely(serve: Serve) -> None:
    store = InMemoryStore()
    for at in range(450):
        word = "needle" if at == 449 else "hay"
        store.put(
            archive_namespace("t1"), f"k{at}", {"thread": "t1", "turn": at, "role": "user", "text": f"{word} {at}"}
        )
    text = asyncio.run(recalled(serve, "invoke", store, query="needle"))
    assert text == "[key k449, user turn 449] user:\nneedle 449"


# The agent's tool.


@TWO_OF_FOUR_WAYS
async def test_a_run_without_a_store_is_an_error_before_any_request(serve: Serve, way: str) -> None:
    server = serve([])
    for agent in (
        create_kimi_agent(kimi(server), compaction=ARCHIVE),
        create_kimi_team([TeamMember(name="a", model=kimi(server))], compaction=ARCHIVE),
    ):
        with pytest.raises(ValueError, match=r"Compaction\(archive=True\) .* `store`"):
            await run_agent(agent, way, {"messages": [("user", "go")]})
    assert server.requests == []


@TWO_OF_FOUR_WAYS
async def test_the_store_may_come_from_a_graph_around_the_agent(serve: Serve, way: str) -> None:
    store = InMemoryStore()
    archive_facts(store)
    agent = create_kimi_agent(kimi(serve([called("recall", query="harbour"), said("At noon.")])), compaction=ARCHIVE)
    graph: Any = StateGraph(KimiState)
    graph.add_node("agent", agent)
    graph.add_edge(START, "agent")
    config = {"configurable": {"thread_id": "t1"}}
    state = await run_agent(graph.compile(store=store), way, {"messages": [("user", "When?")]}, config)
    assert "The harbour of t1 opens at noon." in state["messages"][2].text


@TWO_OF_FOUR_WAYS
async def test_each_member_of_a_team_can_recall(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        names = {tool["function"]["name"] for tool in request.json["tools"]}
        assert "recall" in names
        if "transfer_to_b" in names and not request.tool_results():
            return called("transfer_to_b")
        return said("At noon.") if "opens at noon" in str(request.messages) else called("recall", query="harbour")

    store, server = InMemoryStore(), serve(script)
    archive_facts(store)
    members = [TeamMember(name="a", model=kimi(server)), TeamMember(name="b", model=kimi(server), transfers_to=[])]
    team = create_kimi_team(members, compaction=ARCHIVE, store=store)
    state = await run_agent(team, way, {"messages": [("user", "go")]}, {"configurable": {"thread_id": "t1"}})
    assert state["messages"][-1].text == "At noon."
    assert state["messages"][-1].name == "b"


@TWO_OF_FOUR_WAYS
async def test_a_sub_agent_recalls_from_its_own_archive_only(serve: Serve, way: str) -> None:
    store = InMemoryStore()
    archive_facts(store)
    inner = create_kimi_agent(kimi(serve([called("recall", query="harbour"), said("Nothing.")])), compaction=ARCHIVE)
    results: list[str] = []
    tool_of_inner = agent_as_tool(inner, name="inner", description="Asks.")
    outer = create_kimi_agent(kimi(serve([called("inner", task="When?"), said("done")])), [tool_of_inner], store=store)
    config: Any = {"configurable": {"thread_id": "t1"}, "callbacks": [ToolResults(results)]}
    await run_agent(outer, way, {"messages": [("user", "go")]}, config)
    assert "Nothing in the archive of this conversation" in results[0]


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("takes_runtime", [False, True])
async def test_a_selection_of_tools_always_has_recall(serve: Serve, way: str, takes_runtime: bool) -> None:
    store = InMemoryStore()
    archive_facts(store)
    server = serve([called("recall", query="harbour"), said("At noon.")])
    select: Any = (lambda state, runtime: ["add"]) if takes_runtime else (lambda state: ["add"])
    agent = create_kimi_agent(kimi(server), [add, look], select_tools=select, compaction=ARCHIVE, store=store)
    state = await run_agent(agent, way, {"messages": [("user", "go")]}, {"configurable": {"thread_id": "t1"}})
    assert "opens at noon" in state["messages"][2].text
    shown = [[tool["function"]["name"] for tool in request.json["tools"]] for request in server.requests]
    assert shown == [["add", "recall"]] * 2


def test_a_tool_of_the_same_name_is_refused() -> None:
    @tool
    def recall(query: str) -> str:
        """Another tool."""
        return query

    model = FakeKimi([])
    with pytest.raises(ValueError, match=r"create_kimi_agent: the tool 'recall' .* Rename it"):
        create_kimi_agent(model, [recall], compaction=ARCHIVE)
    with pytest.raises(ValueError, match=r"TeamMember\('a'\): the tool 'recall' .* Rename it"):
        create_kimi_team([TeamMember(name="a", model=model, tools=[recall])], compaction=ARCHIVE)
    create_kimi_agent(model, [recall])


def test_an_agent_without_an_archive_has_no_such_tool(serve: Serve) -> None:
    server = serve([said("Hi.")])
    create_kimi_agent(kimi(server), [add], store=InMemoryStore()).invoke({"messages": [("user", "go")]})
    assert [tool["function"]["name"] for tool in server.requests[0].json["tools"]] == ["add"]
