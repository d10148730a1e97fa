"""Estimated tokens, and the prefix cache."""

import json
from typing import Any

import httpx2
import pytest

from langchain_kimi import testing
from langchain_kimi.testing import (
    cut_after,
    overloaded,
    refused,
    said,
)
from tests.testing.wire import ADD, KEY, KimiServer, ask, cached, chunks, user


class TestUsage:
    def test_four_bytes_of_an_answer_are_a_token(self, http: httpx2.Client) -> None:
        reply = said("12345", thinking="你好你").calling("add", a=1)
        with KimiServer([reply, reply]) as server:
            whole = ask(http, server, "hello", tools=[ADD]).json()["usage"]
            streamed = chunks(ask(http, server, "hello", tools=[ADD], stream=True))[-1]["choices"][0]["usage"]
        prompt = whole["prompt_tokens"]
        assert 7 + 67 + 35 + 11 < prompt < 200  # the frames of K3; the tool and the word
        assert whole == {
            "prompt_tokens": prompt,
            "completion_tokens": 3 + 3,  # 9 bytes of thinking; 5 of text and 7 of arguments
            "total_tokens": prompt + 6,
            "cached_tokens": 0,
            "completion_tokens_details": {"reasoning_tokens": 3},
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        assert streamed == whole

    def test_the_cached_prefix_grows_with_the_conversation(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: said("x")) as server:
            first = [{"role": "system", "content": numbers(600)}, user("one")]
            second = [*first, {"role": "assistant", "content": "x"}, user(numbers(900))]
            third = [*second, {"role": "assistant", "content": "x"}, user("three")]
            answers = [ask(http, server, messages) for messages in (first, second, third)]
            read = [answer.json()["usage"]["prompt_tokens"] for answer in answers]
            # All of the earlier prompt, in whole blocks.
            assert [cached(answer) for answer in answers] == [0, read[0] // 256 * 256, read[1] // 256 * 256]
            assert read[0] // 256 > 0

    def test_a_changed_early_message_or_tool_drops_it(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: said("x")) as server:
            early, late = {"role": "system", "content": "Be brief."}, user(numbers(600))
            ask(http, server, [early, late], tools=[ADD])
            assert cached(ask(http, server, [early, late], tools=[ADD])) > 0
            assert cached(ask(http, server, [{**early, "content": "Be long."}, late], tools=[ADD])) == 0
            assert cached(ask(http, server, [early, late])) == 0

    def test_each_model_has_its_own(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: said("x")) as server:
            assert cached(ask(http, server, numbers(600), model="kimi-k3")) == 0
            assert cached(ask(http, server, numbers(600), model="kimi-k2.6")) == 0
            assert cached(ask(http, server, numbers(600), model="kimi-k2.6")) > 0

    def test_short_prompts_are_not_cached(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: said("x")) as server:
            assert ask(http, server, "one two " * 60).json()["usage"]["prompt_tokens"] < 256
            assert cached(ask(http, server, "one two " * 60)) == 0

    def test_the_oldest_prompts_are_forgotten(self, http: httpx2.Client) -> None:
        with KimiServer(lambda request: said("x")) as server:
            ask(http, server, numbers(600))
            for n in range(32):
                ask(http, server, f"another {n}")
            assert cached(ask(http, server, numbers(600))) == 0

    def test_refused_requests_leave_nothing_in_the_cache(self, http: httpx2.Client) -> None:
        with KimiServer([overloaded(), said("x")]) as server:
            ask(http, server, numbers(600))
            assert cached(ask(http, server, numbers(600))) == 0


def numbers(count: int) -> str:
    return " ".join(map(str, range(count)))


def size(messages: list[dict[str, Any]]) -> int:
    return len(json.dumps([[], messages], separators=(",", ":")).encode())


@pytest.mark.parametrize("stream", [True, False])
def test_the_usage_of_every_answer_is_on_record(stream: bool) -> None:
    asked = {"model": "kimi-k2.6", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    with testing.KimiServer(
        [said("Hello.", thinking="Hm."), refused(500), cut_after(said("Hello."), events=2)]
    ) as server:
        bodies = []
        for _ in range(3):
            try:
                bodies.append(httpx2.post(f"{server.url}/chat/completions", json=asked, headers=KEY).text)
            except httpx2.HTTPError:
                bodies.append("")
        told, of_refused, of_broken = server.usages
    assert told is not None
    assert json.dumps(told, separators=(",", ":")) in bodies[0]
    assert of_refused is None
    assert of_broken is None or not stream
