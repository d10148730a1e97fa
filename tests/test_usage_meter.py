"""`UsageMeter`: the sums over many responses."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tools import tool

from langchain_kimi import KimiError, create_kimi_agent
from langchain_kimi._response import ResponseDecoder
from langchain_kimi.errors import AnswerCutShort
from langchain_kimi.testing import KimiServer, called, cut_after, empty, overloaded, said, thought
from langchain_kimi.usage import Usage
from langchain_kimi.usage_meter import RunKey, UsageMeter
from tests.conftest import FOUR_WAYS, SYNC_AND_ASYNC, Serve, add, kimi
from tests.response.helpers import whole

ASK: Any = {"messages": [("user", "go")]}


@tool
def look(at: str) -> str:
    """Look at something."""
    return f"{at} is there"


def play(request: Any) -> Any:
    """Thinks and looks, then answers."""
    return said("It is there.") if request.tool_results() else thought("Where? ").calling("look", at="b")


def spent_by(server: KimiServer, messages: list[Any], model: str = "kimi-k2.6") -> Usage:
    answers = [message for message in messages if isinstance(message, AIMessage)]
    assert len(answers) == len(server.requests)
    return sum((Usage.of_response(answer.usage_metadata, model) for answer in answers), Usage())


async def test_meter_counts_every_way_to_ask(serve: Serve) -> None:
    model, meter = kimi(serve(lambda request: said("Hello."))), UsageMeter()
    config: Any = {"callbacks": [meter]}
    answer = model.invoke("Hi", config)
    await model.ainvoke("Hi", config)
    list(model.stream("Hi", config))
    [chunk async for chunk in model.astream("Hi", config)]
    model.batch(["Hi", "Hi"], config)
    list(model.stream_events("Hi", config, version="v3"))
    one = Usage.of_response(answer.usage_metadata, "kimi-k2.6")
    total = meter.total
    assert (total.requests, total.output_tokens) == (7, 7 * one.output_tokens)
    assert total.input_tokens == 7 * one.input_tokens
    assert meter.by_model == {"kimi-k2.6": total}
    assert len(meter.by_run) == 7
    assert str(total) in repr(meter)


@SYNC_AND_ASYNC
async def test_meter_sums_an_agents_run(serve: Serve, way: str) -> None:
    server, meter = serve(play), UsageMeter()
    agent = create_kimi_agent(kimi(server), [look])
    asked: Any = {"messages": [("user", "Where is b? " * 400)]}
    config: Any = {"callbacks": [meter], "run_id": uuid4()}
    state = agent.invoke(asked, config) if way == "sync" else await agent.ainvoke(asked, config)
    expected = spent_by(server, state["messages"])
    assert meter.total == expected
    assert expected.cost_usd is not None
    assert expected.cost_usd > 0
    assert meter.by_run == {RunKey(config["run_id"], "kimi_agent", "model"): expected}
    assert expected.reasoning_tokens > 0
    assert expected.cache_hit_rate == pytest.approx(expected.cached_tokens / expected.input_tokens)
    assert expected.cached_tokens > 0


def test_meter_tells_agents_and_models_apart(serve: Serve) -> None:
    inner_server, outer_server, meter = serve(play), serve(play), UsageMeter()
    inner = create_kimi_agent(kimi(inner_server, "kimi-k3"), [look])

    @tool("look")
    def ask_other(at: str) -> str:
        """Ask another agent."""
        return str(inner.invoke({"messages": [("user", at)]})["messages"][-1].text)

    outer = create_kimi_agent(kimi(outer_server), [ask_other])
    config: Any = {"callbacks": [meter], "run_id": uuid4(), "metadata": {"lc_agent_name": "chief"}}
    outer.invoke({"messages": [("user", "Where is b?")]}, config)
    assert {model: spent.requests for model, spent in meter.by_model.items()} == {"kimi-k2.6": 2, "kimi-k3": 2}
    assert {run.root for run in meter.by_run} == {config["run_id"]}
    assert {run.agent for run in meter.by_run} == {"chief", "kimi_agent"}
    assert meter.total.requests == 4
    assert meter.total == sum(meter.by_model.values(), Usage())


def test_meter_is_shared_by_threads_and_loops(serve: Serve) -> None:
    server, meter = serve(play), UsageMeter()
    agent = create_kimi_agent(kimi(server), [look])
    asked: Any = {"messages": [("user", "Where is b?")]}
    config: Any = {"callbacks": [meter]}
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(agent.invoke, asked, config) for _ in range(8)]:
            done.result()
        for ended in [pool.submit(asyncio.run, agent.ainvoke(asked, config)) for _ in range(4)]:
            ended.result()
    assert meter.total.requests == len(server.requests) == 24
    assert sorted(spent.requests for spent in meter.by_run.values()) == [2] * 12
    assert meter._roots == {}
    assert meter._open_requests == {}


def test_unknown_price_is_none_and_stays_none(serve: Serve) -> None:
    server, meter = serve(lambda request: said("Hi."), models=["other"]), UsageMeter()
    config: Any = {"callbacks": [meter]}
    kimi(server).invoke("Hi", config)
    with pytest.warns(UserWarning, match="not in the catalogue"):
        kimi(server, "other").invoke("Hi", config)
    assert meter.by_model["kimi-k2.6"].cost_usd is not None
    assert meter.by_model["other"].cost_usd is None
    assert meter.total.cost_usd is None
    assert meter.total.requests == 2


def test_refusals_cost_nothing_and_broken_answers_what_is_known_of_them(serve: Serve) -> None:
    server = serve([overloaded(), cut_after(said("One two three four five."), events=3), said("Fine.")])
    model, meter = kimi(server), UsageMeter()
    config: Any = {"callbacks": [meter]}
    with pytest.raises(KimiError):
        model.invoke("Hi", config)
    assert meter.total == Usage()
    with pytest.raises(KimiError):
        list(model.stream("Hi", config))
    assert meter.total.requests == 1
    assert meter.total.cost_usd
    model.invoke("Hi", config)
    assert meter.total.requests == 2
    silent = kimi(serve([cut_after(said("One two"), events=2)], dialect="vllm"))  # no headers tell of usage
    with pytest.raises(KimiError):
        silent.invoke("Hi", config)
    assert (meter.total.requests, meter.total.cost_usd) == (3, None)


def test_retries_are_counted_one_by_one(serve: Serve) -> None:
    server = serve([said("No."), said("No."), said("Yes.")])
    meter, seen = UsageMeter(), []

    def picky(answer: AIMessage) -> str:
        seen.append(answer)
        if answer.text == "No.":
            raise ValueError("again")
        return str(answer.text)

    chain = (kimi(server) | picky).with_retry(wait_exponential_jitter=False)
    assert chain.invoke("Hi", {"callbacks": [meter]}) == "Yes."
    assert meter.total == spent_by(server, seen)
    assert len({run.root for run in meter.by_run}) == 1


def test_answers_out_of_langchains_cache_are_not_counted(serve: Serve) -> None:
    server, meter = serve(lambda request: said("Hi.")), UsageMeter()
    model = kimi(server, cache=InMemoryCache())
    for _ in range(3):
        model.invoke("Hi", {"callbacks": [meter]})
    assert (len(server.requests), meter.total.requests) == (1, 1)


def test_an_answer_that_an_error_carries_is_counted_once() -> None:
    message = ResponseDecoder().decode_body(whole({"content": "", "reasoning_content": "Hm"}, "length"))
    error = AnswerCutShort("cut")
    error.message = message
    for response in (None, LLMResult(generations=[[ChatGeneration(message=message)], []])):
        meter, run_id = UsageMeter(), uuid4()
        meter.on_chat_model_start({}, [], run_id=run_id)
        meter.on_llm_error(error, run_id=run_id, response=response)
        assert meter.total == Usage.of_response(message.usage_metadata, "kimi-k2.6")


def test_nothing_spent_has_no_rate_and_costs_nothing() -> None:
    assert (UsageMeter().total, Usage().cache_hit_rate, Usage().cost_usd) == (Usage(), None, 0.0)


@FOUR_WAYS
async def test_an_answer_of_which_nothing_came_counts_alike_for_the_meter_and_the_agent(serve: Serve, way: str) -> None:
    meter = UsageMeter()
    agent: Any = create_kimi_agent(kimi(serve([empty(), said("Hi.")])))
    given, config = {"messages": [("user", "Hello?")]}, {"callbacks": [meter]}
    if way in ("invoke", "ainvoke"):
        state = agent.invoke(given, config) if way == "invoke" else await agent.ainvoke(given, config)
    elif way == "stream":
        state = list(agent.stream(given, config, stream_mode="values"))[-1]
    else:
        state = [part async for part in agent.astream(given, config, stream_mode="values")][-1]
    assert state["messages"][-1].text == "Hi."
    assert (state["spent"]["requests"], state["spent"]["unpriced"]) == (2, 1)
    assert meter.total.requests == 2
    assert meter.total.cost_usd is None


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
