"""Helpers of the tests of teams and sub-agents: runs, agents that call sub-agents, and a team of three."""

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import TeamMember, agent_as_tool, create_kimi_agent, create_kimi_team
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought
from tests.conftest import add, kimi
from tests.databases import THREAD

ASK: Any = {"messages": [("user", "go")]}


async def ran(agent: Any, way: str, given: Any = ASK, config: Any = THREAD, **settings: Any) -> dict[str, Any]:
    if way == "sync":
        return await asyncio.to_thread(agent.invoke, given, config, **settings)  # type: ignore[no-any-return]
    return await agent.ainvoke(given, config, **settings)  # type: ignore[no-any-return]


def results(state: dict[str, Any]) -> list[tuple[str, str]]:
    return [(str(m.content), m.status) for m in state["messages"] if isinstance(m, ToolMessage)]


def asks_for(*topics: str) -> Callable[[Request], Reply]:
    """The caller: one call of `research` for each topic, then an answer; everyone else gets what `sub` gives."""

    def play(request: Request) -> Reply:
        if request.tool_results():
            return said("Done.", thinking="I have all.")
        reply = thought("I ask. ")
        for topic in topics:
            reply = reply.calling("research", task=topic)
        return reply

    return play


def caller(server: KimiServer, sub: Any, **settings: Any) -> Any:
    research = agent_as_tool(sub, name="research", description="Research a topic.")
    return create_kimi_agent(kimi(server), [research], checkpointer=InMemorySaver(), **settings)


def endless(request: Request) -> Reply:
    """Looks around for ever; says what it has where it must."""
    if request.json.get("tool_choice") == "none":
        return said("So far.")
    return thought("On. " * 50).calling("look", turn=len(request.messages))


@tool
def look(turn: int) -> str:
    """Look around."""
    return f"nothing at {turn}"


@tool
def note(text: str) -> str:
    """Note something."""
    return f"noted {text}"


def who(request: Request) -> str:
    """Whose request this is: each agent's prompt is its name."""
    return str(request.messages[0]["content"])


class Play:
    """Gives each agent its replies in order."""

    def __init__(self, **replies: list[Reply]) -> None:
        self._replies = {agent: iter(given) for agent, given in replies.items()}

    def __call__(self, request: Request) -> Reply:
        return next(self._replies[who(request)])


def team(server: KimiServer, *, tools: Any = (add, note), second: str = "kimi-k3", **settings: Any) -> Any:
    """A planner, a doer and a critic who may all hand over to each other."""
    members = [
        TeamMember(name="planner", model=kimi(server), tools=tools, system_prompt="planner", description="Plans."),
        TeamMember(name="doer", model=kimi(server, second), tools=[add], system_prompt="doer", description="Does it."),
        TeamMember(name="critic", model=kimi(server), system_prompt="critic", transfers_to=["planner"]),
    ]
    return create_kimi_team(members, **settings)


def of(server: KimiServer, agent: str) -> list[Request]:
    return [request for request in server.requests if who(request) == agent]


def assert_only_grows(requests: list[Request]) -> None:
    """Each request begins with the whole one before it, tools included."""
    for before, after in pairwise(requests):
        assert after.json.get("tools") == before.json.get("tools")
        assert json.dumps(after.messages).startswith(json.dumps(before.messages)[:-1])
