"""LangGraph's own ways of editing a thread, in agents and teams, beside what `create_agent` does where that is sane."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, interrupt

from langchain_kimi import AgentLimits, TeamMember, create_kimi_agent, create_kimi_team
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said
from tests.conftest import PAIRED
from tests.databases import THREAD, Database

GO: Any = {"messages": [("user", "go")]}


def script(request: Request) -> Reply:
    """Two calls for `go`; else an answer that says what it was asked."""
    if request.last["role"] == "user" and request.last["content"] == "go":
        return called("add", a=1, b=2).calling("add", a=3, b=4)
    return said(f"read {request.last['content']}")


class Thread:
    """One thread of an agent, used synchronously or not; it notes which calls ran."""

    def __init__(self, kind: str, way: str, saver: Any) -> None:
        self.way = way
        self.ran: list[tuple[int, int]] = []
        self.model = FakeKimi(script)

        @tool
        def add(a: int, b: int) -> int:
            """Add."""
            self.ran.append((a, b))
            return a + b

        if kind == "team":
            members = [TeamMember(name="ann", model=self.model, tools=[add]), TeamMember(name="bob", model=self.model)]
            self.agent: Any = create_kimi_team(members, checkpointer=saver)
        else:
            create: Any = create_kimi_agent if kind == "agent" else create_agent
            self.agent = create(self.model, [add], checkpointer=saver)

    async def _do(self, method: str, *given: Any, **settings: Any) -> Any:
        if self.way == "sync":
            return await asyncio.to_thread(getattr(self.agent, method), *given, **settings)
        return await getattr(self.agent, f"a{method}")(*given, **settings)

    async def run(self, given: Any = None, config: Any = THREAD, **settings: Any) -> Any:
        return await self._do("invoke", given, config, **settings)

    async def update(self, messages: Any, as_node: str | None = None, config: Any = THREAD) -> Any:
        return await self._do("update_state", config, {"messages": messages}, as_node=as_node)

    async def state(self, config: Any = THREAD) -> Any:
        return await self._do("get_state", config)

    async def history(self) -> list[Any]:
        if self.way == "sync":
            return await asyncio.to_thread(lambda: list(self.agent.get_state_history(THREAD)))
        return [state async for state in self.agent.aget_state_history(THREAD)]

    async def paused(self, **settings: Any) -> Any:
        """Run up to the calls; the message that makes them."""
        await self.run(GO, **(settings or {"interrupt_before": ["tools"]}))
        return (await self.state()).values["messages"][-1]

    async def before_tools(self) -> Any:
        """The earlier state of a finished turn in which its calls had not run."""
        await self.run(GO)
        self.ran.clear()
        return next(state for state in await self.history() if state.next and state.next[0] == "tools")


def edited(message: Any, *args: dict[str, int]) -> Any:
    """The message with other arguments in its calls; calls without any are taken out."""
    pairs = zip(message.tool_calls, args, strict=False)
    return message.model_copy(update={"tool_calls": [{**call, "args": new} for call, new in pairs]})


NEW, OLD, SECOND = {"a": 5, "b": 6}, {"a": 1, "b": 2}, {"a": 3, "b": 4}


# Each way of editing ends with the state after it; beside it what ran, and the texts that the turn ends with.


async def nothing(thread: Thread) -> Any:
    await thread.paused()
    return await thread.run()


async def other_arguments(thread: Thread) -> Any:
    await thread.update([edited(await thread.paused(), NEW, SECOND)])
    return await thread.run()


async def other_arguments_as_model(thread: Thread) -> Any:
    await thread.update([edited(await thread.paused(), NEW, SECOND)], "model")
    return await thread.run()


async def other_arguments_after_the_model(thread: Thread) -> Any:
    await thread.update([edited(await thread.paused(interrupt_after=["model"]), NEW, SECOND)])
    return await thread.run()


async def other_arguments_by_command(thread: Thread) -> Any:
    return await thread.run(Command(update={"messages": [edited(await thread.paused(), NEW, SECOND)]}))


async def other_arguments_and_to_the_model(thread: Thread) -> Any:
    message = edited(await thread.paused(), NEW, SECOND)
    return await thread.run(Command(update={"messages": [message]}, goto="model"))


async def other_arguments_and_to_the_tools(thread: Thread) -> Any:
    message = edited(await thread.paused(), NEW, SECOND)
    return await thread.run(Command(update={"messages": [message]}, goto=["tools"]))


async def to_the_model(thread: Thread) -> Any:
    await thread.paused()
    return await thread.run(Command(goto="model"))


async def no_call_and_to_the_model(thread: Thread) -> Any:
    message = edited(await thread.paused()).model_copy(update={"content": "never mind"})
    return await thread.run(Command(update={"messages": [message]}, goto="model"))


async def a_word_of_the_user_and_to_the_model(thread: Thread) -> Any:
    await thread.paused()
    return await thread.run(Command(update={"messages": [HumanMessage("stop")]}, goto="model"))


async def a_finished_thread_and_to_the_tools(thread: Thread) -> Any:
    message = await thread.paused()
    await thread.run()
    thread.ran.clear()
    added = edited(message, NEW, SECOND).model_copy(update={"id": "another"})
    return await thread.run(Command(update={"messages": [added]}, goto="tools"))


async def a_call_less(thread: Thread) -> Any:
    await thread.update([edited(await thread.paused(), OLD)])
    return await thread.run()


async def no_call(thread: Thread) -> Any:
    await thread.update([AIMessage("never mind", id=(await thread.paused()).id)])
    assert (await thread.state()).next == ()
    return await thread.run()


async def one_result_by_hand(thread: Thread) -> Any:
    call = (await thread.paused()).tool_calls[0]
    await thread.update([ToolMessage("by hand", tool_call_id=call["id"])])
    return await thread.run()


async def one_result_by_hand_as_tools(thread: Thread) -> Any:
    call = (await thread.paused()).tool_calls[0]
    await thread.update([ToolMessage("by hand", tool_call_id=call["id"])], "tools")
    return await thread.run()


async def all_results_by_hand(thread: Thread) -> Any:
    calls = (await thread.paused()).tool_calls
    await thread.update([ToolMessage("by hand", tool_call_id=call["id"]) for call in calls])
    return await thread.run()


async def all_results_by_hand_as_tools(thread: Thread) -> Any:
    calls = (await thread.paused()).tool_calls
    await thread.update([ToolMessage("by hand", tool_call_id=call["id"]) for call in calls], "tools")
    return await thread.run()


async def another_result_after_the_tools(thread: Thread) -> Any:
    await thread.run(GO, interrupt_after=["tools"])
    results = [m for m in (await thread.state()).values["messages"] if isinstance(m, ToolMessage)]
    await thread.update([results[-1].model_copy(update={"content": "changed"})])
    return await thread.run()


async def a_word_of_the_user(thread: Thread) -> Any:
    await thread.paused()
    await thread.update([HumanMessage("stop")])
    return await thread.run()


async def a_word_of_the_user_as_start(thread: Thread) -> Any:
    await thread.paused()
    await thread.update([HumanMessage("stop")], "__start__")
    return await thread.run()


async def a_word_of_the_user_as_input(thread: Thread) -> Any:
    await thread.paused()
    await thread.update([HumanMessage("stop")], "__input__")
    return await thread.run()


async def a_word_of_the_user_as_input_and_a_new_message(thread: Thread) -> Any:
    await thread.paused()
    await thread.update([HumanMessage("stop")], "__input__")
    return await thread.run({"messages": [("user", "hi")]})


async def a_first_message_as_input(thread: Thread) -> Any:
    await thread.update([HumanMessage("go")], "__input__")
    return await thread.run()


async def the_answer_removed(thread: Thread) -> Any:
    await thread.update([RemoveMessage(id=(await thread.paused()).id)])
    return await thread.run()


async def the_answer_removed_and_a_new_message(thread: Thread) -> Any:
    await thread.update([RemoveMessage(id=(await thread.paused()).id)])
    return await thread.run({"messages": [("user", "hi")]})


async def all_removed(thread: Thread) -> Any:
    await thread.paused()
    await thread.update([RemoveMessage(id=REMOVE_ALL_MESSAGES), HumanMessage("hi")], "tools")
    return await thread.run()


async def the_end_declared(thread: Thread) -> Any:
    await thread.paused()
    await thread._do("update_state", THREAD, None, as_node="__end__")
    return await thread.run({"messages": [("user", "hi")]})


async def a_finished_answer(thread: Thread) -> Any:
    await thread.run(GO)
    await thread.update([AIMessage("better", id=(await thread.state()).values["messages"][-1].id)])
    assert (await thread.state()).next == ()
    return await thread.run({"messages": [("user", "hi")]})


async def a_message_for_a_finished_thread(thread: Thread) -> Any:
    await thread.run({"messages": [("user", "hi")]})
    await thread.update([HumanMessage("a remark")])
    assert (await thread.state()).next == ()
    return await thread.run({"messages": [("user", "so?")]})


async def a_command_to_the_model(thread: Thread) -> Any:
    await thread.run({"messages": [("user", "hi")]})
    return await thread.run(Command(update={"messages": [HumanMessage("go")]}, goto="model"))


async def a_first_message_as_start(thread: Thread) -> Any:
    await thread.update([HumanMessage("go")], "__start__")
    return await thread.run()


async def a_fork(thread: Thread) -> Any:
    return await thread.run(None, (await thread.before_tools()).config)


async def a_fork_with_other_arguments(thread: Thread) -> Any:
    before = await thread.before_tools()
    fork = await thread.update([edited(before.values["messages"][-1], NEW, SECOND)], config=before.config)
    return await thread.run(None, fork)


async def a_fork_with_other_arguments_by_command(thread: Thread) -> Any:
    before = await thread.before_tools()
    message = edited(before.values["messages"][-1], NEW, SECOND)
    return await thread.run(Command(update={"messages": [message]}), before.config)


async def a_fork_with_other_arguments_and_to_the_model(thread: Thread) -> Any:
    before = await thread.before_tools()
    message = edited(before.values["messages"][-1], NEW, SECOND)
    return await thread.run(Command(update={"messages": [message]}, goto="model"), before.config)


async def a_fork_with_another_message(thread: Thread) -> Any:
    await thread.before_tools()
    first = next(state for state in reversed(await thread.history()) if state.next == ("model",))
    fork = await thread.update([HumanMessage("hi", id=first.values["messages"][0].id)], config=first.config)
    return await thread.run(None, fork)


async def a_fork_with_a_new_message(thread: Thread) -> Any:
    return await thread.run({"messages": [("user", "stop")]}, (await thread.before_tools()).config)


async def two_edits(thread: Thread) -> Any:
    message = await thread.paused()
    await thread.update([edited(message, {"a": 0, "b": 0}, SECOND)])
    await thread.update([edited(message, NEW, SECOND)])
    return await thread.run()


BOTH = [(1, 2), (3, 4)]
CHANGED = [(3, 4), (5, 6)]
Edit = Callable[[Thread], Awaitable[Any]]
AS_CREATE_AGENT: list[tuple[Edit, Any, list[str]]] = [
    (nothing, BOTH, ["3", "7", "read 7"]),
    (other_arguments, CHANGED, ["11", "7", "read 7"]),
    (other_arguments_as_model, CHANGED, ["11", "7", "read 7"]),
    (other_arguments_after_the_model, CHANGED, ["11", "7", "read 7"]),
    (two_edits, CHANGED, ["11", "7", "read 7"]),
    (a_call_less, [(1, 2)], ["3", "read 3"]),
    (no_call, [], ["go", "never mind"]),
    (one_result_by_hand, [(3, 4)], ["by hand", "7", "read 7"]),
    (all_results_by_hand_as_tools, [], ["by hand", "by hand", "read by hand"]),
    (a_word_of_the_user_as_start, [], ["stop", "read stop"]),
    (the_answer_removed_and_a_new_message, [], ["go", "hi", "read hi"]),
    (all_removed, [], ["hi", "read hi"]),
    (the_end_declared, [], ["hi", "read hi"]),
    (a_finished_answer, BOTH, ["better", "hi", "read hi"]),
    (a_message_for_a_finished_thread, [], ["a remark", "so?", "read so?"]),
    (a_command_to_the_model, BOTH, ["3", "7", "read 7"]),
    (a_first_message_as_start, BOTH, ["3", "7", "read 7"]),
    (a_first_message_as_input, BOTH, ["3", "7", "read 7"]),
    (a_fork, BOTH, ["3", "7", "read 7"]),
    (a_fork_with_other_arguments, CHANGED, ["11", "7", "read 7"]),
    (a_fork_with_another_message, [], ["hi", "read hi"]),
    (a_fork_with_a_new_message, [], ["stop", "read stop"]),
]
"""Equal in agents, teams and `create_agent`."""
OWN: list[tuple[Edit, Any, list[str]]] = [
    (other_arguments_by_command, CHANGED, ["11", "7", "read 7"]),  # create_agent runs the old arguments
    # create_agent runs the old calls and asks the model beside them, or runs the old calls and the new ones
    (other_arguments_and_to_the_model, CHANGED, ["11", "7", "read 7"]),
    (other_arguments_and_to_the_tools, CHANGED, ["11", "7", "read 7"]),
    (to_the_model, BOTH, ["3", "7", "read 7"]),
    (no_call_and_to_the_model, [], ["never mind", "read never mind"]),
    (a_word_of_the_user_and_to_the_model, [], ["stop", "read stop"]),
    (a_finished_thread_and_to_the_tools, CHANGED, ["11", "7", "read 7"]),
    (a_fork_with_other_arguments_by_command, CHANGED, ["11", "7", "read 7"]),
    (a_fork_with_other_arguments_and_to_the_model, CHANGED, ["11", "7", "read 7"]),
    (one_result_by_hand_as_tools, [(3, 4)], ["by hand", "7", "read 7"]),  # create_agent forgets the other call
    (all_results_by_hand, [], ["by hand", "by hand", "read by hand"]),  # create_agent: KeyError
    (another_result_after_the_tools, BOTH, ["3", "changed", "read changed"]),  # create_agent: KeyError
    (a_word_of_the_user, [], ["stop", "read stop"]),  # create_agent runs the calls behind the user's message
    (a_word_of_the_user_as_input, [], ["stop", "read stop"]),  # create_agent runs the calls behind the user's message
    (a_word_of_the_user_as_input_and_a_new_message, [], ["stop", "hi", "read hi"]),  # create_agent loses the first
    (the_answer_removed, BOTH, ["3", "7", "read 7"]),  # create_agent leaves the turn without an answer
]


@asynccontextmanager
async def saver_of(storage: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, Any]]:
    kind, _, way = storage.partition(", ")
    if kind == "memory":
        yield way, InMemorySaver()
    else:
        place = str(tmp_path / "threads.sqlite") if kind == "sqlite" else request.getfixturevalue("postgres")
        async with Database(way, place).saver() as saver:
            yield way, saver


QUICK = [
    *[("agent", "memory, async"), ("team", "memory, sync"), ("agent", "sqlite, sync"), ("team", "sqlite, async")],
    *[("agent", "postgres, async"), ("create_agent", "memory, sync")],
]
"""One of them for each case in turn; all others have the marker `slow`."""
STORAGES = [f"{kind}, {way}" for kind in ("memory", "sqlite", "postgres") for way in ("sync", "async")]
STORAGES_OF = {
    "agent": STORAGES,
    "team": ["memory, sync", "sqlite, async", "postgres, sync"],
    "create_agent": ["memory, sync", "memory, async"],
}
CASES = [
    pytest.param(
        *(storage, kind, *case),
        id=f"{storage}-{kind}-{case[0].__name__}",  # type: ignore[attr-defined]
        marks=[] if (kind, storage) == QUICK[number % len(QUICK)] else pytest.mark.slow,
    )
    for number, case in enumerate(AS_CREATE_AGENT + OWN)
    for kind in ("agent", "team", "create_agent")
    for storage in STORAGES
    if storage in STORAGES_OF[kind] and (kind != "create_agent" or case in AS_CREATE_AGENT)
]


@pytest.mark.parametrize(("storage", "kind", "edit", "ran", "texts"), CASES)
async def test_an_edited_thread_goes_on_as_edited(
    storage: str, kind: str, edit: Edit, ran: Any, texts: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with saver_of(storage, request, tmp_path) as (way, saver):
        thread = Thread(kind, way, saver)
        state = await edit(thread)
        assert sorted(thread.ran) == ran
        messages = state["messages"]
        assert [message.text for message in messages][-len(texts) :] == texts
        recorded = await thread.state()
        if "fork" not in edit.__name__:  # type: ignore[attr-defined]
            assert recorded.values["messages"] == messages
        assert recorded.next == ()
        if kind != "create_agent":
            assert state["stop_reason"] in ("stop", None if edit is no_call else "stop")
        if ran == CHANGED:  # the model sees the calls that ran
            made = [message["tool_calls"] for message in thread.model.requests[-1].messages if "tool_calls" in message]
            assert [json.loads(call["function"]["arguments"]) for call in made[-1]] == [NEW, SECOND]
        state = await thread.run({"messages": [("user", "thanks")]})
        assert state["messages"][-1].text == "read thanks"


class Asking:
    """A tool that asks a person beside one that does not; runs of the latter are counted."""

    def __init__(self, kind: str, saver: Any) -> None:
        self.worked = 0

        @tool
        def ask(question: str) -> str:
            """Ask a person."""
            return str(interrupt(question))

        @tool
        def work() -> str:
            """Work."""
            self.worked += 1
            return "worked"

        def script(request: Request) -> Reply:
            results = [str(message["content"]) for message in request.tool_results()]
            return said(f"read {results}") if results else called("ask", question="?").calling("work")

        model = FakeKimi(script)
        if kind == "team":
            self.agent: Any = create_kimi_team(
                [TeamMember(name="ann", model=model, tools=[ask, work])],
                checkpointer=saver,
                limits=AgentLimits(tool_calls=9),
            )
        else:
            self.agent = create_kimi_agent(model, [ask, work], checkpointer=saver)


@PAIRED
@pytest.mark.parametrize("kind", ["agent", "team"])
@pytest.mark.parametrize("as_node", [None, "model", "tools"])
@pytest.mark.parametrize("by_hand", [False, True])
async def test_an_edit_beside_an_open_tool_runs_no_finished_one_again(
    database: Database, kind: str, as_node: str | None, by_hand: bool
) -> None:
    async with database.saver() as saver:
        asking = Asking(kind, saver)
        asked = await database.run(asking.agent, GO)
        assert len(asked["__interrupt__"]) == 1
        call = (await database.state(asking.agent)).values["messages"][1].tool_calls[0]
        update: Any = {"messages": [ToolMessage("by hand", tool_call_id=call["id"])] if by_hand else []}
        if database.way == "sync":
            await asyncio.to_thread(asking.agent.update_state, THREAD, update, as_node)
        else:
            await asking.agent.aupdate_state(THREAD, update, as_node)
        state = await database.run(asking.agent, None)
        if not by_hand:
            assert len(state["__interrupt__"]) == 1
            state = await database.run(asking.agent, Command(resume="yes"))
        answer = "by hand" if by_hand else "yes"
        assert state["messages"][-1].text == f"read ['{answer}', 'worked']"
        assert asking.worked == 1
        assert state["spent"]["tool_calls"] == (1 if by_hand else 2)


async def test_a_thread_edited_at_its_recursion_limit_still_ends_in_time() -> None:
    thread = Thread("agent", "async", InMemorySaver())
    message = await thread.paused()
    await thread.update([edited(message, NEW, SECOND)])
    state = await thread.run(None, {**THREAD, "recursion_limit": 3})
    assert sorted(thread.ran) == CHANGED
    assert state["messages"][-1].text == "read 7"


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_tools_selected_by_the_runtime_hold_for_a_message_that_an_edit_brings(way: str) -> None:
    ran: list[str] = []

    def open_door() -> str:
        """Open."""
        ran.append("open")
        return "open"

    def hidden() -> str:
        """Hidden."""
        ran.append("hidden")
        return "hidden"

    def select(state: Any, runtime: Any) -> list[str]:
        return ["open_door"] if runtime.context is None else []

    agent = create_kimi_agent(FakeKimi(script), [open_door, hidden], select_tools=select, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [("user", "hello")]}, config)
    calls = [{"name": name, "args": {}, "id": name, "type": "tool_call"} for name in ("open_door", "hidden")]
    message = AIMessage("", tool_calls=calls)
    if way == "invoke":
        agent.update_state(config, {"messages": [message]}, as_node="model")
        state = agent.invoke(None, config)
    else:
        await agent.aupdate_state(config, {"messages": [message]}, as_node="model")
        state = await agent.ainvoke(None, config)
    assert ran == ["open"]
    results = {m.tool_call_id: m.text for m in state["messages"] if isinstance(m, ToolMessage)}
    assert results["hidden"].startswith("hidden is not a tool you have")
