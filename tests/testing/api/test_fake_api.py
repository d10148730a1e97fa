"""One suite for KimiServer over HTTP and FakeKimi without: what an app sees is the same."""

import asyncio
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi._http import Timeouts
from langchain_kimi.errors import (
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BrokenStreamError,
    ContextOverflowError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    ServerError,
)
from langchain_kimi.testing import (
    FakeKimi,
    FakeKimiAPI,
    KimiServer,
    ScriptError,
    called,
    continued,
    cut_after,
    error_event,
    overloaded,
    rate_limited,
    raw_call,
    refused,
    said,
    shaped,
    slowly,
    stall,
    thought,
)
from tests.clock import VirtualClock, with_clock
from tests.conftest import add, kimi

Played = tuple[ChatKimi, FakeKimiAPI]
Play = Callable[..., Played]
WAIT = 20.0
SCRIPT_FAILED = (BadRequestError, ScriptError)
"""What a model raises where its script failed: over HTTP a refusal, in the same process the failure itself."""


@pytest.fixture(params=["KimiServer", "FakeKimi"])
def play(request: pytest.FixtureRequest, serve: Callable[..., KimiServer]) -> Play:
    """A model that is played by a script, and what it is played by."""

    def start(script: Any, api: dict[str, Any] | None = None, **settings: Any) -> Played:
        if request.param == "KimiServer":
            server = serve(script, **(api or {}))
            return kimi(server, **settings), server
        model = FakeKimi(FakeKimiAPI(script, **(api or {})), **{"model": "kimi-k2.6", "max_retries": 0, **settings})
        return model, model.api

    return start


class City(BaseModel):
    name: str
    inhabitants: int
    districts: list[str]


async def four_ways(model: Any, asked: Any = "hi") -> list[AIMessage]:
    """The answers by invoke, ainvoke, stream and astream."""
    streamed = list(model.stream(asked))
    astreamed = [chunk async for chunk in model.astream(asked)]
    joined = [sum(chunks[1:], chunks[0]) for chunks in (streamed, astreamed)]
    return [model.invoke(asked), await model.ainvoke(asked), *joined]


async def test_four_ways_give_one_answer(play: Play) -> None:
    model, api = play([said("Hello, 世界", thinking="A greeting.")] * 4)
    answers = await four_ways(model)
    assert {answer.text for answer in answers} == {"Hello, 世界"}
    assert {answer.additional_kwargs["reasoning_content"] for answer in answers} == {"A greeting."}
    assert all(answer.usage_metadata == answers[0].usage_metadata for answer in answers)
    assert answers[0].usage_metadata is not None
    assert answers[0].usage_metadata["output_token_details"] == {"reasoning": 3}
    assert [request.stream for request in api.requests] == [True] * 4
    api.verify()


async def test_calls_come_back_with_their_exact_arguments(play: Play) -> None:
    model, api = play([called("add", a=1, b=2).calling_raw("add", '{"a": 3,  "b": 4}')] * 4)
    for answer in await four_ways(model.bind_tools([add])):
        assert [call["args"] for call in answer.tool_calls] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
        assert [call["id"] for call in answer.tool_calls] == ["add:0", "add:1"]
    model.bind_tools([add])
    assert api.requests[0].tools[0]["name"] == "add"


async def test_arguments_that_break_off_are_invalid(play: Play) -> None:
    model, _ = play([raw_call("add", '{"a": 1,')])
    answer = await model.bind_tools([add]).ainvoke("hi")
    assert (answer.tool_calls, answer.invalid_tool_calls[0]["args"]) == ([], '{"a": 1,')


async def test_an_agent_runs_and_its_prefix_only_grows(play: Play) -> None:
    model, api = play([thought("A sum.").calling("add", a=2, b=3), said("It is 5."), said("Bye.")])
    agent = create_kimi_agent(model, [add])
    state = await agent.ainvoke({"messages": [("user", "2 + 3?")]})
    agent.invoke({"messages": [*state["messages"], ("user", "Bye")]})
    assert [message.text for message in state["messages"]][1:] == ["", "5", "It is 5."]
    assert api.requests[1].messages[1]["reasoning_content"] == "A sum."
    for one, other in pairwise(request.body for request in api.requests):
        assert other.startswith(one[: -len(b"]}")])


def test_a_prefix_that_grows_is_cached_and_one_that_moved_is_not(play: Play) -> None:
    model, _ = play([said("x")] * 4)
    first = HumanMessage("a1b2 " * 2_000)
    after = [first, AIMessage("x"), HumanMessage("more")]

    def cached(messages: list[Any], **settings: Any) -> int:
        usage = model.invoke(messages, **settings).usage_metadata
        assert usage is not None
        found = usage["input_token_details"].get("cache_read", 0)
        assert found <= usage["input_tokens"]
        return found

    assert cached([first]) == 0
    assert cached(after) >= 2_304
    assert cached([HumanMessage("First of all: "), *after]) == 0
    assert model.bind_tools([add]).invoke(after).usage_metadata["input_token_details"].get("cache_read", 0) == 0  # type: ignore[index, typeddict-item]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_structured_output_has_the_schemas_shape(play: Play, method: Any) -> None:
    model, api = play([shaped(name="Oslo"), shaped(inhabitants=9)])
    runnable = model.with_structured_output(City, method=method)
    assert await runnable.ainvoke("Which city?") == City(name="Oslo", inhabitants=1, districts=["text"])
    assert runnable.invoke("Which city?") == City(name="text", inhabitants=9, districts=["text"])
    assert ("response_format" in api.requests[0].json) == (method == "json_schema")


async def test_json_mode(play: Play) -> None:
    model, _ = play([shaped(name="Oslo", inhabitants=1, districts=[])])
    runnable = model.with_structured_output(City, method="json_mode")
    assert await runnable.ainvoke("JSON, please") == City(name="Oslo", inhabitants=1, districts=[])


async def test_partial_mode_sends_only_what_follows(play: Play) -> None:
    model, api = play([continued("Once upon a time"), continued("Once upon a time")], thinking=False)
    assert (await model.continue_from("Once upon").ainvoke("Tell.")).text == "Once upon a time"
    assert model.continue_from("Once upon", join=False).invoke("Tell.").text == " a time"
    assert api.requests[0].last == {"role": "assistant", "content": "Once upon", "partial": True}


async def test_another_beginning_is_the_scripts_failure(play: Play) -> None:
    model, api = play([continued("Once upon a time")], thinking=False)
    with pytest.raises(SCRIPT_FAILED, match="does not continue the prefix of the request, which is 'Twice'"):
        await model.continue_from("Twice").ainvoke("Tell.")
    with pytest.raises(ScriptError, match="Twice"):
        api.verify()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (cut_after(said("a b c d"), events=2), BrokenStreamError),
        (cut_after(said("a b c d"), bytes=700), BrokenStreamError),
        (error_event(said("a b c d"), after_events=2, message="gone"), ServerError),
        (stall(said("a b c d"), after_events=2), APITimeoutError),
        (stall(said("a b c d"), after_events=2, seconds=0.6), APITimeoutError),
    ],
)
async def test_faults_break_a_stream_after_what_came_before(play: Play, fault: Any, error: type[Exception]) -> None:
    model, _ = play([fault] * 4, timeout=Timeouts(silence=0.2))
    heard: list[str] = []

    async def listen() -> None:
        async for chunk in model.astream("hi"):
            heard.append(chunk.text)  # noqa: PERF401 - what came before the error is kept

    with pytest.raises(error):
        heard.extend(chunk.text for chunk in model.stream("hi"))
    assert "a" in heard
    heard.clear()
    with pytest.raises(error):
        await listen()
    assert "a" in heard
    with pytest.raises(error):
        model.invoke("hi")
    with pytest.raises(error):
        await model.ainvoke("hi")


@pytest.mark.parametrize("fault", [cut_after(said("a b c d"), events=1), cut_after(said("a b c d"), bytes=9)])
async def test_a_whole_answer_that_is_cut_is_no_answer(play: Play, fault: Any) -> None:
    model, _ = play([fault] * 2, streaming=False)
    with pytest.raises(Exception, match="connection"):
        model.invoke("hi")
    with pytest.raises(Exception, match="connection"):
        await model.ainvoke("hi")


@pytest.mark.parametrize("streaming", [None, False])
async def test_an_answer_may_pause_and_go_on(play: Play, streaming: bool | None) -> None:
    replies = [stall(said("a b c d"), after_events=events, seconds=0.01) for events in (0, 3, 99)]
    model, api = play([reply for reply in replies for _ in range(2)], streaming=streaming)
    for _ in replies:
        assert model.invoke("hi").text == "a b c d"
        assert (await model.ainvoke("hi")).text == "a b c d"
    api.verify()


async def test_bytes_may_be_cut_anywhere(play: Play) -> None:
    model, _ = play([slowly(said("Grüße, 世界", thinking="é"), bytes=3)] * 4)
    assert {answer.text for answer in await four_ways(model)} == {"Grüße, 世界"}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (overloaded(), OverloadedError),
        (rate_limited(3), RateLimitError),
        (refused(404, "resource_not_found_error", "gone"), NotFoundError),
        (refused(504, page="<html>"), ServerError),
    ],
)
async def test_refusals_are_typed_errors(play: Play, reply: Any, error: type[Exception]) -> None:
    model, api = play([reply, reply])
    with pytest.raises(error):
        model.invoke("hi")
    with pytest.raises(error):
        await model.ainvoke("hi")
    assert api.statuses == [reply.status] * 2


async def test_what_kimi_refuses_the_double_refuses(play: Play) -> None:
    model, api = play([said("x")] * 2, {"concurrency": 0})
    with pytest.raises(RateLimitError, match="max concurrency: 0"):
        await model.ainvoke("hi")
    model, api = play([said("x")], {"api_key": "sk-other"})
    with pytest.raises(AuthenticationError):
        model.invoke("hi")
    model, api = play([said("x")], model="kimi-k2-thinking")
    with pytest.raises(NotFoundError, match="Not found the model kimi-k2-thinking"):
        await model.ainvoke("hi")
    model, api = play([said("x")], max_tokens=262_144)
    with pytest.raises(ContextOverflowError, match="exceeded model token limit: 262144"):
        model.invoke("hi")
    assert api.script_left == 1


async def test_a_builtin_function_wants_its_arguments_back(play: Play) -> None:
    search = {"search_result": {"search_id": "s-1"}, "usage": {"total_tokens": 13_046}}
    reply = called("$web_search", **search)
    model, _ = play([reply, said("Found."), said("Found.")], thinking=False)
    bound = model.bind(tools=[{"type": "builtin_function", "function": {"name": "$web_search"}}])
    call = await bound.ainvoke("Search!")
    arguments = '{"search_result":{"search_id":"s-1"},"usage":{"total_tokens":13046}}'
    asked = [HumanMessage("Search!"), call]
    with pytest.raises(BadRequestError, match=r"result of builtin function \$web_search must be its arguments"):
        bound.invoke([*asked, ToolMessage(arguments + " ", tool_call_id=call.tool_calls[0]["id"])])
    answer = bound.invoke([*asked, ToolMessage(arguments, tool_call_id=call.tool_calls[0]["id"])])
    assert answer.usage_metadata["input_tokens"] - call.usage_metadata["input_tokens"] > 13_046


async def test_pieces_arrive_one_by_one(play: Play) -> None:
    taken = threading.Semaphore(0)

    def pieces() -> Any:
        for piece in ("one ", "two ", "three"):
            yield piece
            assert taken.acquire(timeout=WAIT), "the piece before was not handed out"

    model, _ = play([said(pieces()), said(pieces())])
    heard = []
    for chunk in model.stream("count"):
        if chunk.text:
            heard.append(chunk.text)
            taken.release()
    async for chunk in model.astream("count"):
        if chunk.text:
            heard.append(chunk.text)
            taken.release()
    assert heard == ["one ", "two ", "three"] * 2


async def test_a_function_may_wait_for_parallel_requests(play: Play) -> None:
    together = threading.Barrier(3)

    def script(request: Any) -> Any:
        together.wait(WAIT)
        return said(request.last["content"].upper())

    model, _ = play(script)
    answers = await asyncio.gather(*(model.ainvoke(text) for text in "abc"))
    assert [answer.text for answer in answers] == ["A", "B", "C"]


def test_retries_are_asked_as_often_as_scripted(play: Play) -> None:
    model, api = play([overloaded(times=2), said("x")], max_retries=2)
    with_clock(model, VirtualClock())
    assert model.invoke("hi").text == "x"
    assert api.statuses == [429, 429, 200]
    api.verify()


async def test_what_is_left_over_or_unscripted_is_told(play: Play) -> None:
    model, api = play([said("one"), said("two"), called("add", a=1)])
    model.invoke("hi there")
    with pytest.raises(ScriptError, match=r"2 replies .* the last request was 'hi there'. Left:\n  'two'\n  add\("):
        api.verify()
    model, api = play([])
    with pytest.raises(SCRIPT_FAILED, match="no reply left for request 1: 'and you"):
        await model.ainvoke("and you?")
    with pytest.raises(ScriptError, match="no reply left for request 1: 'and you"):
        api.verify()


async def test_a_request_that_was_not_expected_is_told(play: Play) -> None:
    model, api = play([said("x").expecting(user="weather", model="k2.6"), said("y").expecting(tool="5")])
    assert model.invoke("How is the weather?").text == "x"
    with pytest.raises(SCRIPT_FAILED, match="request 2 is not the one expected: its tool is '', expected was '5'"):
        await model.ainvoke("hi")
    with pytest.raises(AssertionError, match="expected was '5'"):
        api.verify()


async def test_other_hosts_are_played_too(play: Play) -> None:
    model, api = play([said("x", thinking="hm")] * 2, {"dialect": "vllm"}, dialect="vllm", thinking=False)
    assert (await model.ainvoke("hi")).text == "x"
    assert api.requests[0].json["chat_template_kwargs"] == {"thinking": False}
