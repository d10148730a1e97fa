"""Answers that were cut are told apart from whole ones."""

import asyncio
import pickle
from typing import Any

import pytest
from pydantic import BaseModel

from langchain_kimi._response import ResponseDecoder, check_output_cap
from langchain_kimi.errors import AnswerCutShort
from langchain_kimi.testing import said, thought
from tests.conftest import Serve, kimi
from tests.response.helpers import call, whole


def test_a_cap_spent_on_thinking_is_an_error_that_says_what_to_raise() -> None:
    message = ResponseDecoder().decode_body(whole({"content": "", "reasoning_content": "Hm"}, "length"))
    with pytest.raises(
        AnswerCutShort, match=r"cap of 32,768 tokens.*40 output.*raise max_tokens.*thinking=False"
    ) as caught:
        check_output_cap(message, 32_768)
    assert (caught.value.message, caught.value.max_tokens) == (message, 32_768)
    assert caught.value.usage_metadata == message.usage_metadata
    assert not caught.value.is_retryable
    assert pickle.loads(pickle.dumps(caught.value)).message == message
    message.response_metadata["model_name"] = "kimi-k3"
    with pytest.raises(AnswerCutShort, match="thinking='low'") as caught:
        check_output_cap(message)
    assert "thinking=False" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "finish"),
    [
        ({"content": "Half a sen"}, "length"),
        ({"content": "Half", "reasoning_content": "Hm"}, "length"),
        ({"content": "", "tool_calls": [call("a", '{"a', id="a:0", index=0)]}, "length"),
        ({"content": "", "tool_calls": [call("a", "{}", id="a:0", index=0)]}, "length"),
        ({"content": "", "reasoning_content": "Hm"}, "stop"),
        ({"content": "Half a sen", "reasoning_content": "Hm"}, None),
    ],
)
def test_other_answers_are_not_cut_short(message: dict[str, Any], finish: str) -> None:
    check_output_cap(ResponseDecoder().decode_body(whole(message, finish)))


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
