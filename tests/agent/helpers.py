"""Helpers of the tests of agents: runs, results, decisions of people, tools that note their runs, a foreign model."""

import asyncio
from collections.abc import Iterator
from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.types import Command

ASK: Any = {"messages": [("user", "go")]}
THREAD: Any = {"configurable": {"thread_id": "1"}}


async def ran(agent: Any, way: str, run_input: Any = ASK) -> dict[str, Any]:
    if way == "sync":
        return await asyncio.to_thread(agent.invoke, run_input, THREAD)  # type: ignore[no-any-return]
    return await agent.ainvoke(run_input, THREAD)  # type: ignore[no-any-return]


def results(state: dict[str, Any]) -> list[tuple[str, str]]:
    return [(str(message.content), message.status) for message in state["messages"] if isinstance(message, ToolMessage)]


def decisions(*made: Any) -> Command[Any]:
    return Command(resume={"decisions": list(made)})


class Files:
    """Tools that note every run."""

    def __init__(self) -> None:
        self.ran: list[str] = []

        @tool
        def delete(path: str) -> str:
            """Delete a file."""
            self.ran.append(f"delete {path}")
            return f"deleted {path}"

        @tool
        def read(path: str) -> str:
            """Read a file."""
            self.ran.append(f"read {path}")
            return f"read {path}"

        self.tools = [delete, read]


class Foreign(GenericFakeChatModel):
    """A chat model that is not ours: it repeats ids as it likes."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def foreign(*answers: AIMessage) -> Foreign:
    def messages() -> Iterator[AIMessage]:
        yield from answers

    return Foreign(messages=messages(), disable_streaming=True)
