"""`UsageMeter().cache_breaks`, against the prefix cache of the fake API."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import Compaction, UsageMeter, create_kimi_agent
from langchain_kimi._cache_breaks import COMPACTION_MARKS, PromptFingerprint
from langchain_kimi.agent.compaction.message_groups import SUMMARY
from langchain_kimi.agent.compaction.shortening import SHORTENED
from langchain_kimi.testing import FakeKimi, FakeKimiAPI, called, said
from tests.clock import VirtualClock
from tests.conftest import SYNC_AND_ASYNC

LONG = "The quick brown fox jumps over the lazy dog. " * 60  # about 600 tokens
SYSTEM = SystemMessage("You count. " + LONG)


@tool
def search(text: str) -> str:
    """Search."""
    return text


@tool
def fetch(url: str) -> str:
    """Fetch."""
    return url


class Chat:
    """A conversation with a fake of Kimi, whose time and that of the meter are the test's."""

    def __init__(self, **settings: Any) -> None:
        self.clock, self.meter = VirtualClock(), UsageMeter()
        self.meter._clock = self.clock
        self.api = FakeKimiAPI(lambda request: said("Yes."), clock=self.clock.now)
        self.model: Any = FakeKimi(self.api, **settings)
        self.messages: list[Any] = [SYSTEM]

    def ask(self, model: Any = None, text: str = LONG) -> AIMessage:
        self.messages.append(HumanMessage(text))
        answer: AIMessage = (model or self.model).invoke(self.messages, {"callbacks": [self.meter]})
        self.messages.append(answer)
        return answer

    @property
    def reasons(self) -> list[tuple[str, ...]]:
        return [lost.reasons for lost in self.meter.cache_breaks]


def test_growing_conversation_has_no_breaks() -> None:
    chat = Chat()
    for _ in range(6):
        chat.clock.advance(290)
        chat.ask()
    assert chat.reasons == []
    assert chat.meter.total.cached_tokens > 0


def test_short_messages_of_a_growing_conversation_are_cached_to_a_block() -> None:
    chat = Chat()
    answers = [chat.ask(text="And?").usage_metadata for _ in range(80)]
    pairs = [(one, other) for one, other in pairwise(answers) if one and other]
    assert all(0 <= one["input_tokens"] - other["input_token_details"]["cache_read"] < 256 for one, other in pairs)
    assert chat.reasons == []


def test_idle_time_beyond_the_lifetime_is_named_with_tokens_and_money() -> None:
    chat = Chat()
    before = [chat.ask() for _ in range(2)][-1].usage_metadata
    chat.clock.advance(7 * 60)
    after = chat.ask().usage_metadata
    assert before is not None
    assert after is not None
    assert after["input_token_details"]["cache_read"] == 0
    (lost,) = chat.meter.cache_breaks
    assert lost.reasons == ("idle 7 min, the cache lives 5",)
    assert (lost.request, lost.model, lost.input_tokens, lost.cached_tokens) == (3, "kimi-k3", after["input_tokens"], 0)
    assert lost.tokens_again == before["input_tokens"]
    assert lost.cost_usd == pytest.approx(lost.tokens_again * (3.0 - 0.3) / 1e6)
    assert str(lost).startswith("request 3: idle 7 min, the cache lives 5 (")
    chat.ask()
    assert len(chat.reasons) == 1


def test_hour_long_cache_survives_seven_minutes_and_not_an_hour() -> None:
    chat = Chat(prompt_cache_options={"mode": "implicit", "ttl": "1h"})
    chat.ask()
    chat.clock.advance(7 * 60)
    chat.ask()
    assert chat.reasons == []
    chat.clock.advance(61 * 60)
    chat.ask()
    assert chat.reasons == [("idle 61 min, the cache lives 60",)]


def test_changed_message_and_changed_system_prompt_are_named() -> None:
    chat = Chat()
    for _ in range(3):
        chat.ask()
    chat.messages[3] = HumanMessage("Not the same. " + LONG)
    chat.ask()
    chat.messages[0] = SystemMessage("It is 12:01. " + LONG)
    chat.ask()
    assert chat.reasons == [("messages[3] changed",), ("messages[0] changed",)]


def test_message_that_was_changed_in_place_is_named() -> None:
    chat = Chat()
    for _ in range(3):
        chat.ask()
    chat.messages[1].content = "Not the same. " + LONG
    chat.ask()
    assert chat.reasons == [("messages[1] changed",)]


def test_changed_tools_are_named() -> None:
    chat = Chat()
    chat.ask(chat.model.bind_tools([fetch]))
    chat.ask(chat.model.bind_tools([fetch, search]))
    chat.ask(chat.model.bind_tools([search]))
    other = search.model_copy(update={"description": "Search the web."})
    chat.ask(chat.model.bind_tools([other]))
    assert chat.reasons == [
        ("tools changed: +search",),
        ("tools changed: -fetch",),
        ("tools changed: search is defined otherwise",),
    ]


def test_other_model_and_other_effort_are_named() -> None:
    chat = Chat()
    chat.ask()
    chat.ask(FakeKimi(chat.api, reasoning_effort="low"))
    chat.ask(FakeKimi(chat.api, model="kimi-k2.6", reasoning_effort=None))
    assert chat.reasons[0] == ("other effort: low after the default",)
    assert chat.reasons[1][0] == "other model: kimi-k2.6 after kimi-k3"
    assert [lost.model for lost in chat.meter.cache_breaks] == ["kimi-k3", "kimi-k2.6"]


def test_cache_that_the_host_dropped_is_reported_as_that() -> None:
    chat = Chat()
    chat.ask()
    chat.ask()
    chat.api._cache._prompts.clear()
    chat.ask()
    assert chat.reasons == [("the host no longer had it, although nothing had changed",)]


def test_other_last_question_and_other_conversations_are_no_breaks() -> None:
    chat = Chat()
    for question in ("one " + LONG, "two " + LONG, "three " + LONG):
        chat.model.invoke([SYSTEM, HumanMessage(question)], {"callbacks": [chat.meter]})
    chat.ask()
    for question in ("four " + LONG, "five " + LONG):
        chat.model.invoke([*chat.messages, HumanMessage(question)], {"callbacks": [chat.meter]})
    assert chat.reasons == []


def test_interleaved_conversations_in_threads_are_told_apart() -> None:
    chat = Chat()
    talks = [[SYSTEM, HumanMessage(f"Talk {number}. {LONG}")] for number in range(12)]

    def turn(talk: list[Any]) -> None:
        talk.append(chat.model.invoke(talk, {"callbacks": [chat.meter]}))
        talk.append(HumanMessage("Go on. " + LONG))

    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            list(pool.map(turn, talks))
        assert chat.reasons == []
        talks[5][1] = HumanMessage(f"Not talk 5. {LONG}")
        list(pool.map(turn, talks))
    assert chat.reasons == [("messages[1] changed",)]


async def test_the_same_asynchronously() -> None:
    chat = Chat()
    talks = [[SYSTEM, HumanMessage(f"Talk {number}. {LONG}")] for number in range(5)]
    for _ in range(2):
        answers = await asyncio.gather(*(chat.model.ainvoke(talk, {"callbacks": [chat.meter]}) for talk in talks))
        for talk, answer in zip(talks, answers, strict=True):
            talk += [answer, HumanMessage("Go on.")]
    assert chat.reasons == []
    chat.clock.advance(400)
    await chat.model.ainvoke(talks[0], {"callbacks": [chat.meter]})
    assert chat.reasons == [("idle 7 min, the cache lives 5",)]


@SYNC_AND_ASYNC
async def test_compaction_of_an_agent_is_named(way: str) -> None:
    meter = UsageMeter()

    @tool
    def read(page: int) -> str:
        """Read a page."""
        return f"Page {page}. {LONG}"

    calls = [called("read", page=page) for page in range(16)]
    answers = iter([*calls, said("Read.")])
    model = FakeKimi(lambda request: next(answers) if request.tools else said(f"Summary {request.number}."))
    agent = create_kimi_agent(model, [read], compaction=Compaction(window=9_000, reserve=1_000))
    asked: Any = {"messages": [("user", "Read. " + LONG)]}
    if way == "sync":
        agent.invoke(asked, {"callbacks": [meter]})
    else:
        await agent.ainvoke(asked, {"callbacks": [meter]})
    reasons = [reason for lost in meter.cache_breaks for reason in lost.reasons]
    assert reasons
    assert all(reason.endswith("changed by compaction") for reason in reasons), reasons
    assert meter.cache_breaks[0].agent == "kimi_agent"


def test_both_branches_of_a_conversation_are_remembered() -> None:
    chat = Chat()
    chat.ask(chat.model.bind_tools([fetch]))
    one, other = ([*chat.messages, HumanMessage(text + LONG)] for text in ("One. ", "Other. "))
    for branch in (one, other):
        branch.append(chat.model.bind_tools([fetch]).invoke(branch, {"callbacks": [chat.meter]}))
    chat.model.bind_tools([fetch, search]).invoke([*one, HumanMessage("Go on.")], {"callbacks": [chat.meter]})
    assert chat.reasons == [("tools changed: +search",)]


def test_thread_that_repeats_messages_of_another_has_no_break() -> None:
    meter, agent = UsageMeter(), create_kimi_agent(FakeKimi(lambda request: said("Yes.")), checkpointer=InMemorySaver())
    for thread, begin in (("a", "First. "), ("b", "Second. ")):
        config: Any = {"configurable": {"thread_id": thread}, "callbacks": [meter]}
        agent.invoke({"messages": [("user", begin + LONG), ("user", LONG)]}, config)
    assert meter.cache_breaks == []


def test_marks_are_those_of_the_compaction() -> None:
    assert COMPACTION_MARKS == (SUMMARY, SHORTENED)


def test_memory_is_bounded() -> None:
    chat = Chat()
    for number in range(300):
        chat.model.invoke([HumanMessage(f"Hello {number}.")], {"callbacks": [chat.meter]})
    assert len(chat.meter._conversations._conversations) == 256


def test_threads_with_equal_messages_are_told_apart() -> None:
    meter, clock = UsageMeter(), VirtualClock()
    api = FakeKimiAPI(lambda request: said("Yes."), clock=clock.now)
    meter._clock = clock
    agent = create_kimi_agent(FakeKimi(api), system_prompt=LONG, checkpointer=InMemorySaver())
    for text in ("First. ", "Second. ", "Third. "):
        for thread in ("a", "b"):
            config: Any = {"configurable": {"thread_id": thread}, "callbacks": [meter]}
            agent.invoke({"messages": [("user", f"{text if text != 'First. ' else thread} {LONG}")]}, config)
    assert meter.cache_breaks == []
    agent.update_state({"configurable": {"thread_id": "b"}}, {"messages": [HumanMessage("Other. " + LONG)]})
    state = agent.get_state({"configurable": {"thread_id": "b"}}).values["messages"]
    edited = state[0].model_copy(update={"content": "Edited. " + LONG})
    agent.update_state({"configurable": {"thread_id": "b"}}, {"messages": [edited]})
    agent.invoke({"messages": [("user", "Fourth.")]}, config)
    assert [lost.reasons for lost in meter.cache_breaks] == [("messages[1] changed",)]


@pytest.mark.slow
def test_fingerprint_of_300_rounds_takes_little_time() -> None:
    messages: list[Any] = [SYSTEM, HumanMessage("Go.")]
    for number in range(300):
        call = {"id": f"search:{number}", "name": "search", "args": {"text": "x" * 100}, "type": "tool_call"}
        reasoning = {"reasoning_content": f"Hm {number}. " * 50}
        messages += [
            AIMessage("", tool_calls=[call], additional_kwargs=reasoning),
            ToolMessage("y" * 2_000, tool_call_id="search:1"),
        ]
    settings = {"tools": [{"type": "function", "function": {"name": "search", "parameters": {}}}]}
    PromptFingerprint.of(messages, settings)
    times = []
    for _ in range(20):
        start = time.thread_time()
        PromptFingerprint.of(messages, settings)
        times.append(time.thread_time() - start)
    assert min(times) < 0.005
