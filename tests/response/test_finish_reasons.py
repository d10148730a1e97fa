"""`normalized_finish_reason`: LangChain's word for why an answer ended, beside the host's own."""

from typing import Any

import pytest

from langchain_kimi._finish_reasons import ABNORMAL, COMPLETE, LENGTH
from langchain_kimi._response import ResponseDecoder
from langchain_kimi.testing import called, said
from tests.conftest import FOUR_WAYS, Serve, kimi
from tests.response.helpers import event, read, sse, whole

CALL = {"index": 0, "id": "a:0", "type": "function", "function": {"name": "a", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        ("stop", "stop"),
        ("end_turn", "stop"),
        ("tool_calls", "tool_call"),
        ("function_call", "tool_call"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
        ("engine_overloaded", "error"),
        ("server_interrupted", "error"),
        ("malformed_byte_sequence", "error"),
        ("unexpected_state", "error"),
        ("abort", "error"),
        ("error", "error"),
        ("repeat", "other"),
        ("unknown", "other"),
        ("a_word_of_tomorrow", "other"),
    ],
)
def test_each_finish_reason_has_langchains_word(finish: str, word: str) -> None:
    metadata: dict[str, Any] = read([sse([event({"content": "Hi"}), event({}, finish)])]).response_metadata
    assert (metadata["finish_reason"], metadata["normalized_finish_reason"]) == (finish, word)
    body = ResponseDecoder().decode_body(whole({"role": "assistant", "content": "Hi"}, finish))
    assert body.response_metadata["normalized_finish_reason"] == word


def test_every_known_finish_reason_has_a_word_of_its_own_kind() -> None:
    words = {finish: _word(finish) for finish in (*COMPLETE, *LENGTH, *ABNORMAL)}
    assert {words[finish] for finish in COMPLETE} == {"stop", "tool_call"}
    assert {words[finish] for finish in LENGTH} == {"length"}
    assert {words[finish] for finish in ABNORMAL} == {"error", "other"}


def _word(finish: str) -> Any:
    answer = read([sse([event({"content": "Hi"}), event({}, finish)])])
    return answer.response_metadata["normalized_finish_reason"]


def test_a_stop_with_tool_calls_is_a_tool_call() -> None:
    message = read([sse([event({"tool_calls": [CALL]}), event({}, "stop")])])
    assert message.response_metadata["normalized_finish_reason"] == "tool_call"


def test_a_missing_finish_reason_has_no_word() -> None:
    message = read([sse([event({"content": "Hi"})])])
    assert "normalized_finish_reason" not in message.response_metadata


@FOUR_WAYS
async def test_it_is_the_same_in_all_ways_and_once_in_a_stream(serve: Serve, way: str) -> None:
    model = kimi(serve([said("Hi."), called("add", a=1)]))
    words = []
    for _ in range(2):
        if way == "stream":
            first, *rest = model.stream("?")
            message: Any = sum(rest, first)
        elif way == "astream":
            first, *rest = [chunk async for chunk in model.astream("?")]
            message = sum(rest, first)
        else:
            message = model.invoke("?") if way == "invoke" else await model.ainvoke("?")
        words.append(message.response_metadata["normalized_finish_reason"])
    assert words == ["stop", "tool_call"]
