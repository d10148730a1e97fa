"""Threads that move between ChatKimi and ChatOpenAI and back, by fallback: what goes over the wire of both."""

import asyncio
import json
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr

from langchain_kimi.testing import Reply, Request, cut_after, refused, said
from tests.conftest import FOUR_WAYS, KEY, PAIRED, SYNC_AND_ASYNC, Serve, add, kimi
from tests.frameworks.wire import (
    MODELS,
    Plan,
    Told,
    adds,
    results_of,
    sent_back,
    three_turns,
    warnings_of,
)

TROUBLE = refused(503, "server_error", "The server is out of order")
TIMES = pytest.mark.parametrize(
    "times",
    [{(2, 1), (2, 2)}, {(2, 2)}, {(1, 1), (3, 2)}, {(1, 2), (2, 1), (3, 1)}],
    ids=["second turn", "within a turn", "first and last", "to and fro"],
)
"""When one of the two is in trouble: turn of the user and request in the turn, both from 1."""


def in_trouble(times: Any, trouble: Reply = TROUBLE, plan: Plan = adds) -> Plan:
    """The plan, but for these times."""

    def troubled(request: Request) -> Reply:
        turn = sum(message["role"] == "user" for message in request.messages)
        return trouble if (turn, 1 + bool(request.tool_results())) in times else plan(request)

    return troubled


def adds_as_openai(request: Request) -> Reply:
    """One sum under an id of OpenAI's form, then words."""
    number = len(request.messages)
    return said("Indeed.") if request.tool_results() else Reply().calling_raw("add", '{"a":1,"b":1}', f"call_{number}x")


class Two:
    """Kimi, and ChatOpenAI beside it on a server of its own, which knows no thinking."""

    def __init__(self, serve: Serve, kimi_plan: Plan, other_plan: Plan, model: str, **both: Any) -> None:
        self.told, self.other_told = Told(kimi_plan), Told(other_plan, mark="Remark", thinks=False)
        self.server, self.other_server = serve(self.told), serve(self.other_told, models=["other"])
        self.kimi = kimi(self.server, model, **both)
        url, key = self.other_server.url, SecretStr(KEY)
        self.other = ChatOpenAI(model="other", base_url=url, api_key=key, max_retries=0, **both)

    def check(self, turns: int = 3) -> None:
        """Nothing but the trouble was refused; each got all that both had said, and only Kimi its own thoughts."""
        sent_back(self.server, self.told)
        assert self.other_server.script_errors == []
        assert sum(status != 200 for status in self.other_server.statuses) == self.other_told.refused
        for request in (*self.server.requests, *self.other_server.requests):
            assert all(self._wrote(message) for message in request.messages if message["role"] == "assistant")
            users = sum(message["role"] == "user" for message in request.messages)
            words = [message for message in request.messages if message["role"] == "assistant"]
            assert len(words) == 2 * (users - 1) + bool(request.tool_results())
        for request in self.server.requests:
            self._check_the_others(request)
        for request in self.other_server.requests:
            self._check_without_thoughts(request)
        assert len(self.told.said) + len(self.other_told.said) == 2 * turns

    def _wrote(self, message: dict[str, Any]) -> bool:
        """Whether one of the two said it, with these arguments."""
        told = self.told if (number := self.told.reply_in(message)) is not None else self.other_told
        number = told.reply_in(message)
        assert number is not None
        sent = [json.loads(call["function"]["arguments"]) for call in message.get("tool_calls", ())]
        return sent == [json.loads(call.arguments) for call in told.said[number].calls]

    def _check_the_others(self, request: Request) -> None:
        for message in request.messages:
            if self.other_told.reply_in(message) is not None:
                assert message.get("reasoning_content") == (" " if "tool_calls" in message else None)

    def _check_without_thoughts(self, request: Request) -> None:
        fields = {key for message in request.messages for key in message}
        assert fields <= {"role", "content", "tool_calls", "tool_call_id"}
        assert "thought" not in request.body.decode()


async def said_by(model: Any, way: str, history: list[BaseMessage]) -> Any:
    """The model's answer in one of the four ways."""
    if way == "invoke":
        return await asyncio.to_thread(model.invoke, history)
    if way == "ainvoke":
        return await model.ainvoke(history)
    chunks = [chunk async for chunk in model.astream(history)] if way == "astream" else list(model.stream(history))
    answer = chunks[0]
    for chunk in chunks[1:]:
        answer += chunk
    return answer


async def converse(model: Any, way: str) -> None:
    """Three turns of the user, in which the sums are done."""
    history: list[BaseMessage] = []
    for turn in range(3):
        history.append(HumanMessage(f"Add. ({turn})"))
        while (answer := await said_by(model, way, history)).tool_calls:
            history += [answer, *results_of(answer)]
        history.append(answer)


@PAIRED
@FOUR_WAYS
@TIMES
@MODELS
async def test_chat_openai_stands_in_for_kimi(
    serve: Serve, model: str, times: Any, way: str, recwarn: pytest.WarningsRecorder
) -> None:
    two = Two(serve, in_trouble(times), adds_as_openai, model)
    await converse(two.kimi.bind_tools([add]).with_fallbacks([two.other.bind_tools([add])]), way)
    two.check()
    assert len(two.other_told.said) == len(times)
    assert warnings_of(recwarn) == []


@PAIRED
@FOUR_WAYS
@TIMES
@MODELS
async def test_kimi_stands_in_for_chat_openai(
    serve: Serve, model: str, times: Any, way: str, recwarn: pytest.WarningsRecorder
) -> None:
    two = Two(serve, adds, in_trouble(times, plan=adds_as_openai), model)
    await converse(two.other.bind_tools([add]).with_fallbacks([two.kimi.bind_tools([add])]), way)
    two.check()
    assert len(two.told.said) == len(times)
    assert warnings_of(recwarn) == []


@PAIRED
@FOUR_WAYS
@TIMES
async def test_histories_in_content_blocks(serve: Serve, times: Any, way: str) -> None:
    two = Two(serve, in_trouble(times), adds_as_openai, "kimi-k2.6", output_version="v1")
    await converse(two.kimi.bind_tools([add]).with_fallbacks([two.other.bind_tools([add])]), way)
    two.check()


@PAIRED
@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@MODELS
async def test_chat_openai_answers_where_kimis_answer_broke_off(serve: Serve, model: str, way: str) -> None:
    broken = cut_after(Reply(reasoning="Half a ").calling_raw("add", '{"a": 2,  "b":3}'), events=5)
    two = Two(serve, in_trouble({(2, 1), (3, 2)}, broken), adds_as_openai, model)
    await converse(two.kimi.bind_tools([add]).with_fallbacks([two.other.bind_tools([add])]), way)
    two.check()
    assert "Half a" not in two.server.requests[-1].body.decode()


@PAIRED
@SYNC_AND_ASYNC
@MODELS
@TIMES
@pytest.mark.parametrize("first", ["kimi", "other"])
async def test_fallback_inside_create_agent(serve: Serve, model: str, times: Any, way: str, first: str) -> None:
    plans = (in_trouble(times), adds_as_openai) if first == "kimi" else (adds, in_trouble(times, plan=adds_as_openai))
    two = Two(serve, *plans, model)
    models = (two.kimi, two.other) if first == "kimi" else (two.other, two.kimi)
    fallback: Any = ModelFallbackMiddleware(models[1])
    agent: Any = create_agent(models[0], [add], middleware=[fallback], checkpointer=InMemorySaver())
    await three_turns(agent, way)
    two.check()
