"""A recorded run as its page shows it: steps in their order, rows of the table, sums."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

from langchain_kimi._cache_breaks import CacheBreak
from langchain_kimi._recorded_runs import (
    ApprovalRecord,
    ModelCallRecord,
    RecordedRun,
    RunEvent,
    RunMessage,
    ToolCallRecord,
)
from langchain_kimi._run_report.time_line import TimeLine, time_line
from langchain_kimi.usage import Usage

StepKind: TypeAlias = Literal["message", "request", "question", "event"]
_StepRecord: TypeAlias = RunMessage | ModelCallRecord | ApprovalRecord | RunEvent
_LANES = 6
"""The number of colours for agents."""


class Step(NamedTuple):
    """One entry of the conversation: a message, a request without an answer, a question to people, or an event."""

    kind: StepKind
    id: str
    agent: str
    record: _StepRecord
    model_call: ModelCallRecord | None = None
    """Of an answer."""
    tool_call: ToolCallRecord | None = None
    """Of a result."""


class TableRow(NamedTuple):
    """One call in the table."""

    kind: Literal["model", "tool", "question"]
    agent: str
    name: str
    target: str
    start: float | None
    """Seconds since the start of the run."""
    seconds: float | None
    usage: Usage | None
    status: str


class AgentSum(NamedTuple):
    """What an agent used."""

    agent: str
    usage: Usage
    tool_calls: int


@dataclass(frozen=True)
class RunView:
    """A run and what its page shows of it. `prefix` tells the ids of several runs on one page apart."""

    run: RecordedRun
    prefix: str = ""

    @cached_property
    def time_line(self) -> TimeLine | None:
        """The time line; None for a run without calls."""
        return time_line(self.run, self.prefix)

    @cached_property
    def agents(self) -> list[AgentSum]:
        """What each agent used."""
        calls = [call.agent for call in self.run.tool_calls]
        return [AgentSum(agent, usage, calls.count(agent)) for agent, usage in self.run.usage_by_agent.items()]

    @cached_property
    def total(self) -> AgentSum:
        """What all agents used."""
        return AgentSum("all agents", self.run.usage, len(self.run.tool_calls))

    @cached_property
    def cache_breaks(self) -> dict[str, CacheBreak]:
        """The requests that lost their place in the prefix cache, by the ids of their answers."""
        answers = {call.number: call.answer for call in self.run.model_calls}
        return {self.message_id(answers[lost.request]): lost for lost in self.run.cache_breaks}

    def colour(self, agent: str | None) -> int:
        """The number of the colour of an agent."""
        names = self.run.agents
        return names.index(agent) % _LANES if agent in names else 0

    def tool_calls(self, message: RunMessage) -> list[ToolCallRecord]:
        """The tool calls in a message."""
        return [self.run.tool_calls[number - 1] for number in message.tool_calls]

    def since_start(self, time: float | None) -> float | None:
        """Seconds since the start of the run."""
        start = self.run.time.start
        return None if time is None or start is None else max(time - self._start, 0.0)

    @cached_property
    def _start(self) -> float:
        return self.run.time.start or 0.0

    @cached_property
    def steps(self) -> list[Step]:
        """Everything that happened, in order."""
        answers = {call.answer: call for call in self.run.model_calls if call.answer}
        results = {call.result: call for call in self.run.tool_calls if call.result}
        others = self._others_by_message()
        steps = others.get(0, [])
        for message in self.run.messages:
            number = message.number
            calls = answers.get(number), results.get(number)
            steps.append(Step("message", self.message_id(number), message.agent or "", message, *calls))
            steps += others.get(number, [])
        return steps

    def message_id(self, number: int | None) -> str:
        """The id of a message."""
        return f"{self.prefix}m{number}"

    def _others_by_message(self) -> dict[int, list[Step]]:
        """What is no message, by the number of the message that it follows."""
        placed: dict[int, list[Step]] = {}
        for after, step in self._others():
            placed.setdefault(after, []).append(step)
        return placed

    def _others(self) -> Iterator[tuple[int, Step]]:
        for call in self.run.model_calls:
            if call.answer is None:
                after = max(call.inputs or (0,)) or self._message_before(call.time.start)
                yield after, Step("request", f"{self.prefix}request{call.number}", call.agent, call)
        for approval in self.run.approvals:
            step = Step("question", f"{self.prefix}question{approval.number}", approval.agent, approval)
            yield self._message_before(approval.time.start), step
        for number, event in enumerate(self.run.events, 1):
            after = event.message or self._message_before(event.time)
            yield after, Step("event", f"{self.prefix}event{number}", event.agent, event)

    @cached_property
    def _message_times(self) -> list[float]:
        times: list[float] = []
        for message in self.run.messages:  # times that only grow, so that one can search them
            times.append(max(message.time or 0.0, times[-1] if times else 0.0))
        return times

    def _message_before(self, time: float | None) -> int:
        """The number of the last message before a time; the last one of all where the time is not known."""
        return len(self.run.messages) if time is None else bisect_right(self._message_times, time)

    @cached_property
    def rows(self) -> list[TableRow]:
        """The calls for the table, by their start."""
        rows = [*self._model_rows(), *self._tool_rows(), *self._question_rows()]
        return sorted(rows, key=lambda row: row.start or 0.0) if all(row.start is not None for row in rows) else rows

    def _model_rows(self) -> Iterator[TableRow]:
        for call in self.run.model_calls:
            target = self.message_id(call.answer) if call.answer else f"{self.prefix}request{call.number}"
            times = self.since_start(call.time.start), call.time.seconds
            status = call.error or call.finish_reason or ""
            yield TableRow("model", call.agent, call.model, target, *times, call.total, status)

    def _tool_rows(self) -> Iterator[TableRow]:
        for call in self.run.tool_calls:
            times = self.since_start(call.time.start), call.time.seconds
            fees = Usage.of_fee(call.fees_usd) if call.fees_usd != 0 else None
            target = f"{self.prefix}call{call.number}"
            yield TableRow("tool", call.agent, call.name, target, *times, fees, call.status)

    def _question_rows(self) -> Iterator[TableRow]:
        for one in self.run.approvals:
            times = self.since_start(one.time.start), one.time.seconds
            target = f"{self.prefix}question{one.number}"
            yield TableRow("question", one.agent, "question to a person", target, *times, None, one.status)


def question_calls(question: Any) -> list[tuple[str, Any]]:
    """The calls that a question to a person is about, as names with arguments; empty for a question of another kind."""
    if not isinstance(question, Mapping):
        return []
    requests = question.get("action_requests")
    if question.get("type") == "tool_approval":
        requests = [question]
    listed = requests if isinstance(requests, list) else []
    return [(str(one["name"]), one.get("args")) for one in listed if isinstance(one, Mapping) and "name" in one]
