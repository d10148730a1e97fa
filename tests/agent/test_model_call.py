"""An agent whose model's answer is not whole: what it asks again, what it never runs, and what it counts."""

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from langchain_kimi import (
    Compaction,
    KimiError,
    TeamMember,
    UsageMeter,
    agent_as_tool,
    create_kimi_agent,
    create_kimi_team,
)
from langchain_kimi._http import Timeouts
from langchain_kimi.errors import AnswerCutShort, APITimeoutError, BrokenStreamError, IncompleteAnswerError
from langchain_kimi.testing import (
    Reply,
    Request,
    called,
    cut_after,
    error_event,
    garbage,
    no_choice,
    raw_call,
    said,
    stall,
    thought,
)
from tests.conftest import FOUR_WAYS, PAIRED, TWO_OF_FOUR_WAYS, Serve, add, kimi

ASK: Any = {"messages": [("user", "go")]}
TWO_KINDS = pytest.mark.parametrize("way", ["invoke", "ainvoke"])
WIPES: list[str] = []


@tool
def wipe(path: str = "/") -> str:
    """Delete everything below a path."""
    WIPES.append(path)
    return f"wiped {path}"


@pytest.fixture(autouse=True)
def _nothing_is_wiped_yet() -> None:
    WIPES.clear()


async def ran(agent: Any, way: str, given: Any = ASK, config: Any = None) -> dict[str, Any]:
    """The last state of a run."""
    if way == "invoke":
        return await asyncio.to_thread(agent.invoke, given, config)  # type: ignore[no-any-return]
    if way == "ainvoke":
        return await agent.ainvoke(given, config)  # type: ignore[no-any-return]
    if way == "stream":
        states = await asyncio.to_thread(lambda: list(agent.stream(given, config, stream_mode="values")))
    else:
        states = [state async for state in agent.astream(given, config, stream_mode="values")]
    return states[-1]  # type: ignore[no-any-return]


CUT = thought("I think and think").finish("length")
CALL = thought("I wipe.").calling("wipe", path="/tmp")


def deadlines(name: str) -> Timeouts | None:
    """Short ones only where the fault is silence, so that a busy machine does not look like one."""
    return Timeouts(silence=0.5) if name == "silence" else None


BROKEN: dict[str, Reply] = {
    "engine_overloaded": CALL.finish("engine_overloaded"),
    "server_interrupted": CALL.finish("server_interrupted"),
    "cut": cut_after(CALL, events=6),
    "error event": error_event(CALL, after_events=6, message="oops"),
    "overload event": error_event(CALL, after_events=6, type="engine_overloaded_error", message="full"),
    "error in a chunk": garbage(
        b'{"error": {"code": 502, "message": "gone"}, "choices": [{"index": 0, "delta": {"content": ""}, '
        b'"finish_reason": "error"}]}',
        within=CALL,
        after_events=6,
    ),
    "no JSON": garbage(b"{", within=CALL, after_events=6),
    "silence": stall(CALL, after_events=6),
    "no choice": no_choice(),
    "done": garbage(b"[DONE]"),
}


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_broke_off_is_asked_for_once_more(serve: Serve, way: str, name: str) -> None:
    server, meter = serve([BROKEN[name], said("done")]), UsageMeter()
    agent = create_kimi_agent(kimi(server, timeout=deadlines(name)), [wipe])
    state = await ran(agent, way, config={"callbacks": [meter]})
    assert [message.text for message in state["messages"]] == ["go", "done"]
    assert (state["stop_reason"], WIPES) == ("stop", [])
    assert state["spent"]["requests"] == meter.total.requests == 2
    assert state["spent"]["input_tokens"] == meter.total.input_tokens
    assert state["spent"]["output_tokens"] == meter.total.output_tokens
    assert state["spent"]["cost_usd"] == pytest.approx(meter.total.cost_usd)
    whole = state["messages"][-1].usage_metadata
    if name != "done":  # an event of nothing but the end tells no usage, but the headers do
        assert state["spent"]["input_tokens"] == 2 * whole["input_tokens"]
    assert "unpriced" not in state["spent"]


@PAIRED
@TWO_KINDS
@pytest.mark.parametrize("name", ["no choice", "engine_overloaded"])
async def test_a_whole_answer_that_is_broken_is_asked_for_once_more(serve: Serve, way: str, name: str) -> None:
    agent = create_kimi_agent(kimi(serve([BROKEN[name], said("done")]), streaming=False), [wipe])
    state = await ran(agent, way)
    assert (state["messages"][-1].text, WIPES) == ("done", [])


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("reason", ["malformed_byte_sequence", "unexpected_state", "repeat", "unknown"])
async def test_other_abnormal_answers_end_the_run_with_a_typed_error(serve: Serve, way: str, reason: str) -> None:
    server = serve([CALL.finish(reason), said("never asked")])
    with pytest.raises(IncompleteAnswerError) as caught:
        await ran(create_kimi_agent(kimi(server), [wipe]), way)
    assert (caught.value.finish_reason, len(server.requests), WIPES) == (reason, 1, [])


@PAIRED
@TWO_KINDS
@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_breaks_off_twice_is_a_typed_error_that_counts_both(
    serve: Serve, way: str, name: str
) -> None:
    server, meter = serve(lambda request: BROKEN[name]), UsageMeter()
    agent = create_kimi_agent(kimi(server, timeout=deadlines(name)), [wipe])
    with pytest.raises(KimiError) as caught:
        await ran(agent, way, config={"callbacks": [meter]})
    assert caught.value.broke_off
    assert len(server.requests) == meter.total.requests == 2
    assert meter.total.input_tokens > 0
    assert meter.total.cost_usd
    assert WIPES == []


async def test_a_total_deadline_is_not_waited_for_twice(serve: Serve) -> None:
    server = serve([stall(said("a b c"), after_events=2), said("never asked")])
    agent = create_kimi_agent(kimi(server, timeout=Timeouts(total=2.0)), [wipe])
    with pytest.raises(APITimeoutError) as caught:
        await agent.ainvoke(ASK)
    assert (caught.value.timeout, len(server.requests)) == ("total", 1)


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("text", ["", "I may not say"])
async def test_no_call_of_a_filtered_answer_runs_and_the_turn_says_why_it_ended(
    serve: Serve, way: str, text: str
) -> None:
    def script(request: Request) -> Reply:
        if request.last.get("content") == "again":
            return said("fine")
        return CALL.saying(text).calling("wipe", path="/etc").finish("content_filter")

    server = serve(script)
    agent = create_kimi_agent(kimi(server), [wipe], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    state = await ran(agent, way, config=config)
    assert (state["stop_reason"], WIPES, len(server.requests)) == ("content_filter", [], 1)
    answer, *results, closing = state["messages"][1:]
    assert (closing.type, closing.text) == (
        "ai",
        "I have to stop here without an answer: the host's moderation stopped it.",
    )
    assert (answer.text, answer.response_metadata["finish_reason"]) == (text, "content_filter")
    assert [(result.status, "moderation" in result.text) for result in results] == [("error", True)] * 2
    assert state["spent"]["requests"] == 1
    assert state["spent"]["input_tokens"] > 0
    again = await ran(agent, way, {"messages": [("user", "again")]}, config)
    assert (again["messages"][-1].text, again["stop_reason"]) == ("fine", "stop")
    assert set(server.statuses) == {200}


@TWO_KINDS
@pytest.mark.filterwarnings("ignore:.*brand_new")
async def test_calls_of_an_answer_with_an_unknown_finish_reason_do_not_run(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        return said("I see.") if request.tool_results() else CALL.finish("brand_new")

    server = serve(script)
    state = await ran(create_kimi_agent(kimi(server), [wipe]), way)
    assert (state["messages"][-1].text, WIPES) == ("I see.", [])
    assert "finish reason 'brand_new'" in server.requests[1].tool_results()[0]["content"]
    assert server.requests[1].messages[1]["tool_calls"][0]["function"]["arguments"] == '{"path":"/tmp"}'


@TWO_KINDS
@pytest.mark.parametrize("finish", [None, "length"])
async def test_a_call_whose_arguments_never_came_does_not_run_with_defaults(
    serve: Serve, way: str, finish: Any
) -> None:
    begun = raw_call("wipe", "").thinking("Hm.")
    reply = begun.finish(finish) if finish else garbage(b"[DONE]", within=begun, after_events=4)
    state = await ran(create_kimi_agent(kimi(serve([reply, said("done")])), [wipe]), way)
    assert (state["messages"][-1].text, WIPES) == ("done", [])
    assert [message.status for message in state["messages"] if isinstance(message, ToolMessage)] == ["error"]


async def test_a_whole_answer_may_call_a_tool_without_arguments(serve: Serve) -> None:
    await ran(create_kimi_agent(kimi(serve([raw_call("wipe", "").thinking("Hm."), said("done")])), [wipe]), "ainvoke")
    assert WIPES == ["/"]


# Other models and other agents.


class Foreign(GenericFakeChatModel):
    """Another provider's model."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def foreign(*finishes: str) -> Foreign:
    calls: Any = [{"name": "wipe", "args": {"path": "/tmp"}, "id": "1", "type": "tool_call"}]
    answers = [AIMessage("", tool_calls=calls, response_metadata={"finish_reason": finish}) for finish in finishes]
    return Foreign(messages=iter([*answers, AIMessage("done")]))


@TWO_KINDS
async def test_answers_of_other_models_are_judged_by_their_finish_reason_too(way: str) -> None:
    state = await ran(create_kimi_agent(foreign("server_interrupted"), [wipe]), way)
    assert (state["messages"][-1].text, WIPES) == ("done", [])
    with pytest.raises(IncompleteAnswerError):
        await ran(create_kimi_agent(foreign("repeat"), [wipe]), way)
    state = await ran(create_kimi_agent(foreign("content_filter"), [wipe]), way)
    assert (state["stop_reason"], WIPES) == ("content_filter", [])
    await ran(create_kimi_agent(foreign("FUNCTION_CALL"), [wipe]), way)
    assert WIPES == ["/tmp"]


@PAIRED
@TWO_KINDS
@pytest.mark.parametrize("name", ["engine_overloaded", "cut", "error event", "silence", "no choice"])
async def test_teams_and_sub_agents_ask_once_more_and_count_it(serve: Serve, way: str, name: str) -> None:
    settings: Any = {"timeout": deadlines(name)}
    inner = create_kimi_agent(kimi(serve([BROKEN[name], said("found")]), **settings), [wipe])
    research = agent_as_tool(inner, name="research", description="Researches.")

    def lead(request: Request) -> Reply:
        if request.number == 1:
            return BROKEN[name]
        return said("done") if request.tool_results() else thought("Hm.").calling("research", task="x")

    outer = create_kimi_team([TeamMember(name="lead", model=kimi(serve(lead), **settings), tools=[research])])
    meter = UsageMeter()
    state = await ran(outer, way, config={"callbacks": [meter]})
    assert state["messages"][-1].text == "done"
    assert [message.text for message in state["messages"] if isinstance(message, ToolMessage)] == ["found"]
    assert state["spent"]["requests"] == meter.total.requests == 5
    for key in ("input_tokens", "output_tokens", "cached_tokens"):
        assert state["spent"].get(key, 0) == getattr(meter.total, key)
    assert WIPES == []


@TWO_KINDS
async def test_a_filtered_sub_agent_is_an_error_result_for_its_caller(serve: Serve, way: str) -> None:
    inner = create_kimi_agent(kimi(serve([CALL.saying("I may").finish("content_filter")])), [wipe])
    research = agent_as_tool(inner, name="research", description="Researches.")
    server = serve([thought("Hm.").calling("research", task="x"), said("done")])
    state = await ran(create_kimi_agent(kimi(server), [research]), way)
    (result,) = (message for message in state["messages"] if isinstance(message, ToolMessage))
    assert (result.status, WIPES) == ("error", [])
    assert result.text == "research was cut short (content_filter). What it had by then: I may"


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("name", ["engine_overloaded", "no choice", "cut"])
async def test_langchains_create_agent_runs_no_call_of_a_broken_answer(serve: Serve, way: str, name: str) -> None:
    with pytest.raises((IncompleteAnswerError, BrokenStreamError)):
        await ran(create_agent(kimi(serve([BROKEN[name]])), [wipe]), way)
    state = await ran(create_agent(kimi(serve([CALL.saying("I may").finish("content_filter")])), [wipe]), way)
    assert (state["messages"][-1].text, WIPES) == ("I may", [])


@TWO_OF_FOUR_WAYS
async def test_create_agent_gets_the_message_of_an_answer_that_was_cut_in_its_thinking(serve: Serve, way: str) -> None:
    with pytest.raises(AnswerCutShort):
        await ran(create_agent(kimi(serve([CUT])), [wipe]), way)
    state = await ran(create_agent(kimi(serve([CUT]), on_cut_short="return"), [wipe]), way)
    last = state["messages"][-1]
    assert (last.text, last.response_metadata["finish_reason"]) == ("", "length")
    assert last.additional_kwargs["reasoning_content"] == "I think and think"


class Report(BaseModel):
    """What is asked for in the end."""

    total: int


@TWO_KINDS
async def test_the_object_in_the_end_is_asked_for_once_more_too(serve: Serve, way: str) -> None:
    server = serve([said("5"), error_event(said('{"total": 5}'), after_events=3), said('{"total": 5}')])
    state = await ran(create_kimi_agent(kimi(server), response_format=Report), way)
    assert state["structured_response"] == Report(total=5)
    assert state["spent"]["requests"] == 3


@PAIRED
@TWO_KINDS
@pytest.mark.parametrize("reply", [said("I may not"), CALL, thought("Hm.")], ids=["text", "call", "nothing"])
async def test_after_a_filtered_answer_no_object_is_asked_for(serve: Serve, way: str, reply: Reply) -> None:
    server = serve([reply.finish("content_filter")])
    state = await ran(create_kimi_agent(kimi(server), [wipe], response_format=Report), way)
    assert (state["stop_reason"], state["structured_response"], len(server.requests)) == ("content_filter", None, 1)
    assert (state["messages"][-1].type, bool(state["messages"][-1].text)) == ("ai", True)


@TWO_KINDS
async def test_a_summary_that_broke_off_is_asked_for_once_more(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        if "Below is the earlier part" not in request.text_of("user"):
            return said("done")
        summaries.append(request)
        return cut_after(said("a b c"), events=2) if len(summaries) == 1 else said("They counted.")

    summaries: list[Request] = []
    context = Compaction(window=10_000, reserve=1_000)
    thread: list[Any] = [("user" if turn % 2 == 0 else "assistant", f"{turn} " * 150) for turn in range(41)]
    agent = create_kimi_agent(kimi(serve(script)), [wipe], compaction=context)
    state = await ran(agent, way, {"messages": thread})
    messages: list[BaseMessage] = state["messages"]
    assert len(summaries) == 3  # in two parts, of which the first was asked for twice
    assert any("They counted." in message.text for message in messages)
    assert state["spent"]["requests"] == 4


# The second request after a cap that went into thinking.


@PAIRED
@FOUR_WAYS
@pytest.mark.parametrize("choice", ["raise", "return"])
@pytest.mark.parametrize(
    ("model", "cap", "second"),
    [("kimi-k2.6", None, 65_536), ("kimi-k2.6", 20_000, 40_000), ("kimi-k3", None, 262_144)],
)
async def test_the_second_cap_is_twice_the_first(
    serve: Serve, way: str, choice: Any, model: str, cap: int | None, second: int
) -> None:
    server, meter = serve([CUT, said("done")]), UsageMeter()
    agent = create_kimi_agent(kimi(server, model, max_tokens=cap, on_cut_short=choice), [wipe])
    state = await ran(agent, way, config={"callbacks": [meter]})
    assert state["messages"][-1].text == "done"
    assert server.requests[1].json["max_completion_tokens"] == second
    assert state["spent"]["requests"] == meter.total.requests == 2
    assert state["spent"]["output_tokens"] == meter.total.output_tokens > 5


@PAIRED
@TWO_KINDS
@pytest.mark.parametrize("prompt", [100_000, 220_000])
async def test_the_second_cap_fits_the_window_and_is_never_lower(serve: Serve, way: str, prompt: int) -> None:
    long: Any = {"messages": [("user", "word" * prompt)]}
    server = serve([CUT, said("done")])
    agent = create_kimi_agent(
        kimi(server, max_tokens=100_000 if prompt == 100_000 else 32_768), [wipe], compaction=None
    )
    state = await ran(agent, way, long)
    assert state["messages"][-1].text == "done"
    first, second = (request.json["max_completion_tokens"] for request in server.requests)
    assert first <= second < 2 * first
    assert server.statuses == [200, 200]


@TWO_KINDS
async def test_without_usage_the_cap_is_doubled_too(serve: Serve, way: str) -> None:
    event = (
        b'{"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}, "finish_reason": "length"}], "model": "x"}'
    )
    server = serve([garbage(event), said("done")], dialect="vllm")
    state = await ran(create_kimi_agent(kimi(server), [wipe]), way)
    assert state["messages"][-1].text == "done"
    assert [request.json["max_completion_tokens"] for request in server.requests] == [32_768, 65_536]
    assert state["spent"]["unpriced"] == 1


# Answers with nothing in them.


@TWO_OF_FOUR_WAYS
async def test_a_turn_that_is_cut_in_its_thinking_twice_ends_in_a_text(serve: Serve, way: str) -> None:
    server = serve(lambda request: said("fine") if request.last.get("content") == "again" else CUT)
    agent = create_kimi_agent(kimi(server), [wipe], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    state = await ran(agent, way, config=config)
    closing = "I have to stop here without an answer: the model used up its output cap by thinking, twice."
    assert (state["messages"][-1].type, state["messages"][-1].text) == ("ai", closing)
    assert (state["stop_reason"], state["spent"]["requests"]) == ("length", 2)
    again = await ran(agent, way, {"messages": [("user", "again")]}, config)
    assert (again["messages"][-1].text, again["stop_reason"], set(server.statuses)) == ("fine", "stop", {200})


NOTHING = pytest.mark.parametrize("reply", [said(""), thought("Hm."), said(" \n")], ids=["nothing", "thought", "space"])


@PAIRED
@FOUR_WAYS
@NOTHING
async def test_an_answer_with_neither_text_nor_calls_is_asked_for_once_more(
    serve: Serve, way: str, reply: Reply
) -> None:
    meter = UsageMeter()
    state = await ran(create_kimi_agent(kimi(serve([reply, said("done")])), [wipe]), way, config={"callbacks": [meter]})
    assert [message.text for message in state["messages"]] == ["go", "done"]
    assert state["stop_reason"] == "stop"
    assert state["spent"]["requests"] == meter.total.requests == 2
    assert state["spent"]["output_tokens"] == meter.total.output_tokens


@PAIRED
@FOUR_WAYS
@NOTHING
async def test_a_turn_of_empty_answers_ends_in_a_text_that_says_so(serve: Serve, way: str, reply: Reply) -> None:
    server = serve(lambda request: said("fine") if request.last.get("content") == "again" else reply)
    agent = create_kimi_agent(kimi(server), [wipe], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    state = await ran(agent, way, config=config)
    assert state["messages"][-1].type == "ai"
    assert state["messages"][-1].text.endswith("neither text nor tool calls (finish reason 'stop').")
    assert (state["stop_reason"], len(server.requests)) == ("empty", 2)
    again = await ran(agent, way, {"messages": [("user", "again")]}, config)
    assert (again["messages"][-1].text, again["stop_reason"], set(server.statuses)) == ("fine", "stop", {200})


@PAIRED
@TWO_KINDS
@pytest.mark.parametrize("reply", [CUT, thought("Hm.")], ids=["cut", "empty"])
async def test_an_empty_answer_of_a_sub_agent_is_an_error_result_and_one_of_a_member_a_text(
    serve: Serve, way: str, reply: Reply
) -> None:
    inner = create_kimi_agent(kimi(serve(lambda request: reply)), [wipe])
    research = agent_as_tool(inner, name="research", description="Researches.")
    server = serve(lambda request: reply if request.tool_results() else thought("Hm.").calling("research", task="x"))
    state = await ran(create_kimi_team([TeamMember(name="lead", model=kimi(server), tools=[research])]), way)
    (result,) = (message for message in state["messages"] if isinstance(message, ToolMessage))
    assert result.status == "error"
    assert "I have to stop here without an answer" in result.text
    assert state["messages"][-1].text.startswith("I have to stop here without an answer")


@TWO_KINDS
async def test_where_an_object_is_asked_for_an_empty_answer_gives_way_to_it(serve: Serve, way: str) -> None:
    server = serve([said(""), said(""), said('{"total": 5}')])
    state = await ran(create_kimi_agent(kimi(server), response_format=Report), way)
    assert (state["structured_response"], state["stop_reason"]) == (Report(total=5), "stop")
    assert not any("without an answer" in message.text for message in state["messages"])


@TWO_KINDS
async def test_other_models_content_without_text_is_an_answer(way: str) -> None:
    picture: Any = [{"type": "image", "url": "https://example.org/a.png"}]
    state = await ran(create_kimi_agent(Foreign(messages=iter([AIMessage(picture)])), [wipe]), way)
    assert (state["messages"][-1].content, len(state["messages"])) == (picture, 2)
    model = Foreign(messages=iter([AIMessage([{"type": "thinking", "thinking": "Hm."}]), AIMessage("done")]))
    state = await ran(create_kimi_agent(model, [wipe]), way)
    assert [message.text for message in state["messages"]] == ["go", "done"]


@TWO_OF_FOUR_WAYS
@pytest.mark.filterwarnings("ignore:.*brand_new")
async def test_an_unknown_finish_reason_without_a_text_is_an_error_in_create_agent_and_a_text_here(
    serve: Serve, way: str
) -> None:
    for reply in (CALL.finish("brand_new"), thought("Hm.").finish("brand_new")):
        with pytest.raises(IncompleteAnswerError, match="'brand_new'"):
            await ran(create_agent(kimi(serve([reply])), [wipe]), way)
    state = await ran(create_kimi_agent(kimi(serve([reply])), [wipe]), way)
    assert state["messages"][-1].text.endswith("(finish reason 'brand_new').")
    assert state["stop_reason"] == "brand_new"
    assert WIPES == []


async def test_agent_asks_once_more_with_a_larger_cap(serve: Serve) -> None:
    server = serve([CUT, said("done"), CUT, said("done"), CUT, CUT])
    agent = create_kimi_agent(kimi(server), [add])
    states = [agent.invoke(ASK), await agent.ainvoke(ASK)]
    assert [state["messages"][-1].text for state in states] == ["done", "done"]
    assert [request.json["max_completion_tokens"] for request in server.requests[:2]] == [32_768, 65_536]
    last = await agent.ainvoke(ASK)
    assert last["stop_reason"] == "length"
    assert last["messages"][-2].additional_kwargs["reasoning_content"] == "I think and think"
    assert last["messages"][-1].text


async def test_agent_repeats_a_turn_that_broke_off_and_keeps_nothing_of_it(serve: Serve) -> None:
    def script(request: Request) -> Reply:
        if request.number in (1, 4):
            return cut_after(called("add", a=1, b=1).thinking("broken thought"), events=3)
        return said("5") if request.tool_results() else called("add", a=2, b=3).thinking("whole")

    server = serve(script)
    agent = create_kimi_agent(kimi(server), [add])
    for state in (await asyncio.to_thread(agent.invoke, ASK), await agent.ainvoke(ASK)):
        thoughts = [m.additional_kwargs.get("reasoning_content") for m in state["messages"] if isinstance(m, AIMessage)]
        assert thoughts == ["whole", None]
    assert b"broken thought" not in b"".join(request.body for request in server.requests)
    with pytest.raises(BrokenStreamError):
        create_kimi_agent(kimi(serve(lambda request: cut_after(said("a b c"), events=2)))).invoke(ASK)
