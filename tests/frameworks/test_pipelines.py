"""Apps of chains: RunnableWithMessageHistory, LCEL pipelines, and the events of both."""

import asyncio
import warnings
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.runnables.history import RunnableWithMessageHistory
from langgraph.checkpoint.memory import InMemorySaver

from tests.conftest import PAIRED, Serve, add, kimi
from tests.frameworks.wire import MODELS, THREAD, Told, adds, results_of, sent_back, warnings_of

PROMPT = ChatPromptTemplate.from_messages([("system", "You {do}."), MessagesPlaceholder("messages")])
KEPT_ALL = [list(range(number)) for number in range(6)]
"""What came back in each of six requests: everything."""


async def ask(chain: Runnable[Any, Any], way: str, run_input: Any, config: Any = None) -> Any:
    """What the chain gives, whole or collected from its stream."""
    if way == "sync":
        return await asyncio.to_thread(chain.invoke, run_input, config)
    if way == "async":
        return await chain.ainvoke(run_input, config)
    chunks = [chunk async for chunk in chain.astream(run_input, config)]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


THREE_WAYS = pytest.mark.parametrize("way", ["sync", "async", "stream"])


@PAIRED
# Their own history classes are deprecated, and in use all the same.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
@THREE_WAYS
@MODELS
async def test_three_turns_with_a_message_history(serve: Serve, model: str, way: str) -> None:
    told = Told(adds)
    server = serve(told)
    kept: dict[str, InMemoryChatMessageHistory] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chain = RunnableWithMessageHistory(
            PROMPT.partial(do="add") | kimi(server, model).bind_tools([add]),
            lambda session_id: kept.setdefault(session_id, InMemoryChatMessageHistory()),
            input_messages_key="messages",
        )
    config = {"configurable": {"session_id": "1"}}
    for turn in range(3):
        answer = await ask(chain, way, {"messages": [HumanMessage(f"Add. ({turn})")]}, config)
        await ask(chain, way, {"messages": results_of(answer)}, config)
    assert sent_back(server, told) == KEPT_ALL
    assert len(kept["1"].messages) == 15


@PAIRED
@THREE_WAYS
@MODELS
async def test_three_turns_through_a_pipeline(serve: Serve, model: str, way: str) -> None:
    told = Told(adds)
    server = serve(told)
    bound = kimi(server, model).bind_tools([add])
    chain = (
        RunnablePassthrough.assign(answer=PROMPT | bound.with_retry().with_config(tags=["kimi"]))
        | RunnableParallel(answer=lambda so_far: so_far["answer"], before=lambda so_far: so_far["messages"])
        | RunnableLambda(lambda both: [*both["before"], both["answer"], *results_of(both["answer"])])
    )
    history: list[BaseMessage] = []
    for turn in range(3):
        history = await ask(chain, way, {"do": "add", "messages": [*history, HumanMessage(f"Add. ({turn})")]})
        history = await ask(chain, way, {"do": "add", "messages": history})
    assert sent_back(server, told) == KEPT_ALL


@MODELS
async def test_three_turns_in_batches(serve: Serve, model: str) -> None:
    told = Told(adds)
    server = serve(told)
    bound = kimi(server, model).bind_tools([add])
    threads: list[Any] = [[], [], []]
    for turn in range(3):
        threads = [[*thread, HumanMessage(f"Add. ({turn})")] for thread in threads]
        for answers in (bound.batch(threads), None):
            answers = answers or await bound.abatch(threads)
            threads = [[*one, answer, *results_of(answer)] for one, answer in zip(threads, answers, strict=True)]
    back = sent_back(server, told)
    assert sorted(map(len, back)) == [number for number in range(6) for _ in range(3)]


@THREE_WAYS
async def test_texts_alone_make_a_legal_history(serve: Serve, way: str, recwarn: pytest.WarningsRecorder) -> None:
    told = Told(adds)
    server = serve(told)
    chain = PROMPT | kimi(server) | StrOutputParser()
    history: list[Any] = []
    for turn in range(3):
        history.append(("human", f"Hello. ({turn})"))
        history.append(("ai", await ask(chain, way, {"do": "add", "messages": history})))
    assert server.statuses == [200] * 3
    assert warnings_of(recwarn) == []


def thinking_of(chunks: list[AIMessageChunk]) -> str:
    return "".join(str(chunk.additional_kwargs.get("reasoning_content", "")) for chunk in chunks)


@MODELS
async def test_three_turns_by_events(serve: Serve, model: str) -> None:
    told = Told(adds)
    server = serve(told)
    agent: Any = create_agent(kimi(server, model), [add], checkpointer=InMemorySaver())
    streamed: dict[str, list[AIMessageChunk]] = {}
    ended: list[AIMessage] = []
    for turn in range(3):
        run_input = {"messages": [("user", f"Add. ({turn})")]}
        async for event in agent.astream_events(run_input, THREAD, version="v2"):
            if event["event"] == "on_chat_model_stream":
                streamed.setdefault(event["run_id"], []).append(event["data"]["chunk"])
            if event["event"] == "on_chat_model_end":
                ended.append(event["data"]["output"])
    assert sent_back(server, told) == KEPT_ALL
    thoughts = [reply.reasoning for reply in told.said]
    assert [thinking_of(chunks) for chunks in streamed.values()] == thoughts
    assert [message.additional_kwargs["reasoning_content"] for message in ended] == thoughts


@MODELS
async def test_three_turns_of_a_pipeline_by_events(serve: Serve, model: str) -> None:
    told = Told(adds)
    server = serve(told)
    chain = PROMPT | kimi(server, model).bind_tools([add])
    history: list[Any] = []
    for turn in range(3):
        history.append(HumanMessage(f"Add. ({turn})"))
        for _ in range(2):
            run_input = {"do": "add", "messages": history}
            events = [event async for event in chain.astream_events(run_input, version="v2")]
            answer: Any = next(event for event in events if event["event"] == "on_chat_model_end")["data"]["output"]
            history += [answer, *results_of(answer)]
    assert sent_back(server, told) == KEPT_ALL


@MODELS
async def test_three_turns_by_typed_events(serve: Serve, model: str) -> None:
    told = Told(adds)
    server = serve(told)
    bound = kimi(server, model).bind_tools([add])
    history: list[Any] = []
    for turn in range(3):
        history.append(HumanMessage(f"Add. ({turn})"))
        for _ in range(2):
            stream = await bound.astream_events(history, version="v3")
            answer = await stream.output
            history += [answer, *results_of(answer)]
    assert sent_back(server, told) == KEPT_ALL
