"""The agent of the load test, in place of examples/workers/agent.py: its tools write each start to a log.

`workers.py` copies it beside the example's other files.
"""

import asyncio
import json
import os
import time
from typing import Annotated, Any
from uuid import uuid4

from langchain_core.tools import tool

from langchain_kimi import ChatKimi, InjectedIdempotencyKey, KimiAgent, RateLimits, create_kimi_agent

DATABASE = os.environ["DATABASE_URL"]
TABLE = "SELECT 1"
TOOL_SECONDS = 0.03
LOG = os.open(os.environ["LOAD_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
Key = Annotated[str, InjectedIdempotencyKey]


def value_of(thread: int, call: int) -> int:
    """The result of a call."""
    return (31 * thread + 7 * call) % 97


async def run_call(thread: int, call: int, key: str) -> str:
    """Write the start to the log, and return the result with the execution that it is of."""
    execution = uuid4().hex
    start = {"thread": thread, "call": call, "key": key, "execution": execution, "at": time.monotonic()}
    os.write(LOG, json.dumps(start).encode() + b"\n")
    await asyncio.sleep(TOOL_SECONDS)
    return f"{value_of(thread, call)} by {execution}"


@tool
async def look(thread: int, call: int, key: Key) -> str:
    """Look a number up."""
    return await run_call(thread, call, key)


@tool
async def charge(thread: int, call: int, key: Key) -> str:
    """Charge a number; this must not happen twice."""
    return await run_call(thread, call, key)


def create_agent(checkpointer: Any) -> KimiAgent:
    """The agent of one worker."""
    limits = RateLimits(
        concurrency=int(os.environ["LOAD_CONCURRENCY"]), rpm=int(os.environ["LOAD_RPM"]), shared=os.environ["REDIS_URL"]
    )
    model = ChatKimi(model="kimi-k3", rate_limits=limits)
    return create_kimi_agent(model, [look, charge], once={"charge"}, checkpointer=checkpointer)
