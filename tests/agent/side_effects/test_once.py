"""Tools in `once`: a call that may have run never runs again by itself, and people or the model hear of it."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from pydantic import ValidationError

from langchain_kimi import (
    AgentLimits,
    InjectedIdempotencyKey,
    TeamMember,
    agent_as_tool,
    create_kimi_agent,
    create_kimi_team,
)
from langchain_kimi.agent.thread_messages import UNKNOWN_RESULT
from langchain_kimi.errors import DurabilityError
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said
from tests.agent.helpers import ASK, THREAD, decisions, ran, results
from tests.conftest import SYNC_AND_ASYNC
from tests.databases import Database


class Crash(BaseException):
    """The process ends here, as far as the run can tell."""


class Mail:
    """A tool that sends mail, of which some starts end in a crash, and one that reads."""

    def __init__(self, *crashes: int) -> None:
        self.started: list[tuple[str, str]] = []
        """The receiver and the idempotency key of each start."""
        self.read: list[str] = []
        self._crashes = crashes

        @tool
        def send(to: str, key: Annotated[str, InjectedIdempotencyKey]) -> str:
            """Send a mail."""
            self.started.append((to, key))
            if len(self.started) in self._crashes:
                raise Crash
            return f"sent to {to}"

        @tool
        def look(at: str) -> str:
            """Look something up."""
            self.read.append(at)
            return f"saw {at}"

        self.tools = [send, look]

    @property
    def receivers(self) -> list[str]:
        return [to for to, _ in self.started]


def answers(calls: Reply) -> Callable[[Request], Reply]:
    """A model that makes these calls and ends when it has their results."""
    return lambda request: said("done") if request.tool_results() else calls


def mailer(mail: Mail, calls: Reply = called("send", to="a"), saver: Any = None, **settings: Any) -> Any:  # noqa: B008
    settings = {"once": {"send"}, **settings}
    return create_kimi_agent(FakeKimi(answers(calls)), mail.tools, checkpointer=saver or InMemorySaver(), **settings)


async def crashes(agent: Any, way: str, given: Any = ASK) -> None:
    with pytest.raises((Crash, asyncio.CancelledError)):
        await ran(agent, way, given)


def asked(state: dict[str, Any]) -> list[tuple[str, Any]]:
    """The calls that people are asked about."""
    [question] = state["__interrupt__"]
    return [(request["name"], request["args"]) for request in question.value["action_requests"]]


def texts(state: dict[str, Any]) -> list[str]:
    return [content for content, _ in results(state)]


RUN: Any = {"type": "run"}
UNKNOWN: Any = {"type": "unknown"}


@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("decision", "starts", "result"),
    [
        ({"type": "happened", "message": "sent as 7"}, ["a"], ("sent as 7", "success")),
        (RUN, ["a", "a"], ("sent to a", "success")),
        (UNKNOWN, ["a"], (UNKNOWN_RESULT, "error")),
        ({**UNKNOWN, "message": "Ask Bo."}, ["a"], (f"{UNKNOWN_RESULT} Ask Bo.", "error")),
    ],
)
async def test_each_decision_does_what_it_says(
    way: str, decision: Any, starts: list[str], result: tuple[str, str]
) -> None:
    mail = Mail(1)
    agent = mailer(mail, limits=AgentLimits(tool_calls=1))
    await crashes(agent, way)
    state = await ran(agent, way, None)
    [question] = state["__interrupt__"]
    [request] = question.value["action_requests"]
    assert (request["name"], request["args"], mail.receivers) == ("send", {"to": "a"}, ["a"])
    assert "It is not known whether this call took effect." in request["description"]
    assert question.value["review_configs"] == [
        {"action_name": "send", "allowed_decisions": ["happened", "run", "unknown"]}
    ]
    state = await ran(agent, way, decisions(decision))
    assert (mail.receivers, results(state), state["messages"][-1].text) == (starts, [result], "done")
    assert {key for _, key in mail.started} == {request["idempotency_key"]}
    assert (state["spent"]["tool_calls"], state["spent_by_agent"]["kimi_agent"]["tool_calls"]) == (1, 1)
    assert state["stop_reason"] == "stop"


@SYNC_AND_ASYNC
async def test_calls_beside_it_run_and_a_second_crash_asks_again(way: str) -> None:
    mail = Mail(1, 2)
    calls = called("look", at="x").calling("send", to="a").calling("look", at="y")
    agent = mailer(mail, calls, sequential_tools=["look", "send"])
    await crashes(agent, way)
    state = await ran(agent, way, None)
    assert (asked(state), mail.read) == ([("send", {"to": "a"})], ["x"])
    await crashes(agent, way, decisions(RUN))
    assert (await ran(agent, way, None)).get("__interrupt__")
    assert mail.receivers == ["a", "a"]
    state = await ran(agent, way, decisions(UNKNOWN))
    assert (mail.receivers, mail.read) == (["a", "a"], ["x", "y"])
    assert texts(state) == ["saw x", UNKNOWN_RESULT, "saw y"]


@SYNC_AND_ASYNC
async def test_the_model_is_told_at_once_if_that_is_wanted(way: str) -> None:
    mail = Mail(1)
    agent = mailer(mail, on_unknown="tell_model")
    await crashes(agent, way)
    state = await ran(agent, way, None)
    assert (mail.receivers, results(state)) == (["a"], [(UNKNOWN_RESULT, "error")])
    assert (state["messages"][-1].text, state["spent"]["tool_calls"]) == ("done", 1)


@pytest.mark.parametrize("on_unknown", ["ask", "tell_model"])
async def test_a_new_message_does_not_run_it_and_the_model_is_told(on_unknown: Any) -> None:
    mail = Mail(1)
    agent = mailer(mail, on_unknown=on_unknown)
    await crashes(agent, "sync")
    state = await ran(agent, "sync", {"messages": [("user", "and?")]})
    assert (mail.receivers, texts(state)) == (["a"], [UNKNOWN_RESULT])


async def test_a_new_message_instead_of_a_decision_tells_the_model() -> None:
    mail = Mail(1)
    agent = mailer(mail)
    await crashes(agent, "sync")
    assert asked(await ran(agent, "sync", None))
    state = await ran(agent, "sync", {"messages": [("user", "and?")]})
    assert (mail.receivers, texts(state)) == (["a"], [UNKNOWN_RESULT])


@SYNC_AND_ASYNC
async def test_a_call_that_is_given_up_is_unknown(way: str) -> None:
    release, started = threading.Event(), []

    @tool
    def send(to: str) -> str:
        """Send a mail."""
        started.append(to)
        release.wait(30 if len(started) == 1 else 0)
        return "sent"

    def agent(**settings: Any) -> Any:
        model = FakeKimi(answers(called("send", to="a")))
        return create_kimi_agent(
            model, [send], once={"send"}, tool_timeout=0.05, checkpointer=InMemorySaver(), **settings
        )

    asking = agent()
    state = await ran(asking, way)
    assert (
        "It gave no result within 0.05 seconds" in state["__interrupt__"][0].value["action_requests"][0]["description"]
    )
    state = await ran(asking, way, decisions({"type": "happened", "message": "it did"}))
    assert (texts(state), state["spent"]["tool_calls"], started) == (["it did"], 1, ["a"])
    started.clear()
    state = await ran(agent(on_unknown="tell_model"), way)
    assert texts(state)[0].startswith("send gave no result within 0.05 seconds and was given up.")
    assert state["spent"]["tool_calls"] == 1
    release.set()


@pytest.mark.parametrize("kind", ["sync tool", "async tool"])
async def test_a_cancelled_run_leaves_it_unknown(kind: str) -> None:
    at_work, release, started = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def send(to: str) -> str:
        """Send a mail."""
        started.append(to)
        loop.call_soon_threadsafe(at_work.set)
        release.wait(30)
        return "sent"

    async def asend(to: str) -> str:
        """Send a mail."""
        started.append(to)
        at_work.set()
        await asyncio.Event().wait()
        return "sent"

    own = tool("send")(send if kind == "sync tool" else asend)
    agent = create_kimi_agent(
        FakeKimi(answers(called("send", to="a"))), [own], once={"send"}, checkpointer=InMemorySaver()
    )
    run = asyncio.create_task(agent.ainvoke(ASK, THREAD))
    await at_work.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    release.set()
    assert asked(await agent.ainvoke(None, THREAD)) == [("send", {"to": "a"})]
    assert started == ["a"]


@SYNC_AND_ASYNC
async def test_an_exception_that_ends_the_run_leaves_it_unknown(way: str) -> None:
    started = []

    @tool
    def send(to: str) -> str:
        """Send a mail."""
        started.append(to)
        raise RuntimeError("the line is dead")

    settings: Any = {"once": {"send"}, "checkpointer": InMemorySaver()}
    agent = create_kimi_agent(FakeKimi(answers(called("send", to="a"))), [send], tool_errors=False, **settings)
    with pytest.raises(RuntimeError):
        await ran(agent, way)
    assert asked(await ran(agent, way, None)) == [("send", {"to": "a"})]
    assert started == ["a"]


@SYNC_AND_ASYNC
async def test_approvals_and_once_on_one_tool(way: str) -> None:
    mail = Mail(1)
    agent = mailer(mail, interrupt_on={"send": True})
    await ran(agent, way)
    edit = {"type": "edit", "edited_action": {"name": "send", "args": {"to": "b"}}}
    await crashes(agent, way, decisions(edit))
    assert asked(await ran(agent, way, None)) == [("send", {"to": "b"})]
    with pytest.raises(ValidationError, match="'approve' is not allowed for a call of send whose result is unknown"):
        await ran(agent, way, decisions({"type": "approve"}))
    state = await ran(agent, way, decisions(RUN))
    assert mail.receivers == ["b", "b"]
    assert len({key for _, key in mail.started}) == 1
    assert texts(state)[0].endswith("sent to b")


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"decisions": []}, "0 decisions for 1 calls: give one for each, in order."),
        ({"decisions": [{"type": "happened"}]}, "`happened` needs a `message`, which is the result of the call."),
        ({"decisions": [{"type": "unknown", "message": 7}]}, "`message` must be a text."),
        ("yes", r'give \{"decisions": \[\{"type": "unknown"\}, …\]\}, with one decision for each call, in order.'),
    ],
)
async def test_a_wrong_decision_is_refused_and_can_be_corrected(response: Any, reason: str) -> None:
    mail = Mail(1)
    agent = mailer(mail)
    await crashes(agent, "sync")
    await ran(agent, "sync", None)
    with pytest.raises(ValidationError, match=reason):
        await ran(agent, "sync", Command(resume=response))
    assert texts(await ran(agent, "sync", decisions(RUN))) == ["sent to a"]


@SYNC_AND_ASYNC
async def test_a_pause_before_the_tools_is_no_crash(way: str) -> None:
    mail = Mail()
    agent = mailer(mail)
    agent.interrupt_before_nodes = ["tools"]
    await ran(agent, way)
    assert mail.receivers == []
    state = await ran(agent, way, None)
    assert (texts(state), mail.receivers) == (["sent to a"], ["a"])


@SYNC_AND_ASYNC
async def test_a_tool_that_asks_by_itself_begins_again_with_the_response(way: str) -> None:
    started = []

    @tool
    def send(to: str) -> str:
        """Send a mail."""
        if interrupt("Really?") != "yes":
            return "not sent"
        started.append(to)
        if len(started) == 1:
            raise Crash
        return "sent"

    agent = create_kimi_agent(
        FakeKimi(answers(called("send", to="a"))), [send], once={"send"}, checkpointer=InMemorySaver()
    )
    await ran(agent, way)
    await crashes(agent, way, Command(resume="yes"))
    assert asked(await ran(agent, way, None)) == [("send", {"to": "a"})]
    assert started == ["a"]
    assert (await ran(agent, way, decisions(RUN)))["__interrupt__"][0].value == "Really?"
    assert texts(await ran(agent, way, Command(resume="yes"))) == ["sent"]


@SYNC_AND_ASYNC
async def test_an_edit_after_a_crash_is_shown_before_it_runs(way: str) -> None:
    mail = Mail(1)
    agent = mailer(mail)
    await crashes(agent, way)
    await ran(agent, way, None)
    answer = agent.get_state(THREAD).values["messages"][1]
    edited = answer.model_copy(update={"tool_calls": [{**answer.tool_calls[0], "args": {"to": "b"}}]})
    agent.update_state(THREAD, {"messages": [edited]})
    # The decision was made on the call as it was before.
    assert asked(await ran(agent, way, decisions(RUN))) == [("send", {"to": "b"})]
    assert mail.receivers == ["a"]
    await ran(agent, way, decisions(RUN))
    assert mail.receivers == ["a", "b"]
    assert len({key for _, key in mail.started}) == 2


@SYNC_AND_ASYNC
@pytest.mark.parametrize("on_unknown", ["ask", "tell_model"])
async def test_an_edit_of_a_crashed_thread_does_not_make_it_run(way: str, on_unknown: Any) -> None:
    mail = Mail(1)
    agent = mailer(mail, called("send", to="a").calling("look", at="x"), max_concurrency=1, on_unknown=on_unknown)
    await crashes(agent, way)
    if way == "sync":
        agent.update_state(THREAD, {"stop_reason": None})
    else:
        await agent.aupdate_state(THREAD, {"stop_reason": None})
    state = await ran(agent, way, None)
    if on_unknown == "ask":
        assert asked(state) == [("send", {"to": "a"})]
        state = await ran(agent, way, decisions(UNKNOWN))
    assert (mail.receivers, sorted(texts(state))) == (["a"], [UNKNOWN_RESULT, "saw x"])
    assert state["spent"]["tool_calls"] == 2


@SYNC_AND_ASYNC
async def test_a_fork_of_the_checkpoint_with_the_call_asks_and_one_from_before_runs(way: str) -> None:
    mail = Mail(1)
    agent = mailer(mail)
    await crashes(agent, way)
    crashed, *_, begun = agent.get_state_history(THREAD)
    for _ in range(2):
        state = agent.invoke(None, crashed.config) if way == "sync" else await agent.ainvoke(None, crashed.config)
        assert asked(state) == [("send", {"to": "a"})]
    assert mail.receivers == ["a"]
    await ran(agent, way, decisions(UNKNOWN))
    state = agent.invoke(None, begun.config)
    assert (texts(state), mail.receivers) == (["sent to a"], ["a", "a"])


@SYNC_AND_ASYNC
@pytest.mark.parametrize("around", ["agent", "graph"])
async def test_a_sub_agents_call_is_asked_about_and_no_decision_counts_twice(way: str, around: str) -> None:
    mail = Mail(1, 2)
    helper = create_kimi_agent(FakeKimi(answers(called("send", to="a"))), mail.tools, once={"send"}, name="helper")
    if around == "agent":
        own = agent_as_tool(helper, name="helper", description="Help.")
        model = FakeKimi(answers(called("helper", task="mail a")))
        agent: Any = create_kimi_agent(model, [own], checkpointer=InMemorySaver())
    else:
        graph = StateGraph(MessagesState)
        graph.add_node("helper", helper)
        graph.add_edge(START, "helper")
        agent = graph.compile(checkpointer=InMemorySaver())
    await crashes(agent, way)
    assert asked(await ran(agent, way, None)) == [("send", {"to": "a"})]
    await crashes(agent, way, decisions(RUN))
    assert mail.receivers == ["a", "a"]
    for _ in range(2):
        # LangGraph keeps the response for the whole superstep of the graph around.
        assert asked(await ran(agent, way, None)) == [("send", {"to": "a"})]
    state = await ran(agent, way, decisions({"type": "happened", "message": "ok"}))
    assert (mail.receivers, state["messages"][-1].text) == (["a", "a"], "done")
    assert len({key for _, key in mail.started}) == 1
    if around == "agent":
        assert state["spent_by_agent"]["helper"]["tool_calls"] == 1
        assert state["spent"]["tool_calls"] == 2


@SYNC_AND_ASYNC
async def test_a_retry_policy_does_not_run_it_again(way: str) -> None:
    started: list[str] = []

    @tool
    def send(to: str) -> str:
        """Send a mail."""
        started.append(to)
        raise ConnectionError("no answer")

    settings: Any = {"once": {"send"}, "tool_errors": False, "checkpointer": InMemorySaver()}
    agent: Any = create_kimi_agent(FakeKimi(answers(called("send", to="a"))), [send], **settings)
    agent.retry_policy = [RetryPolicy(initial_interval=0.001, jitter=False)]
    assert asked(await ran(agent, way)) == [("send", {"to": "a"})]
    assert started == ["a"]


async def test_a_team_has_it_too() -> None:
    mail = Mail(1)
    members = [TeamMember(name="clerk", model=FakeKimi(answers(called("send", to="a"))), tools=mail.tools)]
    team: Any = create_kimi_team(members, once={"send"}, checkpointer=InMemorySaver())
    await crashes(team, "sync")
    assert asked(await ran(team, "sync", None)) == [("send", {"to": "a"})]
    state = await ran(team, "sync", decisions({"type": "happened", "message": "ok"}))
    assert (mail.receivers, state["spent_by_agent"]["clerk"]["tool_calls"]) == (["a"], 1)


async def test_an_event_tells_of_it() -> None:
    mail = Mail(1)
    agent = mailer(mail)
    await crashes(agent, "sync")
    events = list(agent.stream(None, THREAD, stream_mode="custom"))
    about = {"name": "send", "tool_call_id": "send:0", "args": {"to": "a"}}
    assert events == [{"event": "tool_unknown", **about}]


class Counting(InMemorySaver):
    """Counts its writes."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self._counts = counts

    def put(self, *args: Any) -> Any:
        self._counts["checkpoints"] += 1
        return super().put(*args)

    def put_writes(self, *args: Any) -> None:
        self._counts["writes"] += 1
        super().put_writes(*args)


def test_a_turn_without_such_calls_costs_nothing_and_one_with_them_one_write_a_call() -> None:
    def cost(calls: Reply, once: Iterable[str]) -> Counter[str]:
        counts: Counter[str] = Counter()
        mailer(Mail(), calls, Counting(counts), once=set(once)).invoke(ASK, THREAD, durability="sync")
        return counts

    look = called("look", at="x").calling("look", at="y")
    assert cost(look, {"send"}) == cost(look, {})
    assert cost(look, {"look"}) - cost(look, {}) == Counter(writes=2)


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({"once": {"sned"}}, ValueError, "once names sned; the tools are: send, look."),
        ({"once": "send"}, TypeError, "once='send': give the names of tools, as in {'send_mail'}."),
        ({"on_unknown": "retry"}, ValueError, "on_unknown='retry': give 'ask' or 'tell_model'."),
    ],
)
def test_wrong_settings_are_refused(settings: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error) as caught:
        mailer(Mail(), **settings)
    assert str(caught.value) == reason
    members = [TeamMember(name="clerk", model=FakeKimi(), tools=Mail().tools)]
    with pytest.raises(error):
        create_kimi_team(members, **{"once": {"send"}, **settings})


@SYNC_AND_ASYNC
async def test_a_run_that_cannot_keep_the_promise_does_not_begin(way: str) -> None:
    mail, model = Mail(), FakeKimi(answers(called("send", to="a")))
    agent = create_kimi_agent(model, mail.tools, once={"send"})
    with pytest.raises(DurabilityError, match="`once` needs a checkpointer"):
        await ran(agent, way)
    outer = create_kimi_agent(
        FakeKimi(answers(called("helper", task="a"))), [agent_as_tool(agent, name="helper", description="Help.")]
    )
    with pytest.raises(DurabilityError, match="`once` needs a checkpointer"):
        await ran(outer, way)
    saved = mailer(mail)
    with pytest.raises(DurabilityError, match='with "exit", nothing is written'):
        await Database(way, "").run(saved, ASK, durability="exit")
    with pytest.raises(DurabilityError, match="checkpointer=False"):
        create_kimi_agent(model, mail.tools, once={"send"}, checkpointer=False)
    assert (mail.started, model.requests) == ([], [])


async def test_a_resumed_run_that_writes_at_its_end_does_not_start_it() -> None:
    mail = Mail()
    agent = mailer(mail, interrupt_on={"send": True})
    await ran(agent, "sync")
    with pytest.raises(DurabilityError):
        agent.invoke(decisions({"type": "approve"}), THREAD, durability="exit")
    assert mail.started == []


def test_a_result_of_the_tool_itself_is_a_result() -> None:
    @tool
    def send(to: str) -> str:
        """Send a mail."""
        raise RuntimeError("refused")

    agent = create_kimi_agent(
        FakeKimi(answers(called("send", to="a"))), [send], once={"send"}, checkpointer=InMemorySaver()
    )
    state: Any = agent.invoke(ASK, THREAD)
    [result] = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert (result.status, state["messages"][-1].text) == ("error", "done")
