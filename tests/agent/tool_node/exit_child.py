"""A process that ends while a tool is at work: `python tests/agent/tool_node/exit_child.py HOW`."""

import asyncio
import sys
import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Any

from langchain_core.tools import tool

from langchain_kimi import create_kimi_agent
from langchain_kimi.agent.tool_node.event_loop_thread import with_sync_invoke
from langchain_kimi.testing import FakeKimi, Reply, called, said

HOW = sys.argv[1]
ASK: Any = {"messages": [("user", "go")]}
AT_WORK = threading.Barrier(2)


@tool
async def work(x: int) -> str:
    """Never end by itself."""
    if HOW == "left behind":
        await asyncio.to_thread(time.sleep, 600)
    try:
        if x == 2:
            print("at work", flush=True)
        if HOW in ("cancelled", "agent"):
            AT_WORK.wait(30)
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0)
        print("cleaned up", flush=True)
    return "never"


@tool
def block(x: int) -> str:
    """Block for long."""
    AT_WORK.wait(30)
    time.sleep(600)
    return "never"


def agent(reply: Reply, **settings: Any) -> Any:
    model = FakeKimi(lambda request: said("done") if request.tool_results() else reply)
    return create_kimi_agent(model, [work, block], **settings)


def run_until_cancelled() -> None:
    with suppress(CancelledError):
        with_sync_invoke(work).invoke({"x": 1})


if HOW == "ctrl-c":
    agent(called("work", x=1).calling("work", x=2)).invoke(ASK)
if HOW == "left behind":
    print(agent(called("work", x=1), tool_timeout=0.1).invoke(ASK)["messages"][-1].text)
if HOW in ("cancelled", "agent", "agent with a synchronous tool"):
    one = called("block" if "synchronous" in HOW else "work", x=1)
    run = run_until_cancelled if HOW == "cancelled" else partial(agent(one).invoke, ASK)
    threading.Thread(target=run, daemon=True).start()
    AT_WORK.wait(30)
    print("exits", flush=True)
