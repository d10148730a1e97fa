"""`RecordedRun`: what happened in a run, whichever source it was read from.

Times are seconds since 1970-01-01 UTC. Messages are numbered from 1 in the order in which they came, over all agents;
everything else refers to them by these numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from langchain_core.messages.ai import UsageMetadata

from langchain_kimi._cache_breaks import CacheBreak
from langchain_kimi.usage import Usage

SourceKind: TypeAlias = Literal["thread", "recording", "log"]
MessageRole: TypeAlias = Literal["system", "user", "assistant", "tool"]
ToolStatus: TypeAlias = Literal["success", "error", "not run", "no result"]
ApprovalStatus: TypeAlias = Literal["answered", "open", "dropped"]
RunEventKind: TypeAlias = Literal[
    "limit", "guard", "compaction", "excerpt", "retry", "error", "unknown", "edit", "incomplete"
]
RunStatus: TypeAlias = Literal["finished", "waiting", "interrupted", "unknown"]


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """When something began and ended; None where the source does not hold it."""

    start: float | None = None
    end: float | None = None
    is_measured: bool = False
    """Whether both were measured where it happened. Otherwise they are those of the checkpoints before and after."""

    @property
    def seconds(self) -> float | None:
        """The length; None where the start or the end is not known."""
        return None if self.start is None or self.end is None else max(self.end - self.start, 0.0)


@dataclass(frozen=True, slots=True)
class MessagePart:
    """A part of a message's content: `text`, a `picture` with its URL, or the name of a part of another kind."""

    kind: Literal["text", "picture", "other"]
    value: str


@dataclass(frozen=True, slots=True)
class RunMessage:
    """A message of a conversation."""

    number: int
    role: MessageRole
    parts: tuple[MessagePart, ...]
    original: Any = field(repr=False)
    """The message itself: LangChain's in a thread, a mapping as on the wire in a recording, a line in a log."""
    agent: str | None = None
    """The agent in whose conversation it stands."""
    reasoning: str | None = None
    tool_calls: tuple[int, ...] = ()
    """The numbers of the tool calls in it."""
    time: float | None = None
    caller: int | None = None
    """The number of the tool call in which its conversation ran. None in the run's own, 0 where the call is unknown."""

    @property
    def text(self) -> str:
        """The texts of the content, joined."""
        return "".join(part.value for part in self.parts if part.kind == "text")


@dataclass(frozen=True, slots=True)
class ModelCallRecord:
    """A request to a model with its answer, counted from 1."""

    number: int
    agent: str
    model: str
    """The model's id; `unknown` where the source does not hold it."""
    answer: int | None = None
    """The number of the answer; None where the request failed."""
    inputs: tuple[int, ...] | None = None
    """The numbers of the messages in the request. A thread does not hold the system prompt, a log none of them."""
    tools: tuple[str, ...] | None = None
    """The names of the tools in the request; None where the source does not hold them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The other fields of the request, in a recording."""
    usage: UsageMetadata | None = None
    earlier_usages: tuple[UsageMetadata, ...] = ()
    """Of earlier attempts, to which the host had begun to respond."""
    other_usage: Usage = field(default_factory=Usage)
    """Of other requests for the same answer: summaries of a compaction, and answers that were requested again."""
    finish_reason: str | None = None
    error: str | None = None
    time: TimeSpan = TimeSpan()
    original: Any = field(default=None, repr=False)
    """The `Interaction` of a recording, the line of a log; None in a thread."""
    is_free: bool = False
    """Whether it cost nothing: it was refused, or its answer came from LangChain's cache."""

    @property
    def total(self) -> Usage:
        """The usage with that of earlier attempts and other requests; its cost is None where a price is not known."""
        if self.is_free and self.usage is None:
            return Usage(requests=1) + self.other_usage
        usages = (self.usage, *self.earlier_usages)
        return sum((Usage.of_response(usage, self.model) for usage in usages), self.other_usage)


@dataclass(frozen=True, slots=True)
class ToolCallRecord:
    """A tool call with its result, counted from 1."""

    number: int
    agent: str
    name: str
    call_id: str
    arguments: str
    """As the model wrote them."""
    message: int
    """The number of the message with the call."""
    result: int | None = None
    """The number of the message with the result."""
    status: ToolStatus = "no result"
    time: TimeSpan = TimeSpan()
    sub_agent: str | None = None
    """The agent that ran in the tool, if its conversation is part of the source."""
    fees_usd: float | None = 0.0
    """The fee of a tool that Kimi runs; None where it is not known."""


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """A question to people, with their answer."""

    number: int
    agent: str
    question: Any
    """The value of LangGraph's interrupt."""
    answer: Any = None
    status: ApprovalStatus = "open"
    """`dropped`: the thread went on without an answer."""
    time: TimeSpan = TimeSpan()


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something else that happened."""

    kind: RunEventKind
    agent: str
    text: str
    time: float | None = None
    message: int | None = None
    """The number of the message that it is about."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What happened in a run."""

    name: str
    """What the run is called: its thread's id or its file's name."""
    kind: SourceKind
    messages: tuple[RunMessage, ...] = ()
    model_calls: tuple[ModelCallRecord, ...] = ()
    tool_calls: tuple[ToolCallRecord, ...] = ()
    approvals: tuple[ApprovalRecord, ...] = ()
    events: tuple[RunEvent, ...] = ()
    status: RunStatus = "unknown"
    missing: tuple[str, ...] = ()
    """What the source does not hold, in whole sentences."""
    recorded_usage: Mapping[str, Usage] = field(default_factory=dict)
    """The usage by agent that the thread's state sums."""
    cache_breaks: tuple[CacheBreak, ...] = ()
    """The requests that lost their place in the prefix cache, if they were looked for; numbered as the model calls."""

    def message(self, number: int) -> RunMessage:
        """The message with this number."""
        return self.messages[number - 1]

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of the agents, in the order in which they began."""
        names = [one.agent for one in self._timed()]
        return tuple(dict.fromkeys([*names, *self.recorded_usage]))

    @property
    def usage_by_agent(self) -> dict[str, Usage]:
        """The usage of each agent.

        It is the sum of its requests, or what the thread's state sums where that counts more requests: those of agents
        whose conversation is not stored.
        """
        sums = {agent: Usage() for agent in self.agents}
        for agent, usage in self._usages():
            sums[agent] += usage
        return {agent: self._larger(usage, self.recorded_usage.get(agent)) for agent, usage in sums.items()}

    @property
    def usage(self) -> Usage:
        """The usage of all agents."""
        return sum(self.usage_by_agent.values(), Usage())

    @property
    def time(self) -> TimeSpan:
        """From the first time to the last."""
        times = [time for one in self._timed() for time in (one.time.start, one.time.end)]
        times += [*(message.time for message in self.messages), *(event.time for event in self.events)]
        known = [time for time in times if time is not None]
        return TimeSpan(min(known), max(known)) if known else TimeSpan()

    def _timed(self) -> list[ModelCallRecord | ToolCallRecord | ApprovalRecord]:
        return [*self.model_calls, *self.tool_calls, *self.approvals]

    def _usages(self) -> Iterator[tuple[str, Usage]]:
        yield from ((call.agent, call.total) for call in self.model_calls)
        yield from ((call.agent, Usage.of_fee(call.fees_usd)) for call in self.tool_calls)

    @staticmethod
    def _larger(counted: Usage, recorded: Usage | None) -> Usage:
        return recorded if recorded is not None and recorded.requests > counted.requests else counted
