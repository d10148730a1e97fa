"""Idempotency keys: one for each call, the same for each attempt."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

import pytest
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from langchain_kimi import InjectedIdempotencyKey, agent_as_tool, create_kimi_agent, idempotency_key
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said
from tests.agent.helpers import ASK, ran
from tests.conftest import SYNC_AND_ASYNC

Key = Annotated[str, InjectedIdempotencyKey]


class Crash(BaseException):
    """The process ends here, as far as the run can tell."""


class Arguments(BaseModel):
    text: str
    key: Key


class Note(BaseTool):
    """A tool as a class."""

    name: str = "note"
    description: str = "Note something."
    args_schema: Any = Arguments
    keys: list[str]

    def _run(self, text: str, key: str) -> str:
        self.keys += [key, idempotency_key()]
        return "noted"


class Fixed(Note):
    async def _arun(self, text: str, key: str) -> str:
        return self._run(text, key)


def note_tools(keys: list[str]) -> dict[str, BaseTool]:
    def note(text: str, key: Key) -> str:
        """Note something."""
        keys.extend([key, idempotency_key()])
        return "noted"

    async def anote(text: str, key: Key) -> str:
        """Note something."""
        await asyncio.sleep(0)
        return note(text, key)

    return {
        "function": tool("note")(note),
        "coroutine": tool("note")(anote),
        "both": StructuredTool.from_function(note, anote, name="note"),
        "class": Note(keys=keys),
        "class with both": Fixed(keys=keys),
    }


@SYNC_AND_ASYNC
@pytest.mark.parametrize("kind", ["function", "coroutine", "both", "class", "class with both"])
async def test_a_tool_reads_it_both_ways_and_the_model_sees_nothing(way: str, kind: str) -> None:
    keys: list[str] = []
    own = note_tools(keys)[kind]
    keys = own.keys if isinstance(own, Note) else keys  # pydantic copies the list
    model = FakeKimi([called("note", text="a", key="forged"), said("done")])
    await ran(create_kimi_agent(model, [own], tool_timeout=30), way)
    assert len(keys) == 2
    assert keys[0] == keys[1] == str(UUID(keys[0]))
    [declared] = model.requests[0].tools
    assert list(declared["parameters"]["properties"]) == ["text"]


def keys_of(script: Any, *threads: str, given: Any = ASK, **settings: Any) -> list[str]:
    """The keys of the calls of `note` in one run on each thread, in order."""
    keys: list[str] = []

    @tool
    def note(text: str) -> str:
        """Note something."""
        keys.append(idempotency_key())
        return "noted"

    agent = create_kimi_agent(FakeKimi(script), [note], checkpointer=InMemorySaver(), max_concurrency=1, **settings)
    for thread in threads:
        agent.invoke(given, {"configurable": {"thread_id": thread}})
    return keys


def test_other_calls_threads_and_messages_have_other_keys() -> None:
    twice = called("note", text="a", call_id="same").calling("note", text="a", call_id="other")
    assert len(set(keys_of([twice, said("done")] * 2, "1", "2"))) == 4
    again = called("note", text="a", call_id="same")
    assert len(set(keys_of([again, again, said("done")], "1"))) == 2
    assert len(set(keys_of([again, said("done")] * 2, "1", "1"))) == 2


@SYNC_AND_ASYNC
async def test_it_is_the_same_when_a_call_runs_again_in_sub_agents_too(way: str) -> None:
    keys: dict[str, list[str]] = {"a": [], "b": [], "c": []}

    @tool
    def note(text: str) -> str:
        """Note something."""
        keys[text].append(idempotency_key())
        if len(keys[text]) == 1:
            raise Crash
        return "noted"

    def script(request: Request) -> Reply:
        if request.tool_results():
            return said("done")
        task = request.text_of("user")
        if task == "go":
            return called("helper", task="a").calling("helper", task="b").calling("note", text="c")
        return called("note", text=task)

    helper = agent_as_tool(create_kimi_agent(FakeKimi(script), [note]), name="helper", description="Help.")
    agent = create_kimi_agent(FakeKimi(script), [helper, note], checkpointer=InMemorySaver())
    given: Any = ASK
    for _ in range(4):
        try:
            await ran(agent, way, given)
        except (Crash, asyncio.CancelledError):
            given = None
        else:
            break
    assert {len(set(own)) for own in keys.values()} == {1}
    assert min(map(len, keys.values())) == 2
    assert len({own[0] for own in keys.values()}) == 3


def test_without_a_checkpointer_each_run_has_its_own() -> None:
    keys: list[str] = []

    @tool
    def note(text: str) -> str:
        """Note something."""
        keys.append(idempotency_key())
        return "noted"

    agent = create_kimi_agent(FakeKimi([called("note", text="a"), said("done")] * 2), [note])
    agent.invoke(ASK)
    agent.invoke(ASK)
    assert len(set(keys)) == 2


def test_outside_of_a_call_there_is_none() -> None:
    with pytest.raises(RuntimeError, match=r"idempotency_key\(\) was called outside of a tool call"):
        idempotency_key()


def test_half_a_character_in_the_arguments_is_no_obstacle() -> None:
    assert len(set(keys_of([called("note", text="\ud83d"), said("done")], "1"))) == 1
