"""Threads to compact, and functions that run a compaction outside of an agent."""

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.store.base import BaseStore
from pydantic import Field

from langchain_kimi import ChatKimi
from langchain_kimi._request.repair import repair
from langchain_kimi._steps import arun_steps, run_steps
from langchain_kimi.agent.compaction.compactor import CompactionResult, Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.message_groups import is_summary
from langchain_kimi.agent.compaction.recorded_usage import OUTDATED_USAGE
from langchain_kimi.agent.state import add_kimi_messages

THREAD: Any = {"configurable": {"thread_id": "t1"}}
SMALL = {"window": 10_000, "reserve": 1_000}


class Summariser(FakeListChatModel):
    """A model of no provider: it raises the next of `raises`, or answers with the first of `responses`."""

    model: str = "own"
    responses: list[str] = Field(default_factory=lambda: ["They added numbers."])
    raises: list[Any] = Field(default_factory=list)
    requests: list[str] = Field(default_factory=list)
    finish: str = "stop"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.requests.append(messages[0].text)
        if self.raises and (error := self.raises.pop(0)) is not None:
            raise error
        answer = AIMessage(self.responses[0], response_metadata={"finish_reason": self.finish})
        return ChatResult(generations=[ChatGeneration(message=answer)])


def summariser(**settings: Any) -> Summariser:
    return Summariser(**settings)


def exchange(at: int, size: int = 1_000, calls: int = 1, thinking: int = 0) -> list[AnyMessage]:
    tool_calls: Any = [{"id": f"add:{at}:{n}", "name": "add", "args": {"a": at, "b": n}} for n in range(calls)]
    kwargs = {"reasoning_content": "t" * thinking} if thinking else {}
    results = [
        ToolMessage(f"{at}:{n} " + "r" * size, tool_call_id=call["id"], name="add", id=f"r{at}:{n}")
        for n, call in enumerate(tool_calls)
    ]
    return [AIMessage("", tool_calls=tool_calls, additional_kwargs=kwargs, id=f"a{at}"), *results]


def user(at: int, text: str = "Add more.") -> HumanMessage:
    return HumanMessage(text, id=f"u{at}")


def one_turn(rounds: int, size: int = 1_000, **more: Any) -> list[AnyMessage]:
    rest = [message for at in range(rounds) for message in exchange(at, size, **more)]
    return [user(0, "Add all numbers up to ninety."), *rest]


def many_turns(turns: int, size: int = 1_000, **more: Any) -> list[AnyMessage]:
    messages: list[AnyMessage] = []
    for at in range(turns):
        messages += [user(at, f"Add number {at}."), *exchange(at, size, **more), AIMessage(f"Sum {at}.", id=f"f{at}")]
    return [*messages, user(turns, "And now the last one.")]


def compact(
    compactor: Compactor, messages: Sequence[Any], thread_id: str | None = "t1", **more: Any
) -> CompactionResult:
    return run_steps(compactor.compact(messages, thread_id=thread_id, **more), {})


async def acompact(
    compactor: Compactor, messages: Sequence[Any], thread_id: str | None = "t1", **more: Any
) -> CompactionResult:
    return await arun_steps(compactor.compact(messages, thread_id=thread_id, **more), {})


async def compacted(way: str, compactor: Compactor, messages: Sequence[Any], **more: Any) -> CompactionResult:
    if way == "sync":
        return await asyncio.to_thread(compact, compactor, messages, **more)
    return await acompact(compactor, messages, **more)


async def run_agent(agent: Any, way: str, ask: Any, config: Any = None) -> dict[str, Any]:
    """The final state of a run in one of the four ways."""
    if way == "invoke":
        return await asyncio.to_thread(agent.invoke, ask, config)  # type: ignore[no-any-return]
    if way == "ainvoke":
        return await agent.ainvoke(ask, config)  # type: ignore[no-any-return]
    if way == "stream":
        return (await asyncio.to_thread(lambda: list(agent.stream(ask, config, stream_mode="values"))))[-1]  # type: ignore[no-any-return]
    return [state async for state in agent.astream(ask, config, stream_mode="values")][-1]  # type: ignore[no-any-return]


def check_result(compacted: CompactionResult, before: Sequence[AnyMessage]) -> None:
    """What holds for every compaction."""
    messages = compacted.messages
    assert repair(messages).repairs == ()
    ids = [message.id for message in messages]
    assert len(set(ids)) == len(ids)
    assert set(ids) <= {message.id for message in before}
    old = {message.id: message for message in before}
    for message in messages:
        if not is_summary(message) and message is not old[message.id]:
            assert OUTDATED_USAGE in message.additional_kwargs
            assert type(message) is type(old[message.id])
    assert add_kimi_messages(list(before), [compacted.update]) == messages


def step_names(compacted: CompactionResult) -> list[str]:
    return [step["what"] for step in compacted.steps]


def kimi_model(model: str, **settings: Any) -> ChatKimi:
    return ChatKimi(**{"model": model, "api_key": "sk-test", **settings})


async def stream_agent(
    agent: Any, way: str, ask: Any, config: Any = THREAD
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The final state of a run, and the events on its custom stream."""
    modes = ["values", "custom"]
    if way in ("sync", "stream"):
        parts = await asyncio.to_thread(lambda: list(agent.stream(ask, config, stream_mode=modes)))
    else:
        parts = [part async for part in agent.astream(ask, config, stream_mode=modes)]
    return [part for mode, part in parts if mode == "values"][-1], [part for mode, part in parts if mode == "custom"]


ARCHIVED = Compaction(archive=True, keep_results=2, result_tokens=100, **SMALL)


def archive_facts(store: BaseStore, thread_id: str = "t1") -> None:
    """Compact a thread in which a result tells when the harbour opens."""
    messages = many_turns(60, 200)
    messages[2] = messages[2].model_copy(update={"content": f"The harbour of {thread_id} opens at noon. " + "x" * 200})
    compact(Compactor(ARCHIVED, summariser()), messages, thread_id, store=store)
