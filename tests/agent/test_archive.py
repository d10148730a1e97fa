"""What a compaction takes out is in the store, under its own thread, and the model can fetch it back."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import PostgresStore
from langgraph.store.sqlite import SqliteStore

from langchain_kimi import create_kimi_agent
from langchain_kimi.agent.compaction.archive import namespace_of, recall_tool
from langchain_kimi.agent.compaction.compactor import Compaction, Compactor
from langchain_kimi.testing import called, said
from tests.agent.test_context import (
    SMALL,
    THREAD,
    compacted,
    done,
    exchange,
    many_turns,
    of,
    one_turn,
    summariser,
)
from tests.conftest import SYNC_AND_ASYNC, Serve, kimi
from tests.services import fresh_schema, no_postgres

KEPT = Compaction(archive=True, keep_results=2, result_tokens=100, **SMALL)


class Broken(InMemoryStore):
    """A store that is down."""

    def batch(self, ops: Any) -> Any:
        raise ConnectionError("the store is down")

    async def abatch(self, ops: Any) -> Any:
        raise ConnectionError("the store is down")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore]:
    if request.param == "memory":
        yield InMemoryStore()
        return
    if request.param == "postgres":
        if reason := no_postgres():
            pytest.skip(reason)
        with fresh_schema() as conninfo, PostgresStore.from_conn_string(conninfo) as kept:
            kept.setup()
            yield kept
        return
    with SqliteStore.from_conn_string(str(tmp_path / "store.db")) as opened:
        opened.setup()
        yield opened


def values(store: BaseStore, thread: str = "t1") -> dict[str, dict[str, Any]]:
    return {item.key: item.value for item in store.search(namespace_of(thread), limit=1_000)}


@SYNC_AND_ASYNC
async def test_everything_that_goes_is_kept(way: str) -> None:
    store = InMemoryStore()
    messages = [*many_turns(20, 2_000, thinking=40), *exchange(90), *exchange(91)]
    outcome = await compacted(way, Compactor(KEPT, of("kimi-k2.6")), messages, store=store)
    assert {"dropped_reasoning", "shortened_results"} <= set(done(outcome))
    kept = values(store)
    assert set(kept) == set(outcome.archived)
    json.dumps(kept)
    stay = {message.id: message for message in outcome.messages}
    for message in messages:
        if isinstance(message, ToolMessage) and stay.get(message.id) is not message:
            entry = kept[message.id or ""]
            assert entry["text"] == message.content
            assert (entry["role"], entry["name"], entry["call_id"]) == ("tool", "add", message.tool_call_id)
        if isinstance(message, AIMessage) and message.tool_calls and stay.get(message.id) is not message:
            assert kept[f"{message.id}-thinking"]["reasoning"] == "t" * 40
    assert kept["a3-thinking"]["turn"] == 4
    assert kept["a3-thinking"]["thread"] == "t1"


def test_removed_messages_are_kept_with_their_calls() -> None:
    store = InMemoryStore()
    outcome = Compactor(KEPT, summariser(), [recall_tool()]).compact(many_turns(60, 200), config=THREAD, store=store)
    kept = values(store)
    assert kept["u0"] == {"thread": "t1", "turn": 1, "role": "user", "text": "Add number 0."}
    assert kept["a0"]["calls"] == [{"id": "add:0:0", "name": "add", "arguments": '{"a":0,"b":0}'}]
    assert kept["f0"]["text"] == "Sum 0."
    assert "tool `recall`" in outcome.messages[0].text


def test_compacting_again_writes_the_same_entries_and_never_the_shortened_text() -> None:
    store = InMemoryStore()
    compactor = Compactor(KEPT, summariser(), [recall_tool()])
    messages = one_turn(30, 2_000)
    first = compactor.compact(messages, config=THREAD, store=store)
    before = values(store)
    assert compactor.compact(messages, config=THREAD, store=store).archived == first.archived
    assert values(store) == before
    cut = [message for message in first.messages if "left out" in message.text]
    assert cut
    assert all(f'recall(key="{message.id}") gives all of it' in message.text for message in cut)
    later = [*first.messages, *(message for at in range(50, 90) for message in exchange(at, 700))]
    second = compactor.compact(later, config=THREAD, store=store)
    assert "summarised" in done(second)
    after = values(store)
    assert all(after[key] == value for key, value in before.items())
    assert not any("left out" in value["text"] for value in after.values())
    third = compactor.compact(
        [*second.messages, *(message for at in range(90, 140) for message in exchange(at, 700))],
        config=THREAD,
        store=store,
    )
    assert "summarised" in done(third)
    assert not any("summary of the earlier" in value["text"] for value in values(store).values())


def test_turns_are_counted_on_across_compactions() -> None:
    store = InMemoryStore()
    compactor = Compactor(KEPT, summariser())
    first = compactor.compact(many_turns(60, 200), config=THREAD, store=store)
    thread = [*first.messages, AIMessage("Done.", id="end"), *_renamed(many_turns(60, 200))]
    compactor.compact(thread, config=THREAD, store=store)
    kept = values(store)
    assert kept["u0"]["turn"] == 1
    assert kept["x-u0"]["turn"] == 62


def _renamed(messages: list[Any]) -> list[Any]:
    return [message.model_copy(update={"id": f"x-{message.id}"}) for message in messages]


@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"config": {}, "store": InMemoryStore()}, "no thread_id"),
        ({}, "no store"),
        ({"store": Broken()}, "the store is down"),
    ],
    ids=["no thread", "no store", "broken"],
)
async def test_an_archive_that_cannot_be_written_is_told_and_nothing_claims_to_be_in_it(
    way: str, more: Any, why: str
) -> None:
    outcome = await compacted(way, Compactor(KEPT, summariser(), [recall_tool()]), one_turn(30, 2_000), **more)
    assert done(outcome)[0] == "not_archived"
    assert why in outcome.steps[0].why
    assert outcome.archived == []
    assert any("left out" in message.text for message in outcome.messages)
    assert not any("recall" in message.text for message in outcome.messages)


# The tool.


async def recalled(serve: Serve, way: str, store: BaseStore | None, thread: str = "t1", **args: Any) -> str:
    """What the tool gives to a model that calls it, in an agent."""
    server = serve([called("recall", **args), said("done")])
    agent = create_kimi_agent(kimi(server), [recall_tool()], store=store)
    config: Any = {"configurable": {"thread_id": thread} if thread else {}}
    ask: Any = {"messages": [("user", "go")]}
    if way == "sync":
        state = await asyncio.to_thread(agent.invoke, ask, config)
    else:
        state = await agent.ainvoke(ask, config)
    declared = server.requests[0].json["tools"][0]["function"]
    assert set(declared["parameters"]["properties"]) == {"query", "key", "limit"}
    result = state["messages"][2]
    assert result.status == "success"
    return str(result.content)


def filled(store: BaseStore, thread: str = "t1") -> None:
    config: Any = {"configurable": {"thread_id": thread}}
    messages = many_turns(60, 200)
    messages[2] = messages[2].model_copy(update={"content": f"The harbour of {thread} opens at noon. " + "x" * 200})
    Compactor(KEPT, summariser()).compact(messages, config=config, store=store)


@SYNC_AND_ASYNC
async def test_the_model_finds_by_words_what_was_taken_out(serve: Serve, way: str) -> None:
    store = InMemoryStore()
    filled(store)
    text = await recalled(serve, way, store, query="Harbour noon", limit=3)
    assert text.startswith("[key r0:0, user turn 1] result of add:\nThe harbour of t1 opens at noon.")
    assert "xxx" in text
    assert "Nothing" in await recalled(serve, way, store, query="zeppelin")
    assert await recalled(serve, way, store, key="u0") == "[key u0, user turn 1] user:\nAdd number 0."
    assert "has the key 'u999'" in await recalled(serve, way, store, key="u999")
    assert (await recalled(serve, way, store, limit=4)).count("[key ") == 4


@SYNC_AND_ASYNC
async def test_a_store_with_an_index_is_searched_by_it(serve: Serve, way: str) -> None:
    store = InMemoryStore(index={"embed": DeterministicFakeEmbedding(size=16), "dims": 16, "fields": ["text"]})
    filled(store)
    exactly = store.get(namespace_of("t1"), "f0")
    assert exactly
    text = await recalled(serve, way, store, query=exactly.value["text"], limit=1)
    assert text == "[key f0, user turn 1] assistant:\nSum 0."


def test_no_thread_sees_another_ones_archive(serve: Serve, store: BaseStore) -> None:
    threads = ["a_b", "aXb", "a", "a.b", "a~db", "%", "a%"]
    for thread in threads:
        filled(store, thread)
    for thread in threads:
        text = asyncio.run(recalled(serve, "sync", store, thread, query="harbour", limit=20))
        assert text.count("harbour") == 1
        assert f"The harbour of {thread} opens" in text
    assert "Nothing" in asyncio.run(recalled(serve, "sync", store, "other", query="harbour"))
    assert "Nothing" in asyncio.run(recalled(serve, "sync", store, "a%b", key="r0:0"))


@SYNC_AND_ASYNC
async def test_where_there_is_no_archive_the_model_is_told_so(serve: Serve, way: str) -> None:
    assert "There is no archive here" in await recalled(serve, way, None)
    assert "There is no archive here" in await recalled(serve, way, InMemoryStore(), thread="")
    assert "Nothing in the archive" in await recalled(serve, way, InMemoryStore())


@SYNC_AND_ASYNC
async def test_what_comes_back_is_bounded(serve: Serve, way: str) -> None:
    store = InMemoryStore()
    for at in range(30):
        value = {"thread": "t1", "turn": at, "role": "tool", "name": "f", "text": f"{at} " + "w" * 90_000}
        store.put(namespace_of("t1"), f"k{at}", value)
    many = await recalled(serve, way, store, query="w", limit=500)
    assert many.count("[key ") == 20
    assert len(many) < 30_000
    one = await recalled(serve, way, store, key="k3")
    assert 20_000 < len(one) < 30_000
    assert "characters left out" in one


def test_the_tool_has_both_ways_and_its_name() -> None:
    made = recall_tool()
    assert isinstance(made, BaseTool)
    assert made.name == "recall"


def test_an_archive_of_many_entries_is_looked_through_whole(serve: Serve) -> None:
    store = InMemoryStore()
    for at in range(450):
        word = "needle" if at == 449 else "hay"
        store.put(namespace_of("t1"), f"k{at}", {"thread": "t1", "turn": at, "role": "user", "text": f"{word} {at}"})
    text = asyncio.run(recalled(serve, "sync", store, query="needle"))
    assert text == "[key k449, user turn 449] user:\nneedle 449"
