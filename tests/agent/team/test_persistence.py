"""Teams and sub-agents left in the middle: what was recorded stays, on real databases."""

from typing import Any

from langchain_core.tools import tool
from langgraph.types import Command, interrupt

from langchain_kimi import TeamMember, agent_as_tool, create_kimi_agent, create_kimi_team
from langchain_kimi.agent.thread_messages import UNKNOWN_RESULT
from langchain_kimi.testing import FakeKimi, Reply, Request, said, thought
from tests.databases import Database

GO: Any = {"messages": [("user", "go")]}
MORE: Any = {"messages": [("user", "and?")]}


@tool
def burst(text: str) -> str:
    """Leaves the run in the middle."""
    return str(interrupt(text))


def told(request: Request) -> list[str]:
    """The tool results in a request, as its agent sees them."""
    return [str(message["content"]) for message in request.messages if message["role"] == "tool"]


def hands_over(request: Request) -> Reply:
    """The planner hands over beside a tool that does not come back; the doer answers."""
    if request.text_of("system") == "planner" and request.last["content"] == "go":
        return thought("p\u2028").calling("burst", text="?").calling_raw("transfer_to_doer", "{  }")
    return said(f"{request.text_of('system')} answers.", thinking="a")


def team(model: FakeKimi, saver: Any) -> Any:
    """A planner and a doer."""
    members = [
        TeamMember(name="planner", model=model, tools=[burst], system_prompt="planner"),
        TeamMember(name="doer", model=model, system_prompt="doer"),
    ]
    return create_kimi_team(members, checkpointer=saver)


async def test_a_new_message_after_half_a_hand_off_reaches_who_took_over(database: Database) -> None:
    model = FakeKimi(hands_over)
    async with database.saver() as saver:
        await database.run(team(model, saver), GO)
    async with database.saver() as saver:
        agent = team(model, saver)
        state = await database.run(agent, MORE)
        assert (state["active_agent"], state["messages"][-1].text) == ("doer", "doer answers.")
        spent = state["spent_by_agent"]["planner"]
        assert (spent["turns"], spent["requests"], spent["tool_calls"]) == (1, 1, 1)
        seen = model.requests[-1].messages
        assert [message["role"] for message in seen] == ["system", "user", "user", "user"]
        assert UNKNOWN_RESULT in seen[2]["content"]
        state = await database.run(agent, MORE | {"active_agent": "planner"})
    assert state["messages"][-1].text == "planner answers."
    back = model.requests[-1]
    assert told(back) == [UNKNOWN_RESULT, "The conversation was handed over to doer."]
    own = next(message for message in back.messages if message["role"] == "assistant")
    assert (own["reasoning_content"], own["tool_calls"][1]["function"]["arguments"]) == ("p\u2028", "{  }")


async def test_half_a_hand_off_resumed_ends_as_if_nothing_had_been(database: Database) -> None:
    model = FakeKimi(hands_over)
    async with database.saver() as saver:
        await database.run(team(model, saver), GO)
    async with database.saver() as saver:
        state = await database.run(team(model, saver), Command(resume="back"))
        recorded = await database.state(team(model, saver))
    assert state["active_agent"] == "doer"
    assert [message.text for message in state["messages"][2:]] == [
        *("back", "The conversation was handed over to doer.", "doer answers.")
    ]
    assert recorded.values["messages"] == state["messages"]
    assert state["spent"]["tool_calls"] == 2


async def test_what_a_finished_sub_agent_said_stays_when_its_siblings_did_not_finish(database: Database) -> None:
    def lead(request: Request) -> Reply:
        if request.last["role"] == "user" and request.last["content"] == "go":
            return thought("l").calling("research", task="a").calling("research", task="stuck")
        return said("Well.")

    def researcher(request: Request) -> Reply:
        return thought("r").calling("burst", text="?") if request.text_of("user") == "stuck" else said("All about a.")

    model, own = FakeKimi(lead), FakeKimi(researcher)

    def agent(saver: Any) -> Any:
        sub = create_kimi_agent(own, [burst])
        research = agent_as_tool(sub, name="research", description="Research.")
        return create_kimi_agent(model, [research], checkpointer=saver)

    async with database.saver() as saver:
        await database.run(agent(saver), GO)
    async with database.saver() as saver:
        state = await database.run(agent(saver), MORE)
    assert told(model.requests[-1]) == ["All about a.", UNKNOWN_RESULT]
    assert len(own.requests) == 2
    assert state["spent"]["requests"] == 3
    assert state["messages"][-1].text == "Well."
