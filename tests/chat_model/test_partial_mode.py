"""Partial mode: answers that go on from a beginning, and cut answers that are continued."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage

from langchain_kimi.errors import AnswerCutShort, BrokenStreamError, IllegalRequestError
from langchain_kimi.testing import KimiServer, called, cut_after, said, thought
from tests.conftest import Serve, kimi

QUESTION = "The colours of the rainbow, as a list?"
OPENING = "1. Red\n2."


async def in_four_ways(runnable: Any, given: Any) -> list[AIMessage]:
    """The answer by invoke, stream, ainvoke and astream."""
    chunks = list(runnable.stream(given))
    achunks = [chunk async for chunk in runnable.astream(given)]
    return [runnable.invoke(given), _sum(chunks), await runnable.ainvoke(given), _sum(achunks)]


def _sum(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    first, *rest = chunks
    return first.__add__(*[rest]) if rest else first


def last_sent(server: KimiServer) -> dict[str, Any]:
    return server.requests[-1].messages[-1]


@pytest.mark.parametrize("output_version", [None, "v1"])
@pytest.mark.parametrize(("join", "text"), [(True, "1. Red\n2. Orange …"), (False, " Orange …")])
async def test_an_answer_goes_on_from_its_beginning_in_four_ways(
    serve: Serve, join: bool, text: str, output_version: str | None
) -> None:
    server = serve([said(" Orange …")] * 4)
    model = kimi(server, thinking=False, output_version=output_version)
    answers = await in_four_ways(model.continue_from(OPENING, join=join), QUESTION)
    assert [answer.text for answer in answers] == [text] * 4
    assert [[block.get("text") for block in answer.content_blocks] for answer in answers] == [[text]] * 4
    assert [answer.usage_metadata for answer in answers] == [answers[0].usage_metadata] * 4
    for request in server.requests:
        assert request.messages[-1] == {"role": "assistant", "content": OPENING, "partial": True}
        assert request.messages[0] == {"role": "user", "content": QUESTION}


async def test_thoughts_of_the_beginning_and_of_the_rest_become_one(serve: Serve) -> None:
    server = serve([thought(" And then orange.").saying(" Orange")] * 4)
    runnable = kimi(server, "kimi-k3").continue_from(OPENING, reasoning="Red first.")
    for answer in await in_four_ways(runnable, [HumanMessage(QUESTION)]):
        assert answer.additional_kwargs["reasoning_content"] == "Red first. And then orange."
        assert answer.text == f"{OPENING} Orange"
        assert [block["type"] for block in answer.content_blocks] == ["reasoning", "text"]
    assert last_sent(server)["reasoning_content"] == "Red first."


def test_a_marked_last_message_is_a_beginning_and_an_earlier_one_is_not(serve: Serve) -> None:
    server = serve([said(" Orange"), said("Yes.")])
    model = kimi(server, thinking=False)
    opening = AIMessage(OPENING, additional_kwargs={"partial": True})
    rest = model.invoke([HumanMessage(QUESTION), opening])
    assert rest.text == " Orange"
    assert last_sent(server) == {"role": "assistant", "content": OPENING, "partial": True}
    model.invoke([HumanMessage(QUESTION), opening, rest, HumanMessage("Sure?")])
    assert server.requests[1].messages[1] == {"role": "assistant", "content": OPENING}


def test_the_thoughts_of_a_beginning_go_back_under_the_hosts_key(serve: Serve) -> None:
    server = serve([said(" Orange")], dialect="vllm")
    model = kimi(server, dialect="vllm")
    answer = model.continue_from(OPENING, reasoning="Red first.").invoke(QUESTION)
    assert answer.text == f"{OPENING} Orange"
    assert last_sent(server) == {"role": "assistant", "content": OPENING, "reasoning": "Red first.", "partial": True}


def test_an_empty_beginning_is_sent_last_and_left_out_later(serve: Serve) -> None:
    server = serve([said("Red"), said("Yes.")])
    model = kimi(server, thinking=False)
    opening = AIMessage("", additional_kwargs={"partial": True})
    model.invoke([HumanMessage(QUESTION), opening])
    assert last_sent(server) == {"role": "assistant", "content": "", "partial": True}
    model.invoke([HumanMessage(QUESTION), opening, HumanMessage("Sure?")])
    assert [message["role"] for message in server.requests[1].messages] == ["user", "user"]


def test_a_beginning_after_a_crashed_call_stays_last(serve: Serve) -> None:
    server = serve([said("4")])
    asked = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "add:0"}])
    kimi(server, "kimi-k3").continue_from("It is ").invoke([HumanMessage("2 + 2?"), asked])
    assert [message["role"] for message in server.requests[0].messages] == ["user", "assistant", "tool", "assistant"]
    assert last_sent(server) == {"role": "assistant", "content": "It is ", "partial": True}


@pytest.mark.parametrize("streaming", [None, False])
async def test_an_answer_cut_in_its_text_is_continued_with_its_thoughts(serve: Serve, streaming: bool | None) -> None:
    server = serve([thought("A list.").saying(OPENING).finish("length"), said(" Orange"), said(" Orange")])
    model = kimi(server, streaming=streaming)
    asked = [SystemMessage("Be brief."), HumanMessage(QUESTION)]
    cut = model.invoke(asked)
    rest = model.continue_cut_answer(cut)
    for whole in (rest.invoke(asked), await rest.ainvoke(asked)):
        assert whole.text == f"{OPENING} Orange"
        assert whole.additional_kwargs["reasoning_content"] == "A list."
        assert whole.response_metadata["finish_reason"] == "stop"
        assert last_sent(server) == {
            "role": "assistant",
            "content": OPENING,
            "reasoning_content": "A list.",
            "partial": True,
        }


@pytest.mark.parametrize("output_version", [None, "v1"])
def test_thoughts_in_blocks_alone_are_kept_too(serve: Serve, output_version: str | None) -> None:
    server = serve([said(" Orange")])
    model = kimi(server, output_version=output_version)
    blocks: list[Any] = [{"type": "reasoning", "reasoning": "A list."}, {"type": "text", "text": OPENING}]
    whole = model.continue_cut_answer(AIMessage(blocks)).invoke(QUESTION)
    assert last_sent(server)["reasoning_content"] == "A list."
    assert (whole.text, whole.content_blocks[0]["type"]) == (f"{OPENING} Orange", "reasoning")


async def test_an_answer_cut_in_its_thoughts_is_continued_until_it_speaks(serve: Serve) -> None:
    cut_twice = [thought("Red, ").finish("length"), thought("orange, ").finish("length")]
    server = serve([*cut_twice, thought("yellow.").saying("A list."), *cut_twice, thought("yellow.").saying("A list.")])
    model = kimi(server, "kimi-k3")

    with pytest.raises(AnswerCutShort) as first:
        model.invoke(QUESTION)
    with pytest.raises(AnswerCutShort) as second:
        model.continue_cut_answer(first.value).invoke(QUESTION)
    assert second.value.message.additional_kwargs["reasoning_content"] == "Red, orange, "
    whole = model.continue_cut_answer(second.value).invoke(QUESTION)
    assert last_sent(server)["reasoning_content"] == "Red, orange, "
    assert (whole.text, whole.additional_kwargs["reasoning_content"]) == ("A list.", "Red, orange, yellow.")

    with pytest.raises(AnswerCutShort) as first:
        await model.ainvoke(QUESTION)
    with pytest.raises(AnswerCutShort) as second:
        [chunk async for chunk in model.continue_cut_answer(first.value).astream(QUESTION)]
    whole = await model.continue_cut_answer(second.value).ainvoke(QUESTION)
    assert whole.additional_kwargs["reasoning_content"] == "Red, orange, yellow."


def test_what_was_not_cut_or_was_cut_in_a_call_is_refused(serve: Serve) -> None:
    server = serve([said("Done."), called("add", a=1).finish("length")])
    model = kimi(server)
    with pytest.raises(IllegalRequestError, match="was not cut: its finish_reason is 'stop'"):
        model.continue_cut_answer(model.invoke(QUESTION))
    with pytest.raises(IllegalRequestError, match="cut in its tool calls"):
        model.continue_cut_answer(model.invoke(QUESTION))
    calls = AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "f:0"}], additional_kwargs={"partial": True})
    with pytest.raises(IllegalRequestError, match="cannot be continued from tool calls"):
        model.invoke([HumanMessage(QUESTION), calls])
    assert len(server.requests) == 2


def test_a_beginning_and_json_mode_are_not_combined(serve: Serve) -> None:
    server = serve([said("1}")])
    runnable = kimi(server).continue_from('{"a": ')
    with pytest.raises(IllegalRequestError, match="partial mode or json_object, not both"):
        runnable.invoke("JSON, please.", response_format={"type": "json_object"})
    assert server.requests == []
    assert runnable.bind(stop=["}"]).invoke("JSON, please.").text == '{"a": 1}'
    assert server.requests[0].json["stop"] == ["}"]


@pytest.mark.parametrize("join", [True, False])
def test_tools_may_be_called_after_a_beginning(serve: Serve, join: bool) -> None:
    add = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    server = serve([said(" to add.").calling("add", a=1, b=2)])
    answer = kimi(server).continue_from("I have", join=join).bind(tools=[add]).invoke("1 + 2?")
    assert answer.tool_calls[0]["args"] == {"a": 1, "b": 2}
    assert answer.text == ("I have to add." if join else " to add.")
    assert server.requests[0].tools == [add["function"]]


async def test_a_stream_that_breaks_off_or_is_left_is_no_answer(serve: Serve) -> None:
    server = serve([cut_after(said(" Orange and many more colours"), events=3), said(" Orange and many more colours")])
    runnable = kimi(server).continue_from(OPENING)
    with pytest.raises(BrokenStreamError):
        list(runnable.stream(QUESTION))
    stream = runnable.astream(QUESTION)
    assert (await anext(stream)).text == OPENING
    await stream.aclose()
