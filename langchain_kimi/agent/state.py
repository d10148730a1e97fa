"""What an agent remembers: messages and plain values. What is pending or done is read off the messages."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Annotated, Any, NotRequired, TypeAlias, TypedDict

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    BaseMessageChunk,
    HumanMessage,
    InvalidToolCall,
    RemoveMessage,
    ToolCall,
    ToolMessage,
    convert_to_messages,
    message_chunk_to_message,
)
from langgraph.channels import DeltaChannel
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.managed import RemainingSteps

from langchain_kimi._finish_reasons import COMPLETE
from langchain_kimi._raw_calls import CALLS
from langchain_kimi._surrogates import replaced

AnyCall: TypeAlias = ToolCall | InvalidToolCall
SpentSoFar: TypeAlias = dict[str, float]

BROUGHT = "kimi_brought_by"
"""Where a message that a tool brought beside its result keeps the id of the tool's call."""

CLOSING = "kimi_closing"
"""Marks the message by which the agent itself ends a turn in which the model gave no answer."""

EMPTY = "empty"
"""The `stop_reason` of a turn that the model ended by itself with neither text nor tool calls."""

_NOT_SHOWN = frozenset({"text", "reasoning", "thinking", "redacted_thinking"})
"""Types of content blocks that hold nothing for the user beside `text`."""

SNAPSHOT_EVERY = 5_000
"""Updates between two full copies of the messages in the checkpoints. In between, each checkpoint holds only what is
new; reading a thread replays what came since the last copy."""


def add_kimi_messages(state: Sequence[Any], writes: Sequence[Any]) -> list[AnyMessage]:
    """LangGraph's `add_messages` as the reducer of a `DeltaChannel`: each write is a message or a list of them.

    A message with a known id replaces the one that has it, `RemoveMessage` removes one, or with `REMOVE_ALL_MESSAGES`
    all before it. Raises ValueError where the one to remove is not there.

    Messages that come without an id get one from their place and content, since a DeltaChannel applies the same writes
    again on every load.
    """
    merged: list[AnyMessage] = list(_coerced(state))
    for write in writes:
        new = _coerced(write if isinstance(write, list) else [write])
        merged = _merged(merged, new)
    return merged


def _coerced(messages: Sequence[Any]) -> Sequence[Any]:
    """The messages as BaseMessages that are no chunks; nearly always the very same list."""
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


def _fresh_id(message: BaseMessage, place: int, known: Mapping[str | None, int]) -> str:
    count = 0
    said = replaced(f"{message.type} {message.content}")
    while (own := str(uuid.uuid5(uuid.NAMESPACE_OID, f"{place} {count} {said}"))) in known:
        count += 1
    return own


def add_spent(before: SpentSoFar | None, more: SpentSoFar | None) -> SpentSoFar:
    """The sums of two accounts, key by key."""
    total = dict(before or {})
    for key, value in (more or {}).items():
        total[key] = total.get(key, 0) + value
    return total


def spent_since(now: SpentSoFar | None, earlier: SpentSoFar | None) -> SpentSoFar:
    """What came on top of an earlier account."""
    earlier = earlier or {}
    return {key: value - earlier.get(key, 0) for key, value in (now or {}).items()}


def add_spent_by_agent(
    before: dict[str, SpentSoFar] | None, more: Mapping[str, SpentSoFar] | None
) -> dict[str, SpentSoFar]:
    """The sums of two accounts of many agents."""
    total = dict(before or {})
    for agent, spent in (more or {}).items():
        total[agent] = add_spent(total.get(agent), spent)
    return total


class KimiState(TypedDict):
    """The agent's state; usable in graphs of your own, and to be extended by the `state_schema` of an agent."""

    messages: Annotated[list[AnyMessage], DeltaChannel(add_kimi_messages, snapshot_frequency=SNAPSHOT_EVERY)]
    remaining_steps: RemainingSteps
    spent: Annotated[SpentSoFar, add_spent]
    """What the thread has used so far, sub-agents, retries and summaries included: `turns`, `tool_calls`, `seconds`,
    `requests`, `input_tokens`, `cached_tokens`, `cache_write_tokens`, `output_tokens`, `reasoning_tokens`, `cost_usd`,
    `unpriced`, the number of answers whose cost is not known and not in `cost_usd`, and `tool_errors`, the number of
    exceptions that tools raised."""
    spent_by_agent: Annotated[dict[str, SpentSoFar], add_spent_by_agent]
    """`spent`, by the name of the agent that spent it: an agent's `name`, a member's, or for a sub-agent the name of
    the tool that it is. The same names are in `UsageMeter.by_agent` and in `lc_agent_name` of streams."""
    stop_reason: NotRequired[str | None]
    """Why the last user turn ended: the model's finish reason, the limit that was reached, or `empty` where the model
    answered with neither text nor calls; None while it runs."""
    structured_response: NotRequired[Any]
    """The validated object of an agent with a `response_format`."""


def _latest(before: str, now: str) -> str:
    return now


class TeamState(KimiState):
    """The state of a team, to be extended by its `state_schema`."""

    active_agent: Annotated[str, _latest]
    """Who speaks next."""


class TurnState(TypedDict):
    """What the agent keeps for itself beside KimiState."""

    kimi_turn: NotRequired[SpentSoFar]
    """The thread's account when the user turn began."""
    kimi_review: NotRequired[Mapping[str, Any]]
    """What people decided of the last answer's calls: the id of the `message`; `shown`, the calls that they are asked
    about, by id and as text; and `approved`, by call id the `call` that they saw, as text, and the `name` and `args`
    that it `runs` with. The next answer of the model and the next user turn empty it."""
    kimi_excerpts: NotRequired[Mapping[str, Mapping[str, Any]]]
    """Results of which the model is shown an excerpt, because the whole does not fit into its window."""
    llm_input_messages: NotRequired[list[AnyMessage]]
    """What a `pre_model_hook` wants the model to see instead of `messages`."""


class AgentState(KimiState, TurnState):
    """Everything that an agent keeps."""


def begins_turn(message: BaseMessage) -> bool:
    """Whether a user's turn begins with the message: it is one of theirs, and no tool brought it."""
    return isinstance(message, HumanMessage) and BROUGHT not in message.additional_kwargs


def calls_of(message: BaseMessage) -> list[AnyCall]:
    """Every tool call of a message, in the order in which the model made them."""
    if not isinstance(message, AIMessage):
        return []
    calls: list[AnyCall] = [*message.tool_calls, *message.invalid_tool_calls]
    if len(calls) < 2:
        return calls
    made = [call["id"] for call in message.additional_kwargs.get(CALLS, ())]
    order = {call_id: position for position, call_id in reversed(list(enumerate(made)))}
    return sorted(calls, key=lambda call: order.get(call["id"], len(order)))


def is_empty(answer: AIMessage) -> bool:
    """Whether an answer has neither text nor calls, nor a picture or other content for the user."""
    if calls_of(answer) or answer.text.strip():
        return False
    blocks = answer.content if isinstance(answer.content, list) else []
    return all(isinstance(block, str) or block.get("type") in _NOT_SHOWN for block in blocks)


def is_regular(answer: AIMessage) -> bool:
    """Whether the model ended the answer by itself, as far as its finish reason tells."""
    reason = answer.response_metadata.get("finish_reason")
    return reason is None or str(reason).lower() in COMPLETE


def has_unique_ids(message: AIMessage) -> bool:
    """Whether every tool call of the message has an id of its own."""
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    ids = {call["id"] for call in calls}
    return len(ids) == len(calls) and all(ids)


def with_unique_ids(message: AIMessage) -> AIMessage:
    """The message itself, or a copy in which every tool call has an id of its own.

    Results are matched to calls by id, so calls that share an id could not be told apart.
    """
    if has_unique_ids(message):
        return message
    calls: list[AnyCall] = [*message.tool_calls, *message.invalid_tool_calls]
    unique = _unique_ids(calls)
    copy = message.model_copy()
    copy.tool_calls = [{**call, "id": own} for call, own in zip(message.tool_calls, unique, strict=False)]
    invalid = unique[len(message.tool_calls) :]
    copy.invalid_tool_calls = [
        {**call, "id": own} for call, own in zip(message.invalid_tool_calls, invalid, strict=True)
    ]
    if isinstance(message.content, list):
        by_id: dict[Any, list[str]] = {}
        for call, own in zip(calls, unique, strict=True):
            by_id.setdefault(call["id"], []).append(own)
        copy.content = [_with_next_id(block, by_id) for block in message.content]
    return copy


def _unique_ids(calls: Sequence[AnyCall]) -> list[str]:
    taken = {call["id"] for call in calls}
    unique: list[str] = []
    for call in calls:
        call_id = call["id"]
        if not call_id or call_id in unique:
            base = call_id or call["name"] or "call"
            call_id = next(own for number in count(2) if (own := f"{base}-{number}") not in taken)
            taken.add(call_id)
        unique.append(call_id)
    return unique


def _with_next_id(block: Any, by_id: Mapping[Any, list[str]]) -> Any:
    """A content block of a tool call under the next unique id of those that shared its id."""
    if not isinstance(block, dict) or block.get("type") not in ("tool_call", "invalid_tool_call", "tool_use"):
        return block
    unique = by_id.get(block.get("id"))
    return {**block, "id": unique.pop(0)} if unique else block


def as_new(answer: AIMessage, messages: Sequence[BaseMessage]) -> AIMessage:
    """The model's answer as it joins the messages: its calls have unique ids, and it replaces no message before it."""
    answer = with_unique_ids(answer)
    if answer.id is not None and any(answer.id == message.id for message in messages):
        return answer.model_copy(update={"id": None})
    return answer


def last_answer(messages: Sequence[BaseMessage]) -> AIMessage | None:
    """The last message of an assistant, None where there is none."""
    return next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)


def pending_calls(messages: Sequence[BaseMessage]) -> list[AnyCall]:
    """The calls of the last assistant message that have no result yet, in order."""
    answered: list[str] = []
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            return [call for call in calls_of(message) if not _taken(answered, call["id"])]
        if isinstance(message, ToolMessage):
            answered.append(message.tool_call_id)
        elif begins_turn(message):
            break
    return []


def _taken(answered: list[str], call_id: str | None) -> bool:
    """Whether a result has the id; each result answers one call."""
    if call_id in answered:
        answered.remove(call_id or "")
        return True
    return False


def exchanges(messages: Sequence[BaseMessage]) -> Iterator[list[tuple[AnyCall, ToolMessage]]]:
    """The answered calls of each model turn since the user last spoke, the newest first."""
    results: dict[str, ToolMessage] = {}
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            results[message.tool_call_id] = message
        elif isinstance(message, AIMessage):
            calls = calls_of(message)
            answered = [(call, results[call["id"] or ""]) for call in calls if (call["id"] or "") in results]
            if answered:
                yield answered
            results = {}
        elif begins_turn(message):
            return


def refused(call: Any, why: str, **kept: Any) -> ToolMessage:
    """An error result for a call that is not run."""
    name, call_id = call["name"] or "", call["id"] or ""
    return ToolMessage(why, tool_call_id=call_id, name=name, status="error", additional_kwargs=kept)
