"""`interrupt_mode="per_call"`: an interrupt for each call, in the format of LangChain's middleware."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import ValidationError

from langchain_kimi import TeamMember, create_kimi_agent, create_kimi_team
from langchain_kimi.testing import Request, called, said
from tests.agent.helpers import Files, ran
from tests.conftest import SYNC_AND_ASYNC, Serve, kimi

CALLS = called("read", path="a").calling("delete", path="b").calling("delete", path="c")
EDIT = {"type": "edit", "edited_action": {"name": "delete", "args": {"path": "x"}}}


def script(request: Request) -> Any:
    return said("done") if request.tool_results() else CALLS


def agent_of(serve: Serve, files: Files, gate: Any = None) -> Any:
    return create_kimi_agent(
        kimi(serve(script)),
        files.tools,
        interrupt_on=gate or {"delete": True},
        interrupt_mode="per_call",
        checkpointer=InMemorySaver(),
    )


def answers(state: Any, *decisions: Any) -> Command[Any]:
    """A response to each interrupt of a run, by its id."""
    return Command(resume={one.id: decision for one, decision in zip(asked_of(state), decisions, strict=True)})


def asked_of(state: Any) -> list[Any]:
    """The interrupts of a run in the order of the calls; they arise in parallel."""
    return sorted(state["__interrupt__"], key=lambda one: str(one.value["tool_call_id"]))


def results(state: Any) -> dict[str, str]:
    return {m.tool_call_id: str(m.content) for m in state["messages"] if isinstance(m, ToolMessage)}


@SYNC_AND_ASYNC
async def test_interrupts_have_the_form_of_langchains_middleware(serve: Serve, way: str) -> None:
    gate: Any = {"delete": {"allowed_decisions": ["approve", "reject"], "description": "Really?"}}
    hitl = HumanInTheLoopMiddleware(interrupt_on=gate, interrupt_mode="per_call")
    theirs = create_agent(kimi(serve(script)), Files().tools, middleware=[hitl], checkpointer=InMemorySaver())
    files = Files()
    ours = asked_of(await ran(agent_of(serve, files, gate), way))
    assert [one.value for one in ours] == [one.value for one in asked_of(await ran(theirs, way))]
    assert [one.value["tool_call_id"] for one in ours] == ["delete:1", "delete:2"]
    assert ours[0].response_schema["anyOf"][0]["properties"] == {"type": {"const": "approve"}}
    assert files.ran == []


@SYNC_AND_ASYNC
async def test_the_schema_names_the_tool_and_its_arguments(serve: Serve, way: str) -> None:
    gate: Any = {"delete": {"allowed_decisions": ["edit"]}}
    only = asked_of(await ran(agent_of(serve, Files(), gate), way))[0].response_schema
    action = only["properties"]["edited_action"]["properties"]
    assert action["name"] == {"const": "delete"}
    assert action["args"]["properties"]["path"]["type"] == "string"


@SYNC_AND_ASYNC
async def test_all_are_answered_at_once_by_id(serve: Serve, way: str) -> None:
    files = Files()
    agent = agent_of(serve, files)
    state = await ran(agent, way, answers(await ran(agent, way), EDIT, {"type": "reject", "message": "keep it"}))
    assert sorted(files.ran) == ["delete x", "read a"]
    assert results(state)["delete:1"].endswith("deleted x")
    assert results(state)["delete:2"] == "A person rejected this call; it was not run. Reason: keep it"
    assert state["messages"][-1].text == "done"


@SYNC_AND_ASYNC
async def test_one_after_the_other_nothing_runs_before_the_last_and_nothing_twice(serve: Serve, way: str) -> None:
    files = Files()
    agent = agent_of(serve, files)
    first, second = asked_of(await ran(agent, way))
    state = await ran(agent, way, Command(resume={second.id: {"type": "respond", "message": "gone already"}}))
    assert [one.id for one in state["__interrupt__"]] == [first.id]
    assert files.ran == []
    state = await ran(agent, way, Command(resume={first.id: {"type": "approve"}}))
    assert sorted(files.ran) == ["delete b", "read a"]
    assert results(state)["delete:2"] == "gone already"
    assert state["messages"][-1].text == "done"


@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"type": "maybe"}, "'maybe' is not allowed for delete; it takes approve, edit, reject, respond"),
        ({"type": "respond"}, "`respond` needs a `message`"),
        ({"type": "edit"}, "`edit` needs an `edited_action` with `name` and `args`"),
        (
            {"type": "edit", "edited_action": {"name": "read", "args": {"path": "x"}}},
            "is on a call of delete",
        ),
        ({"type": "edit", "edited_action": {"name": "delete", "args": {"where": "x"}}}, "the edited call cannot run"),
        ("approve", "valid dictionary"),
    ],
    ids=["unknown", "no message", "no action", "another tool", "wrong arguments", "no dict"],
)
async def test_a_wrong_decision_is_refused_and_can_be_given_again(
    serve: Serve, way: str, wrong: Any, words: str
) -> None:
    files = Files()
    agent = agent_of(serve, files)
    first, second = asked_of(await ran(agent, way))
    with pytest.raises(ValidationError, match=words):
        await ran(agent, way, Command(resume={first.id: wrong}))
    assert files.ran == []
    yes = {"type": "approve"}
    await ran(agent, way, Command(resume={first.id: yes, second.id: yes}))
    assert sorted(files.ran) == ["delete b", "delete c", "read a"]


@SYNC_AND_ASYNC
async def test_a_call_that_was_edited_in_the_state_is_asked_about_again(serve: Serve, way: str) -> None:
    files = Files()
    agent: Any = agent_of(serve, files)
    await ran(agent, way)
    thread: Any = {"configurable": {"thread_id": "1"}}
    message = agent.get_state(thread).values["messages"][1]
    edited = message.model_copy(
        update={"tool_calls": [*message.tool_calls[:2], {**message.tool_calls[2], "args": {"path": "z"}}]}
    )
    agent.update_state(thread, {"messages": [edited]})
    asked = await ran(agent, way, None)
    assert [one.value["args"] for one in asked_of(asked)] == [{"path": "b"}, {"path": "z"}]
    await ran(agent, way, answers(asked, {"type": "approve"}, {"type": "approve"}))
    assert sorted(files.ran) == ["delete b", "delete z", "read a"]


@SYNC_AND_ASYNC
async def test_a_new_message_on_an_interrupted_thread_ends_the_open_calls(serve: Serve, way: str) -> None:
    files = Files()
    agent = agent_of(serve, files)
    await ran(agent, way)
    state = await ran(agent, way, {"messages": [("user", "Never mind.")]})
    assert files.ran == []
    assert results(state)["delete:1"] == "Not run: the user went on before this call was approved."
    assert state["messages"][-1].text == "done"


@SYNC_AND_ASYNC
async def test_in_a_team_too(serve: Serve, way: str) -> None:
    files = Files()
    members = [TeamMember(name="a", model=kimi(serve(script)), tools=files.tools, description="A.")]
    team = create_kimi_team(
        members, interrupt_on={"delete": True}, interrupt_mode="per_call", checkpointer=InMemorySaver()
    )
    asked = await ran(team, way)
    await ran(team, way, answers(asked, {"type": "approve"}, {"type": "reject"}))
    assert sorted(files.ran) == ["delete b", "read a"]


def test_another_mode_is_refused(serve: Serve) -> None:
    with pytest.raises(ValueError, match="interrupt_mode='all' is none of 'batched', 'per_call'"):
        create_kimi_agent(kimi(serve([])), Files().tools, interrupt_on={"delete": True}, interrupt_mode="all")  # type: ignore[arg-type]
