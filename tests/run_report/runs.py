"""Runs for reports: a small one with everything, built by hand, and a real one of an agent."""

import json
from collections.abc import Callable
from typing import Any

from langchain_core.messages.ai import UsageMetadata
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import agent_as_tool, create_kimi_agent
from langchain_kimi._cache_breaks import CacheBreak
from langchain_kimi._recorded_runs import (
    ApprovalRecord,
    MessagePart,
    ModelCallRecord,
    RecordedRun,
    RunEvent,
    RunMessage,
    TimeSpan,
    ToolCallRecord,
    read_thread,
)
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said, thought
from tests.agent.helpers import ASK, THREAD, decisions

RED_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO"
    "9TXL0Y4OHwAAAABJRU5ErkJggg=="
)
USAGE: UsageMetadata = {"input_tokens": 1_000, "output_tokens": 100, "total_tokens": 1_100}
ARGUMENTS = '{"path": "/a", "deep": [1, true]}'
BEGIN = 1_764_000_000.0


def span(start: float, end: float) -> TimeSpan:
    return TimeSpan(BEGIN + start, BEGIN + end, is_measured=True)


def text(number: int, role: Any, value: str, **fields: Any) -> RunMessage:
    return RunMessage(number, role, (MessagePart("text", value),), None, fields.pop("agent", "boss"), **fields)


def whole_run(say: Callable[[str], str] = lambda text: text) -> RecordedRun:
    """A run with an entry of every kind; `say` changes every text in it."""
    reasons = ("tools changed: +look", say("other prompt_cache_key: b after a"))
    picture = (MessagePart("picture", RED_DOT), MessagePart("picture", say("https://example.com/a.png")))
    return RecordedRun(
        name=say("run"),
        kind="thread",
        messages=(
            text(1, "user", say("Look at both."), time=BEGIN),
            text(2, "assistant", say("I look."), reasoning=say("Two at once."), tool_calls=(1, 2), time=BEGIN + 2),
            text(3, "tool", say("word " * 500), time=BEGIN + 5),
            RunMessage(4, "tool", picture, None, "boss", time=BEGIN + 6),
            text(5, "assistant", say("Done."), agent="helper", time=BEGIN + 3_600),
        ),
        model_calls=(
            ModelCallRecord(1, "boss", "kimi-k3", 2, (1,), usage=USAGE, finish_reason="tool_calls", time=span(0, 2)),
            ModelCallRecord(
                2, "boss", "kimi-k3", None, (1, 2, 3), error=say("Overloaded."), time=span(6, 7), is_free=True
            ),
            ModelCallRecord(
                3, "helper", say("m"), 5, (1,), usage=USAGE, finish_reason="length", time=span(3_590, 3_600)
            ),
        ),
        tool_calls=(
            ToolCallRecord(1, "boss", "look", "look:0", say(ARGUMENTS), 2, 3, "success", span(2, 5)),
            ToolCallRecord(2, "boss", "look", "look:1", say("no JSON"), 2, 4, "error", span(2, 6)),
        ),
        approvals=(ApprovalRecord(1, "boss", {"ask": say("May I?")}, say("Yes."), "answered", span(7, 3_590)),),
        events=(RunEvent("limit", "boss", say("The agent ended the turn."), BEGIN + 3_600),),
        status="finished",
        missing=("A thread does not hold the system prompt.",),
        cache_breaks=(CacheBreak(3, "helper", say("m"), reasons, 1_000, 256, 600, 0.00162),),
    )


def long_run(rounds: int) -> RecordedRun:
    """A run of so many rounds of two tool calls, each with a result of 1.3 kB in JSON, as that of a real agent is."""
    messages = [text(1, "user", "Read all.", time=BEGIN)]
    model_calls: list[ModelCallRecord] = []
    tool_calls: list[ToolCallRecord] = []
    for at in range(rounds):
        first, began = len(messages) + 1, 5.0 * at
        calls = (len(tool_calls) + 1, len(tool_calls) + 2)
        thinking = "I need more data. " * 40
        messages.append(text(first, "assistant", "", reasoning=thinking, tool_calls=calls, time=BEGIN + began + 2))
        inputs = tuple(range(1, first))
        model_calls.append(
            ModelCallRecord(at + 1, "boss", "kimi-k3", first, inputs, usage=USAGE, time=span(began, began + 2))
        )
        for number, call in enumerate(calls, 1):
            rows = [{"id": row, "name": f"row {row}", "price": 1.5 * row} for row in range(25)]
            result = text(first + number, "tool", json.dumps({"number": at, "rows": rows}), time=BEGIN + began + 4)
            messages.append(result)
            arguments, ends = json.dumps({"number": at}), (first, first + number, "success", span(began + 2, began + 4))
            tool_calls.append(ToolCallRecord(call, "boss", "look", f"look:{call}", arguments, *ends))  # type: ignore[arg-type]
    return RecordedRun("long", "thread", tuple(messages), tuple(model_calls), tuple(tool_calls), status="finished")


def team_run() -> RecordedRun:
    """The run of an agent that asks two sub-agents at once and a person."""

    @tool
    def search(query: str) -> str:
        """Search."""
        return f"Three results for {query}."

    @tool
    def publish(title: str) -> str:
        """Publish."""
        return f"Published {title!r}."

    def script(request: Request) -> Reply:
        results = sum(message["role"] == "tool" for message in request.messages)
        if request.text_of("system") == "Research.":
            return (
                said("Ships have sails.", thinking="Enough is known.") if results else called("search", query="ships")
            )
        if not results:
            return thought("Two researchers.").calling("researcher", task="sails").calling("researcher", task="hulls")
        return called("publish", title="Ships") if results == 2 else said("It is published.")

    model, saver = FakeKimi(script), InMemorySaver()
    inner = create_kimi_agent(model, [search], system_prompt="Research.")
    tools = [agent_as_tool(inner, name="researcher", description="Researches."), publish]
    agent = create_kimi_agent(model, tools, interrupt_on={"publish": True}, name="editor", checkpointer=saver)
    agent.invoke(ASK, THREAD)
    agent.invoke(decisions({"type": "approve"}), THREAD)
    return read_thread(saver, "1")
