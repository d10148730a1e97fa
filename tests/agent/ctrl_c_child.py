"""A process with an agent in a blocking tool: `python tests/agent/ctrl_c_child.py DATABASE WAY STAGE`."""

import asyncio
import sys
import threading
from typing import Any

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from langchain_kimi import agent_as_tool, create_kimi_agent
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said

CONFIG: Any = {"configurable": {"thread_id": "1"}, "durability": "sync"}
DATABASE, WAY, STAGE = sys.argv[1:]


def block(x: int) -> str:
    """Block."""
    print("at work", flush=True)
    if STAGE == "first":
        threading.Event().wait()
    return f"did {x}"


def reply(request: Request) -> Reply:
    if request.tool_results():
        return said("done")
    if "helper" in WAY and request.text_of("user") == "go":
        return called("helper", task="a").calling("helper", task="b")
    return called("block", x=1).calling("block", x=2) if "two" in WAY or "helper" in WAY else called("block", x=1)


def agent(saver: Any) -> Any:
    tools: list[Any] = [block]
    if "helper" in WAY:
        helper = create_kimi_agent(FakeKimi(reply), [block])
        tools = [agent_as_tool(helper, name="helper", description="Help.")]
    return create_kimi_agent(FakeKimi(reply), tools, checkpointer=saver)


GIVEN: Any = {"messages": [("user", "go")]} if STAGE == "first" else None


def main() -> None:
    with SqliteSaver.from_conn_string(DATABASE) as saver:
        if WAY.startswith("stream"):
            state = list(agent(saver).stream(GIVEN, CONFIG, stream_mode="values"))[-1]
        elif WAY.startswith("batch"):
            other = {**CONFIG, "configurable": {"thread_id": "2"}}
            state, _ = agent(saver).batch([GIVEN, GIVEN], [CONFIG, other])
        else:
            state = agent(saver).invoke(GIVEN, CONFIG)
    print(state["messages"][-1].text)


async def amain() -> None:
    async with AsyncSqliteSaver.from_conn_string(DATABASE) as saver:
        state = await agent(saver).ainvoke(GIVEN, CONFIG)
    print(state["messages"][-1].text)


if WAY.startswith("ainvoke"):
    asyncio.run(amain())
else:
    main()
