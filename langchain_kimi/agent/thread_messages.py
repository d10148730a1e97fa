"""Reads a thread's messages: user turns, tool calls and their results.

What is pending or done is always read from the messages and stored nowhere else.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, TypeAlias, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, InvalidToolCall, ToolCall, ToolMessage

from langchain_kimi._finish_reasons import COMPLETE
from langchain_kimi._raw_calls import CALLS, is_call_block

AnyCall: TypeAlias = ToolCall | InvalidToolCall

ADDED_BY_CALL = "kimi_added_by_call"
"""The key in `additional_kwargs` of a message that a tool returned beside its result: the id of the tool's call."""

CLOSING_MESSAGE = "kimi_closing"
"""The key in `additional_kwargs` of a message by which the agent ends a turn in which the model gave no answer."""

UNKNOWN_RESULT = "The run was interrupted and no result was recorded: the tool may or may not have run. Find out first."

_NOT_CONTENT = frozenset({"text", "reasoning", "thinking", "redacted_thinking"})
"""Types of content blocks that hold no content for the user beside their `text`."""


def begins_turn(message: BaseMessage) -> bool:
    """Whether a user turn begins with the message: it is a user message, and no tool returned it."""
    return isinstance(message, HumanMessage) and ADDED_BY_CALL not in message.additional_kwargs


def tool_calls_of(message: BaseMessage) -> list[AnyCall]:
    """All tool calls of a message, valid and invalid, in the order in which the model made them."""
    if not isinstance(message, AIMessage):
        return []
    calls: list[AnyCall] = [*message.tool_calls, *message.invalid_tool_calls]
    if len(calls) < 2:
        return calls
    made = [call["id"] for call in message.additional_kwargs.get(CALLS, ())]
    order = {call_id: position for position, call_id in reversed(list(enumerate(made)))}
    return sorted(calls, key=lambda call: order.get(call["id"], len(order)))


def block_placeholder(block: Any) -> str:
    """A text such as `(image not shown)` for a content block that is not text; empty for reasoning and tool calls."""
    if isinstance(block, str) or is_call_block(block) or block.get("type") in _NOT_CONTENT:
        return ""
    return f"({block.get('type')} not shown)"


def is_empty(answer: AIMessage) -> bool:
    """Whether an answer has neither text, tool calls, pictures nor other content for the user."""
    if tool_calls_of(answer) or answer.text.strip():
        return False
    blocks = answer.content if isinstance(answer.content, list) else []
    return all(isinstance(block, str) or block.get("type") in _NOT_CONTENT for block in blocks)


def is_complete(answer: AIMessage) -> bool:
    """Whether the model ended the answer by itself, according to its finish reason."""
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
    used = {call["id"] for call in calls}
    unique: list[str] = []
    for call in calls:
        call_id = call["id"]
        if not call_id or call_id in unique:
            base = call_id or call["name"] or "call"
            call_id = next(own for number in count(2) if (own := f"{base}-{number}") not in used)
            used.add(call_id)
        unique.append(call_id)
    return unique


def _with_next_id(block: Any, by_id: Mapping[Any, list[str]]) -> Any:
    """A content block of a tool call under the next unique id of those that shared its id."""
    if not isinstance(block, dict) or block.get("type") not in ("tool_call", "invalid_tool_call", "tool_use"):
        return block
    unique = by_id.get(block.get("id"))
    return {**block, "id": unique.pop(0)} if unique else block


def as_new_message(answer: AIMessage, messages: Sequence[BaseMessage]) -> AIMessage:
    """The answer with unique call ids, and without an id that an earlier message has, so that it replaces none."""
    answer = with_unique_ids(answer)
    if answer.id is not None and any(answer.id == message.id for message in messages):
        return answer.model_copy(update={"id": None})
    return answer


def last_answer(messages: Sequence[BaseMessage]) -> AIMessage | None:
    """The last assistant message, or None."""
    return next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)


def pending_calls(messages: Sequence[BaseMessage]) -> list[AnyCall]:
    """The calls of the last assistant message that have no result yet, in order."""
    answered: list[str] = []
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            return [call for call in tool_calls_of(message) if not _pop_result(answered, call["id"])]
        if isinstance(message, ToolMessage):
            answered.append(message.tool_call_id)
        elif begins_turn(message):
            break
    return []


def _pop_result(answered: list[str], call_id: str | None) -> bool:
    """Whether a result has the id. The result is removed from the list, because each result answers one call."""
    if call_id in answered:
        answered.remove(call_id or "")
        return True
    return False


def answers_with_results(messages: Sequence[BaseMessage]) -> Iterator[tuple[AIMessage, list[ToolMessage]]]:
    """The answers with results of the current user turn, the newest first, each with the messages of its results."""
    results: list[ToolMessage] = []
    for message in reversed(messages):
        # Exact types first: `isinstance` of another class of messages is slow.
        kind = type(message)
        if kind is ToolMessage or (kind is not AIMessage and isinstance(message, ToolMessage)):
            results.append(cast(ToolMessage, message))
        elif isinstance(message, AIMessage):
            if results:
                yield message, results
                results = []
        elif begins_turn(message):
            return


def exchanges(messages: Sequence[BaseMessage]) -> Iterator[list[tuple[AnyCall, ToolMessage]]]:
    """The answered calls of each model turn since the user last spoke, the newest first."""
    for answer, results in answers_with_results(messages):
        by_id = {result.tool_call_id: result for result in results}
        answered = [(call, by_id[call["id"] or ""]) for call in tool_calls_of(answer) if (call["id"] or "") in by_id]
        if answered:
            yield answered


def call_text(call: Mapping[str, Any]) -> str:
    """The call as text, to compare calls: in Python `1 == True`, and NaN is not equal to itself."""
    return json.dumps({"name": call["name"], "args": dict(call["args"])}, default=repr)


def error_result(call: Any, text: str, **additional_kwargs: Any) -> ToolMessage:
    """An error result for a call that does not run."""
    name, call_id = call["name"] or "", call["id"] or ""
    return ToolMessage(text, tool_call_id=call_id, name=name, status="error", additional_kwargs=additional_kwargs)
