"""A response answers the question that was shown, and no other one after a crash."""

import asyncio
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_kimi import agent_as_tool, create_kimi_agent
from langchain_kimi.testing import FakeKimi, called, said
from tests.agent.helpers import ran
from tests.conftest import PAIRED


class Crash(BaseException):
    """The process ends here, as far as the run can tell."""


@PAIRED
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("mode", ["batched", "per_call"])
async def test_an_approval_in_a_sub_agent_is_not_taken_for_the_next_call_after_a_crash(way: str, mode: Any) -> None:
    deleted: list[str] = []

    @tool
    def delete(path: str) -> str:
        """Delete a file."""
        deleted.append(path)
        if len(deleted) == 1:
            raise Crash
        return f"deleted {path}"

    model = FakeKimi([called("delete", path="a"), called("delete", path="b"), said("done")])
    helper = create_kimi_agent(model, [delete], interrupt_on={"delete": True}, interrupt_mode=mode)
    own = agent_as_tool(helper, name="helper", description="Help.")
    agent = create_kimi_agent(FakeKimi([called("helper", task="x"), said("done")]), [own], checkpointer=InMemorySaver())
    approve: Any = Command(resume={"decisions": [{"type": "approve"}]} if mode == "batched" else {"type": "approve"})
    await ran(agent, way)
    with pytest.raises((Crash, asyncio.CancelledError)):
        await ran(agent, way, approve)
    for _ in range(2):
        assert "__interrupt__" in await ran(agent, way, None)
        assert deleted == ["a", "a"]  # the first call was approved, the second one was not
    state = await ran(agent, way, approve)
    assert (deleted, state["messages"][-1].text) == (["a", "a", "b"], "done")
