"""Two runs on one thread at the same time: what the documentation warns of."""

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult

from langchain_kimi import create_kimi_agent
from tests.databases import THREAD, Database


class Together(FakeListChatModel):
    """Answers when both runs have asked."""

    both: Any

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        await self.both.wait()
        return await super()._agenerate(messages, stop, run_manager, **kwargs)


async def test_one_of_two_turns_is_lost_and_the_thread_goes_on(database: Database) -> None:
    if database.way == "sync":
        pytest.skip("two synchronous runs would share one connection")
    async with database.saver() as saver:
        both = asyncio.Barrier(2)
        model = Together(responses=["fine"], both=both, disable_streaming=True)
        agent = create_kimi_agent(model, checkpointer=saver)
        states = await asyncio.gather(
            *(agent.ainvoke({"messages": [("user", word)]}, THREAD) for word in ("one", "two"))
        )
        own = [[message.text for message in state["messages"]] for state in states]
        assert own == [["one", "fine"], ["two", "fine"]]
        kept = [message.text for message in (await database.state(agent)).values["messages"]]
        assert kept in (["one", "fine"], ["two", "fine"])
        alone = create_kimi_agent(FakeListChatModel(responses=["well"]), checkpointer=saver)
        state = await database.run(alone, {"messages": [("user", "three")]})
        assert [message.text for message in state["messages"]] == [*kept, "three", "well"]
