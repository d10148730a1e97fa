"""What the tests of traces share: an agent with a sub-agent, a team, and the four ways to run them."""

import asyncio
from typing import Any

from langchain_core.tools import BaseTool

from langchain_kimi import TeamMember, agent_as_tool, create_kimi_agent, create_kimi_team
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought
from tests.conftest import add, kimi
from tests.databases import THREAD

LONG = "Use the rules. " * 400
"""Long enough for Kimi's prefix cache."""
HI: Any = {"messages": [("user", "private-question")]}


async def run(target: Any, way: str, run_input: Any = HI, **config: Any) -> None:
    settings: Any = {**THREAD, **config}
    if way == "invoke":
        await asyncio.to_thread(target.invoke, run_input, settings)
    elif way == "stream":
        await asyncio.to_thread(lambda: list(target.stream(run_input, settings)))
    elif way == "ainvoke":
        await target.ainvoke(run_input, settings)
    else:
        _ = [part async for part in target.astream(run_input, settings)]


def lead_and_helper(request: Request) -> Reply:
    """The lead asks the helper twice at once, and calls `fails` if it has it; the helper adds."""
    results = request.tool_results()
    if request.text_of("system") == "Help.":
        return said("private-sum") if results else thought("private-plan").calling("add", a=1, b=2)
    if results:
        return said("private-answer", thinking="private-thought")
    reply = thought("I ask.").calling("helper", task="private-task").calling("helper", task="private-task-2")
    return reply.calling("fails") if "fails" in str(request.json["tools"]) else reply


def helper(server: KimiServer) -> BaseTool:
    agent = create_kimi_agent(kimi(server), [add], system_prompt="Help.", name="own name")
    return agent_as_tool(agent, name="helper", description="Helps.")


def desk_and_sales(request: Request) -> Reply:
    """The desk hands over to sales."""
    return said("Sold.") if "sell" in request.text_of("system") else thought("on").calling("transfer_to_sales")


def office(server: KimiServer) -> Any:
    members = [
        TeamMember(name="desk", model=kimi(server), system_prompt="You greet."),
        TeamMember(name="sales", model=kimi(server), system_prompt="You sell."),
    ]
    return create_kimi_team(members, name="office")
