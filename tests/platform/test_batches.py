"""Batches over real HTTP, with the fake API: made by the chat encoder, waited for by the clock, read in order."""

import asyncio
import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from langchain_kimi import ChatKimi, KimiPlatform, KimiWarning, ResponseLimits
from langchain_kimi.errors import (
    AnswerCutShort,
    APITimeoutError,
    BadRequestError,
    ContentFilterError,
    IllegalRequestError,
    IncompleteAnswerError,
    KimiError,
    NotFoundError,
    ResponseTooLargeError,
)
from langchain_kimi.testing import KimiServer, Reply, Request, called, refused, said, thought
from tests.clock import VirtualClock
from tests.conftest import KEY, Serve, kimi
from tests.platform.conftest import Do


@tool("depth.of")
def depth(lake: str, at: list[float] | None = None) -> int:
    """The depth of a lake in metres."""
    return 590


def echo(request: Request) -> Reply:
    return said(f"I read: {request.last['content']}", thinking="It says so.")


def parts(server: KimiServer, **settings: Any) -> tuple[ChatKimi, KimiPlatform, VirtualClock]:
    clock = VirtualClock()
    model = kimi(server, clock=clock, **settings)
    return model, KimiPlatform.from_model(model), clock


async def finished(do: Do, server: KimiServer, model: Any, inputs: list[Any]) -> tuple[KimiPlatform, Any]:
    """A batch of these inputs that has ended."""
    platform = KimiPlatform.from_model(model)
    batch = await do(platform.batches, "create", model, inputs)
    return platform, await do(platform.batches, "wait_done", batch)


async def test_every_input_is_answered_in_its_order(serve: Serve, do: Do) -> None:
    server = serve(echo)
    model, platform, clock = parts(server)
    inputs = [f"Lake {number}" for number in range(7)]
    polls: list[tuple[str, int]] = []
    batch = await do(platform.batches, "create", model, inputs, window="12h", metadata={"job": "lakes"})
    assert (batch.status, batch.metadata, batch.ended) == ("validating", {"job": "lakes"}, False)
    ended = await do(
        platform.batches, "wait_done", batch, every=60, progress=lambda one: polls.append((one.status, one.completed))
    )
    assert (ended.status, ended.total, ended.completed, ended.failed) == ("completed", 7, 7, 0)
    assert polls[-1] == ("completed", 7)
    assert clock.waited == [60.0] * (len(polls) - 1)
    answers = await do(platform.batches, "results", ended)
    assert [answer.text for answer in answers] == [f"I read: {text}" for text in inputs]
    assert answers[0].additional_kwargs["reasoning_content"] == "It says so."
    assert answers[0].usage_metadata["output_tokens"] > 0


async def test_the_lines_are_the_requests_that_invoke_sends(serve: Serve, do: Do) -> None:
    server = serve(echo)
    model = kimi(server, streaming=False).bind_tools([depth]).bind(max_tokens=20_000)
    await model.ainvoke("Lake 1")
    platform = KimiPlatform.from_model(model)
    await do(platform.batches, "create", model, ["Lake 1", [HumanMessage("Lake 2")]])
    upload = server.calls[0].form["file"].data  # type: ignore[union-attr]
    lines = [json.loads(line) for line in upload.splitlines()]
    assert lines[0] == {
        "custom_id": "request-0",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": json.loads(server.requests[0].body),
    }
    assert lines[1]["body"]["messages"] == [{"role": "user", "content": "Lake 2"}]
    assert server.calls[0].form["purpose"] == "batch"


async def test_failures_stand_in_the_place_of_their_answers(serve: Serve, do: Do) -> None:
    def script(request: Request) -> Reply:
        if "bomb" in request.last["content"]:
            return refused(400, "content_filter", "The request was rejected because it was considered high risk")
        return echo(request)

    server = serve(script)
    platform, ended = await finished(do, server, parts(server)[0], ["a", "bomb", "c"])
    assert (ended.completed, ended.failed) == (2, 1)
    first, second, third = await do(platform.batches, "results", ended.id)
    assert (first.text, third.text) == ("I read: a", "I read: c")
    assert isinstance(second, ContentFilterError)
    assert "high risk" in str(second)


async def test_an_answer_spent_on_thinking_is_named_as_that(serve: Serve, do: Do) -> None:
    server = serve(lambda request: thought("On and on").finish("length"))
    platform, ended = await finished(do, server, parts(server)[0], ["a"])
    (outcome,) = await do(platform.batches, "results", ended)
    assert isinstance(outcome, AnswerCutShort)


async def test_an_answer_that_the_host_gave_up_on_is_an_error_in_its_place(serve: Serve, do: Do) -> None:
    server = serve(lambda request: said("Half").finish("unexpected_state"))
    platform, ended = await finished(do, server, parts(server)[0], ["a"])
    (outcome,) = await do(platform.batches, "results", ended)
    assert isinstance(outcome, IncompleteAnswerError)
    assert (outcome.message.text, outcome.finish_reason) == ("Half", "unexpected_state")


async def test_tools_are_read_by_their_own_names(serve: Serve, do: Do) -> None:
    server = serve(lambda request: Reply().calling(request.json["tools"][0]["function"]["name"], lake="x", at="[1.5]"))
    model = parts(server)[0].bind_tools([depth])
    platform, ended = await finished(do, server, model, ["a"])
    (answer,) = await do(platform.batches, "results", ended, model=model)
    assert answer.tool_calls[0]["name"] == "depth.of"
    assert answer.tool_calls[0]["args"] == {"lake": "x", "at": [1.5]}


async def test_a_batch_is_taken_up_again_by_its_id_alone(serve: Serve, do: Do) -> None:
    server = serve(echo)
    model, platform, _ = parts(server)
    batch = await do(platform.batches, "create", model, ["a", "b"])
    other = KimiPlatform(base_url=server.url, api_key=KEY, clock=VirtualClock())
    assert [one.id for one in await do(other.batches, "list")] == [batch.id]
    await do(other.batches, "wait_done", batch.id)
    assert [one.text for one in await do(other.batches, "results", batch.id)] == ["I read: a", "I read: b"]


async def test_all_pages_are_listed_newest_first(serve: Serve, do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_kimi import _endpoints as endpoints
    from langchain_kimi.platform import batches

    server = serve(echo)
    model, platform, _ = parts(server)
    made = [(await do(platform.batches, "create", model, ["a"])).id for _ in range(5)]
    pages = endpoints.list_batches
    monkeypatch.setattr(batches.endpoints, "list_batches", lambda after: pages(after, limit=2))
    assert [one.id for one in await do(platform.batches, "list")] == made[::-1]
    assert [call.query.get("after") for call in server.calls[-3:]] == [None, made[3], made[1]]


async def test_a_cancelled_batch_keeps_what_was_answered(serve: Serve, do: Do) -> None:
    server = serve(echo)
    model, platform, _ = parts(server)
    batch = await do(platform.batches, "create", model, ["a", "b", "c"])
    await do(platform.batches, "get", batch)
    await do(platform.batches, "get", batch)
    assert (await do(platform.batches, "cancel", batch)).status == "cancelling"
    ended = await do(platform.batches, "wait_done", batch)
    assert ended.status == "cancelled"
    first, *others = await do(platform.batches, "results", ended)
    assert first.text == "I read: a"
    assert len(others) == 2
    for other in others:
        assert isinstance(other, KimiError)
        assert f"the batch {batch.id} is cancelled" in str(other)


async def test_a_batch_that_was_cancelled_at_once_has_an_outcome_for_each_input(serve: Serve, do: Do) -> None:
    server = serve(echo)
    model, platform, _ = parts(server)
    batch = await do(platform.batches, "create", model, ["a", "b"])
    await do(platform.batches, "cancel", batch)
    ended = await do(platform.batches, "wait_done", batch)
    outcomes = await do(platform.batches, "results", ended)
    assert ["has no answer" in str(one) for one in outcomes] == [True, True]


async def test_somebody_elses_batch_is_read_in_the_order_of_its_input(serve: Serve, do: Do) -> None:
    server = serve(echo)
    _, platform, _ = parts(server)
    body = {"model": "kimi-k2.6", "max_completion_tokens": 100}
    lines = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {**body, "messages": [{"role": "user", "content": name}], **extra},
        }
        for name, extra in [("zebra", {"temperature": 7}), ("ant", {}), ("bee", {})]
    ]
    jsonl = "\n".join(json.dumps(line) for line in lines).encode()
    file = await do(platform.files, "upload", jsonl, purpose="batch")
    from langchain_kimi import _endpoints as endpoints

    batch = endpoints.create_batch(file.id, window="24h", metadata=None).run(platform._transport())
    await do(platform.batches, "wait_done", batch)
    first, *others = await do(platform.batches, "results", batch)
    assert isinstance(first, BadRequestError)
    assert [one.text for one in others] == ["I read: ant", "I read: bee"]


async def test_models_without_batches_are_told_before_anything_is_sent(serve: Serve, do: Do) -> None:
    server = serve(echo)
    model = kimi(server, "kimi-k3")
    with pytest.raises(IllegalRequestError, match=r"kimi-k3.*kimi-k2\.7-code and kimi-k2\.6"):
        await do(KimiPlatform.from_model(model).batches, "create", model, ["a"])
    assert server.calls == []


async def test_a_batch_that_fails_as_a_whole_says_which_line(serve: Serve, do: Do) -> None:
    server = serve(echo, models=["my-finetune"])
    model = parts(server, model="my-finetune")[0]  # unknown here, so Kimi judges
    with pytest.warns(KimiWarning, match="not in the catalogue"):
        platform, ended = await finished(do, server, model, ["a"])
    assert ended.status == "failed"
    with pytest.raises(BadRequestError, match="line 1: the model my-finetune does not support batches"):
        await do(platform.batches, "results", ended)


async def test_an_upload_without_its_batch_is_removed(serve: Serve, do: Do) -> None:
    server = serve(echo)
    model, platform, _ = parts(server)
    with pytest.raises(BadRequestError, match="between 12h and 7d"):
        await do(platform.batches, "create", model, ["a"], window="1h")
    assert await do(platform.files, "list") == []


async def test_what_kimi_would_refuse_is_told_before_anything_is_sent(serve: Serve, do: Do) -> None:
    server = serve(echo)
    model, platform, _ = parts(server)
    for inputs in ([], [[]]):
        with pytest.raises(IllegalRequestError):
            await do(platform.batches, "create", model, inputs)
    with pytest.raises(TypeError, match="ChatKimi"):
        await do(platform.batches, "create", "kimi-k2.6", ["a"])
    assert server.calls == []


async def test_waiting_ends_in_time_and_the_batch_goes_on(serve: Serve, do: Do) -> None:
    server = serve(echo)
    model, platform, clock = parts(server)
    batch = await do(platform.batches, "create", model, ["a"])
    with pytest.raises(APITimeoutError, match="It continues"):
        await do(platform.batches, "wait_done", batch, every=30, timeout=50)
    assert clock.waited == [30]
    assert (await do(platform.batches, "wait_done", batch)).status == "completed"
    with pytest.raises(IllegalRequestError, match="every"):
        await do(platform.batches, "wait_done", batch, every=0)


async def test_a_cancelled_wait_can_be_taken_up_again(serve: Serve) -> None:
    server, clock = serve(echo), VirtualClock(stopped=True)
    model = kimi(server, clock=clock)
    batches = KimiPlatform.from_model(model).batches
    batch = await batches.acreate(model, ["a"])
    waiting = asyncio.ensure_future(batches.await_done(batch, every=30))
    await clock.somebody_waits()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    asked = len(server.calls)
    waiting = asyncio.ensure_future(batches.await_done(batch, every=30))
    while not waiting.done():
        await asyncio.sleep(0)
        clock.advance(30)
    assert (await waiting).status == "completed"
    assert len(server.calls) > asked


async def test_results_before_the_end_say_to_wait(serve: Serve, do: Do) -> None:
    server = serve(echo)
    model, platform, _ = parts(server)
    batch = await do(platform.batches, "create", model, ["a"])
    with pytest.raises(IllegalRequestError, match="wait_done"):
        await do(platform.batches, "results", batch)


async def test_an_unknown_batch_is_not_found(serve: Serve, do: Do) -> None:
    _, platform, _ = parts(serve(echo))
    for name in ("get", "wait_done", "results", "cancel"):
        with pytest.raises(NotFoundError, match="batch_nowhere"):
            await do(platform.batches, name, "batch_nowhere")


def test_answers_are_messages_like_any(serve: Serve) -> None:
    server = serve([called("add", a=1)])
    model, platform, _ = parts(server)
    batch = platform.batches.wait_done(platform.batches.create(model, ["x"]))
    (answer,) = platform.batches.results(batch)
    assert isinstance(answer, AIMessage)
    assert answer.tool_calls[0]["args"] == {"a": 1}


async def test_lines_are_read_within_the_limits_of_the_platform(serve: Serve, do: Do) -> None:
    server = serve(lambda request: called("add", a=1).calling("add", a=2))
    model, platform, _ = parts(server)
    batch = await do(platform.batches, "create", model, ["a"])
    await do(platform.batches, "wait_done", batch)

    async def results(**limits: int) -> Any:
        strict = KimiPlatform(base_url=server.url, api_key=KEY, response_limits=ResponseLimits(**limits))
        return await do(strict.batches, "results", batch)

    assert len((await results())[0].tool_calls) == 2
    for limits in ({"tool_calls": 1}, {"characters": 5}):
        (outcome,) = await results(**limits)
        assert isinstance(outcome, ResponseTooLargeError)
        assert outcome.limit in limits
    with pytest.raises(ResponseTooLargeError, match="`json_values`"):
        await results(json_values=20)


@pytest.mark.parametrize("made", ["POST /files", "POST /batches"])
async def test_what_may_have_been_created_is_not_created_again(serve: Serve, do: Do, made: str) -> None:
    server = serve(echo)
    model, platform, clock = parts(server, max_retries=2)
    server.refuse(made, refused(500, "server_error", "oops"))
    with pytest.raises(KimiError, match="oops"):
        await do(platform.batches, "create", model, ["one"])
    assert clock.waited == []
    assert len([call for call in server.calls if f"{call.method} {call.route}" == made]) == 1
