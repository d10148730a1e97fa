"""Formula tools over real HTTP: definitions, runs, failures, names and fees."""

import asyncio
import threading
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import BaseTool, ToolException

from langchain_kimi import (
    AgentLimits,
    KimiPlatform,
    KimiWarning,
    UsageMeter,
    aformula_tools,
    create_kimi_agent,
    formula_tools,
)
from langchain_kimi.errors import APIConnectionError, IllegalRequestError, KimiError, NotFoundError
from langchain_kimi.testing import (
    Formula,
    called,
    fiber_encrypted,
    fiber_failed,
    fiber_succeeded,
    overloaded,
    refused,
    said,
    thought,
)
from langchain_kimi.tools import formulas
from tests.clock import VirtualClock
from tests.conftest import Serve, kimi

Load = Callable[..., Awaitable[list[BaseTool]]]
Call = Callable[..., Awaitable[Any]]

SEARCH, DATE = "moonshot/web-search:latest", "moonshot/date:latest"


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> None:
    """Forgets what earlier tests loaded: their servers may have had the port that this test's server gets."""
    formulas._definitions.clear()


@pytest.fixture(params=["sync", "async"])
def load(request: pytest.FixtureRequest) -> Load:
    """`formula_tools` or its twin."""

    async def loaded(*uris: str, **settings: Any) -> list[BaseTool]:
        if request.param == "sync":
            return await asyncio.to_thread(formula_tools, *uris, **settings)
        return await aformula_tools(*uris, **settings)

    return loaded


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """`invoke` or `ainvoke` of a tool or an agent."""

    async def called_(runnable: Any, given: Any, config: Any = None) -> Any:
        if request.param == "sync":
            return await asyncio.to_thread(runnable.invoke, given, config)
        return await runnable.ainvoke(given, config)

    return called_


def own(name: str = "web_search", result: Any = "ok", **properties: Any) -> Formula:
    parameters = {"type": "object", "properties": properties}
    return Formula(
        [{"type": "function", "function": {"name": name, "description": "Mine.", "parameters": parameters}}], result
    )


async def test_the_servers_definitions_are_what_the_model_gets(serve: Serve, load: Load) -> None:
    server = serve([said("ok")])
    tools = await load(SEARCH, "moonshot/base64:latest", model=kimi(server))
    assert [tool.name for tool in tools] == ["web_search", "base64_encode", "base64_decode"]
    await kimi(server).bind_tools(tools).ainvoke("hi")
    sent = server.requests[0].json["tools"]
    from langchain_kimi.testing.api.formula_endpoints import OFFICIAL_FORMULAS

    assert sent == [*OFFICIAL_FORMULAS[SEARCH], *OFFICIAL_FORMULAS["moonshot/base64:latest"]]


async def test_definitions_are_loaded_once_per_host(serve: Serve, load: Load) -> None:
    server, other = serve([]), serve([])
    model, platform = kimi(server), KimiPlatform.from_model(kimi(other))
    for _ in range(2):
        await load(DATE, DATE, model=model)
        await load(DATE, platform=platform)
    assert [len(each.calls) for each in (server, other)] == [1, 1]
    assert server.calls[0].path == "/v1/formulas/moonshot/date:latest/tools"


def test_many_threads_load_the_same(serve: Serve) -> None:
    model = kimi(serve([]))
    gate = threading.Barrier(8)

    def each(_: int) -> list[str]:
        gate.wait()
        return [tool.name for tool in formula_tools(DATE, SEARCH, model=model)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(each, range(8))) == [["date", "web_search"]] * 8


async def test_a_run_posts_the_arguments_and_gives_the_output_as_it_came(serve: Serve, call: Call) -> None:
    output = ' {"odd":  "spacing"}\n\u2028 é '
    server = serve([], formulas={DATE: fiber_succeeded(output)})
    (date,) = formula_tools(DATE, model=kimi(server))
    given = {"operation": "now", "zone": "Zürich", "config": 1, "run_manager": 2, "self": 3}
    assert await call(date, given) == output
    fiber = server.calls[-1]
    assert fiber.path == "/v1/formulas/moonshot/date:latest/fibers"
    assert fiber.json["name"] == "date"
    assert fiber.json["arguments"] == '{"operation":"now","zone":"Zürich","config":1,"run_manager":2,"self":3}'


async def test_encrypted_output_reaches_the_model_verbatim(serve: Serve, call: Call) -> None:
    server = serve([thought("Search.").calling("web_search", query="lakes"), said("Done.")])
    agent = create_kimi_agent(kimi(server), formula_tools(SEARCH, model=kimi(server)))
    await call(agent, {"messages": [("user", "go")]})
    sealed = server.requests[-1].messages[-1]["content"]
    assert sealed.startswith("----MOONSHOT ENCRYPTED BEGIN----")
    assert sealed.endswith("----MOONSHOT ENCRYPTED END----")
    assert server.requests[-1].messages[-2]["reasoning_content"] == "Search."


@pytest.mark.parametrize(
    ("fiber", "said_by_the_server"),
    [
        (fiber_failed("no such zone"), "no such zone"),
        (fiber_failed("no such zone", error_at="context"), "no such zone"),
        (fiber_failed("no quota for org-4f1d0c2be5a9"), "no quota for org-***"),
        (fiber_failed(), "'failed'"),
        (fiber_failed(status="timeout"), "'timeout'"),
        (fiber_failed("half an error", status="succeeded"), "half an error"),
    ],
)
async def test_a_fiber_that_fails_is_an_error_result(
    serve: Serve, call: Call, fiber: Any, said_by_the_server: str
) -> None:
    server = serve([called("date", operation="now"), said("No date.")], formulas={DATE: fiber})
    agent = create_kimi_agent(kimi(server), formula_tools(DATE, model=kimi(server)))
    state = await call(agent, {"messages": [("user", "go")]})
    result = state["messages"][-2]
    assert result.status == "error"
    assert said_by_the_server in result.content
    assert DATE in result.content


async def test_a_failure_does_not_end_langchains_own_agent(serve: Serve, call: Call) -> None:
    server = serve([called("date", operation="now"), said("No date.")], formulas={DATE: fiber_failed("no zone")})
    agent = create_agent(kimi(server), formula_tools(DATE, model=kimi(server)))
    state = await call(agent, {"messages": [("user", "go")]})
    assert (state["messages"][-2].status, state["messages"][-1].text) == ("error", "No date.")


async def test_a_host_that_refuses_a_run_is_an_error_result_too(serve: Serve, call: Call) -> None:
    server = serve([])
    (date,) = formula_tools(DATE, model=kimi(server))
    server.refuse("POST /formulas/*", refused(400, "invalid_request_error", "sk-abcdefghij is no argument"))
    request = {"name": "date", "args": {"operation": "now"}, "id": "date:0", "type": "tool_call"}
    result = await call(date, request)
    assert result.status == "error"
    assert "is no argument" in result.content
    assert "sk-abcdefghij" not in result.content
    server.close()
    assert "failed" in (await call(date, request)).content
    raising = date.model_copy(update={"handle_tool_error": False})
    with pytest.raises(ToolException):
        await call(raising, {"operation": "now"})


async def test_passing_failures_are_repeated_as_for_chat(serve: Serve, call: Call) -> None:
    server = serve([], formulas={DATE: "today"})
    (date,) = formula_tools(DATE, model=kimi(server, clock=VirtualClock(), max_retries=2))
    server.refuse("POST /formulas/*", overloaded(times=2))
    assert await call(date, {"operation": "now"}) == "today"


async def test_a_run_that_may_have_taken_effect_is_not_repeated(serve: Serve, call: Call) -> None:
    server = serve([], formulas={DATE: "today"})
    (date,) = formula_tools(DATE, model=kimi(server, clock=VirtualClock(), max_retries=2))
    server.refuse("POST /formulas/*", refused(500, "server_error", "oops"))
    assert "oops" in await call(date, {"operation": "now"})
    assert len([one for one in server.calls if one.method == "POST"]) == 1


async def test_runs_of_one_turn_are_side_by_side(serve: Serve, call: Call) -> None:
    gate = threading.Barrier(3)

    def result(name: str, arguments: dict[str, Any]) -> str:
        gate.wait(30)
        return str(arguments["query"])

    reply = called("web_search", query="a").calling("web_search", query="b").calling("web_search", query="c")
    server = serve([reply, said("ok")], formulas={SEARCH: result})
    agent = create_kimi_agent(kimi(server), formula_tools(SEARCH, model=kimi(server)))
    await call(agent, {"messages": [("user", "go")]})
    assert [one["content"] for one in server.requests[-1].tool_results()] == ["a", "b", "c"]


async def test_a_cancelled_run_ends_and_its_tool_runs_again(serve: Serve) -> None:
    begun, gate = threading.Event(), threading.Event()

    def result(name: str, arguments: dict[str, Any]) -> str:
        begun.set()
        gate.wait(30)
        return "late"

    server = serve([], formulas={DATE: result})
    (date,) = await aformula_tools(DATE, model=kimi(server))
    task = asyncio.ensure_future(date.ainvoke({"operation": "now"}))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    assert await date.ainvoke({"operation": "now"}) == "late"


async def test_shared_limits_of_chat_do_not_hold_up_tools(serve: Serve, call: Call) -> None:
    from langchain_kimi import RateLimits

    server = serve([], formulas={DATE: "today"})
    limits = RateLimits(concurrency=1)
    (date,) = formula_tools(DATE, model=kimi(server, rate_limits=limits))
    with limits.slot():
        assert await call(date, {"operation": "now"}) == "today"


async def test_they_run_in_process_on_a_fake(call: Call, load: Load) -> None:
    from langchain_kimi.testing import FakeKimiAPI
    from langchain_kimi.testing.fake_model import FakeKimi

    for today in ("Friday", "Saturday"):
        fake = FakeKimi(FakeKimiAPI([], formulas={DATE: today}))
        (date,) = await load(DATE, model=fake)
        assert await call(date, {"operation": "now"}) == today
        assert len(fake.calls) == 2
        file = await call_upload(fake)
        assert file.size == 4


async def call_upload(model: Any) -> Any:
    return await KimiPlatform.from_model(model).files.aupload(b"text")


# Formulas that cannot be loaded.


async def test_an_unknown_formula_says_which_there_are(serve: Serve, load: Load) -> None:
    with pytest.raises(NotFoundError, match=r"'acme/nothing:latest' cannot be loaded.*web-search"):
        await load("acme/nothing:latest", model=kimi(serve([])))


async def test_one_that_cannot_be_had_is_told_and_the_others_load(serve: Serve, load: Load) -> None:
    server = serve([])
    with pytest.warns(KimiWarning, match=r"'acme/nothing:latest' cannot be loaded.*others? .*loaded"):
        tools = await load("acme/nothing:latest", DATE, model=kimi(server))
    assert [tool.name for tool in tools] == ["date"]


async def test_a_failure_is_not_remembered(serve: Serve, load: Load) -> None:
    server = serve([])
    server.refuse("GET /formulas/*", overloaded())
    with pytest.raises(KimiError, match=DATE):
        await load(DATE, model=kimi(server))
    assert len(await load(DATE, model=kimi(server))) == 1


async def test_nobody_to_ask_is_told(serve: Serve, load: Load) -> None:
    server = serve([])
    with pytest.raises(IllegalRequestError, match="moonshot/web-search:latest"):
        await load(model=kimi(server))
    with pytest.raises(IllegalRequestError, match="model=… or platform=…"):
        await load(DATE)
    server.close()
    with pytest.raises(APIConnectionError, match=DATE):
        await load(DATE, model=kimi(server))


# Names.


async def test_names_that_collide_are_told_apart(serve: Serve, load: Load, call: Call) -> None:
    formulas = {"acme/search:v2": own(result="acme's"), "acme/search": own(result="acme's older"), SEARCH: "Moonshot's"}
    server = serve([], formulas=formulas)
    tools = await load(SEARCH, "acme/search:v2", "acme/search:latest", model=kimi(server))
    assert [tool.name for tool in tools] == ["web_search", "acme_search_web_search", "acme_search_web_search_2"]
    assert [await call(tool, {}) for tool in tools] == ["Moonshot's", "acme's", "acme's older"]
    assert {fiber.json["name"] for fiber in server.calls[-3:]} == {"web_search"}


# Fees.


async def test_searches_are_counted_with_their_fees(serve: Serve, call: Call) -> None:
    reply = called("web_search", query="a").calling("web_search", query="b").calling("date", operation="now")
    server = serve([reply, said("ok")])
    agent = create_kimi_agent(kimi(server), formula_tools(SEARCH, DATE, model=kimi(server)))
    meter = UsageMeter()
    state = await call(agent, {"messages": [("user", "go")]}, {"callbacks": [meter]})
    assert meter.total.fees_usd == pytest.approx(0.01)
    assert meter.by_model[SEARCH].fees_usd == pytest.approx(0.01)
    assert meter.by_model[SEARCH].requests == 0
    assert DATE not in meter.by_model
    assert meter.total.cost_usd == pytest.approx(0.01 + (meter.by_model["kimi-k2.6"].cost_usd or 0))
    assert {run.node for run in meter.by_run} == {"model", "tools"}
    assert len({run.root for run in meter.by_run}) == 1
    assert state["spent"]["fees_usd"] == pytest.approx(0.01)
    assert state["spent"]["cost_usd"] == pytest.approx(meter.total.cost_usd)


async def test_a_search_that_failed_costs_nothing(serve: Serve, call: Call) -> None:
    server = serve([], formulas={SEARCH: fiber_failed("down")})
    meter = UsageMeter()
    await call(formula_tools(SEARCH, model=kimi(server))[0], {"query": "a"}, {"callbacks": [meter]})
    assert meter.total.fees_usd == 0


async def test_a_fee_that_is_not_known_is_none(serve: Serve, call: Call) -> None:
    server = serve([], formulas={"acme/date:v2": own()})
    meter = UsageMeter()
    await call(formula_tools("acme/date:v2", model=kimi(server))[0], {}, {"callbacks": [meter]})
    assert (meter.total.fees_usd, meter.total.cost_usd) == (None, None)


async def test_a_budget_counts_fees(serve: Serve, call: Call) -> None:
    server = serve([called("web_search", query=str(number)) for number in range(2)] + [said("Enough.")])
    tools = formula_tools(SEARCH, model=kimi(server))
    agent = create_kimi_agent(kimi(server), tools, limits=AgentLimits(cost_usd=0.008))
    state = await call(agent, {"messages": [("user", "go")]})
    assert state["stop_reason"] == "cost_usd"
    assert state["spent"]["fees_usd"] == pytest.approx(0.01)


# The walk-through of a news report.


@pytest.mark.parametrize("model", ["kimi-k2.6", "kimi-k2-thinking"])
async def test_a_news_report_keeps_every_thought(serve: Serve, call: Call, model: str) -> None:
    server = serve(
        [
            thought("Which day is it?").calling("date", operation="now"),
            thought("Now the news.").calling("web_search", query="lake news"),
            said("# News", thinking="I have enough."),
        ],
        models=["kimi-k2-thinking"],
        formulas={SEARCH: fiber_encrypted("Lakes rose.")},
    )
    chat = kimi(server, model)
    agent = create_kimi_agent(chat, formula_tools(DATE, SEARCH, model=chat))
    state = await call(agent, {"messages": [("user", "Write today's news report.")]})
    assert state["messages"][-1].text == "# News"
    thoughts = [one["reasoning_content"] for one in server.requests[-1].messages if one["role"] == "assistant"]
    assert thoughts == ["Which day is it?", "Now the news."]


def test_the_retired_model_on_kimis_own_host_names_its_successor(serve: Serve) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = kimi(serve([]), "kimi-k2-thinking", base_url="https://api.moonshot.ai/v1")
    with pytest.raises(NotFoundError, match=r"successor is 'kimi-k3'"):
        model.invoke("hi")
