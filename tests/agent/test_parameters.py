"""Models by name, and wrong arguments in plain sentences, before anything is sent."""

import re
from typing import Any

import pytest
from langchain_core.tools import tool

from langchain_kimi import ChatKimi, TeamMember, create_kimi_agent, create_kimi_team
from langchain_kimi.testing import FakeKimi, KimiServer, said, thought
from tests.conftest import KEY, Serve

ASK: Any = {"messages": [("user", "go")]}
MODEL = FakeKimi([])


def search(query: str) -> str:
    """Search."""
    return query


@pytest.fixture
def configured(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> KimiServer:
    """A server that models made by name talk to."""

    def script(request: Any) -> Any:
        handoff = "transfer_to_b" in str(request.json.get("tools")) and not request.tool_results()
        return thought("To b.").calling("transfer_to_b") if handoff else said("Hello.")

    server = serve(script)
    monkeypatch.setenv("MOONSHOT_API_KEY", KEY)
    monkeypatch.setenv("MOONSHOT_BASE_URL", server.url)
    return server


@pytest.mark.parametrize("name", ["kimi-k3", "moonshot:kimi-k3"])
async def test_an_agent_takes_a_models_name(configured: KimiServer, name: str) -> None:
    agent = create_kimi_agent(name)
    assert agent.invoke(ASK)["messages"][-1].text == "Hello."
    assert (await agent.ainvoke(ASK))["messages"][-1].text == "Hello."
    assert {request.json["model"] for request in configured.requests} == {"kimi-k3"}


async def test_members_of_a_team_take_a_models_name(configured: KimiServer) -> None:
    team = create_kimi_team(
        [TeamMember(name="a", model="kimi-k2.6"), TeamMember(name="b", model="kimi-k3", transfers_to=())]
    )
    assert team.invoke(ASK)["messages"][-1].text == "Hello."
    assert [request.json["model"] for request in configured.requests] == ["kimi-k2.6", "kimi-k3"]


def test_a_name_of_another_provider_is_langchains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    create_kimi_agent("openai:gpt-5")
    with pytest.raises(ValueError, match="no_such_provider"):
        create_kimi_agent("no_such_provider:x")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model": None}, "create_kimi_agent: model=None is no chat model; give a chat model such as ChatKimi("),
        ({"model": " "}, "model=' ' is no chat model"),
        ({"tools": None}, "create_kimi_agent: tools=None is no list"),
        ({"tools": "search"}, "create_kimi_agent: tools='search' is no list"),
        ({"tools": ["search"]}, "create_kimi_agent: tools has 'search', which is no tool"),
        ({"model": ChatKimi}, "is no chat model; give a chat model such as ChatKimi("),
        ({"limits": 6}, "create_kimi_agent: limits=6 is no AgentLimits; give AgentLimits(…) or None"),
        ({"guard": True}, "guard=True is no LoopGuard"),
        ({"compaction": 100}, "compaction=100 is no Compaction"),
        ({"sytem_prompt": "x"}, "create_kimi_agent() has no argument 'sytem_prompt'. Did you mean 'system_prompt'?"),
        ({"max_tool_calls": 2}, "has no argument 'max_tool_calls'. Did you mean limits=AgentLimits(tool_calls=…)?"),
        ({"cost_usd": 2}, "has no argument 'cost_usd'. Did you mean limits=AgentLimits(cost_usd=…)?"),
        (
            {"interrupt_on": ["delete"]},
            "interrupt_on=['delete'] is no dict; give tools by name, as in {",
        ),
        (
            {"tools": [search], "interrupt_on": {"search": "ask"}},
            "interrupt_on['search']='ask': give True, False or a dict such as {'allowed_decisions': ['approve',",
        ),
        ({"middleware": []}, "create_kimi_agent() has no argument 'middleware'. It has model, tools, system_prompt"),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        create_kimi_agent(**{"model": MODEL, **wrong})


def test_a_wrong_argument_of_a_team_is_named() -> None:
    team: Any = create_kimi_team
    with pytest.raises(TypeError, match=re.escape("TeamMember('a'): model=None is no chat model")):
        TeamMember(name="a", model=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=re.escape("TeamMember('a'): tools='x' is no list")):
        TeamMember(name="a", model=MODEL, tools="x")
    with pytest.raises(TypeError, match="Did you mean 'default_active_agent'"):
        team([TeamMember(name="a", model=MODEL)], default_agent="a")
    with pytest.raises(TypeError, match=re.escape("create_kimi_team: limits=3 is no AgentLimits")):
        team([TeamMember(name="a", model=MODEL)], limits=3)


def test_a_tool_may_be_given_as_a_tuple() -> None:
    @tool
    def look() -> str:
        """Look."""
        return ""

    create_kimi_agent(MODEL, (look,))
