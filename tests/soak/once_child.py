"""The process that `once.py` kills: an agent with sub-agents whose tool `send` must not start twice by itself.

`python -m tests.soak.once_child` forks a process for each job, as `crash_child` does.
"""

import asyncio
import functools
import json
import os
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Annotated, Any

from langchain.agents import create_agent
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from langchain_kimi import InjectedIdempotencyKey, agent_as_tool, create_kimi_agent
from langchain_kimi.agent.thread_messages import pending_calls
from langchain_kimi.middleware import KimiMiddleware
from langchain_kimi.testing import FakeKimi, Reply, Request, said
from tests.soak.crash_child import Told, serve

Key = Annotated[str, InjectedIdempotencyKey]


def script(request: Request) -> Reply:
    """The model: a pure function of the request. Each call of a thread has arguments of its own."""
    spoken = max(at for at, message in enumerate(request.messages) if message["role"] == "user")
    task = request.messages[spoken]["content"]
    turn = sum(message["role"] == "assistant" for message in request.messages[spoken:])
    chance = random.Random(f"{task}/{turn}")
    helps = task.startswith("help ")
    if turn >= (1 if helps else 2):
        return said(f"done: {task}")
    reply = said("")
    for place in range(chance.randint(1, 3)):
        name = chance.choice(["send", "send", "look", *([] if helps else ["helper", "helper"])])
        about = f"{task}.{turn}.{place}"
        arguments = {"helper": {"task": f"help {about}"}, "send": {"to": about}, "look": {"at": about}}[name]
        reply = reply.calling(name, **arguments)
    return reply


def tools(job: dict[str, Any], told: Told) -> list[BaseTool]:
    """`send`, which writes to the log before anything else, and `look`."""
    chance = random.Random()
    log = os.open(job["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def begin(to: str, key: str) -> float:
        os.write(log, f"start {key} {to}\n".encode())
        os.fsync(log)
        told.tell("tool+")
        return chance.choice([0, 0.002, 0.02])

    def perform(to: str, key: Key) -> str:
        """Send something."""
        seconds = begin(to, key)
        told.hold("tool")
        time.sleep(seconds)
        return f"sent {to}"

    async def aperform(to: str, key: Key) -> str:
        """Send something."""
        seconds = begin(to, key)
        await told.ahold("tool")
        await asyncio.sleep(seconds)
        return f"sent {to}"

    @tool
    def look(at: str) -> str:
        """Look something up."""
        return f"saw {at}"

    coroutine: Any = aperform if job["coroutine"] else None
    return [StructuredTool.from_function(perform, coroutine, name="send", description="Send something."), look]


def announced(saver: Any, told: Told) -> Any:
    """The saver, which tells of each write and stands still at the chosen one."""

    def place(writes: Any) -> str:
        intent = isinstance(writes, list) and any(channel == "kimi_intent" for channel, _ in writes)
        return "an intent" if intent else "a write"

    def sync(write: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(write)
        def wrapped(config: Any, content: Any, *more: Any, **named: Any) -> Any:
            told.tell("write+")
            told.hold(f"before {place(content)}")
            outcome = write(config, content, *more, **named)
            told.hold(f"after {place(content)}")
            return outcome

        return wrapped

    def asynchronous(write: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(write)
        async def wrapped(config: Any, content: Any, *more: Any, **named: Any) -> Any:
            told.tell("write+")
            await told.ahold(f"before {place(content)}")
            outcome = await write(config, content, *more, **named)
            await told.ahold(f"after {place(content)}")
            return outcome

        return wrapped

    for name in ("put", "put_writes"):
        setattr(saver, name, sync(getattr(saver, name)))
        setattr(saver, f"a{name}", asynchronous(getattr(saver, f"a{name}")))
    return saver


def agent(kind: str, saver: Any, own_tools: list[BaseTool]) -> Any:
    """The agent, whose sub-agents have the same tools: of `create_kimi_agent`, or with the middleware."""

    def create(tools: list[BaseTool], name: str, checkpointer: Any = None) -> Any:
        around: Any = {"name": name, "checkpointer": checkpointer}
        if kind == "middleware":
            return create_agent(FakeKimi(script), tools, middleware=[KimiMiddleware(once={"send"})], **around)
        return create_kimi_agent(FakeKimi(script), tools, once={"send"}, **around)

    below = agent_as_tool(create(own_tools, "helper"), name="helper", description="Helps.")
    return create([*own_tools, below], "lead", saver)


def given(job: dict[str, Any], waits: bool) -> Any:
    """The input of the run: decisions, None to resume a thread that waits, or a new message."""
    if job["decisions"] is not None:
        return Command(resume=job["decisions"])
    return None if job["resume"] and waits else {"messages": [("user", job["text"])]}


def may_be_edited(snapshot: Any) -> bool:
    """Whether a thread waits, with its input taken in and no sub-agent open.

    An edit makes LangGraph drop an input that was not taken in, and begin sub-agents anew.
    """
    open_calls = pending_calls(snapshot.values.get("messages", []))
    taken_in = bool(snapshot.next) and "__start__" not in snapshot.next
    return taken_in and all(call["name"] != "helper" for call in open_calls)


def tell_outcome(told: Told, state: dict[str, Any]) -> None:
    """Tell what people are asked, or how the turn ended."""
    asked = {
        one.id: [(request["idempotency_key"], request["args"]["to"]) for request in one.value["action_requests"]]
        for one in state.get("__interrupt__", ())
    }
    told.tell("outcome", json.dumps({"asked": asked, "last": state["messages"][-1].text}))


def run(job: dict[str, Any], told: Told) -> None:
    """One run, synchronous or asynchronous."""
    local, config = job["database"].startswith("/"), {"configurable": {"thread_id": job["thread"]}}

    async def arun() -> None:
        kind: Any = AsyncSqliteSaver if local else AsyncPostgresSaver
        async with AsyncExitStack() as stack:
            saver = announced(await stack.enter_async_context(kind.from_conn_string(job["database"])), told)
            runs = agent(job["agent"], saver, tools(job, told))
            snapshot = await runs.aget_state(config)
            waits = bool(snapshot.next)
            if job["edit"] and may_be_edited(snapshot):
                await runs.aupdate_state(config, {"stop_reason": None})
            tell_outcome(told, await runs.ainvoke(given(job, waits), config, durability=job["durability"]))

    if job["way"] == "async":
        asyncio.run(arun())
        return
    kind: Any = SqliteSaver if local else PostgresSaver
    with ExitStack() as stack:
        saver = announced(stack.enter_context(kind.from_conn_string(job["database"])), told)
        runs = agent(job["agent"], saver, tools(job, told))
        snapshot = runs.get_state(config)
        waits = bool(snapshot.next)
        if job["edit"] and may_be_edited(snapshot):
            runs.update_state(config, {"stop_reason": None})
        tell_outcome(told, runs.invoke(given(job, waits), config, durability=job["durability"]))


if __name__ == "__main__":
    serve(run)
