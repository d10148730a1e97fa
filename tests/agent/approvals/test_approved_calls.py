"""No call runs that nobody approved as it runs: shared ids, repeated message ids, calls in the input, edits."""

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command
from pydantic import ValidationError

from langchain_kimi import KimiState, TeamMember, agent_as_tool, create_kimi_agent, create_kimi_team
from langchain_kimi.testing import called, said
from tests.agent.helpers import THREAD, Files, decisions, foreign, ran, results
from tests.conftest import PAIRED, SYNC_AND_ASYNC, Serve, kimi

APPROVE: Any = {"type": "approve"}
REJECT: Any = {"type": "reject"}


def deletes(*paths: str, call_id: str | None = "same", **fields: Any) -> AIMessage:
    calls = [{"name": "delete", "args": {"path": path}, "id": call_id, "type": "tool_call"} for path in paths]
    return AIMessage("", tool_calls=calls, **fields)


@SYNC_AND_ASYNC
@pytest.mark.parametrize("call_id", ["same", None])
async def test_decisions_bind_to_calls_that_share_an_id(way: str, call_id: str | None) -> None:
    files = Files()
    agent = create_kimi_agent(
        foreign(deletes("a", "b", "c", call_id=call_id), AIMessage("done")),
        files.tools,
        interrupt_on={"delete": True},
        checkpointer=InMemorySaver(),
    )
    await ran(agent, way)
    edit = {"type": "edit", "edited_action": {"name": "delete", "args": {"path": "x"}}}
    state = await ran(agent, way, decisions(APPROVE, REJECT, edit))
    assert sorted(files.ran) == ["delete a", "delete x"]
    answer = next(message for message in state["messages"] if isinstance(message, AIMessage))
    by_id = {m.tool_call_id: m.text for m in state["messages"] if isinstance(m, ToolMessage)}
    outcomes = [by_id[call["id"] or ""] for call in answer.tool_calls]
    assert outcomes[0] == "deleted a"
    assert outcomes[1].startswith("A person rejected")
    assert outcomes[2].endswith("deleted x")


@SYNC_AND_ASYNC
async def test_a_later_answer_under_an_approved_messages_id_asks_again(way: str) -> None:
    files = Files()
    agent = create_kimi_agent(
        foreign(deletes("a", id="m1"), deletes("a", id="m1"), AIMessage("done")),
        files.tools,
        interrupt_on={"delete": True},
        checkpointer=InMemorySaver(),
    )
    await ran(agent, way)
    state = await ran(agent, way, decisions(APPROVE))
    assert files.ran == ["delete a"]
    assert state["__interrupt__"]
    state = await ran(agent, way, decisions(REJECT))
    assert files.ran == ["delete a"]
    assert [status for _, status in results(state)] == ["success", "error"]


@SYNC_AND_ASYNC
@pytest.mark.parametrize("opted_in", [False, True])
async def test_calls_in_the_input_run_only_where_that_was_asked_for(serve: Serve, way: str, opted_in: bool) -> None:
    files = Files()
    server = serve([said("done")])
    agent = create_kimi_agent(kimi(server), files.tools, run_input_tool_calls=opted_in, checkpointer=InMemorySaver())
    state = await ran(agent, way, {"messages": [HumanMessage("go"), deletes("a", call_id="c1")]})
    assert files.ran == (["delete a"] if opted_in else [])
    assert len(server.requests) == 1
    assert state["messages"][-1].text == "done"
    if not opted_in:
        assert results(state)[0][0].startswith("This call was part of the input and was not run here.")


def with_calls(state: Any) -> Any:
    """A node of a graph around an agent, which makes up a call of a tool."""
    return {"messages": [deletes("a", call_id="c1")]}


def around(agent: Any, schema: type = KimiState, **settings: Any) -> Any:
    """A graph that runs the agent after a node that made up a call."""
    graph = StateGraph(schema)
    graph.add_node("calls", with_calls)
    graph.add_node("agent", agent)
    graph.add_edge(START, "calls")
    graph.add_edge("calls", "agent")
    return graph.compile(**settings)


def agents(model: Any, files: Files, kind: str, **settings: Any) -> Any:
    if kind == "team":
        return create_kimi_team([TeamMember(name="ann", model=model, tools=files.tools)], **settings)
    return create_kimi_agent(model, files.tools, **settings)


@SYNC_AND_ASYNC
@pytest.mark.parametrize("kind", ["agent", "team"])
@pytest.mark.parametrize("schema", [KimiState, MessagesState])
@pytest.mark.parametrize("opted_in", [False, True])
async def test_calls_that_come_through_a_parent_graph_run_only_where_that_was_asked_for(
    serve: Serve, way: str, kind: str, schema: type, opted_in: bool
) -> None:
    files = Files()
    server = serve([said("done")])
    agent = agents(kimi(server), files, kind, run_input_tool_calls=opted_in)
    state = await ran(around(agent, schema, checkpointer=InMemorySaver()), way)
    assert files.ran == (["delete a"] if opted_in else [])
    assert (state["messages"][-1].text, len(server.requests)) == ("done", 1)
    if not opted_in:
        assert results(state)[0][0].startswith("This call was part of the input and was not run here.")


@SYNC_AND_ASYNC
async def test_opted_in_calls_that_come_through_a_parent_graph_pass_the_gates(serve: Serve, way: str) -> None:
    files = Files()
    agent = agents(
        kimi(serve([said("done")])), files, "agent", run_input_tool_calls=True, interrupt_on={"delete": True}
    )
    parent = around(agent, checkpointer=InMemorySaver())
    assert asked_for(await ran(parent, way)) == [{"path": "a"}]
    assert files.ran == []
    state = await ran(parent, way, decisions(APPROVE))
    assert (files.ran, state["messages"][-1].text) == (["delete a"], "done")


@SYNC_AND_ASYNC
@pytest.mark.parametrize("opted_in", [False, True])
async def test_calls_that_come_through_a_sub_agent_run_only_where_that_was_asked_for(
    serve: Serve, way: str, opted_in: bool
) -> None:
    files = Files()
    inner = serve([said("inner")])
    helper = agent_as_tool(
        around(agents(kimi(inner), files, "agent", run_input_tool_calls=opted_in)), name="helper", description="Help."
    )
    outer = serve(lambda request: said("done") if request.tool_results() else called("helper", task="go"))
    state = await ran(create_kimi_agent(kimi(outer), [helper], checkpointer=InMemorySaver()), way)
    assert files.ran == (["delete a"] if opted_in else [])
    assert (results(state), state["messages"][-1].text) == ([("inner", "success")], "done")
    if not opted_in:
        (told,) = inner.requests[0].tool_results()
        assert str(told["content"]).startswith("This call was part of the input and was not run here.")


@SYNC_AND_ASYNC
async def test_a_parent_graph_that_goes_on_keeps_running_the_models_own_calls(serve: Serve, way: str) -> None:
    files = Files()
    server = serve(lambda request: said("done") if request.last["role"] == "tool" else called("read", path="b"))
    agent = create_kimi_agent(kimi(server), files.tools, interrupt_on={"read": True})
    graph = StateGraph(KimiState)
    graph.add_node("agent", agent)
    graph.add_edge(START, "agent")
    parent = graph.compile(checkpointer=InMemorySaver())
    assert asked_for(await ran(parent, way)) == [{"path": "b"}]
    state = await ran(parent, way, decisions(APPROVE))
    assert (files.ran, state["messages"][-1].text) == (["read b"], "done")


@SYNC_AND_ASYNC
async def test_opted_in_calls_of_hidden_tools_and_other_members_do_not_run(serve: Serve, way: str) -> None:
    files = Files()
    delete, read = files.tools
    given = {"messages": [HumanMessage("go"), deletes("a", call_id="c1")]}
    single = create_kimi_agent(
        kimi(serve([said("done")])),
        files.tools,
        select_tools=lambda state: ["read"],
        run_input_tool_calls=True,
        checkpointer=InMemorySaver(),
    )
    team = create_kimi_team(
        [
            TeamMember(name="lead", model=kimi(serve([said("done")])), tools=[read]),
            TeamMember(name="cleaner", model=kimi(serve([])), tools=[delete]),
        ],
        run_input_tool_calls=True,
        checkpointer=InMemorySaver(),
    )
    for agent in (single, team):
        state = await ran(agent, way, given)
        assert results(state)[0][0].startswith("delete is not a tool you have")
    assert files.ran == []


@SYNC_AND_ASYNC
async def test_an_edit_passes_the_checks_and_gates_of_the_models_own_calls(serve: Serve, way: str) -> None:
    files = Files()

    def wipe() -> str:
        """Delete everything."""
        files.ran.append("wipe")
        return "wiped"

    def shout() -> str:
        """Shout."""
        files.ran.append("shout")
        return "loud"

    agent = create_kimi_agent(
        kimi(serve(lambda request: said("done") if request.tool_results() else called("delete", path="a"))),
        [*files.tools, wipe, shout],
        interrupt_on={"delete": True, "wipe": {"allowed_decisions": ["reject"]}},
        select_tools=lambda state: ["delete", "read", "wipe"],
        checkpointer=InMemorySaver(),
    )
    await ran(agent, way)
    for name, words in (("wipe", "take only these decisions: reject"), ("shout", "shout is not a tool you have")):
        edit = {"type": "edit", "edited_action": {"name": name, "args": {}}}
        with pytest.raises(ValidationError, match=words):
            await ran(agent, way, decisions(edit))
    await ran(agent, way, decisions({"type": "edit", "edited_action": {"name": "read", "args": {"path": "b"}}}))
    assert files.ran == ["read b"]


def asked_for(state: dict[str, Any]) -> list[Any]:
    (shown,) = state["__interrupt__"]
    return [action["args"] for action in shown.value["action_requests"]]


async def edit_state(agent: Any, way: str, message: Any, as_node: str | None = None) -> None:
    if way == "sync":
        await asyncio.to_thread(agent.update_state, THREAD, {"messages": [message]}, as_node)
    else:
        await agent.aupdate_state(THREAD, {"messages": [message]}, as_node)


def with_path(message: AIMessage, path: str) -> AIMessage:
    return message.model_copy(update={"tool_calls": [{**message.tool_calls[0], "args": {"path": path}}]})


def one_delete(files: Files, **settings: Any) -> Any:
    gate = settings.pop("gate", True)
    return create_kimi_agent(
        foreign(deletes("a"), AIMessage("done")),
        files.tools,
        interrupt_on={"delete": gate},
        checkpointer=InMemorySaver(),
        **settings,
    )


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize("as_node", [None, "model", "review"])
async def test_a_decision_does_not_count_for_a_call_that_was_edited_after_it_was_shown(
    way: str, as_node: str | None
) -> None:
    files = Files()
    agent = one_delete(files)
    assert asked_for(await ran(agent, way)) == [{"path": "a"}]
    await edit_state(agent, way, with_path(agent.get_state(THREAD).values["messages"][-1], "b"), as_node)
    state = await ran(agent, way, decisions(APPROVE))
    assert files.ran == []
    assert asked_for(state) == [{"path": "b"}]
    await ran(agent, way, decisions(APPROVE))
    assert files.ran == ["delete b"]


@SYNC_AND_ASYNC
async def test_a_decision_that_comes_with_an_edit_is_asked_for_again(way: str) -> None:
    files = Files()
    agent = one_delete(files)
    await ran(agent, way)
    message = with_path(agent.get_state(THREAD).values["messages"][-1], "b")
    state = await ran(agent, way, Command(resume={"decisions": [APPROVE]}, update={"messages": [message]}))
    assert files.ran == []
    assert asked_for(state) == [{"path": "b"}]


@SYNC_AND_ASYNC
@pytest.mark.parametrize("approves", [False, True])
@pytest.mark.parametrize("goto", ["model", "tools", ["tools", "model"]])
async def test_a_command_to_a_node_runs_no_call_that_nobody_approved(way: str, goto: Any, approves: bool) -> None:
    files = Files()
    agent = one_delete(files)
    await ran(agent, way)
    if approves:
        agent.interrupt_before_nodes = ["tools"]
        await ran(agent, way, decisions(APPROVE))
        agent.interrupt_before_nodes = []
    message = with_path(agent.get_state(THREAD).values["messages"][-1], "b")
    state = await ran(agent, way, Command(update={"messages": [message]}, goto=goto))
    assert (files.ran, asked_for(state)) == ([], [{"path": "b"}])
    assert asked_for(await ran(agent, way, Command(goto=goto))) == [{"path": "b"}]
    assert files.ran == []
    await ran(agent, way, decisions(APPROVE))
    assert files.ran == ["delete b"]


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize("as_node", [None, "model", "review"])
async def test_a_call_edited_after_its_approval_is_asked_for_again(way: str, as_node: str | None) -> None:
    files = Files()
    agent = one_delete(files)
    await ran(agent, way)
    agent.interrupt_before_nodes = ["tools"]
    await ran(agent, way, decisions(APPROVE))
    assert agent.get_state(THREAD).next == ("tools",)
    await edit_state(agent, way, with_path(agent.get_state(THREAD).values["messages"][-1], "b"), as_node)
    agent.interrupt_before_nodes = []
    state = await ran(agent, way, None)
    assert files.ran == []
    assert asked_for(state) == [{"path": "b"}]


async def approved_but_not_run(agent: Any, way: str, calls: int = 1) -> AIMessage:
    """Approve all calls and stop before they run; the message that makes them."""
    await ran(agent, way)
    agent.interrupt_before_nodes = ["tools"]
    await ran(agent, way, decisions(*[APPROVE] * calls))
    agent.interrupt_before_nodes = []
    message: AIMessage = agent.get_state(THREAD).values["messages"][-1]
    return message


@SYNC_AND_ASYNC
async def test_an_approval_does_not_count_for_another_tool_with_the_same_arguments(way: str) -> None:
    files = Files()
    agent = create_kimi_agent(
        foreign(deletes("a"), AIMessage("done")),
        files.tools,
        interrupt_on={"delete": True, "read": True},
        checkpointer=InMemorySaver(),
    )
    message = await approved_but_not_run(agent, way)
    other = message.model_copy(update={"tool_calls": [{**message.tool_calls[0], "name": "read"}]})
    await edit_state(agent, way, other)
    (shown,) = (await ran(agent, way, None))["__interrupt__"]
    assert [action["name"] for action in shown.value["action_requests"]] == ["read"]
    assert files.ran == []
    await ran(agent, way, decisions(APPROVE))
    assert files.ran == ["read a"]


@SYNC_AND_ASYNC
async def test_an_approval_of_one_does_not_count_for_true(way: str) -> None:
    ran_with: list[Any] = []

    def take(count: Any) -> str:
        """Take."""
        ran_with.append(count)
        return "taken"

    call = {"name": "take", "args": {"count": 1}, "id": "1", "type": "tool_call"}
    agent = create_kimi_agent(
        foreign(AIMessage("", tool_calls=[call]), AIMessage("done")),
        [take],
        interrupt_on={"take": True},
        checkpointer=InMemorySaver(),
    )
    message = await approved_but_not_run(agent, way)
    await edit_state(agent, way, message.model_copy(update={"tool_calls": [{**call, "args": {"count": True}}]}))
    (args,) = asked_for(await ran(agent, way, None))
    assert (ran_with, args["count"]) == ([], True)
    assert args["count"] is True


@SYNC_AND_ASYNC
async def test_only_the_call_that_was_edited_is_asked_for_again(way: str) -> None:
    files = Files()
    agent = create_kimi_agent(
        foreign(deletes("a", "b"), AIMessage("done")),
        files.tools,
        interrupt_on={"delete": True},
        checkpointer=InMemorySaver(),
    )
    message = await approved_but_not_run(agent, way, 2)
    first, second = message.tool_calls
    calls = [first, {**second, "args": {"path": "c"}}]
    await edit_state(agent, way, message.model_copy(update={"tool_calls": calls}))
    assert asked_for(await ran(agent, way, None)) == [{"path": "c"}]
    await ran(agent, way, decisions(APPROVE))
    assert sorted(files.ran) == ["delete a", "delete c"]


@SYNC_AND_ASYNC
async def test_an_approval_does_not_count_for_the_next_answer_where_a_hook_removed_the_first(way: str) -> None:
    def forget(state: Any) -> Any:
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), state["messages"][0]]}

    files = Files()
    agent = create_kimi_agent(
        foreign(deletes("a", id="m1"), deletes("a", id="m1"), AIMessage("done")),
        files.tools,
        interrupt_on={"delete": True},
        pre_model_hook=forget,
        checkpointer=InMemorySaver(),
    )
    await ran(agent, way)
    state = await ran(agent, way, decisions(APPROVE))
    assert (files.ran, asked_for(state)) == (["delete a"], [{"path": "a"}])
    assert state["messages"][-1].id == "m1"
    state = await ran(agent, way, decisions(REJECT))
    assert (files.ran, state["messages"][-1].text) == (["delete a"], "done")


@SYNC_AND_ASYNC
async def test_an_approval_does_not_count_for_the_same_call_in_the_next_input(way: str) -> None:
    files = Files()
    agent = create_kimi_agent(
        foreign(deletes("a", id="m1"), AIMessage("done"), AIMessage("done")),
        files.tools,
        interrupt_on={"delete": True},
        run_input_tool_calls=True,
        checkpointer=InMemorySaver(),
    )
    message = await approved_but_not_run(agent, way)
    given = [RemoveMessage(id=REMOVE_ALL_MESSAGES), HumanMessage("again"), message]
    assert asked_for(await ran(agent, way, {"messages": given})) == [{"path": "a"}]
    assert files.ran == []


@SYNC_AND_ASYNC
async def test_an_approval_does_not_count_for_the_same_call_in_another_message(way: str) -> None:
    files = Files()
    agent = one_delete(files)
    await ran(agent, way)
    agent.interrupt_before_nodes = ["tools"]
    await ran(agent, way, decisions(APPROVE))
    agent.interrupt_before_nodes = []
    message = agent.get_state(THREAD).values["messages"][-1].model_copy(update={"id": "another"})
    await edit_state(agent, way, message, "model")
    assert asked_for(await ran(agent, way, None)) == [{"path": "a"}]
    assert files.ran == []


@SYNC_AND_ASYNC
async def test_a_predicate_is_asked_where_the_state_was_edited(way: str) -> None:
    files = Files()
    gate = {"allowed_decisions": ["approve"], "when": lambda request: request.tool_call["args"]["path"] == "b"}
    for path, asks in (("c", False), ("b", True)):
        files.ran.clear()
        agent = one_delete(files, gate=gate)
        agent.interrupt_before_nodes = ["tools"]
        await ran(agent, way)
        agent.interrupt_before_nodes = []
        await edit_state(agent, way, with_path(agent.get_state(THREAD).values["messages"][-1], path))
        state = await ran(agent, way, None)
        assert (files.ran, "__interrupt__" in state) == ([] if asks else ["delete c"], asks)


@SYNC_AND_ASYNC
async def test_rejecting_all_goes_back_to_the_hook_before_the_model(way: str) -> None:
    files = Files()
    agent = one_delete(files, pre_model_hook=lambda state: {})
    await ran(agent, way)
    state = await ran(agent, way, decisions(REJECT))
    assert (files.ran, state["messages"][-1].text) == ([], "done")


@SYNC_AND_ASYNC
async def test_arguments_that_are_not_equal_to_themselves_are_asked_for_once(way: str) -> None:
    ran_with: list[float] = []

    def weigh(x: float) -> str:
        """Weigh."""
        ran_with.append(x)
        return "light"

    call = {"name": "weigh", "args": {"x": float("nan")}, "id": "1"}
    agent = create_kimi_agent(
        foreign(AIMessage("", tool_calls=[call]), AIMessage("done")),
        [weigh],
        interrupt_on={"weigh": True},
        checkpointer=InMemorySaver(),
    )
    await ran(agent, way)
    state = await ran(agent, way, decisions(APPROVE))
    assert (len(ran_with), state["messages"][-1].text) == (1, "done")


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize("as_node", ["model", "review"])
async def test_calls_without_ids_that_an_edit_brings_get_ids_before_they_are_shown(way: str, as_node: str) -> None:
    files = Files()
    agent = one_delete(files)
    await ran(agent, way)
    message = agent.get_state(THREAD).values["messages"][-1]
    calls = [
        {"name": "read", "args": {"path": "c"}, "id": None, "type": "tool_call"},
        {"name": "delete", "args": {"path": "d"}, "id": None, "type": "tool_call"},
        {"name": "delete", "args": {"path": "e"}, "id": None, "type": "tool_call"},
    ]
    await edit_state(agent, way, message.model_copy(update={"tool_calls": calls}), as_node)
    assert asked_for(await ran(agent, way, None)) == [{"path": "d"}, {"path": "e"}]
    state = await ran(agent, way, decisions(REJECT, APPROVE))
    assert sorted(files.ran) == ["delete e", "read c"]
    assert (len(results(state)), state["messages"][-1].text) == (3, "done")


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize("as_node", ["model", "review"])
@pytest.mark.parametrize("call_id", [None, "same"])
async def test_free_calls_without_ids_of_their_own_that_an_edit_brings_get_ids_before_they_run(
    way: str, as_node: str, call_id: str | None
) -> None:
    files = Files()
    agent = one_delete(files)
    await ran(agent, way)
    message = agent.get_state(THREAD).values["messages"][-1]
    calls = [{"name": "read", "args": {"path": path}, "id": call_id, "type": "tool_call"} for path in "cd"]
    await edit_state(agent, way, message.model_copy(update={"tool_calls": calls}), as_node)
    state = await ran(agent, way, None)
    assert sorted(files.ran) == ["read c", "read d"]
    answer = next(message for message in state["messages"] if isinstance(message, AIMessage))
    by_id = {m.tool_call_id: m.text for m in state["messages"] if isinstance(m, ToolMessage)}
    assert [by_id[call["id"] or ""] for call in answer.tool_calls] == ["read c", "read d"]
    assert all(by_id)


@SYNC_AND_ASYNC
@pytest.mark.parametrize("call_id", ["", None, "same"])
async def test_calls_in_the_input_without_ids_of_their_own_do_not_run_either(
    serve: Serve, way: str, call_id: str | None
) -> None:
    files = Files()
    server = serve([said("done")])
    agent = create_kimi_agent(kimi(server), files.tools, checkpointer=InMemorySaver())
    state = await ran(agent, way, {"messages": [HumanMessage("go"), deletes("a", "b", call_id=call_id)]})
    assert files.ran == []
    assert [content.split(",")[0][:30] for content, _ in results(state)] == ["This call was part of the inpu"] * 2
    assert (state["messages"][-1].text, len(server.requests)) == ("done", 1)
