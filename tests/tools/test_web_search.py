"""`$web_search` over real HTTP: declared as Kimi's own, answered with its own bytes, never while a K2 model thinks."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import KimiWarning, UsageMeter, create_kimi_agent, web_search
from langchain_kimi.errors import IllegalRequestError
from langchain_kimi.testing import raw_call, said
from tests.conftest import Serve, add, kimi

Call = Callable[..., Awaitable[Any]]

DECLARED = {"type": "builtin_function", "function": {"name": "$web_search"}}
WRITTEN = '{"result": {"id":"caf\\u00e9 \u2028"},  "usage": {"total_tokens": 13046.0, "total_tokens": 1.50}}'


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """`invoke` or `ainvoke`."""

    async def called(runnable: Any, given: Any, config: Any = None) -> Any:
        if request.param == "sync":
            return await asyncio.to_thread(runnable.invoke, given, config)
        return await runnable.ainvoke(given, config)

    return called


MAKERS = [create_kimi_agent, create_agent]


@pytest.mark.parametrize("make", MAKERS)
async def test_arguments_go_back_byte_for_byte_beside_ordinary_tools(
    serve: Serve, call: Call, make: Callable[..., Any]
) -> None:
    reply = raw_call("add", '{"a": 1,"b": 2}').calling_raw("$web_search", WRITTEN)
    server = serve([reply, said("Found.")])
    agent = make(kimi(server, thinking=False), [web_search(), add])
    state = await call(agent, {"messages": [("user", "go")]})
    assert state["messages"][-1].text == "Found."
    assert server.requests[0].json["tools"][0] == DECLARED
    assert server.requests[0].json["tools"][1]["function"]["name"] == "add"
    assert [one["content"] for one in server.requests[-1].tool_results()] == ["3", WRITTEN]
    search = server.requests[-1].messages[1]["tool_calls"][1]
    assert (search["type"], search["function"]["arguments"]) == ("builtin_function", WRITTEN)


async def test_ids_that_come_again_name_their_own_turn(serve: Serve, call: Call) -> None:
    first, second = '{"q": 1.0}', '{"q":  1.0}'
    server = serve([raw_call("$web_search", first, id="s:0"), raw_call("$web_search", second, id="s:0"), said("ok")])
    agent = create_kimi_agent(kimi(server, thinking=False), [web_search()], checkpointer=InMemorySaver())
    await call(agent, {"messages": [("user", "go")]}, {"configurable": {"thread_id": "1"}})
    assert [one["content"] for one in server.requests[-1].messages if one["role"] == "tool"] == [first, second]


async def test_arguments_that_a_person_changed_are_sent_as_changed(call: Call) -> None:
    said_so = {"kimi_calls": [{"id": "s:0", "name": "$web_search", "arguments": '{"q":  1}'}]}
    request = {"name": "$web_search", "args": {"q": 1}, "id": "s:0", "type": "tool_call"}
    message = AIMessage("", tool_calls=[request], additional_kwargs=said_so)
    runtime = type("Runtime", (), {"tool_call_id": "s:0", "state": {"messages": [message]}})()
    result = await call(web_search(), {**request, "args": {"q": 2, "runtime": runtime}})
    assert result.content == '{"q":2}'


async def test_without_the_calling_message_arguments_are_written_anew(call: Call) -> None:
    result = await call(web_search(), {"name": "$web_search", "args": {"q": "é"}, "id": "s:0", "type": "tool_call"})
    assert (result.content, result.name, result.tool_call_id) == ('{"q":"é"}', "$web_search", "s:0")


async def test_its_fee_is_counted(serve: Serve, call: Call) -> None:
    server = serve([raw_call("$web_search", "{}"), said("ok")])
    meter = UsageMeter()
    agent = create_kimi_agent(kimi(server, thinking=False), [web_search()])
    state = await call(agent, {"messages": [("user", "go")]}, {"callbacks": [meter]})
    assert meter.by_model["$web_search"].fees_usd == pytest.approx(0.005)
    assert state["spent"]["fees_usd"] == pytest.approx(0.005)


def test_thinking_is_off_where_nobody_asked_for_it_and_that_is_told_once(serve: Serve) -> None:
    server = serve([said("a"), said("b"), said("c", thinking="Hm.")])
    model = kimi(server)
    bound = model.bind_tools([web_search()])
    with pytest.warns(KimiWarning, match="does not think in requests with"):
        bound.invoke("hi")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bound.invoke("hi")
        model.invoke("hi")
    assert [one.json.get("thinking") for one in server.requests] == [{"type": "disabled"}] * 2 + [None]


@pytest.mark.parametrize("asked", [{"thinking": True}, {"keep_thinking": True}])
def test_thinking_that_was_asked_for_is_refused_with_the_way_out(serve: Serve, asked: dict[str, Any]) -> None:
    server = serve([])
    with pytest.raises(IllegalRequestError, match=r"incompatible with thinking.*formula_tools"):
        kimi(server, **asked).bind_tools([web_search()]).invoke("hi")
    assert server.requests == []


def test_a_model_that_always_thinks_is_refused_with_the_way_out(serve: Serve) -> None:
    server = serve([])
    with pytest.raises(IllegalRequestError, match="formula_tools"):
        kimi(server, "kimi-k2.7-code").bind_tools([web_search()]).invoke("hi")
    assert server.requests == []


def test_the_k3_family_is_asked_with_a_warning(serve: Serve) -> None:
    server = serve([said("ok")])
    with pytest.warns(KimiWarning, match=r"broken on kimi-k3.*formula_tools"):
        kimi(server, "kimi-k3").bind_tools([web_search()]).invoke("hi")
    assert server.requests[0].json["tools"] == [DECLARED]


def test_thinking_switched_off_needs_no_warning(serve: Serve) -> None:
    server = serve([said("ok")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kimi(server, thinking=False).bind_tools([web_search()]).invoke("hi")
    assert server.requests[0].json["thinking"] == {"type": "disabled"}
