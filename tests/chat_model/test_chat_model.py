"""`ChatKimi` over real HTTP: what it sends, what it gives back, how it fails."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage

from langchain_kimi import ChatKimi, KimiWarning
from langchain_kimi.errors import (
    APIConnectionError,
    AuthenticationError,
    BrokenStreamError,
    IllegalRequestError,
    NotFoundError,
    OverloadedError,
    QuotaExceededError,
    ToolChoiceError,
)
from langchain_kimi.testing import (
    cut_after,
    overloaded,
    rate_limited,
    refused,
    said,
    thought,
)
from tests.conftest import KEY, Serve, add, kimi

THOUGHT = "Zwei plus drei … 加起来是 5.\u2028 "


TURN = thought(THOUGHT).saying("I add.").calling("add", a=2, b=3).calling("add", a=1, b=1)


async def in_four_ways(model: Any, given: Any) -> list[AIMessage]:
    """The same question by invoke, stream, ainvoke and astream."""
    chunks = list(model.stream(given))
    achunks = [chunk async for chunk in model.astream(given)]
    streamed = [joined(chunks), joined(achunks)]
    return [model.invoke(given), streamed[0], await model.ainvoke(given), streamed[1]]


def joined(chunks: list[AIMessageChunk]) -> AIMessage:
    whole = chunks[0] + chunks[1:]
    fields = {key: getattr(whole, key) for key in AIMessage.model_fields if key != "type"}
    return AIMessage(**fields)


def comparable(message: AIMessage) -> dict[str, Any]:
    metadata = {
        key: value for key, value in message.response_metadata.items() if key not in ("id", "created", "request_id")
    }
    return message.model_dump(exclude={"id"}) | {"response_metadata": metadata}


async def test_four_ways_one_message(serve: Serve) -> None:
    model = kimi(serve(lambda request: TURN)).bind_tools([add])
    messages = await in_four_ways(model, "2 + 3?")
    assert messages[0].additional_kwargs["reasoning_content"] == THOUGHT
    assert messages[0].content == "I add."
    assert [call["args"] for call in messages[0].tool_calls] == [{"a": 2, "b": 3}, {"a": 1, "b": 1}]
    assert messages[0].response_metadata["model_name"] == "kimi-k2.6"
    assert messages[0].response_metadata["finish_reason"] == "tool_calls"
    same_cache = [comparable(message) | {"usage_metadata": None} for message in messages]
    assert same_cache == [same_cache[0]] * 4


def test_whole_answers_on_demand_give_the_same_message(serve: Serve) -> None:
    server = serve(lambda request: TURN)
    collected, whole = (kimi(server, streaming=streaming).invoke("2 + 3?") for streaming in (None, False))
    assert comparable(whole) == comparable(collected)
    assert [request.stream for request in server.requests] == [True, False]


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_reasoning_is_a_content_block(serve: Serve, version: str) -> None:
    model = kimi(serve(lambda request: said("5", thinking=THOUGHT)), output_version=version)
    for message in (model.invoke("?"), joined(list(model.stream("?")))):
        assert [block["type"] for block in message.content_blocks] == ["reasoning", "text"]
        assert message.content_blocks[0]["reasoning"] == THOUGHT  # type: ignore[typeddict-item]
        assert isinstance(message.content, str if version == "v0" else list)


def test_thinking_arrives_before_the_answer_is_finished(serve: Serve) -> None:
    seen = threading.Event()

    def pieces() -> Iterator[str]:
        yield "first thought "
        assert seen.wait(20)
        yield "second"

    stream = kimi(serve([said("done", thinking=pieces())])).stream("?")
    assert next(stream).additional_kwargs["reasoning_content"] == "first thought "
    seen.set()
    assert "done" in "".join(str(chunk.content) for chunk in stream)


@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_every_turn_goes_back_byte_for_byte(serve: Serve, version: str) -> None:
    arguments = '{"b" : 3,   "a": 2.0}'
    server = serve(
        lambda request: (
            thought(THOUGHT).calling_raw("add", arguments, "functions.add:0")
            if request.last["role"] == "user"
            else said("5", thinking="done ")
        )
    )
    model = kimi(server, output_version=version).bind_tools([add])
    for answer in await in_four_ways(model, "2 + 3?"):
        model.invoke([HumanMessage("2 + 3?"), answer, ToolMessage("5", tool_call_id="functions.add:0")])
        sent = server.requests[-1].messages[1]
        assert sent["reasoning_content"] == THOUGHT
        assert sent["tool_calls"][0] == {
            "id": "functions.add:0",
            "type": "function",
            "function": {"name": "add", "arguments": arguments},
        }


async def test_v3_events_keep_the_turn(serve: Serve) -> None:
    server = serve(lambda request: TURN if request.last["role"] == "user" else said("5"))
    model = kimi(server).bind_tools([add])
    answer = model.stream_events("2 + 3?", version="v3").output
    results = [ToolMessage("5", tool_call_id=call["id"]) for call in answer.tool_calls]
    await model.ainvoke([HumanMessage("2 + 3?"), answer, *results])
    sent = server.requests[-1].messages[1]
    assert (sent["reasoning_content"], sent["content"]) == (THOUGHT, "I add.")
    assert [call["function"]["arguments"] for call in sent["tool_calls"]] == ['{"a":2,"b":3}', '{"a":1,"b":1}']


def test_request_on_the_wire(serve: Serve) -> None:
    server = serve([said("hi")])
    kimi(server, prompt_cache_key="t1", stop=["END"], default_headers={"x-app": "mine"}).invoke(
        "hello", config={"tags": ["x"]}
    )
    (request,) = server.requests
    assert list(request.json) == [
        *("model", "max_completion_tokens", "stop", "stream", "stream_options", "prompt_cache_key", "messages")
    ]
    assert request.json["max_completion_tokens"] == 32_768
    assert request.headers["x-app"] == "mine"
    assert request.headers["user-agent"] == "langchain-kimi-agent"


def test_call_settings_override_the_constructor(serve: Serve) -> None:
    server = serve(lambda request: said("ok"))
    model = kimi(server, "kimi-k3", thinking="low", max_tokens=20_000)
    model.invoke("a", reasoning_effort="high", max_tokens=30_000)
    model.bind(model="kimi-k2.6", thinking=False).invoke("b")
    first, second = (request.json for request in server.requests)
    assert (first["reasoning_effort"], first["max_completion_tokens"]) == ("high", 30_000)
    assert (second["model"], second["thinking"]) == ("kimi-k2.6", {"type": "disabled"})


def test_one_warning_per_model_and_topic(serve: Serve) -> None:
    model = kimi(serve(lambda request: said("ok")), temperature=0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            model.invoke("a")
            model.bind_tools([add], tool_choice="any").invoke("b")
        model.invoke("c", model="kimi-k3")
    said_of = [str(warning.message) for warning in caught if warning.category is KimiWarning]
    assert [("kimi-k2.6" in text, "is dropped" in text) for text in said_of] == [
        *((True, True), (True, False), (False, True))
    ]


def test_forced_choice_is_resolved_when_asked_and_never_stops_the_thinking(serve: Serve) -> None:
    server = serve(lambda request: said("ok"))
    forced = kimi(server).bind_tools([add], tool_choice="any")
    with pytest.warns(KimiWarning, match="'auto' is sent"):
        forced.invoke("a")
    forced.invoke("b", thinking=False)
    forced.invoke("c", model="kimi-k3")
    assert [request.json["tool_choice"] for request in server.requests] == ["auto", "required", "required"]
    assert ["thinking" in request.json for request in server.requests] == [False, True, False]


def test_illegal_choice_raises_on_demand_before_anything_is_sent(serve: Serve) -> None:
    server = serve([])
    bound = kimi(server, illegal_tool_choice="raise").bind_tools([add], tool_choice="add")
    with pytest.raises(ToolChoiceError):
        bound.invoke("a")
    assert server.requests == []


def function(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


ILLEGAL: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "129 tools": ({"tools": [function(f"t{n}") for n in range(129)]}, ["hi"], "128"),
    "two tools of one name": ({"tools": [function("a"), function("a")]}, ["hi"], "duplicated"),
    "six stops": ({"stop": list("abcdef")}, ["hi"], "maximum length 5"),
}


@pytest.mark.parametrize("case", ILLEGAL)
async def test_illegal_request_raises_before_anything_is_sent(serve: Serve, case: str) -> None:
    settings, messages, says = ILLEGAL[case]
    server = serve([])
    model = kimi(server).bind(**settings)
    for call in (lambda: model.invoke(messages), lambda: list(model.stream(messages))):
        with pytest.raises(IllegalRequestError, match=says) as caught:
            call()
        assert caught.value.violations
        assert all(violation.way_out for violation in caught.value.violations)
    with pytest.raises(IllegalRequestError, match=says):
        await model.ainvoke(messages)
    assert server.requests == []


def test_broken_history_is_repaired(serve: Serve) -> None:
    server = serve([said("ok")])
    call: Any = {"id": "a:0", "name": "a", "args": {}}
    given = [HumanMessage("hi"), AIMessage(""), AIMessage("", tool_calls=[call]), HumanMessage("so?")]
    kimi(server).invoke(given)
    roles = [message["role"] for message in server.requests[0].messages]
    assert roles == ["user", "assistant", "tool", "user"]
    assert "may or may not have run" in server.requests[0].messages[2]["content"]


def test_unknown_reasoning_raises_on_demand(serve: Serve) -> None:
    server = serve([said("ok")])
    call: Any = {"id": "a:0", "name": "a", "args": {}}
    given = [HumanMessage("hi"), AIMessage("", tool_calls=[call]), ToolMessage("5", tool_call_id="a:0")]
    with pytest.raises(IllegalRequestError, match="reasoning_content is missing"):
        kimi(server, missing_reasoning="raise").invoke(given)
    kimi(server).invoke(given)
    assert server.requests[0].messages[1]["reasoning_content"] == " "


def test_retired_model_is_not_asked_for_on_kimis_own_hosts() -> None:
    with pytest.raises(NotFoundError, match=r"successor is 'kimi-k3'\. Nothing was sent"):
        ChatKimi(model="kimi-k2.5", api_key=KEY).invoke("hi")


async def test_refused_key_says_where_it_was_used(serve: Serve) -> None:
    server = serve([], api_key="sk-right-0123456")
    for ask in in_both_colours(kimi(server)):
        with pytest.raises(AuthenticationError, match="Keys are bound to their host") as caught:
            await ask()
        assert caught.value.status == 401
        assert caught.value.host in server.url
        assert KEY not in str(caught.value)


async def test_unknown_and_retired_models_are_named(serve: Serve) -> None:
    server = serve([])
    for ask in in_both_colours(kimi(server, "kimi-k9")):
        with pytest.raises(NotFoundError, match="Not found the model kimi-k9"):
            await ask()
    with pytest.raises(NotFoundError, match=r"retired kimi-k2-thinking .* successor is 'kimi-k3'"):
        kimi(server, "kimi-k2-thinking").invoke("hi")


async def test_stream_cut_by_the_server_is_one_error(serve: Serve) -> None:
    server = serve(lambda request: cut_after(said("one two three four", thinking="hm"), events=4))
    for ask in in_both_colours(kimi(server)):
        with pytest.raises(BrokenStreamError):
            await ask()


def test_server_killed_mid_stream(serve: Serve) -> None:
    arrived, never = threading.Event(), threading.Event()

    def pieces() -> Iterator[str]:
        yield "one "
        arrived.set()
        never.wait(20)
        yield "two"

    server = serve([said(pieces())])
    stream = kimi(server).stream("?")
    next(stream)
    assert arrived.wait(20)
    threading.Thread(target=server.close).start()
    with pytest.raises(BrokenStreamError):
        list(stream)
    never.set()


def in_both_colours(model: ChatKimi) -> list[Callable[[], Any]]:
    async def invoke() -> Any:
        return await asyncio.to_thread(model.invoke, "hi")

    async def ainvoke() -> Any:
        return await model.ainvoke("hi")

    async def astream() -> Any:
        return [chunk async for chunk in model.astream("hi")]

    return [invoke, ainvoke, astream]


async def test_retryable_failures_are_retried_others_not(serve: Serve) -> None:
    server = serve([rate_limited(0), said("a"), rate_limited(0), said("b"), rate_limited(0), said("c")])
    asks = in_both_colours(kimi(server, max_retries=1))
    for ask in asks:
        await ask()
    assert server.script_left == 0
    server = serve([refused(429, "exceeded_current_quota_error", "please recharge"), said("never")])
    with pytest.raises(QuotaExceededError, match="Top up"):
        kimi(server, max_retries=5).invoke("hi")
    assert server.script_left == 1


def test_retries_end(serve: Serve) -> None:
    server = serve([overloaded()])
    with pytest.raises(OverloadedError):
        kimi(server, max_retries=0).invoke("hi")


@pytest.mark.parametrize("family", [httpx, httpx2])
async def test_given_clients_of_either_family_are_used_and_left_open(serve: Serve, family: Any) -> None:
    server = serve(lambda request: said("hi"))
    with family.Client(headers={"x-client": "mine"}) as client:
        async with family.AsyncClient(headers={"x-client": "mine"}) as async_client:
            model = kimi(server, http_client=client, http_async_client=async_client)
            assert len({message.text for message in await in_four_ways(model, "hi")}) == 1
            model.close()
            await model.aclose()
            assert (client.is_closed, async_client.is_closed) == (False, False)
            server.close()
            with pytest.raises(APIConnectionError, match="Check `base_url`"):
                model.invoke("hi")
    assert {request.headers["x-client"] for request in server.requests} == {"mine"}


def test_several_event_loops_one_after_another_leave_nothing_open(serve: Serve) -> None:
    model = kimi(serve(lambda request: said("hi")))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for _ in range(3):
            assert asyncio.run(model.ainvoke("hi")).text == "hi"
            assert model.invoke("hi").text == "hi"
        gc.collect()
