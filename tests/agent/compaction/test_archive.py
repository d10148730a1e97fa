"""What a compaction takes out is in the store, under its own thread, and the model can fetch it back."""

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from langchain_kimi.agent.compaction.archive import archive_namespace, message_entry
from langchain_kimi.agent.compaction.compactor import Compactor
from tests.agent.compaction.helpers import (
    ARCHIVED,
    compact,
    compacted,
    exchange,
    kimi_model,
    many_turns,
    one_turn,
    step_names,
    summariser,
)
from tests.conftest import SYNC_AND_ASYNC


class Broken(InMemoryStore):
    """A store that is down."""

    def batch(self, ops: Any) -> Any:
        raise ConnectionError("the store is down")

    async def abatch(self, ops: Any) -> Any:
        raise ConnectionError("the store is down")


def values(store: BaseStore, thread: str = "t1") -> dict[str, dict[str, Any]]:
    return {item.key: item.value for item in store.search(archive_namespace(thread), limit=1_000)}


@SYNC_AND_ASYNC
async def test_everything_that_is_removed_or_shortened_is_archived(way: str) -> None:
    store = InMemoryStore()
    messages = [*many_turns(20, 2_000, thinking=40), *exchange(90), *exchange(91)]
    outcome = await compacted(way, Compactor(ARCHIVED, kimi_model("kimi-k2.6")), messages, store=store)
    assert {"dropped_reasoning", "shortened_results"} <= set(step_names(outcome))
    entries = values(store)
    assert set(entries) == set(outcome.archived)
    json.dumps(entries)
    stay = {message.id: message for message in outcome.messages}
    for message in messages:
        if isinstance(message, ToolMessage) and stay.get(message.id) is not message:
            entry = entries[message.id or ""]
            assert entry["text"] == message.content
            assert (entry["role"], entry["name"], entry["call_id"]) == ("tool", "add", message.tool_call_id)
        if isinstance(message, AIMessage) and message.tool_calls and stay.get(message.id) is not message:
            assert entries[f"{message.id}-thinking"]["reasoning"] == "t" * 40
    assert entries["a3-thinking"]["turn"] == 4
    assert entries["a3-thinking"]["thread"] == "t1"


def test_removed_messages_are_archived_with_their_calls() -> None:
    store = InMemoryStore()
    outcome = compact(Compactor(ARCHIVED, summariser()), many_turns(60, 200), store=store)
    entries = values(store)
    assert entries["u0"] == {"thread": "t1", "turn": 1, "role": "user", "text": "Add number 0."}
    assert entries["a0"]["calls"] == [{"id": "add:0:0", "name": "add", "arguments": '{"a":0,"b":0}'}]
    assert entries["f0"]["text"] == "Sum 0."
    assert "tool `recall`" in outcome.messages[0].text


def test_compacting_again_writes_the_same_entries_and_never_the_shortened_text() -> None:
    store = InMemoryStore()
    compactor = Compactor(ARCHIVED, summariser())
    messages = one_turn(30, 2_000)
    first = compact(compactor, messages, store=store)
    before = values(store)
    assert compact(compactor, messages, store=store).archived == first.archived
    assert values(store) == before
    cut = [message for message in first.messages if "left out" in message.text]
    assert cut
    assert all(f'recall(key="{message.id}") gives all of it' in message.text for message in cut)
    later = [*first.messages, *(message for at in range(50, 90) for message in exchange(at, 700))]
    second = compact(compactor, later, store=store)
    assert "summarised" in step_names(second)
    after = values(store)
    assert all(after[key] == value for key, value in before.items())
    assert not any("left out" in value["text"] for value in after.values())
    third = compact(
        compactor,
        [*second.messages, *(message for at in range(90, 140) for message in exchange(at, 700))],
        store=store,
    )
    assert "summarised" in step_names(third)
    assert not any("summary of the earlier" in value["text"] for value in values(store).values())


def test_turn_numbers_continue_across_compactions() -> None:
    store = InMemoryStore()
    compactor = Compactor(ARCHIVED, summariser())
    first = compact(compactor, many_turns(60, 200), store=store)
    thread = [*first.messages, AIMessage("Done.", id="end"), *_renamed(many_turns(60, 200))]
    compact(compactor, thread, store=store)
    entries = values(store)
    assert entries["u0"]["turn"] == 1
    assert entries["x-u0"]["turn"] == 62


def _renamed(messages: list[Any]) -> list[Any]:
    return [message.model_copy(update={"id": f"x-{message.id}"}) for message in messages]


@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"thread_id": None, "store": InMemoryStore()}, "no thread_id"),
        ({}, "no store"),
        ({"store": Broken()}, "the store is down"),
    ],
    ids=["no thread", "no store", "broken"],
)
async def test_a_failed_archive_is_reported_and_no_text_refers_to_it(way: str, more: Any, why: str) -> None:
    outcome = await compacted(way, Compactor(ARCHIVED, summariser()), one_turn(30, 2_000), **more)
    assert step_names(outcome)[0] == "not_archived"
    assert why in outcome.steps[0]["why"]
    assert outcome.archived == []
    assert any("left out" in message.text for message in outcome.messages)
    assert not any("recall" in message.text for message in outcome.messages)


def test_an_archived_message_names_its_images_and_has_its_text_and_reasoning() -> None:
    blocks: Any = [
        {"type": "reasoning", "reasoning": "Which one?"},
        {"type": "text", "text": "Two pictures:"},
        {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
        "and a word",
        {"type": "tool_call", "id": "1", "name": "add", "args": {}},
    ]
    message = AIMessage(blocks, id="a", tool_calls=[{"id": "1", "name": "add", "args": {}}])
    value = message_entry(message, 1).value
    assert value["text"] == "Two pictures:\n(image not shown)\nand a word"
    assert value["reasoning"] == "Which one?"
    assert [call["name"] for call in value["calls"]] == ["add"]
