"""What an agent remembers: messages and plain values. What is pending or done is read off the messages."""

from collections.abc import Sequence
from typing import Annotated, NotRequired, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, InvalidToolCall, ToolCall
from langgraph.graph.message import add_messages
from langgraph.managed import RemainingSteps

from langchain_kimi.verbatim import CALLS


class KimiState(TypedDict):
    """The agent's state; usable in graphs of your own."""

    messages: Annotated[list[AnyMessage], add_messages]
    remaining_steps: RemainingSteps
    stop_reason: NotRequired[str | None]
    """Why the last user turn ended: the model's finish reason, or the limit that was reached; None while it runs."""


def turns_of(messages: Sequence[BaseMessage]) -> int:
    """How many model turns there were since the user last spoke."""
    turns = 0
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            break
        turns += isinstance(message, AIMessage)
    return turns


def calls_of(message: BaseMessage) -> list[ToolCall | InvalidToolCall]:
    """Every tool call of a message, in the order in which the model made them."""
    if not isinstance(message, AIMessage):
        return []
    calls: list[ToolCall | InvalidToolCall] = [*message.tool_calls, *message.invalid_tool_calls]
    made = [call["id"] for call in message.additional_kwargs.get(CALLS, ())]
    order = {call_id: position for position, call_id in reversed(list(enumerate(made)))}
    return sorted(calls, key=lambda call: order.get(call["id"], len(order)))
