"""Cut answers, broken streams, waits and limits, as a user of `ChatKimi` and of the agent meets them."""

import asyncio
import json
import threading
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_kimi import RateLimits, UsageMeter, create_kimi_agent
from langchain_kimi.errors import AnswerCutShort, BrokenStreamError, RateLimitError
from langchain_kimi.testing import Reply, Request, called, cut_after, garbage, rate_limited, said, thought
from tests.clock import VirtualClock
from tests.conftest import Serve, add, kimi

ASK: Any = {"messages": [("user", "go")]}
CUT = thought("I think and think").finish("length")


class Sum(BaseModel):
    """A sum."""

    total: int


async def test_answer_that_spent_its_cap_on_thinking_is_named_as_that(serve: Serve) -> None:
    model = kimi(serve(lambda request: CUT), max_tokens=20_000)
    structured = model.with_structured_output(Sum)
    for ask in (model.invoke, structured.invoke):
        with pytest.raises(AnswerCutShort, match="raise max_tokens") as caught:
            await asyncio.to_thread(ask, "go")
        assert caught.value.message.additional_kwargs["reasoning_content"] == "I think and think"
    with pytest.raises(AnswerCutShort):
        await model.ainvoke("go")
    with pytest.raises(AnswerCutShort):
        kimi(serve([CUT]), streaming=False).invoke("go")


async def test_stream_gives_all_then_raises(serve: Serve) -> None:
    model = kimi(serve(lambda request: CUT))
    heard: list[str] = []

    def stream() -> None:
        for chunk in model.stream("go"):
            heard.append(chunk.additional_kwargs.get("reasoning_content", ""))  # noqa: PERF401 - it raises midway

    async def astream() -> None:
        async for chunk in model.astream("go"):
            heard.append(chunk.additional_kwargs.get("reasoning_content", ""))  # noqa: PERF401 - it raises midway

    with pytest.raises(AnswerCutShort):
        stream()
    with pytest.raises(AnswerCutShort):
        await astream()
    assert "".join(heard) == "I think and think" * 2


def test_text_that_was_cut_is_an_answer(serve: Serve) -> None:
    message = kimi(serve([said("Half a sen").finish("length")])).invoke("go")
    assert (message.text, message.response_metadata["finish_reason"]) == ("Half a sen", "length")


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


class Waits(BaseCallbackHandler):
    """Notes the waits that are told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        assert name == "kimi_wait"
        self.told.append(data)


async def test_waits_are_told_to_callbacks(serve: Serve) -> None:
    waits, clock = Waits(), VirtualClock()
    server = serve([rate_limited(7), said("a"), rate_limited(7), said("b"), rate_limited(7), said("c")])
    model = kimi(server, max_retries=1, clock=clock)
    model.invoke("go", {"callbacks": [waits]})
    await model.ainvoke("go", {"callbacks": [waits]})
    async for _ in create_kimi_agent(model).astream(ASK, {"callbacks": [waits]}, stream_mode="messages"):
        pass
    assert [data["attempt"] for data in waits.told] == [1, 1, 1]
    assert all(7 <= data["seconds"] < 8 and "max RPM" in data["error"] for data in waits.told)


async def test_models_that_share_limits_do_not_drive_each_other_into_429(serve: Serve) -> None:
    server = serve(lambda request: said("ok"), concurrency=2)
    limits = RateLimits(concurrency=2)
    models = [kimi(server, name, rate_limits=limits) for name in ("kimi-k2.6", "kimi-k3")]
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            model = models[number % 2]
            group.create_task(model.ainvoke("go") if number % 3 else asyncio.to_thread(model.invoke, "go"))  # type: ignore[arg-type]
    assert set(server.statuses) == {200}


def test_without_limits_the_same_crowd_is_refused(serve: Serve) -> None:
    arrived, gate = threading.Event(), threading.Event()

    def script(request: Request) -> Reply:
        arrived.set()
        gate.wait(20)
        return said("ok")

    server = serve(script, concurrency=1)
    first = threading.Thread(target=kimi(server).invoke, args=("go",))
    first.start()
    assert arrived.wait(20)
    with pytest.raises(RateLimitError, match="max concurrency: 1"):
        kimi(server).invoke("go")
    gate.set()
    first.join()


class Counting(BaseRateLimiter):
    """LangChain's own kind of limiter."""

    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.asked += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire()


async def test_langchains_rate_limiter_works(serve: Serve) -> None:
    limiter = Counting()
    model = kimi(serve(lambda request: said("ok")), rate_limiter=limiter)
    model.invoke("a")
    await model.ainvoke("b")
    list(model.stream("c"))
    assert limiter.asked == 3


async def test_list_written_as_a_string_reaches_the_tool_as_a_list_and_goes_back_as_it_came(serve: Serve) -> None:
    got: list[list[int]] = []

    @tool
    def total(numbers: list[int]) -> int:
        """Add numbers."""
        got.append(numbers)
        return sum(numbers)

    raw = '{"numbers": "[1, 2]"}'
    server = serve(
        lambda request: said("3") if request.tool_results() else thought("sum").calling_raw("total", raw, "total:0")
    )
    agent = create_kimi_agent(kimi(server), [total])
    for state in (await asyncio.to_thread(agent.invoke, ASK), await agent.ainvoke(ASK)):
        assert [message.status for message in state["messages"] if isinstance(message, ToolMessage)] == ["success"]
    assert got == [[1, 2]] * 2
    assert server.requests[1].messages[1]["tool_calls"][0]["function"]["arguments"] == raw


async def test_ids_of_the_request_are_in_the_metadata(serve: Serve) -> None:
    model = kimi(serve(lambda request: said("ok")))
    whole = kimi(serve([said("ok")]), streaming=False).invoke("go")
    chunks = list(model.stream("go"))
    joined = chunks[0] + chunks[1:]
    for message in (model.invoke("go"), await model.ainvoke("go"), whole, joined):
        assert len(message.response_metadata["request_id"]) == 32


async def test_meter_knows_agents_and_models(serve: Serve) -> None:
    server = serve(lambda request: said("5") if request.tool_results() else called("add", a=2, b=3).thinking("x"))
    meter = UsageMeter()
    for name, model in (("first", "kimi-k2.6"), ("second", "kimi-k3")):
        await create_kimi_agent(kimi(server, model), [add], name=name).ainvoke(ASK, {"callbacks": [meter]})
    assert meter.total.requests == 4
    assert set(meter.by_model) == {"kimi-k2.6", "kimi-k3"}
    assert {run.agent for run in meter.by_run} == {"first", "second"}
    assert meter.total.cost_usd is not None
    assert meter.total.cost_usd > 0


def test_call_without_an_id_gets_the_next_one_of_the_conversation(serve: Serve) -> None:
    delta = {"tool_calls": [{"index": 0, "function": {"name": "add", "arguments": "{}"}}]}
    bare = json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}]}).encode()
    history = [
        HumanMessage("go"),
        AIMessage("", tool_calls=[{"id": "add:0", "name": "add", "args": {"a": 1, "b": 1}}]),
        ToolMessage("2", tool_call_id="add:0"),
    ]
    answer = kimi(serve([garbage(bare)])).bind_tools([add]).invoke(history)
    assert [call["id"] for call in answer.tool_calls] == ["add:1"]
