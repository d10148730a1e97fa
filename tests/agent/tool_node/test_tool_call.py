"""Tool calls: side by side or in a row, each in its time, with everything that LangGraph's ToolNode gives a tool."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, tool
from langgraph.config import get_stream_writer
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from langchain_kimi import KimiState, create_kimi_agent
from langchain_kimi.agent.thread_messages import pending_calls
from langchain_kimi.testing import Reply, Request, called, raw_call, said
from tests.conftest import SYNC_AND_ASYNC, Serve, kimi

ASK: Any = {"messages": [("user", "go")]}


async def ran(agent: Any, way: str, given: Any = ASK, config: Any = None) -> dict[str, Any]:
    if way == "sync":
        return await asyncio.to_thread(agent.invoke, given, config)  # type: ignore[no-any-return]
    return await agent.ainvoke(given, config)  # type: ignore[no-any-return]


def once(reply: Reply) -> Callable[[Request], Reply]:
    """A model that makes these calls, then says it is done."""
    return lambda request: said("done") if request.tool_results() else reply


def results(state: dict[str, Any]) -> list[str]:
    return [str(message.content) for message in state["messages"] if isinstance(message, ToolMessage)]


def many(name: str, count: int) -> Reply:
    reply = called(name, who=0)
    for who in range(1, count):
        reply = reply.calling(name, who=who)
    return reply


@pytest.mark.parametrize(
    "colour", ["sync tools, invoke", "sync tools, ainvoke", "async tools, invoke", "async tools, ainvoke"]
)
async def test_32_calls_of_one_turn_meet_at_a_barrier(serve: Serve, colour: str) -> None:
    barrier, meeting = threading.Barrier(32), asyncio.Barrier(32)

    @tool
    def meet(who: int) -> str:
        """Wait for the others."""
        barrier.wait(30)
        return f"met {who}"

    @tool("meet")
    async def ameet(who: int) -> str:
        """Wait for the others."""
        async with asyncio.timeout(30):
            await meeting.wait()
        return f"met {who}"

    tools = [ameet if colour.startswith("async") else meet]
    agent = create_kimi_agent(kimi(serve(once(many("meet", 32)))), tools)
    state = await ran(agent, "async" if colour.endswith("ainvoke") else "sync")
    assert results(state) == [f"met {who}" for who in range(32)]


class Meet(BaseTool):
    """A tool class of one's own, with `_run` only."""

    name: str = "meet"
    description: str = "Wait for the others."
    barrier: Any

    def _run(self, who: int) -> str:
        self.barrier.wait(30)
        return f"met {who}"


async def test_a_sync_tool_class_meets_at_the_barrier_under_ainvoke(serve: Serve) -> None:
    agent = create_kimi_agent(kimi(serve(once(many("meet", 32)))), [Meet(barrier=threading.Barrier(32))])
    assert results(await agent.ainvoke(ASK)) == [f"met {who}" for who in range(32)]


@SYNC_AND_ASYNC
@pytest.mark.parametrize("given", ["parameter", "config"])
async def test_max_concurrency_is_honoured(serve: Serve, way: str, given: str) -> None:
    lock, running, most = threading.Lock(), 0, 0
    pair = threading.Barrier(2)

    @tool
    def work(who: int) -> str:
        """Works for a while, always two at a time."""
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pair.wait(30)
        with lock:
            running -= 1
        return "done"

    settings = {"max_concurrency": 2} if given == "parameter" else {}
    agent = create_kimi_agent(kimi(serve(once(many("work", 6)))), [work], **settings)
    await ran(agent, way, config={"max_concurrency": 2} if given == "config" else None)
    assert most == 2


@SYNC_AND_ASYNC
async def test_sequential_tools_run_one_after_the_other_in_call_order(serve: Serve, way: str) -> None:
    log: list[int] = []
    pair = threading.Barrier(2)

    @tool
    def write(who: int) -> str:
        """Write a file; tells whether another one was being written."""
        log.append(who)
        try:
            pair.wait(0.05)
        except threading.BrokenBarrierError:
            pair.reset()
            return f"wrote {who} alone"
        return f"wrote {who} in company"

    @tool
    def read(who: int) -> str:
        """Read a file."""
        return f"read {who}"

    reply = called("write", who=1).calling("read", who=2).calling("write", who=3).calling("write", who=4)
    server = serve(once(reply.calling("read", who=5)))
    state = await ran(create_kimi_agent(kimi(server), [write, read], sequential_tools={"write"}), way)
    assert log == [1, 3, 4]
    assert results(state) == ["wrote 1 alone", "read 2", "wrote 3 alone", "wrote 4 alone", "read 5"]
    assert len(server.requests) == 2
    assert state["spent"]["seconds"] >= 3 * 0.05


@SYNC_AND_ASYNC
async def test_a_message_that_a_tool_brings_does_not_end_the_turn_of_its_siblings(serve: Serve, way: str) -> None:
    @tool
    def write(text: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Write, and say something beside the result."""
        result = ToolMessage(f"wrote {text}", tool_call_id=tool_call_id)
        return Command(update={"messages": [result, HumanMessage(f"a remark on {text}")]})

    server = serve(once(called("write", text="a").calling("write", text="b")))
    state = await ran(create_kimi_agent(kimi(server), [write], sequential_tools={"write"}), way)
    assert results(state) == ["wrote a", "wrote b"]
    assert [message["content"] for message in server.requests[1].messages[2:]] == [
        *("wrote a", "wrote b", "a remark on a", "a remark on b")
    ]
    assert state["spent"]["tool_calls"] == 2


@SYNC_AND_ASYNC
@pytest.mark.parametrize("kind", ["sync tool", "async tool"])
async def test_a_tool_that_takes_too_long_fails_alone(serve: Serve, way: str, kind: str) -> None:
    cancelled, release = threading.Event(), threading.Event()

    @tool("hang")
    def hang_now(who: int) -> str:
        """Never ends by itself."""
        release.wait(30)
        return "late"

    @tool
    async def hang(who: int) -> str:
        """Never ends by itself."""
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return "late"

    @tool
    def quick(who: int) -> str:
        """Ends at once."""
        return f"quick {who}"

    server = serve(once(called("quick", who=1).calling("hang", who=2).calling("quick", who=3)))
    tools = [quick, hang if kind == "async tool" else hang_now]
    state = await ran(create_kimi_agent(kimi(server), tools, tool_timeout={"hang": 0.05}), way)
    release.set()
    assert results(state)[::2] == ["quick 1", "quick 3"]
    assert "hang gave no result within 0.05 seconds" in results(state)[1]
    late = [message for message in state["messages"] if isinstance(message, ToolMessage)][1]
    assert late.status == "error"
    assert state["messages"][-1].text == "done"
    if kind == "async tool":
        assert cancelled.is_set()


async def test_a_timeout_error_of_the_tools_own_is_told_as_such(serve: Serve) -> None:
    @tool
    async def fetch(who: int) -> str:
        """Raises."""
        raise TimeoutError("the site took too long")

    state = await create_kimi_agent(kimi(serve(once(called("fetch", who=1)))), [fetch], tool_timeout=60).ainvoke(ASK)
    assert results(state) == ["TimeoutError: the site took too long"]


@SYNC_AND_ASYNC
async def test_arguments_cut_short_are_told_as_that(serve: Serve, way: str) -> None:
    @tool
    def write(text: str) -> str:
        """Write."""
        return "written"

    server = serve([raw_call("write", '{"text": "abc').finish("length"), said("sorry")])
    state = await ran(create_kimi_agent(kimi(server), [write]), way)
    assert "length cap" in results(state)[0]
    assert "not run" in results(state)[0]


class Counting(KimiState):
    """A state of one's own."""

    count: int


@SYNC_AND_ASYNC
async def test_injected_state_store_runtime_commands_and_artifacts_work_as_in_tool_node(serve: Serve, way: str) -> None:
    @tool
    def inject(
        x: int,
        state: Annotated[dict[str, Any], InjectedState],
        store: Annotated[BaseStore, InjectedStore()],
    ) -> str:
        """Reads the state and writes the store."""
        store.put(("notes",), "x", {"value": x})
        return f"{len(state['messages'])} messages, count {state['count']}"

    @tool
    def look(x: int, runtime: ToolRuntime) -> str:
        """Reads the runtime."""
        return f"{runtime.tool_call_id} {runtime.state['count']} {runtime.store is not None}"

    @tool
    def increase(x: int, call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Changes the state."""
        return Command(update={"count": x, "messages": [ToolMessage(f"count is {x}", tool_call_id=call_id)]})

    @tool(response_format="content_and_artifact")
    def draw(x: int) -> tuple[str, bytes]:
        """Gives an artifact."""
        return "drawn", b"png"

    server = serve(once(called("inject", x=1).calling("look", x=1).calling("increase", x=7).calling("draw", x=1)))
    store = InMemoryStore()
    agent = create_kimi_agent(kimi(server), [inject, look, increase, draw], state_schema=Counting, store=store)
    state = await ran(agent, way, {**ASK, "count": 3})
    assert results(state) == ["2 messages, count 3", "look:1 3 True", "count is 7", "drawn"]
    assert state["count"] == 7
    assert state["messages"][5].artifact == b"png"
    assert store.get(("notes",), "x").value == {"value": 1}  # type: ignore[union-attr]
    declared = [one["function"] for one in server.requests[0].json["tools"]]
    properties = {function["name"]: function["parameters"]["properties"] for function in declared}
    assert set(properties["inject"]) == set(properties["look"]) == set(properties["increase"]) == {"x"}


@SYNC_AND_ASYNC
async def test_what_happens_to_tools_is_told_on_the_custom_stream(serve: Serve, way: str) -> None:
    @tool
    def work(x: int) -> str:
        """Tells how far it is."""
        get_stream_writer()({"half": x})
        if x == 2:
            raise ValueError("no twos")
        return "ok"

    agent = create_kimi_agent(kimi(serve(once(called("work", x=1).calling("work", x=2)))), [work])
    if way == "sync":
        told = await asyncio.to_thread(lambda: list(agent.stream(ASK, stream_mode="custom")))
    else:
        told = [part async for part in agent.astream(ASK, stream_mode="custom")]
    assert {"half": 1} in told
    started = [part for part in told if part.get("event") == "tool_started"]
    assert sorted(part["args"]["x"] for part in started) == [1, 2]
    assert {part["name"] for part in started} == {"work"}
    finished = {part["tool_call_id"]: part for part in told if part.get("event") == "tool_finished"}
    assert [finished[key]["status"] for key in ("work:0", "work:1")] == ["success", "error"]
    assert all(part["seconds"] >= 0 for part in finished.values())
    usage = [part["spent"] for part in told if part.get("event") == "usage"]
    assert [spent["turns"] for spent in usage] == [1, 2]
    assert usage[-1]["tool_calls"] == 2


@SYNC_AND_ASYNC
async def test_a_call_left_open_before_the_users_last_message_is_not_run(serve: Serve, way: str) -> None:
    ran_so_far: list[int] = []

    @tool
    def echo(x: int) -> str:
        """Echo."""
        ran_so_far.append(x)
        return "echo"

    open_call = AIMessage("", tool_calls=[{"name": "echo", "args": {"x": 1}, "id": "echo:0"}])
    given = {"messages": [HumanMessage("first"), open_call, HumanMessage("second")]}
    state = await ran(create_kimi_agent(kimi(serve([said("hello")])), [echo]), way, given)
    assert state["messages"][-1].text == "hello"
    assert ran_so_far == []


def test_a_result_answers_one_call_where_ids_repeat() -> None:
    calls = [{"name": "echo", "args": {"x": x}, "id": "same", "type": "tool_call"} for x in (1, 2)]
    messages = [AIMessage("", tool_calls=calls), ToolMessage("1", tool_call_id="same")]
    assert [call["args"] for call in pending_calls(messages)] == [{"x": 2}]


async def test_a_sync_tool_sees_the_context_of_its_run_under_ainvoke(serve: Serve) -> None:
    user: ContextVar[str] = ContextVar("user", default="nobody")

    @tool
    def who() -> str:
        """Who asks."""
        return user.get()

    user.set("Ann")
    state = await create_kimi_agent(kimi(serve(once(called("who")))), [who]).ainvoke(ASK)
    assert results(state) == ["Ann"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tool_timeout": {"nothing": 3}},
        {"tool_timeout": 0},
        {"sequential_tools": {"nothing"}},
        {"sequential_tools": "echo"},
        {"interrupt_on": {"nothing": True}},
        {"interrupt_on": {"echo": {"allowed_decisions": []}}},
        {"interrupt_on": {"echo": {"allowed_decisions": ["accept"]}}},
        {"state_schema": dict},
    ],
    ids=str,
)
def test_settings_that_fit_no_tool_are_refused(serve: Serve, wrong: dict[str, Any]) -> None:
    echo = StructuredTool.from_function(lambda x: x, name="echo", description="Echo.")
    with pytest.raises(ValueError, match=next(iter(wrong))):
        create_kimi_agent(kimi(serve([])), [echo], **wrong)
