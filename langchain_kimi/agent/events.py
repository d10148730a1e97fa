"""The events that agents and their models write to LangGraph's `custom` stream. This module defines all of them."""

from collections.abc import Callable
from typing import Any, Literal, NotRequired, TypeAlias, cast

from langgraph.config import get_stream_writer
from typing_extensions import TypedDict

from langchain_kimi.agent.state import LimitReason
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage


class ToolStartedEvent(TypedDict):
    """A tool call starts."""

    event: Literal["tool_started"]
    name: str
    tool_call_id: str | None
    args: dict[str, Any]


class ToolFinishedEvent(TypedDict):
    """A tool call has its result."""

    event: Literal["tool_finished"]
    name: str
    tool_call_id: str | None
    seconds: float
    status: Literal["success", "error"]
    error: NotRequired[str]
    """The exception that the tool raised, as text."""


class ToolUnknownEvent(TypedDict):
    """A call of a tool in `once` may have run and has no result: people decide, or the model is told."""

    event: Literal["tool_unknown"]
    name: str
    tool_call_id: str | None
    args: dict[str, Any]


class UsageEvent(TypedDict):
    """The model has answered."""

    event: Literal["usage"]
    spent: AgentUsage
    """The usage of the user turn so far."""


class LoopGuardEvent(TypedDict):
    """The loop guard added a hint to a result, or blocked a call."""

    event: Literal["guard"]
    stage: Literal["hint", "block"]
    name: str | None
    tool_call_id: str | None
    count: NotRequired[int]
    """How often the call has had the same result, with `stage="hint"`."""


class LimitEvent(TypedDict):
    """The agent stops the turn and asks for a last answer."""

    event: Literal["limit"]
    reason: LimitReason


class CompactionChange(TypedDict):
    """One change that a compaction made."""

    what: str
    """`dropped_reasoning`, `shortened_results`, `summarised`, `dropped_exchanges`, `excerpts_of_results`,
    `not_archived` or `above_target`."""
    number: int
    """Messages or exchanges that changed."""
    tokens: int
    """Tokens that it saved, as an estimate."""
    why: str
    """The reason, where something did not work; else empty."""


class CompactionEvent(TypedDict):
    """The thread was made shorter."""

    event: Literal["compaction"]
    before: int
    """Tokens of the next request before."""
    after: int
    """Tokens of the next request after."""
    steps: list[CompactionChange]
    archived: list[str]
    """Keys of the messages that were written to the archive."""


class ResultExcerptEvent(TypedDict):
    """A tool result does not fit into the model's window, and requests have an excerpt of it."""

    event: Literal["result_excerpt"]
    name: str
    tool_call_id: str
    characters: int
    """Characters of the whole result."""
    shown: int
    """Characters that the model reads."""


class RetryEvent(TypedDict):
    """A model of the package `langchain_kimi` waits before it sends a request again."""

    event: Literal["kimi_wait"]
    seconds: float
    """The length of the wait."""
    attempt: int
    """The number of the attempt that failed, from 1."""
    error: str


KimiEvent: TypeAlias = (
    ToolStartedEvent
    | ToolFinishedEvent
    | ToolUnknownEvent
    | UsageEvent
    | LoopGuardEvent
    | LimitEvent
    | CompactionEvent
    | ResultExcerptEvent
    | RetryEvent
)
"""An event of the `custom` stream. Its key `event` tells the types apart."""


def emit(event: KimiEvent) -> None:
    """Write an event to the `custom` stream of the run that is active."""
    get_stream_writer()(event)


def emitter() -> Callable[[KimiEvent], None]:
    """`emit` for the run that is active now, to be called later."""
    return cast(Callable[[KimiEvent], None], get_stream_writer())
