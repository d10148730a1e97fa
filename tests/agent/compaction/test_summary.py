"""The summary of removed messages: how it is requested, and what happens without one."""

import asyncio
from typing import Any

import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    SystemMessage,
)
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import START, StateGraph
from pydantic import Field

from langchain_kimi import errors
from langchain_kimi._steps import arun_steps, run_steps
from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.message_groups import SUMMARY, is_summary
from langchain_kimi.agent.state import KimiState
from langchain_kimi.testing import Request, refused, said, thought
from tests.agent.compaction.helpers import (
    SMALL,
    Summariser,
    acompact,
    check_result,
    compact,
    compacted,
    exchange,
    many_turns,
    step_names,
    summariser,
    user,
)
from tests.conftest import SYNC_AND_ASYNC, Serve, kimi


@SYNC_AND_ASYNC
async def test_oldest_exchanges_of_earlier_turns_become_one_summary(way: str) -> None:
    messages = [SystemMessage("Be kind.", id="s"), *many_turns(60, 200)]
    model = summariser(responses=["They added numbers 0 to 30."])
    outcome = await compacted(way, Compactor(Compaction(**SMALL), model), messages)
    check_result(outcome, messages)
    assert step_names(outcome) == ["summarised"]
    system, summary, *rest = outcome.messages
    assert system is messages[0]
    assert is_summary(summary)
    assert summary.id == "u0"
    assert "They added numbers 0 to 30." in summary.text
    assert "Add number 0." in summary.text
    assert "no message of the user" in summary.text
    assert rest == messages[-len(rest) :]
    assert all(one is other for one, other in zip(rest, messages[-len(rest) :], strict=True))
    assert outcome.tokens_after <= 4_500 < outcome.tokens_before
    assert [answer.text for answer in outcome.answers] == ["They added numbers 0 to 30."]
    assert "User: Add number 0." in model.requests[0]
    assert 'Assistant calls add: {"a":0,"b":0}' in model.requests[0]
    assert "Result of add: 0:0 rrr" in model.requests[0]
    assert "And now the last one" not in model.requests[0]


def test_a_second_summary_takes_in_the_first_and_keeps_the_task() -> None:
    model = summariser(responses=["First half."])
    compactor = Compactor(Compaction(**SMALL), model)
    first = compact(compactor, many_turns(60, 200))
    more = [message for at in range(70, 130) for message in exchange(at, 400)]
    thread = [*first.messages, *more, AIMessage("Done.", id="f"), user(200, "Now the rest.")]
    model.responses[:] = ["Both halves."]
    second = compact(compactor, thread)
    check_result(second, thread)
    summaries = [message for message in second.messages if is_summary(message)]
    assert len(summaries) == 1
    assert "First half." in model.requests[-1]
    assert "Both halves." in summaries[0].text
    assert "First half." not in summaries[0].text
    assert "Add number 0." in summaries[0].text
    removed = 130 + 3 * 60
    assert summaries[0].additional_kwargs[SUMMARY]["turns"] <= 61
    assert first.messages[0].additional_kwargs[SUMMARY]["exchanges"] < removed


def test_a_summary_keeps_the_names_of_the_tools_that_were_declared_first() -> None:
    messages = many_turns(60, 200)
    messages[1].additional_kwargs["kimi_tools_shown"] = ["add"]
    with_tools = SystemMessage(
        "", id="b", additional_kwargs={"tools": [{"type": "function", "function": {"name": "f"}}]}
    )
    messages.insert(8, with_tools)
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), messages)
    assert outcome.messages[0].additional_kwargs["kimi_tools_shown"] == ["add"]
    assert outcome.messages[1] is with_tools


@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: summariser(raises=[errors.ServerError("the engine broke")]), "the engine broke"),
        (lambda: summariser(responses=["  "]), "empty"),
        (lambda: summariser(finish="length"), "output cap"),
        (lambda: summariser(raises=[ContextOverflowError("too long")] * 12), "too long"),
    ],
    ids=["raises", "empty", "cut", "never fits"],
)
async def test_without_a_summary_the_oldest_exchanges_go_and_a_note_says_so(way: str, model: Any, why: str) -> None:
    messages = many_turns(60, 200)
    outcome = await compacted(way, Compactor(Compaction(**SMALL), model()), messages)
    check_result(outcome, messages)
    assert step_names(outcome) == ["dropped_exchanges"]
    assert why in outcome.steps[0]["why"]
    assert f"{outcome.steps[0]['number']} earlier exchanges were removed" in outcome.messages[0].text
    assert "Add number 0." in outcome.messages[0].text
    assert outcome.tokens_after <= 4_500


def test_an_answer_cut_in_its_reasoning_counts_as_usage() -> None:
    cut = errors.AnswerCutShort("cut")
    cut.message = AIMessage("", id="cut")
    outcome = compact(Compactor(Compaction(**SMALL), summariser(raises=[cut])), many_turns(60, 200))
    assert outcome.answers == [cut.message]
    assert step_names(outcome) == ["dropped_exchanges"]


def test_without_summarise_the_model_gets_no_request() -> None:
    model = summariser()
    outcome = compact(Compactor(Compaction(summarise=False, **SMALL), model), many_turns(60, 200))
    assert model.requests == []
    assert step_names(outcome) == ["dropped_exchanges"]


def test_a_part_that_is_too_long_is_summarised_in_smaller_parts() -> None:
    model = summariser(raises=[ContextOverflowError("too long"), None, None, None, None])
    outcome = compact(Compactor(Compaction(**SMALL), model), many_turns(60, 200))
    assert step_names(outcome) == ["summarised"]
    assert len(outcome.answers) == len(model.requests) - 1 >= 2
    assert len(model.requests[1]) < len(model.requests[0])
    assert "They added numbers." in model.requests[2]  # the summary so far


@SYNC_AND_ASYNC
async def test_the_request_for_a_summary_has_no_tools(serve: Serve, way: str) -> None:
    server = serve([thought("Short.").saying("They added ninety numbers."), said("fine")])
    model = kimi(server)
    messages = many_turns(60, 200)
    outcome = await compacted(way, Compactor(Compaction(**SMALL, summary_prompt="Sum it up."), model), messages)
    check_result(outcome, messages)
    (request,) = server.requests
    assert "tools" not in request.json
    (message,) = request.messages
    assert message["role"] == "user"
    assert message["content"].startswith("Sum it up.\nWrite at most ")
    assert "<conversation>\nUser: Add number 0." in message["content"]
    assert "They added ninety numbers." in outcome.messages[0].text
    assert outcome.answers[0].usage_metadata
    assert (await model.ainvoke(outcome.messages)).text == "fine"
    assert server.requests[1].messages[0]["content"] == outcome.messages[0].content
    assert set(server.statuses) == {200}


@SYNC_AND_ASYNC
async def test_a_summary_request_refused_as_too_long_is_sent_in_parts(serve: Serve, way: str) -> None:
    too_long = "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)"

    def script(request: Request) -> Any:
        if len(str(request.messages)) > 6_000:
            return refused(400, "invalid_request_error", too_long)
        return said(f"Part {len(server.requests)}.")

    server = serve(script)
    outcome = await compacted(way, Compactor(Compaction(**SMALL), kimi(server)), many_turns(60, 200))
    assert step_names(outcome) == ["summarised"]
    assert server.statuses[0] == 400
    assert len(outcome.answers) >= 2


@SYNC_AND_ASYNC
async def test_the_summary_does_not_appear_on_the_messages_stream(serve: Serve, way: str) -> None:
    model = kimi(serve([said("In short."), said("The answer.")]))
    compactor = Compactor(Compaction(**SMALL), model)

    def node(state: Any, config: RunnableConfig) -> dict[str, Any]:
        outcome = run_steps(compactor.compact(state["messages"]), config)
        return {"messages": [*outcome.update, model.invoke(outcome.messages, config)]}

    async def anode(state: Any, config: RunnableConfig) -> dict[str, Any]:
        outcome = await arun_steps(compactor.compact(state["messages"]), config)
        return {"messages": [*outcome.update, await model.ainvoke(outcome.messages, config)]}

    graph: Any = StateGraph(KimiState)
    graph.add_node("node", RunnableLambda(node, afunc=anode))
    graph.add_edge(START, "node")
    agent = graph.compile()
    ask = {"messages": many_turns(60, 200)}
    if way == "sync":
        shown = await asyncio.to_thread(lambda: list(agent.stream(ask, stream_mode="messages")))
    else:
        shown = [part async for part in agent.astream(ask, stream_mode="messages")]
    text = "".join(chunk.text for chunk, _ in shown if isinstance(chunk, AIMessageChunk))
    assert text == "The answer."


class Waiting(Summariser):
    """A model that never answers."""

    started: Any = Field(default_factory=asyncio.Event)

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.started.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_cancelled_compaction_is_no_failed_summary() -> None:
    model = Waiting()
    running = asyncio.create_task(acompact(Compactor(Compaction(**SMALL), model), many_turns(60, 200)))
    await model.started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
