"""A response answers the question that was shown, and no other one after a crash. One that does not fit raises."""

import asyncio
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import ValidationError

from langchain_kimi import agent_as_tool, create_kimi_agent
from langchain_kimi.testing import FakeKimi, called, said
from tests.agent.helpers import ran
from tests.conftest import PAIRED, SYNC_AND_ASYNC


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


@PAIRED
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("mode", ["batched", "per_call"])
@pytest.mark.parametrize("once", [(), {"helper"}])
async def test_an_invalid_decision_on_a_call_of_a_sub_agent_raises_and_leaves_the_question_open(
    way: str, mode: Any, once: Any
) -> None:
    deleted: list[str] = []

    @tool
    def delete(path: str) -> str:
        """Delete a file."""
        deleted.append(path)
        return f"deleted {path}"

    own_model = FakeKimi([called("delete", path="a"), said("I did.")])
    helper = create_kimi_agent(own_model, [delete], interrupt_on={"delete": True}, interrupt_mode=mode)
    middle_model = FakeKimi([called("helper", task="y"), said("It did.")])
    middle = create_kimi_agent(middle_model, [agent_as_tool(helper, name="helper", description="Help.")], once=once)
    model = FakeKimi([called("lead", task="x"), said("done")])
    lead = agent_as_tool(middle, name="lead", description="Lead.")
    agent = create_kimi_agent(model, [lead], checkpointer=InMemorySaver())

    def response(kind: str) -> Any:
        return Command(resume={"decisions": [{"type": kind}]} if mode == "batched" else {"type": kind})

    shown = (await ran(agent, way))["__interrupt__"]
    for _ in range(2):
        with pytest.raises(ValidationError, match="'maybe' is not allowed for delete; it takes approve, edit"):
            await ran(agent, way, response("maybe"))
    [task] = agent.get_state({"configurable": {"thread_id": "1"}}).tasks
    assert [one.id for one in task.interrupts] == [one.id for one in shown]
    assert deleted == []
    state = await ran(agent, way, response("approve"))
    assert (deleted, state["messages"][-1].text) == (["a"], "done")
    assert "tool_errors" not in state["spent"]
    assert [len(one.requests) for one in (model, middle_model, own_model)] == [2, 2, 2]


@SYNC_AND_ASYNC
async def test_a_valid_decision_counts_beside_an_invalid_one_for_another_sub_agent(way: str) -> None:
    deleted: list[str] = []

    @tool
    def delete(path: str) -> str:
        """Delete a file."""
        deleted.append(path)
        return f"deleted {path}"

    model = FakeKimi(
        lambda request: said("I did.") if request.tool_results() else called("delete", path=request.text_of("user"))
    )
    helper = create_kimi_agent(model, [delete], interrupt_on={"delete": True})
    lead = FakeKimi([called("helper", task="a").calling("helper", task="b"), said("done")])
    agent = create_kimi_agent(
        lead, [agent_as_tool(helper, name="helper", description="Help.")], checkpointer=InMemorySaver()
    )
    first, second = (await ran(agent, way))["__interrupt__"]
    approve, maybe = {"decisions": [{"type": "approve"}]}, {"decisions": [{"type": "maybe"}]}
    with pytest.raises(ValidationError, match="'maybe' is not allowed for delete"):
        await ran(agent, way, Command(resume={first.id: approve, second.id: maybe}))
    assert len(deleted) == 1
    state = await ran(agent, way, Command(resume={second.id: approve}))
    assert (sorted(deleted), state["messages"][-1].text) == (["a", "b"], "done")
