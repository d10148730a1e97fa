"""Long threads: what a compaction takes out, in which order, and what it never touches."""

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import START, StateGraph
from langgraph.store.memory import InMemoryStore
from pydantic import Field

from langchain_kimi import errors, tokens
from langchain_kimi._steps import arun_steps, run_steps
from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.message_groups import SUMMARY, is_summary
from langchain_kimi.agent.loop_guard import fingerprint
from langchain_kimi.agent.state import KimiState, add_kimi_messages
from langchain_kimi.testing import Request, refused, said, thought
from tests.agent.compaction.helpers import (
    SMALL,
    Summariser,
    acompact,
    check,
    compact,
    compacted,
    done,
    exchange,
    many_turns,
    of,
    one_turn,
    summariser,
    user,
)
from tests.conftest import SYNC_AND_ASYNC, Serve, kimi

# What is taken out.


def test_thinking_of_earlier_turns_goes_first_where_the_model_does_not_read_it() -> None:
    messages = [*many_turns(3, 10, thinking=2_000), *exchange(9, 10, thinking=2_000)]
    outcome = compact(Compactor(Compaction(summarise=False, **SMALL), of("kimi-k2.6")), messages)
    check(outcome, messages)
    assert done(outcome) == ["dropped_reasoning"]
    assert outcome.steps[0].number == 3
    thoughts = [message.additional_kwargs.get("reasoning_content") for message in outcome.messages]
    assert [thought for thought in thoughts if thought] == [" ", " ", " ", "t" * 2_000]
    assert outcome.messages[-2] is messages[-2]


@pytest.mark.parametrize(
    "model",
    [
        of("kimi-k3"),
        of("kimi-k2.7-code"),
        of("kimi-k2.6", keep_thinking=True),
        of("kimi-k2.6", extra_body={"thinking": {"type": "enabled", "keep": "all"}}),
        of("someones-own", base_url="http://127.0.0.1:9/v1"),
        summariser(model="kimi-k2.6"),
    ],
    ids=["k3", "k2.7", "kept", "kept by hand", "unknown", "no kimi"],
)
def test_thinking_stays_where_the_model_reads_it_or_that_is_not_known(model: Any) -> None:
    messages = many_turns(3, 10, thinking=500)
    outcome = compact(Compactor(Compaction(**SMALL), model), messages)
    assert outcome.messages == messages
    assert outcome.update == outcome.steps == []


def test_thinking_of_another_provider_is_left_to_it() -> None:
    messages = many_turns(3, 10, thinking=500)
    messages[1] = messages[1].model_copy(update={"response_metadata": {"model_provider": "someone"}})
    outcome = compact(Compactor(Compaction(**SMALL), of("kimi-k2.6")), messages)
    assert outcome.messages[1] is messages[1]
    assert outcome.steps[0].number == 2


def test_what_is_in_a_request_beside_the_known_does_not_shrink_with_it() -> None:
    usage: Any = {"input_tokens": 8_000, "output_tokens": 60, "total_tokens": 8_060}
    messages = one_turn(20, 100)
    messages[-2] = messages[-2].model_copy(update={"usage_metadata": usage})
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), messages)
    assert outcome.tokens_before > 8_000
    assert 4_000 < outcome.tokens_after < 8_000
    assert done(outcome)[-1] == "above_target"


def test_old_results_are_shortened_before_anything_is_summarised() -> None:
    messages = [*many_turns(5, 6_000), *exchange(8, 4_000), *exchange(9, 4_000)]
    model = summariser()
    compactor = Compactor(Compaction(keep_results=2, result_tokens=100, **SMALL), model)
    assert compactor.is_due(messages)
    outcome = compact(compactor, messages)
    check(outcome, messages)
    assert done(outcome) == ["shortened_results"]
    assert outcome.tokens_after <= 4_500 < outcome.tokens_before
    assert model.asked == []
    cut = [message for message in outcome.messages if "left out" in message.text]
    assert [message.id for message in cut] == [f"r{at}:0" for at in range(outcome.steps[0].number)]  # the oldest
    for message in cut:
        assert message.text.startswith(f"{message.id[1:]} rrr")  # type: ignore[index]
        assert message.text.endswith("rrr")
        assert "of 6,004 characters" in message.text
    assert outcome.messages[-1] is messages[-1]


def test_big_results_are_shortened_before_small_ones() -> None:
    messages = many_turns(8, 1_200)
    messages[6] = messages[6].model_copy(update={"content": "big " * 6_000})
    outcome = compact(Compactor(Compaction(keep_results=0, result_tokens=100, **SMALL), summariser()), messages)
    assert [message.id for message in outcome.messages if "left out" in message.text] == ["r1:0"]


def test_a_shortened_result_is_still_the_same_to_the_loop_guard() -> None:
    messages = one_turn(30, 2_000)
    compactor = Compactor(Compaction(keep_results=2, result_tokens=50, **SMALL), summariser())
    outcome = compact(compactor, messages)
    assert done(outcome) == ["shortened_results"]
    before = {message.id: fingerprint(message) for message in messages if isinstance(message, ToolMessage)}
    for message in outcome.messages:
        if isinstance(message, ToolMessage):
            assert fingerprint(message) == before[message.id]


@SYNC_AND_ASYNC
async def test_oldest_exchanges_of_earlier_turns_become_one_summary(way: str) -> None:
    messages = [SystemMessage("Be kind.", id="s"), *many_turns(60, 200)]
    model = summariser(responses=["They added numbers 0 to 30."])
    outcome = await compacted(way, Compactor(Compaction(**SMALL), model), messages)
    check(outcome, messages)
    assert done(outcome) == ["summarised"]
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
    assert "User: Add number 0." in model.asked[0]
    assert 'Assistant calls add: {"a":0,"b":0}' in model.asked[0]
    assert "Result of add: 0:0 rrr" in model.asked[0]
    assert "And now the last one" not in model.asked[0]


@SYNC_AND_ASYNC
async def test_a_running_turn_that_is_too_long_by_itself_keeps_its_task_and_its_end(way: str) -> None:
    messages = one_turn(200, 300, thinking=200)
    outcome = await compacted(way, Compactor(Compaction(keep_results=4, **SMALL), summariser()), messages)
    check(outcome, messages)
    assert done(outcome) == ["summarised"]
    task, summary, *rest = outcome.messages
    assert task is messages[0]
    assert is_summary(summary)
    assert summary.id == "a0"
    assert len(rest) > 8
    assert all(one is other for one, other in zip(rest, messages[-len(rest) :], strict=True))
    assert isinstance(rest[0], AIMessage)


def test_within_a_running_turn_results_are_shortened_first_but_not_the_latest() -> None:
    messages = one_turn(20, 2_000)
    outcome = compact(Compactor(Compaction(keep_results=4, result_tokens=50, **SMALL), summariser()), messages)
    check(outcome, messages)
    assert done(outcome) == ["shortened_results"]
    assert outcome.messages[-8:] == messages[-8:]
    assert outcome.messages[0] is messages[0]


def test_of_a_batch_of_huge_results_requests_have_excerpts_and_the_state_has_all() -> None:
    messages = one_turn(1, 8_000, calls=32)
    outcome = compact(Compactor(Compaction(result_tokens=100, **SMALL), summariser()), messages)
    check(outcome, messages)
    assert outcome.messages == messages
    assert set(outcome.excerpts) == {message.id for message in messages[2:]}
    assert done(outcome)[0] == "excerpts_of_results"
    assert outcome.tokens_after <= 0.85 * 9_000


def test_what_cannot_be_made_shorter_is_told() -> None:
    messages: list[Any] = [user(0, "x" * 80_000)]
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), messages)
    assert outcome.messages == messages
    assert done(outcome) == ["above_target"]
    assert outcome.tokens_after > 4_500


def test_two_messages_of_the_user_in_a_row_both_stay() -> None:
    messages = [*many_turns(60, 200), user(61, "Wait: subtract it.")]
    outcome = compact(Compactor(Compaction(window=400, reserve=0), summariser()), messages)
    assert len(outcome.messages) == 3
    assert [message.text for message in outcome.messages[-2:]] == ["And now the last one.", "Wait: subtract it."]
    assert outcome.messages[-2] is messages[-2]


def test_a_second_summary_takes_in_the_first_and_keeps_the_task() -> None:
    model = summariser(responses=["First half."])
    compactor = Compactor(Compaction(**SMALL), model)
    first = compact(compactor, many_turns(60, 200))
    more = [message for at in range(70, 130) for message in exchange(at, 400)]
    thread = [*first.messages, *more, AIMessage("Done.", id="f"), user(200, "Now the rest.")]
    model.responses[:] = ["Both halves."]
    second = compact(compactor, thread)
    check(second, thread)
    summaries = [message for message in second.messages if is_summary(message)]
    assert len(summaries) == 1
    assert "First half." in model.asked[-1]
    assert "Both halves." in summaries[0].text
    assert "First half." not in summaries[0].text
    assert "Add number 0." in summaries[0].text
    removed = 130 + 3 * 60
    assert summaries[0].additional_kwargs[SUMMARY]["turns"] <= 61
    assert first.messages[0].additional_kwargs[SUMMARY]["exchanges"] < removed


def test_the_names_of_the_tools_that_were_declared_first_are_kept() -> None:
    messages = many_turns(60, 200)
    messages[1].additional_kwargs["kimi_tools_shown"] = ["add"]
    brought = SystemMessage("", id="b", additional_kwargs={"tools": [{"type": "function", "function": {"name": "f"}}]})
    messages.insert(8, brought)
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), messages)
    assert outcome.messages[0].additional_kwargs["kimi_tools_shown"] == ["add"]
    assert outcome.messages[1] is brought


def test_the_old_record_of_usage_does_not_count_after_a_compaction() -> None:
    messages = one_turn(100, 300)
    usage: Any = {"input_tokens": 9_000, "output_tokens": 60, "total_tokens": 9_060}
    messages[-2] = messages[-2].model_copy(update={"usage_metadata": usage})
    compactor = Compactor(Compaction(**SMALL), summariser())
    assert compactor.is_due(messages)
    outcome = compact(compactor, messages)
    assert outcome.tokens_before > 9_000
    assert not compactor.is_due(outcome.messages)


# When it goes wrong.


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
    check(outcome, messages)
    assert done(outcome) == ["dropped_exchanges"]
    assert why in outcome.steps[0].why
    assert f"{outcome.steps[0].number} earlier exchanges were removed" in outcome.messages[0].text
    assert "Add number 0." in outcome.messages[0].text
    assert outcome.tokens_after <= 4_500


def test_the_answer_that_was_cut_in_its_thinking_is_paid_for() -> None:
    cut = errors.AnswerCutShort("cut")
    cut.message = AIMessage("", id="cut")
    outcome = compact(Compactor(Compaction(**SMALL), summariser(raises=[cut])), many_turns(60, 200))
    assert outcome.answers == [cut.message]
    assert done(outcome) == ["dropped_exchanges"]


def test_without_summaries_nobody_is_asked() -> None:
    model = summariser()
    outcome = compact(Compactor(Compaction(summarise=False, **SMALL), model), many_turns(60, 200))
    assert model.asked == []
    assert done(outcome) == ["dropped_exchanges"]


def test_a_part_that_is_too_long_is_summarised_in_smaller_parts() -> None:
    model = summariser(raises=[ContextOverflowError("too long"), None, None, None, None])
    outcome = compact(Compactor(Compaction(**SMALL), model), many_turns(60, 200))
    assert done(outcome) == ["summarised"]
    assert len(outcome.answers) == len(model.asked) - 1 >= 2
    assert len(model.asked[1]) < len(model.asked[0])
    assert "They added numbers." in model.asked[2]  # the summary so far


@pytest.mark.parametrize(
    "error",
    [
        errors.from_response(
            400,
            {"error": {"message": "Your request exceeded model token limit: 10000 (requested: 10500)"}},
            host="h",
            headers={},
        ),
        ContextOverflowError("This model's maximum context length is 10000 tokens."),
        ContextOverflowError("too long"),
    ],
    ids=["kimi", "others", "no figures"],
)
@pytest.mark.parametrize("window", [10_000, None])
def test_after_an_overflow_a_thread_that_seemed_to_fit_becomes_shorter(error: Exception, window: int | None) -> None:
    messages = many_turns(30, 200)
    compactor = Compactor(Compaction(window=window, reserve=1_000), summariser())
    assert not compactor.is_due(messages)
    assert isinstance(error, ContextOverflowError)
    outcome = compact(compactor, messages, overflow=error)
    check(outcome, messages)
    assert done(outcome) == ["summarised"]
    assert tokens.count(outcome.messages) < tokens.count(messages) * 0.7


# On the wire.


@SYNC_AND_ASYNC
async def test_kimi_itself_is_asked_for_the_summary_without_tools(serve: Serve, way: str) -> None:
    server = serve([thought("Short.").saying("They added ninety numbers."), said("fine")])
    model = kimi(server)
    messages = many_turns(60, 200)
    outcome = await compacted(way, Compactor(Compaction(**SMALL, summary_prompt="Sum it up."), model), messages)
    check(outcome, messages)
    (request,) = server.requests
    assert "tools" not in request.json
    (asked,) = request.messages
    assert asked["role"] == "user"
    assert asked["content"].startswith("Sum it up.\nWrite at most ")
    assert "<conversation>\nUser: Add number 0." in asked["content"]
    assert "They added ninety numbers." in outcome.messages[0].text
    assert outcome.answers[0].usage_metadata
    assert (await model.ainvoke(outcome.messages)).text == "fine"
    assert server.requests[1].messages[0]["content"] == outcome.messages[0].content
    assert set(server.statuses) == {200}


@SYNC_AND_ASYNC
async def test_a_summary_that_kimi_refuses_as_too_long_is_asked_for_in_parts(serve: Serve, way: str) -> None:
    too_long = "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)"

    def script(request: Request) -> Any:
        if len(str(request.messages)) > 6_000:
            return refused(400, "invalid_request_error", too_long)
        return said(f"Part {len(server.requests)}.")

    server = serve(script)
    outcome = await compacted(way, Compactor(Compaction(**SMALL), kimi(server)), many_turns(60, 200))
    assert done(outcome) == ["summarised"]
    assert server.statuses[0] == 400
    assert len(outcome.answers) >= 2


@SYNC_AND_ASYNC
async def test_the_summary_is_not_streamed_as_if_the_agent_spoke(serve: Serve, way: str) -> None:
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
    asked = {"messages": many_turns(60, 200)}
    if way == "sync":
        shown = await asyncio.to_thread(lambda: list(agent.stream(asked, stream_mode="messages")))
    else:
        shown = [part async for part in agent.astream(asked, stream_mode="messages")]
    text = "".join(chunk.text for chunk, _ in shown if isinstance(chunk, AIMessageChunk))
    assert text == "The answer."


class Waiting(Summariser):
    """A model that never answers."""

    begun: Any = Field(default_factory=asyncio.Event)

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_cancelled_compaction_is_no_failed_summary() -> None:
    model = Waiting()
    running = asyncio.create_task(acompact(Compactor(Compaction(**SMALL), model), many_turns(60, 200)))
    await model.begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@SYNC_AND_ASYNC
async def test_dropped_thinking_leaves_a_request_that_kimi_takes(serve: Serve, way: str) -> None:
    server = serve([said("fine")])
    model = kimi(server, missing_reasoning="raise")
    messages = [*many_turns(3, 10, thinking=500), *exchange(9, 10, thinking=500)]
    outcome = await compacted(way, Compactor(Compaction(**SMALL), model), messages)
    assert done(outcome) == ["dropped_reasoning"]
    await model.ainvoke(outcome.messages)
    sent = [message.get("reasoning_content") for message in server.requests[0].messages if message.get("tool_calls")]
    assert sent == [" ", " ", " ", "t" * 500]


# Any thread.

sizes = st.sampled_from([0, 20, 400, 3_000])


@st.composite
def threads(draw: st.DrawFn) -> list[AnyMessage]:
    messages: list[AnyMessage] = []
    if draw(st.booleans()):
        messages.append(SystemMessage("Be kind.", id="s"))
    at = 0
    for turn in range(draw(st.integers(1, 5))):
        messages.append(user(turn, "Do it. " + "u" * draw(sizes)))
        for _ in range(draw(st.integers(0, 6))):
            at += 1
            messages += exchange(at, draw(sizes), draw(st.integers(1, 4)), draw(sizes))
        if turn and draw(st.booleans()):
            messages.append(AIMessage("Done. " + "d" * draw(sizes), id=f"f{turn}"))
    if draw(st.booleans()):
        place = max((n for n, message in enumerate(messages) if isinstance(message, AIMessage)), default=None)
        if place is not None:
            used = draw(st.integers(10, 20_000))
            usage = {"input_tokens": used, "output_tokens": 5, "total_tokens": used + 5}
            messages[place] = messages[place].model_copy(update={"usage_metadata": usage})
    return messages


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    threads(),
    st.builds(
        Compaction,
        window=st.integers(1_000, 12_000),
        reserve=st.integers(0, 800),
        keep_results=st.integers(0, 6),
        result_tokens=st.sampled_from([20, 100, 400]),
        summarise=st.booleans(),
    ),
    st.sampled_from([None, ContextOverflowError("too long")]),
    st.booleans(),
)
def test_any_thread_keeps_its_pairs_its_task_and_its_ids(
    messages: list[AnyMessage], context: Compaction, overflow: Exception | None, is_kimi: bool
) -> None:
    before = copy.deepcopy(messages)
    given = list(messages)
    model = of("kimi-k2.6") if is_kimi else summariser()
    compactor = Compactor(context, model)
    if is_kimi:
        compactor._model = summariser()
    outcome = compact(compactor, messages, overflow=overflow)
    assert messages == before
    assert all(one is other for one, other in zip(messages, given, strict=True))
    check(outcome, messages)
    last = max(place for place, message in enumerate(messages) if message.type == "human")
    assert any(message is messages[last] for message in outcome.messages)
    assert all(any(message is one for one in outcome.messages) for message in messages if message.type == "system")
    room = context.window - context.reserve  # type: ignore[operator]
    assert outcome.tokens_after <= int(room * context.target) or done(outcome)[-1] == "above_target"
    again = compact(compactor, messages, overflow=overflow)
    assert again.messages == outcome.messages
    assert [isinstance(write, RemoveMessage) for write in outcome.update] == sorted(
        isinstance(write, RemoveMessage) for write in outcome.update
    )


def test_messages_without_ids_are_written_as_a_whole() -> None:
    messages = [message.model_copy(update={"id": None}) for message in many_turns(60, 200)]
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), messages)
    merged = add_kimi_messages(messages, [outcome.update])
    assert [message.content for message in merged] == [message.content for message in outcome.messages]


def test_a_store_is_not_touched_unless_asked() -> None:
    store = InMemoryStore()
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), many_turns(60, 200), store=store)
    assert outcome.archived == []
    assert store.list_namespaces() == []


def test_calls_still_open_are_left_alone() -> None:
    messages = [*one_turn(60, 400), *exchange(99, calls=2)[:-1]]
    outcome = compact(Compactor(Compaction(**SMALL), summariser()), messages)
    assert outcome.messages[-2:] == messages[-2:]
