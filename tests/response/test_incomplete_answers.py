"""Answers that are not whole, in all ways of asking a model: what is raised, what it carries, and what it counts."""

import asyncio
import pickle
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import BaseModel

from langchain_kimi import ChatKimi, KimiWarning, UsageMeter, cost_of, create_kimi_agent
from langchain_kimi._http import Timeouts
from langchain_kimi._raw_calls import raw_calls
from langchain_kimi.errors import (
    AnswerCutShort,
    APITimeoutError,
    BrokenStreamError,
    IllegalRequestError,
    IncompleteAnswerError,
    KimiError,
    OverloadedError,
    ServerError,
)
from langchain_kimi.testing import (
    Reply,
    called,
    cut_after,
    error_event,
    garbage,
    no_choice,
    overloaded,
    said,
    stall,
    thought,
)
from tests.clock import VirtualClock
from tests.conftest import PAIRED, Serve, kimi

WAYS = ("invoke", "stream", "ainvoke", "astream", "whole invoke", "whole ainvoke", "v1 invoke", "v1 stream")
EVERY_WAY = pytest.mark.parametrize("way", WAYS)
STREAMED = pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream", "v1 stream"])
ABNORMAL = {
    "engine_overloaded": True,
    "server_interrupted": True,
    "malformed_byte_sequence": False,
    "unexpected_state": False,
    "repeat": False,
    "unknown": False,
    "abort": True,
    "error": True,
}
HALF = thought("Hm. ").saying("Half a sen").calling("wipe", path="/tmp")


async def answered(serve: Serve, way: str, reply: Any, config: Any = None, **settings: Any) -> AIMessage:
    """The answer of a model whose server says one reply, or several, asked in one way; chunks are joined."""
    serving = {key: settings.pop(key) for key in ("dialect",) if key in settings}
    *version, method = way.split()
    settings |= {"streaming": False} if version == ["whole"] else {}
    settings |= {"output_version": "v1"} if version == ["v1"] else {}
    model: ChatKimi = kimi(serve(reply if isinstance(reply, list) else [reply], **serving), **settings)
    if method == "invoke":
        return await asyncio.to_thread(model.invoke, "Hi", config)
    if method == "ainvoke":
        return await model.ainvoke("Hi", config)
    if method == "stream":
        chunks: list[Any] = await asyncio.to_thread(lambda: list(model.stream("Hi", config)))
    else:
        chunks = [chunk async for chunk in model.astream("Hi", config)]
    joined: AIMessageChunk = chunks[0] + chunks[1:]
    return joined


@PAIRED
@EVERY_WAY
@pytest.mark.parametrize("reason", ABNORMAL)
async def test_an_abnormal_finish_reason_is_an_error_that_carries_the_answer_and_its_usage(
    serve: Serve, way: str, reason: str
) -> None:
    meter = UsageMeter()
    with pytest.raises(IncompleteAnswerError, match=f"finish reason '{reason}'") as caught:
        await answered(serve, way, HALF.finish(reason), {"callbacks": [meter]})
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.finish_reason, error.is_retryable) == (reason, ABNORMAL[reason])
    assert (error.message.text, error.message.additional_kwargs["reasoning_content"]) == ("Half a sen", "Hm. ")
    assert error.message.tool_calls == []
    assert [call["name"] for call in error.message.invalid_tool_calls] == ["wipe"]
    assert error.usage_metadata == error.message.usage_metadata
    assert error.usage_metadata["input_tokens"] > 0
    assert meter.total.requests == 1
    assert meter.total.input_tokens == error.usage_metadata["input_tokens"]
    assert meter.total.output_tokens == error.usage_metadata["output_tokens"] > 0
    assert meter.total.cost_usd == cost_of(error.usage_metadata, "kimi-k2.6")


@PAIRED
@EVERY_WAY
@pytest.mark.parametrize("reason", ["content_filter", "brand_new"])
@pytest.mark.filterwarnings("ignore:.*brand_new")
async def test_calls_of_an_answer_with_such_a_finish_reason_cannot_run(serve: Serve, way: str, reason: str) -> None:
    message = await answered(serve, way, HALF.finish(reason))
    assert message.text == "Half a sen"
    assert message.response_metadata["finish_reason"] == reason
    assert message.response_metadata["kimi_report"] == ["finish_unknown" if reason == "brand_new" else reason]
    assert message.tool_calls == []
    assert [call["name"] for call in message.invalid_tool_calls] == ["wipe"]
    assert [call["arguments"] for call in raw_calls(message)] == ['{"path":"/tmp"}']


async def test_an_unknown_finish_reason_is_warned_of_once_and_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    model = kimi(serve(lambda request: said("x").finish("brand_new")))

    async def four_times() -> None:
        for _ in range(2):
            await model.ainvoke("Hi")
            list(model.stream("Hi"))

    with pytest.warns(KimiWarning, match="'brand_new'") as warned:
        await four_times()
    assert len([one for one in warned if one.category is KimiWarning]) == 1
    assert [record.levelname for record in caplog.records if "brand_new" in record.message] == ["WARNING"] * 4


@PAIRED
@EVERY_WAY
@pytest.mark.parametrize("reply", [said(""), thought("Hm."), called("wipe", path="/")])
@pytest.mark.filterwarnings("ignore:.*brand_new")
async def test_an_answer_without_text_and_with_an_unknown_finish_reason_is_an_error(
    serve: Serve, way: str, reply: Reply
) -> None:
    with pytest.raises(IncompleteAnswerError, match="the reason is unknown") as caught:
        await answered(serve, way, reply.finish("brand_new"))
    assert (caught.value.finish_reason, caught.value.is_retryable) == ("brand_new", False)
    assert caught.value.message.tool_calls == []
    assert caught.value.usage_metadata


@PAIRED
@EVERY_WAY
@pytest.mark.parametrize("reply", [said(""), thought("Hm."), called("wipe", path="/")])
async def test_an_answer_that_moderation_withheld_is_an_error(serve: Serve, way: str, reply: Reply) -> None:
    with pytest.raises(IncompleteAnswerError, match="moderation withheld") as caught:
        await answered(serve, way, reply.finish("content_filter"))
    assert (caught.value.finish_reason, caught.value.is_retryable) == ("content_filter", False)
    assert caught.value.message.tool_calls == []


@PAIRED
@EVERY_WAY
@pytest.mark.parametrize(
    "reply",
    [
        no_choice(),
        garbage(b"[DONE]"),
        garbage(b'{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}}'),
        garbage(b'{"choices": null, "object": "chat.completion"}'),
        garbage(b'{"choices": {"0": 1}}'),
        garbage(b'{"choices": [null]}'),
        garbage(b'{"choices": [{"index": 0, "finish_reason": "stop"}]}'),
        garbage(b"[DONE]", within=said("x"), after_events=1),
    ],
    ids=["no choice", "done", "usage", "null", "object", "null choice", "end only", "role only"],
)
async def test_an_answer_without_a_choice_is_a_broken_one(serve: Serve, way: str, reply: Reply) -> None:
    if way.startswith("whole") and reply.ending == b"[DONE]":
        pytest.skip("no body of a whole answer")
    with pytest.raises(BrokenStreamError) as caught:
        await answered(serve, way, reply)
    assert caught.value.broke_off


@PAIRED
@STREAMED
@pytest.mark.parametrize(
    "broken",
    [cut_after(said("x"), events=0), error_event(said("x"), after_events=0, type="engine_overloaded_error")],
    ids=["cut", "overload"],
)
async def test_attempts_that_began_and_were_repeated_are_counted_from_their_headers(
    serve: Serve, way: str, broken: Reply
) -> None:
    meter = UsageMeter()
    script = [overloaded(), broken, broken, thought("Hm.").saying("fine")]
    message = await answered(serve, way, script, {"callbacks": [meter]}, max_retries=3, clock=VirtualClock())
    usage = message.usage_metadata
    assert usage is not None
    assert message.text == "fine"
    assert [one["input_tokens"] for one in message.response_metadata["kimi_repeated"]] == [usage["input_tokens"]] * 2
    assert (meter.total.requests, meter.total.input_tokens) == (3, 3 * usage["input_tokens"])
    assert meter.total.output_tokens == usage["output_tokens"]


async def test_an_agent_counts_repeated_attempts_too(serve: Serve) -> None:
    broken, meter = cut_after(said("x"), events=0), UsageMeter()
    model = kimi(serve([broken, said("fine")]), max_retries=1, clock=VirtualClock())
    asked: Any = {"messages": [("user", "go")]}
    state = await create_kimi_agent(model).ainvoke(asked, {"callbacks": [meter]})
    assert state["spent"]["requests"] == meter.total.requests == 2
    assert state["spent"]["input_tokens"] == meter.total.input_tokens
    assert state["spent"]["cost_usd"] == pytest.approx(meter.total.cost_usd)


@PAIRED
@STREAMED
@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (lambda reply: cut_after(reply, events=6), BrokenStreamError),
        (lambda reply: error_event(reply, after_events=6, message="oops"), ServerError),
        (lambda reply: error_event(reply, after_events=6, type="engine_overloaded_error"), OverloadedError),
        (lambda reply: garbage(b"{", within=reply, after_events=6), BrokenStreamError),
        (lambda reply: stall(reply, after_events=6), APITimeoutError),
    ],
)
async def test_an_answer_that_broke_off_is_counted_from_its_headers(
    serve: Serve, way: str, broken: Any, error: type[KimiError]
) -> None:
    meter, timeout = UsageMeter(), Timeouts(silence=1.0)
    reply = broken(thought("one two three ").saying("four five six seven eight nine"))
    with pytest.raises(error) as caught:
        await answered(serve, way, reply, {"callbacks": [meter]}, timeout=timeout)
    assert caught.value.message is not None
    assert caught.value.message.additional_kwargs["reasoning_content"] == "one two three "
    assert caught.value.message.response_metadata["kimi_report"] == ["broken_off"]
    assert caught.value.broke_off
    usage = caught.value.usage_metadata
    assert usage is not None
    assert (meter.total.requests, meter.total.input_tokens) == (1, usage["input_tokens"])
    assert usage["input_tokens"] > 0
    assert meter.total.output_tokens == usage["output_tokens"] > 0
    assert meter.total.cost_usd == cost_of(usage, "kimi-k2.6") > 0  # type: ignore[operator]


async def test_headers_tell_the_cached_tokens_of_a_broken_answer(serve: Serve) -> None:
    long = "word " * 2_000
    server = serve([said("ok"), cut_after(said("a b c d"), events=3), cut_after(said("a b c d"), bytes=150)])
    first = kimi(server).invoke(long)
    with pytest.raises(BrokenStreamError) as caught:
        await kimi(server).ainvoke(long)
    with pytest.raises(KimiError) as whole:
        kimi(server, streaming=False).invoke(long)
    for error in (caught.value, whole.value):
        assert error.usage_metadata is not None
        assert error.usage_metadata["input_tokens"] == first.usage_metadata["input_tokens"]  # type: ignore[index]
        assert error.usage_metadata["input_token_details"]["cache_read"] > 1_000


@EVERY_WAY
async def test_a_cap_spent_on_thinking_raises_or_returns_as_chosen(serve: Serve, way: str) -> None:
    reply, meter = thought("I think and think").finish("length"), UsageMeter()
    with pytest.raises(AnswerCutShort, match=r"cap of 20,000 tokens .*\(5 output tokens were used\)") as caught:
        await answered(serve, way, reply, {"callbacks": [meter]}, max_tokens=20_000)
    assert caught.value.max_tokens == 20_000
    assert meter.total.output_tokens == 5
    assert (meter.total.requests, meter.total.cost_usd) == (1, cost_of(caught.value.usage_metadata, "kimi-k2.6"))
    meter = UsageMeter()
    message = await answered(serve, way, reply, {"callbacks": [meter]}, on_cut_short="return")
    assert (message.text, message.response_metadata["finish_reason"]) == ("", "length")
    assert message.additional_kwargs["reasoning_content"] == "I think and think"
    assert (meter.total.requests, meter.total.output_tokens) == (1, 5)


async def test_on_cut_short_is_settable_for_one_call_and_stays_off_the_wire(serve: Serve) -> None:
    server = serve(lambda request: thought("Hm").finish("length"))
    model = kimi(server)
    assert model.invoke("Hi", on_cut_short="return").text == ""
    assert (await model.bind(on_cut_short="return").ainvoke("Hi")).text == ""
    with pytest.raises(AnswerCutShort):
        kimi(server, on_cut_short="return").invoke("Hi", on_cut_short="raise")
    with pytest.raises(IllegalRequestError, match="'ignore' is neither"):
        model.invoke("Hi", on_cut_short="ignore")
    assert all("on_cut_short" not in request.json for request in server.requests)


class Title(BaseModel):
    """A title."""

    text: str


def test_structured_output_says_that_the_answer_was_not_whole(serve: Serve) -> None:
    model = kimi(serve([said('{"text": "x"}').finish("repeat")]))
    with pytest.raises(IncompleteAnswerError):
        model.with_structured_output(Title).invoke("Hi")


# Lone surrogates.

PIECES = [
    (["a\ud83d", "\ude00b"], "a\U0001f600b", None),
    (["a\ud83d", "", "\ude00b"], "a\U0001f600b", None),
    (["a\ud83d", "b"], "a\ufffdb", ["lone_surrogates"]),
    (["a\ude00", "b"], "a\ufffdb", ["lone_surrogates"]),
    (["ab", "c\ud83d"], "abc\ufffd", ["lone_surrogates"]),
    (["\ud83d", "\ud83d", "\ude00"], "\ufffd\U0001f600", ["lone_surrogates"]),
    (["\ud800"], "\ufffd", ["lone_surrogates"]),
]


@PAIRED
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream", "v1 invoke", "v1 stream"])
@pytest.mark.parametrize(("pieces", "text", "report"), PIECES)
@pytest.mark.parametrize("dialect", ["kimi", "vllm"])
async def test_surrogates_that_were_split_are_joined_and_lone_ones_replaced(
    serve: Serve, way: str, pieces: list[str], text: str, report: Any, dialect: str
) -> None:
    message = await answered(serve, way, said(pieces, thinking=pieces), dialect=dialect)
    assert message.text == text
    assert message.additional_kwargs["reasoning_content"] == text
    assert message.response_metadata.get("kimi_report") == report


@EVERY_WAY
async def test_lone_surrogates_in_arguments_and_in_whole_answers_are_replaced(serve: Serve, way: str) -> None:
    reply = said("\ud83d\ude00 and \ud83d", thinking="\ud83d").calling_raw("look", '{"at": "\ud83d\ude00\ud83d"}')
    message = await answered(serve, way, reply)
    assert message.text == "\U0001f600 and \ufffd"
    assert message.additional_kwargs["reasoning_content"] == "\ufffd"
    assert [call["args"] for call in message.tool_calls] == [{"at": "\U0001f600\ufffd"}]
    assert message.response_metadata["kimi_report"] == ["lone_surrogates"]
    assert [call["arguments"] for call in raw_calls(message)] == ['{"at": "\U0001f600\ufffd"}']


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "whole invoke", "v1 invoke"])
async def test_lone_surrogates_that_arguments_escape_reach_no_tool(serve: Serve, way: str) -> None:
    raw = '{"at": "\\ud83d", "on": "\\ud83d\\ude00"}'
    message = await answered(serve, way, said("").calling_raw("look", raw))
    assert [call["args"] for call in message.tool_calls] == [{"at": "\ufffd", "on": "\U0001f600"}]
    assert [call["arguments"] for call in raw_calls(message)] == [raw]
