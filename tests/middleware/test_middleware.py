"""The middleware by itself: its parameters, other models and middleware, events, parallel sub-agents, real kills."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, ModelFallbackMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from pydantic import BaseModel, Field

from langchain_kimi import AgentLimits, Compaction, agent_as_tool
from langchain_kimi.agent.thread_messages import UNKNOWN_RESULT
from langchain_kimi.middleware import KimiMiddleware, KimiMiddlewareState
from langchain_kimi.testing import KimiServer, Reply, Request, called, refused, said, thought
from tests import forks
from tests.agent.helpers import ASK, Foreign, foreign, ran, results
from tests.conftest import PAIRED, SYNC_AND_ASYNC, Serve, add, kimi
from tests.databases import Database
from tests.middleware.killed import begin_a_turn
from tests.middleware.scenarios import for_ever, is_last, page, reader, rounds

WITHOUT = """
import sys
sys.modules["langchain"] = None
import langchain_kimi, langchain_kimi.testing, langchain_kimi.errors
langchain_kimi.create_kimi_agent, langchain_kimi.ChatKimi
try:
    import langchain_kimi.middleware
except ImportError as error:
    print(error)
"""


def test_without_langchain_only_the_middleware_is_missing() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "pip install 'langchain-kimi-agent[middleware]'" in done.stdout


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"limits": 5}, TypeError, r"KimiMiddleware: limits=5 is no AgentLimits"),
        ({"guard": True}, TypeError, r"guard=True is no LoopGuard"),
        (
            {"max_turns": 5},
            TypeError,
            r"KimiMiddleware\(\) has no argument 'max_turns'. Did you mean limits=AgentLimits",
        ),
        ({"tool_errors": "raise"}, ValueError, r"tool_errors='raise'"),
    ],
    ids=["limits", "guard", "unknown", "tool_errors"],
)
def test_wrong_parameters_raise(parameters: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        KimiMiddleware(**parameters)


@SYNC_AND_ASYNC
async def test_any_chat_model_has_the_limits_and_an_unknown_price_raises(way: str) -> None:
    def answers() -> list[AIMessage]:
        call: Any = {"name": "add", "args": {"a": 1, "b": 2}, "id": "1", "type": "tool_call"}
        return [AIMessage("", tool_calls=[call]), AIMessage("", tool_calls=[{**call, "id": "2"}]), AIMessage("Enough.")]

    agent = create_agent(foreign(*answers()), [add], middleware=[KimiMiddleware(limits=AgentLimits(turns=2))])
    state = await ran(agent, way)
    assert (state["stop_reason"], state["messages"][-1].text) == ("turns", "Enough.")
    assert [status for _, status in results(state)] == ["success", "error"]
    assert (state["spent"]["turns"], state["spent"]["unpriced"]) == (3, 3)
    agent = create_agent(foreign(*answers()), [add], middleware=[KimiMiddleware(limits=AgentLimits(cost_usd=1))])
    with pytest.raises(ValueError, match="no price is known of the model"):
        await ran(agent, way)


@SYNC_AND_ASYNC
async def test_streams_have_the_events_of_create_kimi_agent_and_the_pieces_of_answers(serve: Serve, way: str) -> None:
    agent = create_agent(kimi(serve(for_ever)), [add], middleware=[KimiMiddleware(limits=AgentLimits(turns=2))])
    modes: Any = ["custom", "messages"]
    if way == "sync":
        parts = list(agent.stream(ASK, stream_mode=modes))
    else:
        parts = [part async for part in agent.astream(ASK, stream_mode=modes)]
    events = [part["event"] for mode, part in parts if mode == "custom"]
    assert sorted(events[1:5]) == ["tool_finished", "tool_finished", "tool_started", "tool_started"]
    assert [events[0], *events[5:]] == ["usage", "limit", "usage"]
    pieces = [part[0].text for mode, part in parts if mode == "messages" and isinstance(part[0], AIMessageChunk)]
    assert "".join(pieces).endswith("That is what I have.")
    assert len(pieces) > 4


class Report(BaseModel):
    """A report."""

    pages: int


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    "strategy", [Report, ProviderStrategy(Report), ToolStrategy(Report)], ids=["raw", "provider", "tool"]
)
async def test_the_last_answer_may_be_a_structured_response(serve: Serve, way: str, strategy: Any) -> None:
    def script(request: Request) -> Reply:
        names = [declared["function"]["name"] for declared in request.json["tools"]]
        if "Not run" in str(request.messages[-1]["content"]):
            return called("Report", pages=3) if "Report" in names else said('{"pages": 3}')
        return called("add", a=rounds(request), b=1)

    server = serve(script)
    middleware = [KimiMiddleware(limits=AgentLimits(turns=2))]
    agent = create_agent(kimi(server, "kimi-k3"), [add], response_format=strategy, middleware=middleware)
    state = await ran(agent, way)
    assert state["structured_response"] == Report(pages=3)
    assert (state["stop_reason"], state["spent"]["turns"]) == ("turns", 3)
    if not isinstance(strategy, ToolStrategy):
        assert is_last(server.requests[-1])
        assert server.requests[-1].json["tools"] == server.requests[0].json["tools"]


class Hooks(AgentMiddleware):
    """Takes two more supersteps in each round."""

    def before_model(self, state: Any, runtime: Any) -> None:
        return None

    def after_model(self, state: Any, runtime: Any) -> None:
        return None


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize("limit", [12, 13, 14, 15])
async def test_the_recursion_limit_ends_in_an_answer(serve: Serve, way: str, limit: int) -> None:
    agent = create_agent(kimi(serve(for_ever)), [add], middleware=[KimiMiddleware(), Hooks()])
    state = await ran(agent.with_config(recursion_limit=limit), way)
    assert (state["stop_reason"], state["messages"][-1].text) == ("recursion_limit", "That is what I have.")
    assert state["spent"]["tool_calls"] >= 2


class Other(Foreign):
    """A model that does not know Kimi's settings."""

    bound: list[Any] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        self.bound.append(kwargs)
        return self


@SYNC_AND_ASYNC
async def test_a_fallback_model_gets_none_of_kimis_settings_and_counts(serve: Serve, way: str) -> None:
    other = Other(messages=iter([AIMessage("From another model.")]), disable_streaming=True)
    first = kimi(serve(lambda request: refused(503, "engine_error", "down")))
    agent = create_agent(first, [add], middleware=[KimiMiddleware(), ModelFallbackMiddleware(other)])
    state = await ran(agent, way)
    assert state["messages"][-1].text == "From another model."
    assert other.bound[-1] == {"tool_choice": None}
    assert state["spent"]["requests"] == 1


class LastTwo(AgentMiddleware):
    """Shows the model no more than the last two messages."""

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(request.override(messages=[request.messages[0], *request.messages[-2:]]))

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        return await handler(request.override(messages=[request.messages[0], *request.messages[-2:]]))


@SYNC_AND_ASYNC
async def test_a_request_that_another_middleware_rewrote_is_sent_as_it_is(serve: Serve, way: str) -> None:
    server = serve(lambda request: said("The end.") if "PAGE 6" in str(request.messages) else reader(9)(request))
    compaction = Compaction(window=3_000, reserve=500, keep_results=1)
    agent = create_agent(kimi(server), [page], middleware=[LastTwo(), KimiMiddleware(compaction=compaction)])
    state = await ran(agent, way)
    assert max(len(request.messages) for request in server.requests) == 3
    assert len(results(state)) == 6
    assert all("tools" in request.json for request in server.requests)


def test_a_tool_with_the_name_of_the_recall_tool_raises() -> None:
    @tool
    def recall(query: str) -> str:
        """Recall."""
        return query

    middleware = KimiMiddleware(compaction=Compaction(archive=True))
    agent = create_agent(foreign(AIMessage("Hi.")), [recall], middleware=[middleware], store=InMemoryStore())
    with pytest.raises(ValueError, match="'recall' has the name of the tool that Compaction"):
        agent.invoke(ASK)
    agent = create_agent(foreign(AIMessage("Hi.")), [], middleware=[middleware])
    with pytest.raises(ValueError, match="this run has none"):
        agent.invoke(ASK)


@SYNC_AND_ASYNC
async def test_two_middleware_in_one_agent_raise_and_in_an_agent_below_do_not(serve: Serve, way: str) -> None:
    server = serve([said("Hi."), said("Hi.")])
    two = [KimiMiddleware(), KimiMiddleware(name="SummarizationMiddleware")]
    with pytest.raises(ValueError, match="The agent has two KimiMiddleware"):
        await ran(create_agent(kimi(server), [], middleware=two), way)
    assert not server.requests
    inner = create_agent(kimi(server), [], middleware=[KimiMiddleware()])

    class AsksFirst(LastTwo):
        """Runs another agent before each request."""

        def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
            inner.invoke(ASK)
            return handler(request)

        async def awrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
            await inner.ainvoke(ASK)
            return await handler(request)

    state = await ran(create_agent(kimi(server), [], middleware=[KimiMiddleware(), AsksFirst()]), way)
    assert (state["stop_reason"], state["spent"]["requests"]) == ("stop", 2)


@SYNC_AND_ASYNC
async def test_tools_that_only_run_asynchronously_run_side_by_side(serve: Serve, way: str) -> None:
    meeting = asyncio.Barrier(3)

    @tool
    async def meet(who: int) -> str:
        """Wait for the others."""
        async with asyncio.timeout(30):
            await meeting.wait()
        if who == 2:
            raise LookupError("nobody is there")
        return f"met {who}"

    reply = called("meet", who=0).calling("meet", who=1).calling("meet", who=2)
    model = kimi(serve(lambda request: said("done") if request.tool_results() else reply))
    state = await ran(create_agent(model, [meet], middleware=[KimiMiddleware()]), way)
    assert results(state) == [("met 0", "success"), ("met 1", "success"), ("LookupError: nobody is there", "error")]
    assert state["spent"]["tool_errors"] == 1


@SYNC_AND_ASYNC
async def test_sub_agents_side_by_side_share_what_the_caller_has_left(serve: Serve, way: str) -> None:
    ran_in_subs: list[int] = []

    @tool("add")
    def counted(a: int, b: int) -> int:
        """Add two numbers."""
        ran_in_subs.append(a)
        return a + b

    def lead(request: Request) -> Reply:
        if request.last["role"] == "user":
            return thought("All.").calling("work", task="a").calling("work", task="b").calling("work", task="c")
        return said("Done.")

    own = create_agent(kimi(serve(for_ever)), [counted], middleware=[KimiMiddleware()])
    work = agent_as_tool(own, name="work", description="Works.")
    limits = AgentLimits(tool_calls=12)
    agent = create_agent(kimi(serve(lead)), [work], middleware=[KimiMiddleware(limits=limits)], name="lead")
    state = await ran(agent, way)
    assert state["spent"]["tool_calls"] == 3 + len(ran_in_subs) <= 12
    assert len(ran_in_subs) >= 8
    assert all("was cut short (caller)" in text for text, _ in results(state))
    assert state["spent_by_agent"]["work"]["tool_calls"] == len(ran_in_subs)


@SYNC_AND_ASYNC
async def test_an_approval_inside_the_tool_call_counts_the_call_once(serve: Serve, way: str) -> None:
    people = HumanInTheLoopMiddleware({"add": True}, interrupt_mode="per_call")
    model = kimi(serve([called("add", a=1, b=2), said("3.")]))
    agent = create_agent(model, [add], middleware=[KimiMiddleware(), people], checkpointer=InMemorySaver())
    waiting = (await ran(agent, way))["__interrupt__"]
    state = await ran(agent, way, Command(resume={waiting[0].id: {"type": "approve"}}))
    assert (results(state), state["stop_reason"]) == ([("3", "success")], "stop")
    assert state["spent"]["tool_calls"] == 1


@pytest.mark.slow
@SYNC_AND_ASYNC
async def test_the_state_schema_stores_each_message_once(serve: Serve, way: str) -> None:
    compaction = Compaction(window=12_000, reserve=1_000, keep_results=2)
    agent: Any = create_agent(
        kimi(serve(reader(14))),
        [page],
        middleware=[KimiMiddleware(compaction=compaction)],
        state_schema=KimiMiddlewareState,
        checkpointer=InMemorySaver(),
    )
    state = await ran(agent, way)
    assert (state["stop_reason"], state["messages"][-1].text) == ("stop", "The end.")
    assert any("SUMMARY" in message.text for message in state["messages"])
    again = await ran(agent, way)
    assert again["messages"][: len(state["messages"])] == state["messages"]


@pytest.mark.slow
async def test_a_result_recorded_beside_a_kill_stays(database: Database) -> None:
    def script(request: Request) -> Reply:
        if request.last.get("content") == "go":
            return thought("Both.").calling("note", text="a").calling("crash", text="b")
        return said("I see.")

    with KimiServer(script) as server:
        async with database.saver():
            pass
        ended = forks.run(begin_a_turn, database.place, server.url, database.way)
        assert ended.status == -signal.SIGKILL, ended.output
        async with database.saver() as saver:
            agent = create_agent(kimi(server), [add], middleware=[KimiMiddleware()], checkpointer=saver)
            state = await database.run(agent, {"messages": [("user", "and?")]})
    assert results(state) == [("noted a", "success"), (UNKNOWN_RESULT, "error")]
    assert (state["stop_reason"], state["messages"][-1].text) == ("stop", "I see.")
    assert state["spent"]["tool_calls"] == 1
