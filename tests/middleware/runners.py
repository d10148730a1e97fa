"""Three ways to run one and the same agent: `create_kimi_agent`, and the middleware in LangChain's two agents."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from langchain_kimi import agent_as_tool, create_kimi_agent
from langchain_kimi.middleware import KimiMiddleware
from langchain_kimi.testing import KimiServer, Reply, thought
from tests.conftest import kimi

RUNNERS = ["create_kimi_agent", "create_agent", "create_deep_agent"]
THREAD: Any = {"configurable": {"thread_id": "1"}}
SUB = "research"


@dataclass
class Sub:
    """A sub-agent `research`: its model, tools and policies."""

    model: Any
    tools: Sequence[Any]
    policies: dict[str, Any]


class Bench:
    """Builds and runs the agents of one runner, sync or async."""

    def __init__(self, runner: str, way: str, serve: Callable[..., KimiServer], path: Path) -> None:
        self.runner, self.way, self.serve, self._path = runner, way, serve, path
        self.servers: list[KimiServer] = []

    def model(self, script: Any, **settings: Any) -> Any:
        """A model on a server of its own."""
        self.servers.append(self.serve(script))
        return kimi(self.servers[-1], **settings)

    def agent(
        self,
        model: Any,
        tools: Sequence[Any],
        *,
        interrupt_on: Any = None,
        sub: Sub | None = None,
        checkpointer: Any = None,
        store: Any = None,
        **policies: Any,
    ) -> Any:
        """The agent. `policies` are the parameters that `create_kimi_agent` and the middleware share."""
        around: Any = {"checkpointer": checkpointer, "store": store, "name": "lead"}
        if self.runner == "create_deep_agent":
            name = "SummarizationMiddleware" if "compaction" in policies else "KimiMiddleware"
            subs: Any = [sub_agent_spec(sub)] if sub else []
            middleware = [KimiMiddleware(**policies, name=name)]
            return create_deep_agent(
                model, tools, middleware=middleware, interrupt_on=interrupt_on, subagents=subs, **around
            )
        if sub:
            tools = [*tools, agent_as_tool(self.agent_of(sub), name=SUB, description="Looks things up.")]
        if self.runner == "create_kimi_agent":
            return create_kimi_agent(model, tools, interrupt_on=interrupt_on, **around, **policies)
        people = [HumanInTheLoopMiddleware(interrupt_on)] if interrupt_on else []
        return create_agent(model, tools, middleware=[KimiMiddleware(**policies), *people], **around)

    def agent_of(self, sub: Sub) -> Any:
        """The sub-agent."""
        if self.runner == "create_kimi_agent":
            return create_kimi_agent(sub.model, sub.tools, **sub.policies)
        return create_agent(sub.model, sub.tools, middleware=[KimiMiddleware(**sub.policies)])

    def delegate(self, *tasks: str) -> Reply:
        """The reply of a model that gives these tasks to the sub-agent."""
        reply = thought("Ask.")
        for task in tasks:
            if self.runner == "create_deep_agent":
                reply = reply.calling("task", description=task, subagent_type=SUB)
            else:
                reply = reply.calling(SUB, task=task)
        return reply

    async def run(self, agent: Any, run_input: Any = "go", **settings: Any) -> dict[str, Any]:
        """The state after a run on the thread; a text is a new message."""
        run_input = {"messages": [("user", run_input)]} if isinstance(run_input, str) else run_input
        if self.way == "sync":
            return await asyncio.to_thread(agent.invoke, run_input, THREAD, **settings)  # type: ignore[no-any-return]
        return await agent.ainvoke(run_input, THREAD, **settings)  # type: ignore[no-any-return]

    @asynccontextmanager
    async def saver(self) -> AsyncIterator[Any]:
        """A checkpointer on a SQLite database."""
        place = str(self._path / f"{self.runner}.sqlite")
        if self.way == "sync":
            with SqliteSaver.from_conn_string(place) as saver:
                yield saver
        else:
            async with AsyncSqliteSaver.from_conn_string(place) as asaver:
                yield asaver


def sub_agent_spec(sub: Sub) -> dict[str, Any]:
    """The sub-agent as deepagents take it."""
    return {
        "name": SUB,
        "description": "Looks things up.",
        "system_prompt": "",
        "model": sub.model,
        "tools": sub.tools,
        "middleware": [KimiMiddleware(**sub.policies)],
    }
