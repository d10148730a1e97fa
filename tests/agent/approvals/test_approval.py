"""Approvals and interrupts: in LangChain's formats, together, and nothing runs twice."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import ToolMessage, get_notification_metadata
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import ValidationError

from langchain_kimi import KimiState, create_kimi_agent
from langchain_kimi.testing import Reply, Request, called, said
from tests.agent.helpers import Files, decisions, ran, results
from tests.conftest import PAIRED, SYNC_AND_ASYNC, Serve, kimi


def once(reply: Reply) -> Callable[[Request], Reply]:
    return lambda request: said("done") if request.tool_results() else reply


FORMAT = re.escape('give {"decisions": [{"type": "approve"}, …]}, with one decision for each call')
CALLS = called("read", path="a").calling("delete", path="b").calling("delete", path="c")


@SYNC_AND_ASYNC
async def test_requests_have_the_form_of_langchains_middleware(serve: Serve, way: str) -> None:
    gate: Any = {"delete": {"allowed_decisions": ["approve", "reject"], "description": "Really?"}, "read": False}
    ours = create_kimi_agent(kimi(serve(once(CALLS))), Files().tools, interrupt_on=gate, checkpointer=InMemorySaver())
    theirs = create_agent(
        kimi(serve(once(CALLS))),
        Files().tools,
        middleware=[HumanInTheLoopMiddleware(interrupt_on=gate)],
        checkpointer=InMemorySaver(),
    )
    asked = [(await ran(agent, way))["__interrupt__"] for agent in (ours, theirs)]
    assert [len(interrupts) for interrupts in asked] == [1, 1]
    assert asked[0][0].value == asked[1][0].value
    default = create_kimi_agent(
        kimi(serve(once(CALLS))), Files().tools, interrupt_on={"delete": True}, checkpointer=InMemorySaver()
    )
    request = (await ran(default, way))["__interrupt__"][0].value
    assert request["review_configs"][0]["allowed_decisions"] == ["approve", "edit", "reject", "respond"]
    assert "Args: {'path': 'b'}" in request["action_requests"][0]["description"]


@SYNC_AND_ASYNC
async def test_results_that_people_gave_are_marked_as_langchains_middleware_marks_them(serve: Serve, way: str) -> None:
    calls = called("delete", path="b").calling("delete", path="c")
    given = decisions({"type": "reject"}, {"type": "respond", "message": "gone already"})
    server, marks = serve(once(calls)), []
    gate: Any = {"delete": True}
    for agent in (
        create_kimi_agent(kimi(server), Files().tools, interrupt_on=gate, checkpointer=InMemorySaver()),
        create_agent(
            kimi(serve(once(calls))),
            Files().tools,
            middleware=[HumanInTheLoopMiddleware(interrupt_on=gate)],
            checkpointer=InMemorySaver(),
        ),
    ):
        await ran(agent, way)
        state = await ran(agent, way, given)
        marks.append([get_notification_metadata(message) for message in state["messages"][2:4]])
    assert marks[0] == marks[1]
    assert marks[0][0] == {"source": "hitl_interrupt_decision", "data": {"decision": "reject"}}
    assert "lc_source" not in server.requests[1].body.decode()


@SYNC_AND_ASYNC
async def test_each_decision_does_what_it_says_and_nothing_runs_twice(serve: Serve, way: str) -> None:
    files = Files()
    calls = CALLS.calling("delete", path="d").calling("delete", path="e")
    server = serve(once(calls))
    agent = create_kimi_agent(kimi(server), files.tools, interrupt_on={"delete": True}, checkpointer=InMemorySaver())
    await ran(agent, way)
    assert files.ran == []
    state = await ran(
        agent,
        way,
        decisions(
            {"type": "approve"},
            {"type": "edit", "edited_action": {"name": "delete", "args": {"path": "x"}}},
            {"type": "reject", "message": "keep it"},
            {"type": "respond", "message": "gone already"},
        ),
    )
    assert sorted(files.ran) == ["delete b", "delete x", "read a"]
    by_id = {m.tool_call_id: (str(m.content), m.status) for m in state["messages"] if isinstance(m, ToolMessage)}
    assert by_id["read:0"] == ("read a", "success")
    assert by_id["delete:1"] == ("deleted b", "success")
    assert by_id["delete:2"][0].startswith("A person changed this call")
    assert by_id["delete:2"][0].endswith("deleted x")
    assert by_id["delete:3"] == ("A person rejected this call; it was not run. Reason: keep it", "error")
    assert by_id["delete:4"] == ("gone already", "success")
    assert state["messages"][-1].text == "done"
    sent = server.requests[1].messages
    assert sent[1]["tool_calls"][2]["function"]["arguments"] == '{"path":"c"}'
    assert [message["tool_call_id"] for message in sent[2:7]] == [call["id"] for call in sent[1]["tool_calls"]]
    assert set(server.statuses) == {200}


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (decisions({"type": "approve"}), "1 decisions for 2 calls"),
        (decisions({"type": "approve"}, {"type": "maybe"}), "not allowed for delete"),
        (decisions({"type": "approve"}, {"type": "respond"}), "needs a `message`"),
        (decisions({"type": "approve"}, {"type": "edit"}), "needs an `edited_action`"),
        (
            decisions({"type": "approve"}, {"type": "edit", "edited_action": {"name": "fly", "args": {}}}),
            "no tool 'fly'",
        ),
        (Command(resume="yes"), FORMAT),
        (Command(resume={"decisions": "approve"}), FORMAT),
        (decisions("approve", "approve"), FORMAT),  # type: ignore[arg-type]
    ],
    ids=["too few", "unknown", "no message", "no action", "no tool", "no dict", "no list", "texts"],
)
async def test_a_wrong_decision_is_refused_and_can_be_given_again(
    serve: Serve, way: str, wrong: Any, words: str
) -> None:
    files = Files()
    agent = create_kimi_agent(
        kimi(serve(once(CALLS))), files.tools, interrupt_on={"delete": True}, checkpointer=InMemorySaver()
    )
    await ran(agent, way)
    with pytest.raises(ValidationError, match=words):
        await ran(agent, way, wrong)
    state = await ran(agent, way, decisions({"type": "approve"}, {"type": "approve"}))
    assert sorted(files.ran) == ["delete b", "delete c", "read a"]
    assert state["messages"][-1].text == "done"


@SYNC_AND_ASYNC
@pytest.mark.parametrize("kind", ["edit", "respond"])
async def test_a_decision_that_the_tool_does_not_take_is_refused(serve: Serve, way: str, kind: str) -> None:
    files = Files()
    gate: Any = {"delete": {"allowed_decisions": ["approve", "reject"]}}
    agent = create_kimi_agent(
        kimi(serve(once(called("delete", path="b")))), files.tools, interrupt_on=gate, checkpointer=InMemorySaver()
    )
    await ran(agent, way)
    action = {"name": "delete", "args": {"path": "x"}}
    with pytest.raises(ValidationError, match="is not allowed for delete; it takes approve, reject"):
        await ran(agent, way, decisions({"type": kind, "edited_action": action, "message": "no"}))
    await ran(agent, way, decisions({"type": "approve"}))
    assert files.ran == ["delete b"]


@SYNC_AND_ASYNC
async def test_the_model_is_told_that_another_tool_ran_with_its_arguments(serve: Serve, way: str) -> None:
    files = Files()
    agent = create_kimi_agent(
        kimi(serve(once(called("delete", path="b")))),
        files.tools,
        interrupt_on={"delete": True},
        checkpointer=InMemorySaver(),
    )
    await ran(agent, way)
    edit = {"type": "edit", "edited_action": {"name": "read", "args": {"path": "b"}}}
    ((content, _),) = results(await ran(agent, way, decisions(edit)))
    assert files.ran == ["read b"]
    assert content.startswith("A person changed this call")


@SYNC_AND_ASYNC
async def test_a_decision_may_come_with_an_update_of_the_state(serve: Serve, way: str) -> None:
    class Mine(KimiState):
        ticket: str

    files = Files()
    agent = create_kimi_agent(
        kimi(serve(once(called("delete", path="b")))),
        files.tools,
        interrupt_on={"delete": True},
        state_schema=Mine,
        checkpointer=InMemorySaver(),
    )
    await ran(agent, way)
    state = await ran(agent, way, Command(resume={"decisions": [{"type": "approve"}]}, update={"ticket": "7"}))
    assert (files.ran, state["ticket"], state["messages"][-1].text) == (["delete b"], "7", "done")


@SYNC_AND_ASYNC
async def test_a_predicate_chooses_the_calls_that_are_asked_for(serve: Serve, way: str) -> None:
    files = Files()
    gate: Any = {
        "delete": {"allowed_decisions": ["approve"], "when": lambda request: request.tool_call["args"]["path"] == "c"}
    }
    agent = create_kimi_agent(kimi(serve(once(CALLS))), files.tools, interrupt_on=gate, checkpointer=InMemorySaver())
    asked = (await ran(agent, way))["__interrupt__"][0].value["action_requests"]
    assert [action["args"] for action in asked] == [{"path": "c"}]
    await ran(agent, way, decisions({"type": "approve"}))
    assert sorted(files.ran) == ["delete b", "delete c", "read a"]


@SYNC_AND_ASYNC
async def test_a_predicate_sees_what_the_state_was_extended_by(serve: Serve, way: str) -> None:
    class Mine(KimiState):
        trusted: bool

    files = Files()
    gate: Any = {"delete": {"allowed_decisions": ["approve"], "when": lambda request: not request.state["trusted"]}}
    agent = create_kimi_agent(kimi(serve(once(CALLS))), files.tools, interrupt_on=gate, state_schema=Mine)
    state = await ran(agent, way, {"messages": [("user", "go")], "trusted": True})
    assert state["messages"][-1].text == "done"


@SYNC_AND_ASYNC
async def test_all_rejected_goes_back_to_the_model(serve: Serve, way: str) -> None:
    files = Files()
    server = serve(once(called("delete", path="b")))
    agent = create_kimi_agent(kimi(server), files.tools, interrupt_on={"delete": True}, checkpointer=InMemorySaver())
    await ran(agent, way)
    state = await ran(agent, way, decisions({"type": "reject"}))
    assert files.ran == []
    assert "Do not make it again" in results(state)[0][0]
    assert state["messages"][-1].text == "done"


@SYNC_AND_ASYNC
async def test_interrupts_of_several_tools_come_together_and_siblings_run_once(serve: Serve, way: str) -> None:
    ran_so_far: list[str] = []

    @tool
    def ask(question: str) -> str:
        """Ask a person."""
        answer = interrupt(question)
        ran_so_far.append(f"asked {question}")
        return f"{question}: {answer}"

    @tool
    def work(x: int) -> str:
        """Work."""
        ran_so_far.append(f"worked {x}")
        return f"worked {x}"

    server = serve(once(called("ask", question="name?").calling("work", x=1).calling("ask", question="age?")))
    agent = create_kimi_agent(kimi(server), [ask, work], checkpointer=InMemorySaver())
    asked = (await ran(agent, way))["__interrupt__"]
    assert sorted(one.value for one in asked) == ["age?", "name?"]
    state = await ran(agent, way, Command(resume={one.id: one.value.upper() for one in asked}))
    assert [content for content, _ in results(state)] == ["name?: NAME?", "worked 1", "age?: AGE?"]
    assert sorted(ran_so_far) == ["asked age?", "asked name?", "worked 1"]
    assert len(server.requests) == 2


@SYNC_AND_ASYNC
async def test_a_new_message_instead_of_a_decision_leaves_the_calls_undone(
    serve: Serve, way: str, tmp_path: Path
) -> None:
    files = Files()

    def script(request: Request) -> Reply:
        return said("all right") if request.last.get("content") == "never mind" else CALLS

    server = serve(script)
    agent = create_kimi_agent(kimi(server), files.tools, interrupt_on={"delete": True}, checkpointer=InMemorySaver())
    await ran(agent, way)
    state = await ran(agent, way, {"messages": [("user", "never mind")]})
    assert files.ran == []
    assert state["messages"][-1].text == "all right"
    assert [content for content, _ in results(state)] == [
        "Not run: the user went on before this call was approved."
    ] * 3
    assert [type(message).__name__ for message in state["messages"]][1:6] == [
        *("AIMessage", "ToolMessage", "ToolMessage", "ToolMessage", "HumanMessage")
    ]
    assert set(server.statuses) == {200}
