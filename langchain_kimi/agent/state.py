"""The state of agents and teams: its keys, their reducers and the reasons for which a turn stops."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypedDict

from langchain_core.messages import (
    AnyMessage,
    BaseMessage,
    BaseMessageChunk,
    RemoveMessage,
    convert_to_messages,
    message_chunk_to_message,
)
from langgraph.channels import DeltaChannel, EphemeralValue
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.managed import RemainingSteps

from langchain_kimi._surrogates import replaced
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage, add_agent_usage, add_usage_by_agent
from langchain_kimi.agent.usage_limits.limits import LimitName

TOOLS_NODE = "tools"
"""The name of the node that runs tools."""

LimitReason: TypeAlias = Literal[LimitName, "recursion_limit", "loop", "errors", "caller"]
"""Why the agent stopped a turn before the model ended it: the name of a limit of `AgentLimits`, LangGraph's
`recursion_limit`, a `loop` or a row of `errors` that the LoopGuard found, or a limit of the `caller` of a sub-agent."""

StopReason: TypeAlias = Literal[LimitReason, "empty", "stop", "length", "content_filter"]
"""The values of `state["stop_reason"]` with Kimi's models.

A turn that the agent stopped has a `LimitReason`. `empty` stands for a turn that the model ended with neither text nor
tool calls. The others are Kimi's finish reasons: `stop` (the model ended its answer), `length` (the answer reached its
output cap) and `content_filter` (the host's moderation stopped it). Other providers have finish reasons of their own,
such as `end_turn`, which are passed on unchanged, so `stop_reason` has the type `StopReason | str`.
"""

SNAPSHOT_EVERY = 5_000
"""Updates between two full copies of the messages in the checkpoints. Each checkpoint in between holds only new
messages; reading a thread replays the updates since the last full copy."""

_editing: ContextVar[bool] = ContextVar("kimi_editing_state", default=False)


def add_kimi_messages(state: Sequence[Any], writes: Sequence[Any]) -> list[AnyMessage]:
    """LangGraph's `add_messages` as the reducer of a `DeltaChannel`: each write is a message or a list of them.

    A message with the id of an earlier one replaces it. `RemoveMessage` removes one message, or with
    `REMOVE_ALL_MESSAGES` all messages before it. Raises ValueError if there is no message with the id to remove.

    A message without an id gets one that is derived from its position and content, because a DeltaChannel applies the
    same writes again on every load.
    """
    merged: list[AnyMessage] = list(_coerced(state))
    for write in writes:
        new = _coerced(write if isinstance(write, list) else [write])
        merged = _merged(merged, new)
    return merged


def _coerced(messages: Sequence[Any]) -> Sequence[Any]:
    """The messages as BaseMessages that are not chunks; usually the same list object."""
    if all(
        issubclass(kind, BaseMessage) and not issubclass(kind, BaseMessageChunk) for kind in set(map(type, messages))
    ):
        return messages
    return [
        message_chunk_to_message(message) if isinstance(message, BaseMessageChunk) else message
        for message in convert_to_messages(list(messages))
    ]


def _merged(state: list[AnyMessage], new: Sequence[Any]) -> list[AnyMessage]:
    for index in reversed(range(len(new))):
        if isinstance(new[index], RemoveMessage) and new[index].id == REMOVE_ALL_MESSAGES:
            return _with_ids(list(new[index + 1 :]))
    known = {message.id: at for at, message in enumerate(state)}
    removed: set[str | None] = set()
    for message in new:
        if not message.id:  # a copy: the message may be the caller's
            message = message.model_copy(update={"id": _fresh_id(message, len(state), known)})
        at = known.get(message.id)
        if isinstance(message, RemoveMessage):
            if at is None:
                raise ValueError(f"There is no message with the id {message.id!r} to remove.")
            removed.add(message.id)
        elif at is None:
            known[message.id] = len(state)
            state.append(message)
        else:
            removed.discard(message.id)
            state[at] = message
    return [message for message in state if message.id not in removed] if removed else state


def _with_ids(messages: list[AnyMessage]) -> list[AnyMessage]:
    known: dict[str | None, int] = {message.id: at for at, message in enumerate(messages)}
    for at, message in enumerate(messages):
        if not message.id:
            messages[at] = message.model_copy(update={"id": _fresh_id(message, at, known)})
    return messages


def _fresh_id(message: BaseMessage, position: int, known: Mapping[str | None, int]) -> str:
    count = 0
    content = replaced(f"{message.type} {message.content}")
    while (own := str(uuid.uuid5(uuid.NAMESPACE_OID, f"{position} {count} {content}"))) in known:
        count += 1
    return own


class KimiState(TypedDict):
    """The agent's state. Graphs of your own can use it, and the `state_schema` of an agent extends it."""

    messages: Annotated[list[AnyMessage], DeltaChannel(add_kimi_messages, snapshot_frequency=SNAPSHOT_EVERY)]
    remaining_steps: RemainingSteps
    spent: Annotated[AgentUsage, add_agent_usage]
    """The usage of the whole thread, including sub-agents, retries and summaries."""
    spent_by_agent: Annotated[dict[str, AgentUsage], add_usage_by_agent]
    """`spent` by agent name: an agent's `name`, the name of a `TeamMember`, or for a sub-agent the name of its tool.
    `UsageMeter.by_agent` and `lc_agent_name` in the metadata of streams have the same names."""
    stop_reason: NotRequired[StopReason | str | None]
    """Why the last user turn ended; None while it runs."""
    structured_response: NotRequired[Any]
    """The validated object of an agent with a `response_format`."""


def _latest(before: str, now: str) -> str:
    return now


class TeamState(KimiState):
    """The state of a team, to be extended by its `state_schema`."""

    active_agent: Annotated[str, _latest]
    """The name of the member that answers next."""


def _merged_review(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Decisions on calls of one message add up, because people decide on them in parallel."""
    if not now or now.get("message") != before.get("message"):
        return now
    return {**before, **now, "approved": {**before.get("approved", {}), **now.get("approved", {})}}


class UnknownCall(TypedDict):
    """What the state holds of a call whose result is unknown."""

    message: str
    """The id of the message with the call."""
    shown: str
    """The call as it started, or as people were shown it last, as text."""
    reason: str
    runs: NotRequired[dict[str, Any]]
    """The `name` and `args` with which the call started, if another middleware changed them."""


def merged_unknown_calls(
    before: Mapping[str, UnknownCall], now: Mapping[str, UnknownCall | None]
) -> dict[str, UnknownCall]:
    """The reducer of unknown calls in a state: None removes a call."""
    return {call_id: record for call_id, record in {**before, **now}.items() if record}


class TurnState(TypedDict):
    """The agent's private keys beside KimiState."""

    kimi_turn: NotRequired[AgentUsage]
    """The thread's usage when the user turn began."""
    kimi_review: Annotated[dict[str, Any], _merged_review]
    """The decisions of people on the last answer's calls: the id of the `message`; `shown`, the calls to decide on, by
    id and as text; and `approved`, by call id the `call` that the person saw, as text, and the `name` and `args` that
    it `runs` with. The next answer of the model and the next user turn clear it."""
    kimi_unknown: Annotated[dict[str, UnknownCall], merged_unknown_calls]
    """Calls of tools in `once` that may have run and have no result, by call id, until people have decided."""
    kimi_excerpts: NotRequired[Mapping[str, Mapping[str, Any]]]
    """Tool results of which the model reads an excerpt, because the whole does not fit into its window."""
    llm_input_messages: Annotated[list[AnyMessage], EphemeralValue(list)]
    """The messages that a `pre_model_hook` gives to the model instead of `messages`, for this turn of the model."""


class AgentState(KimiState, TurnState):
    """All keys of an agent's state."""


@contextmanager
def editing_state() -> Iterator[None]:
    """Marks a block in which LangGraph evaluates routes for an edit of the state (`update_state`).

    LangGraph then has no runtime and shows two remaining steps, whatever the `recursion_limit` of the next run is.
    """
    token = _editing.set(True)
    try:
        yield
    finally:
        _editing.reset(token)


def is_editing_state() -> bool:
    """Whether routes are evaluated for an edit of the state, outside of a run."""
    return _editing.get()
