"""Waits before retries are told to callbacks."""

import re
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi._recorded_runs import read_thread
from langchain_kimi.testing import rate_limited, refused, said
from tests.clock import VirtualClock
from tests.conftest import FOUR_WAYS, Serve, add, kimi

ASK: Any = {"messages": [("user", "go")]}


class Waits(BaseCallbackHandler):
    """Notes the waits that are told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        assert name == "kimi_wait"
        self.told.append(data)


async def test_waits_are_told_to_callbacks(serve: Serve) -> None:
    waits, clock = Waits(), VirtualClock()
    server = serve([rate_limited(7), said("a"), rate_limited(7), said("b"), rate_limited(7), said("c")])
    model = kimi(server, max_retries=1, clock=clock)
    model.invoke("go", {"callbacks": [waits]})
    await model.ainvoke("go", {"callbacks": [waits]})
    async for _ in create_kimi_agent(model).astream(ASK, {"callbacks": [waits]}, stream_mode="messages"):
        pass
    assert [data["attempt"] for data in waits.told] == [1, 1, 1]
    assert all(7 <= data["seconds"] < 8 and "max RPM" in data["error"] for data in waits.told)


async def waited(model: ChatKimi, way: str) -> list[dict[str, Any]]:
    """The waits that the message of an answer holds."""
    if way in ("invoke", "ainvoke"):
        message: Any = model.invoke("go") if way == "invoke" else await model.ainvoke("go")
    elif way == "stream":
        message = sum_of(list(model.stream("go")))
    else:
        message = sum_of([chunk async for chunk in model.astream("go")])
    return list(message.response_metadata.get("kimi_waits", ()))


def sum_of(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    return add_ai_message_chunks(*chunks)


@FOUR_WAYS
async def test_an_answer_holds_the_waits_before_it(serve: Serve, way: str) -> None:
    server = serve([rate_limited(7), refused(503), said("a"), said("b")])
    model = kimi(server, max_retries=2, clock=VirtualClock())
    first, second = await waited(model, way), await waited(model, way)
    assert [(wait["error"], wait["status"]) for wait in first] == [("RateLimitError", 429), ("ServerError", 503)]
    assert 7 <= first[0]["seconds"] < 8
    assert first[1]["seconds"] == round(first[1]["seconds"], 3) > 0
    assert second == []


def test_a_thread_tells_of_its_retries(serve: Serve) -> None:
    saver = InMemorySaver()
    model = kimi(serve([rate_limited(7), said("a")]), max_retries=1, clock=VirtualClock())
    create_kimi_agent(model, [add], checkpointer=saver).invoke(ASK, {"configurable": {"thread_id": "1"}})
    (event,) = read_thread(saver, "1").events
    assert (event.kind, event.message) == ("retry", 2)
    assert re.fullmatch(
        r"An attempt failed with status 429 \(RateLimitError\); the next began 7(\.\d+)? seconds later\.", event.text
    )
