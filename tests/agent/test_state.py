"""The reducer: what `add_messages` does, in a channel that keeps only what is new."""

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, RemoveMessage, ToolMessage
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph, add_messages
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Overwrite
from typing_extensions import TypedDict

from langchain_kimi import KimiState
from langchain_kimi.agent.state import add_kimi_messages

IDS = st.sampled_from(["1", "2", "3", "4", "5"])
REMOVE_ALL = st.just(("remove", REMOVE_ALL_MESSAGES))
ORDER = st.one_of(
    st.tuples(st.just("human"), IDS),
    st.tuples(st.just("ai"), IDS),
    st.tuples(st.just("chunk"), IDS),
    st.tuples(st.just("tool"), IDS),
    st.tuples(st.just("remove"), IDS),
    st.tuples(st.just("dict"), IDS),
    REMOVE_ALL,
)
FULL = [("human", "1"), ("ai", "2"), ("tool", "3"), ("human", "4")]
"""A first write, without which most removals would find nothing."""
WRITES = st.lists(st.lists(ORDER, max_size=5), max_size=6).map(lambda writes: [FULL, *writes])


def made(order: tuple[str, str], text: str) -> Any:
    kind, key = order
    return {
        "human": lambda: HumanMessage(text, id=key),
        "ai": lambda: AIMessage(text, id=key, additional_kwargs={"reasoning_content": text}),
        "chunk": lambda: AIMessageChunk(text, id=key),
        "tool": lambda: ToolMessage(text, tool_call_id=key, id=key),
        "remove": lambda: RemoveMessage(key),
        "dict": lambda: {"role": "user", "content": text, "id": key},
    }[kind]()


def written(orders: list[list[tuple[str, str]]]) -> list[list[Any]]:
    return [[made(order, f"{at}.{n}") for n, order in enumerate(write)] for at, write in enumerate(orders)]


def shown(messages: list[BaseMessage]) -> list[Any]:
    return [message.model_dump() for message in messages]


@given(WRITES)
def test_the_reducer_does_what_add_messages_does(orders: list[list[tuple[str, str]]]) -> None:
    expected: list[Any] = []
    try:
        for write in written(orders):
            expected = add_messages(expected, write)  # type: ignore[assignment]
    except ValueError:
        with pytest.raises(ValueError, match="no message with the id"):
            add_kimi_messages([], written(orders))
        return
    assert shown(add_kimi_messages([], written(orders))) == shown(expected)


@given(WRITES, st.integers(0, 6))
def test_writes_may_be_applied_in_any_batches(orders: list[list[tuple[str, str]]], cut: int) -> None:
    try:
        whole = add_kimi_messages([], written(orders))
    except ValueError:
        return
    first, second = written(orders)[:cut], written(orders)[cut:]
    assert shown(add_kimi_messages(add_kimi_messages([], first), second)) == shown(whole)


def test_messages_without_an_id_get_the_same_one_on_every_load() -> None:
    class State(TypedDict):
        messages: Annotated[list[Any], DeltaChannel(add_kimi_messages)]

    graph = StateGraph(State).add_node("say", lambda state: {"messages": [("ai", "hello")]}).add_edge(START, "say")
    thread: Any = {"configurable": {"thread_id": "1"}}
    saver = InMemorySaver()
    graph.compile(checkpointer=saver).invoke(
        {"messages": [("user", "hi"), "hi", {"role": "user", "content": "hi"}]}, thread
    )
    loads = [graph.compile(checkpointer=saver).get_state(thread).values["messages"] for _ in range(2)]
    assert [message.id for message in loads[0]] == [message.id for message in loads[1]]
    assert len({message.id for message in loads[0]}) == 4
    assert [message.type for message in loads[0]] == ["human", "human", "human", "ai"]


def test_a_state_of_ones_own_takes_removals_and_overwrites() -> None:
    def edit(state: KimiState) -> Any:
        return {"messages": [RemoveMessage(state["messages"][0].id or ""), HumanMessage("new")]}

    graph = StateGraph(KimiState)
    graph.add_node("edit", edit)
    graph.add_node("reset", lambda state: {"messages": Overwrite([HumanMessage("only", id="x")])})
    graph.add_edge(START, "edit")
    graph.add_edge("edit", "reset")
    saver, thread = InMemorySaver(), {"configurable": {"thread_id": "1"}}
    compiled = graph.compile(checkpointer=saver)
    seen = [part["messages"] for part in compiled.stream({"messages": ["a", "b"]}, thread, stream_mode="values")]
    assert [[message.text for message in messages] for messages in seen] == [["a", "b"], ["b", "new"], ["only"]]
    assert [message.text for message in compiled.get_state(thread).values["messages"]] == ["only"]
