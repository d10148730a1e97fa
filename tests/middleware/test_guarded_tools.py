"""Tools in `once` in LangChain's agents: other middleware, edits, people, and what is refused before a request."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, ToolRetryMiddleware
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import InjectedState, ToolRuntime
from langgraph.types import Command, interrupt

from langchain_kimi import AgentLimits, agent_as_tool, create_kimi_agent, idempotency_key
from langchain_kimi.agent.thread_messages import UNKNOWN_RESULT
from langchain_kimi.errors import DurabilityError
from langchain_kimi.middleware import KimiMiddleware
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said
from tests.agent.helpers import ASK, THREAD, decisions, ran, results
from tests.conftest import PAIRED, SYNC_AND_ASYNC, add
from tests.databases import Database
from tests.middleware.scenarios import Lost, Mail


def answers(calls: Reply) -> Callable[[Request], Reply]:
    """A model that makes these calls and ends when it has their results."""
    return lambda request: said("done") if request.tool_results() else calls


SEND = called("send", to="a")


def mailer(mail: Mail, *others: Any, calls: Reply = SEND, tools: Any = (), saver: Any = None, **settings: Any) -> Any:
    kimi = KimiMiddleware(**{"once": {"send"}, **settings})
    own: list[BaseTool] = [mail.tool, *tools]
    saver = saver or InMemorySaver()
    return create_agent(FakeKimi(answers(calls)), own, middleware=[kimi, *others], checkpointer=saver)


async def crashes(agent: Any, way: str, run_input: Any = ASK) -> None:
    with pytest.raises((Lost, asyncio.CancelledError)):
        await ran(agent, way, run_input)


def asked(state: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """The calls that people are asked about, with their keys."""
    requests = [one for asked in state.get("__interrupt__", ()) for one in asked.value["action_requests"]]
    return [(one["name"], one["args"], one.get("idempotency_key", "")) for one in requests]


HAPPENED = {"type": "happened", "message": "It did."}
RUN = {"type": "run"}


@SYNC_AND_ASYNC
async def test_a_retry_by_another_middleware_does_not_run_it_again(way: str) -> None:
    started = []

    def send(to: str) -> str:
        """Send a mail."""
        started.append((to, idempotency_key()))
        raise ConnectionError("no answer")

    async def asend(to: str) -> str:
        """Send a mail."""
        return send(to)

    mail = Mail(0)
    mail.tool = StructuredTool.from_function(send, asend, name="send")
    agent = mailer(mail, ToolRetryMiddleware(max_retries=3, initial_delay=0, jitter=False))
    assert asked(await ran(agent, way)) == [("send", {"to": "a"}, started[0][1])]
    assert len(started) == 1
    state = await ran(agent, way, decisions(HAPPENED))
    assert (results(state), len(started)) == ([("It did.", "success")], 1)
    assert state["spent"]["tool_calls"] == 1


@SYNC_AND_ASYNC
async def test_a_call_that_a_person_changed_is_the_one_that_is_recorded(way: str) -> None:
    mail = Mail(1)

    @tool
    def draft(text: str) -> str:
        """Write a draft."""
        return f"drafted {text}"

    agent = mailer(mail, HumanInTheLoopMiddleware({"draft": True}), calls=called("draft", text="hello"), tools=[draft])
    await ran(agent, way)
    await crashes(agent, way, decisions({"type": "edit", "edited_action": {"name": "send", "args": {"to": "b"}}}))
    assert asked(await ran(agent, way, None)) == [("send", {"to": "b"}, mail.sent[0][1])]
    state = await ran(agent, way, decisions(HAPPENED))
    assert mail.receivers == ["b"]
    assert results(state) == [("It did.", "success")]


@SYNC_AND_ASYNC
async def test_an_approval_inside_the_call_runs_nothing_twice(way: str) -> None:
    mail = Mail(1)
    agent = mailer(mail, HumanInTheLoopMiddleware({"send": True}, interrupt_mode="per_call"))
    [shown] = (await ran(agent, way))["__interrupt__"]
    edit = {"type": "edit", "edited_action": {"name": "send", "args": {"to": "b"}}}
    await crashes(agent, way, Command(resume={shown.id: edit}))
    # LangGraph forgets the response of a run that crashed, so LangChain's middleware asks again.
    assert [one.id for one in (await ran(agent, way, None))["__interrupt__"]] == [shown.id]
    state = await ran(agent, way, Command(resume={shown.id: edit}))
    assert asked(state) == [("send", {"to": "b"}, mail.sent[0][1])]
    state = await ran(agent, way, decisions(HAPPENED))
    assert (mail.receivers, results(state)) == (["b"], [("It did.", "success")])


@SYNC_AND_ASYNC
async def test_an_approval_and_a_decision_on_one_call(way: str) -> None:
    mail = Mail(1)
    agent = mailer(mail, HumanInTheLoopMiddleware({"send": True}))
    await ran(agent, way)
    await crashes(agent, way, decisions({"type": "approve"}))
    assert asked(await ran(agent, way, None)) == [("send", {"to": "a"}, mail.sent[0][1])]
    again = await ran(agent, way, decisions(RUN))
    assert asked(again) == [("send", {"to": "a"}, "")]  # LangChain's middleware asks before every run
    state = await ran(agent, way, decisions({"type": "approve"}))
    assert (mail.receivers, mail.keys) == (["a", "a"], 1)
    assert results(state) == [("sent to a", "success")]


@SYNC_AND_ASYNC
async def test_an_edit_of_the_state_of_a_crashed_thread_does_not_run_it(way: str) -> None:
    mail = Mail(1)
    agent = mailer(mail, calls=SEND.calling("add", a=1, b=2), tools=[add])
    await crashes(agent, way)
    for _ in range(2):
        agent.update_state(THREAD, {"stop_reason": None})
        assert asked(await ran(agent, way, None)) == [("send", {"to": "a"}, mail.sent[0][1])]
    state = await ran(agent, way, decisions(HAPPENED))
    assert mail.receivers == ["a"]
    assert sorted(results(state)) == [("3", "success"), ("It did.", "success")]


@SYNC_AND_ASYNC
async def test_an_edited_call_is_shown_as_it_is_now_before_a_decision_counts(way: str) -> None:
    mail = Mail(1)
    agent = mailer(mail)
    await crashes(agent, way)
    await ran(agent, way, None)
    answer = agent.get_state(THREAD).values["messages"][-1]
    edited = answer.model_copy(update={"tool_calls": [{**answer.tool_calls[0], "args": {"to": "b"}}]})
    agent.update_state(THREAD, {"messages": [edited]})
    state = await ran(agent, way, decisions(RUN))
    assert mail.receivers == ["a"]
    assert asked(state)[0][:2] == ("send", {"to": "b"})
    await ran(agent, way, decisions(RUN))
    assert mail.receivers == ["a", "b"]


@SYNC_AND_ASYNC
async def test_an_agent_with_other_settings_tells_the_model_about_a_call_that_was_shown(way: str) -> None:
    mail, saver = Mail(1), InMemorySaver()
    await crashes(mailer(mail, saver=saver), way)
    assert asked(await ran(mailer(mail, saver=saver), way, None))
    state = await ran(mailer(mail, saver=saver, on_unknown="tell_model"), way, None)
    assert (results(state), mail.receivers) == ([(UNKNOWN_RESULT, "error")], ["a"])
    assert state["messages"][-1].text == "done"


@SYNC_AND_ASYNC
async def test_a_tool_that_asks_by_itself_begins_again_with_the_response(way: str) -> None:
    sent = []

    def send(to: str) -> str:
        """Send a mail."""
        sent.append(f"{to} {interrupt('Really?')} {idempotency_key()}")
        return "sent"

    async def asend(to: str) -> str:
        """Send a mail."""
        return send(to)

    mail = Mail(0)
    mail.tool = StructuredTool.from_function(send, asend, name="send")
    agent = mailer(mail)
    assert (await ran(agent, way))["__interrupt__"][0].value == "Really?"
    state = await ran(agent, way, Command(resume="yes"))
    assert results(state) == [("sent", "success")]
    assert [one.split()[:2] for one in sent] == [["a", "yes"]]


@SYNC_AND_ASYNC
async def test_a_decision_counts_the_call_once_for_all_callers(way: str) -> None:
    mail = Mail(1)
    own = create_agent(FakeKimi(answers(SEND)), [mail.tool], middleware=[KimiMiddleware(once={"send"})])
    work = agent_as_tool(own, name="work", description="Works.")
    lead = create_kimi_agent(
        FakeKimi(answers(called("work", task="mail"))),
        [work],
        limits=AgentLimits(tool_calls=2),
        checkpointer=InMemorySaver(),
    )
    await crashes(lead, way)
    assert asked(await ran(lead, way, None)) == [("send", {"to": "a"}, mail.sent[0][1])]
    state = await ran(lead, way, decisions(RUN))
    assert (mail.receivers, state["messages"][-1].text, state["stop_reason"]) == (["a", "a"], "done", "stop")
    assert state["spent"]["tool_calls"] == 2


@SYNC_AND_ASYNC
async def test_every_tool_of_another_middleware_has_a_key_too(way: str) -> None:
    keys = []

    @tool
    def stamp() -> str:
        """Stamp."""
        keys.append(idempotency_key())
        return "stamped"

    class Stamps(AgentMiddleware):
        tools = [stamp]  # noqa: RUF012

    agent = create_agent(FakeKimi(answers(called("stamp"))), [add], middleware=[KimiMiddleware(), Stamps()])
    await ran(agent, way)
    with pytest.raises(RuntimeError, match="outside of a tool call"):
        stamp.invoke({})
    assert len(keys) == 1


@SYNC_AND_ASYNC
async def test_what_langgraph_injects_is_no_part_of_the_recorded_call(way: str) -> None:
    started = []

    def send(to: str, state: Annotated[dict[str, Any], InjectedState]) -> str:
        """Send a mail."""
        started.append((len(state["messages"]), idempotency_key()))
        raise ConnectionError("no answer")

    async def asend(to: str, state: Annotated[dict[str, Any], InjectedState]) -> str:
        """Send a mail."""
        return send(to, state)

    mail = Mail(0)
    mail.tool = StructuredTool.from_function(send, asend, name="send")
    agent = mailer(mail, ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False))
    assert asked(await ran(agent, way)) == [("send", {"to": "a"}, started[0][1])]
    assert [count for count, _ in started] == [2]


@SYNC_AND_ASYNC
async def test_agents_that_share_the_middleware_run_their_own_tools_of_one_name(way: str) -> None:
    policies = KimiMiddleware()

    def agent(text: str) -> Any:
        @tool
        def look() -> str:
            """Look."""
            return text

        return create_agent(FakeKimi(answers(called("look"))), [look], middleware=[policies])

    one, two = agent("one"), agent("two")
    texts = [results(await ran(each, way)) for each in (one, two, one)]
    assert texts == [[("one", "success")], [("two", "success")], [("one", "success")]]


@SYNC_AND_ASYNC
async def test_a_tool_in_once_may_run_another_one(way: str) -> None:
    @tool
    async def relay(to: str, runtime: ToolRuntime) -> str:
        """Send a mail by the other tool."""
        [send] = [one for one in runtime.tools if one.name == "send"]
        return f"relayed: {await send.ainvoke({'to': to})}"

    mail = Mail(0)
    agent = mailer(mail, calls=called("relay", to="a"), tools=[relay], once={"send", "relay"})
    assert results(await ran(agent, way)) == [("relayed: sent to a", "success")]
    assert mail.receivers == ["a"]


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize("case", ["misspelt", "returns directly", "no checkpointer", "at the exit"])
async def test_what_cannot_hold_is_refused_before_the_first_request(way: str, case: str) -> None:
    mail, saver = Mail(0), InMemorySaver()
    model = FakeKimi(answers(SEND))
    mail.tool.return_direct = case == "returns directly"
    once = {"sent"} if case == "misspelt" else {"send"}
    agent = create_agent(
        model,
        [mail.tool],
        middleware=[KimiMiddleware(once=once)],
        checkpointer=None if case == "no checkpointer" else saver,
    )
    error: Any = DurabilityError if case in ("no checkpointer", "at the exit") else ValueError
    words = {
        "misspelt": "once names sent; the tools are: send",
        "returns directly": "once names send with return_direct=True",
        "no checkpointer": "`once` needs a checkpointer",
        "at the exit": 'with "exit", nothing is written',
    }
    settings: Any = {"durability": "exit"} if case == "at the exit" else {}
    with pytest.raises(error, match=words[case]):
        await Database(way, "").run(agent, ASK, **settings)
    assert (model.requests, mail.sent) == ([], [])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="once='send': give the names of tools"):
        KimiMiddleware(once="send")
    with pytest.raises(ValueError, match="on_unknown='retry'"):
        KimiMiddleware(on_unknown="retry")  # type: ignore[arg-type]
