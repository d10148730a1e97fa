"""Hand-offs: `transfer_to_<name>` tools, which make another agent of a team the active one."""

from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import Annotated, Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool
from langgraph.types import Command

from langchain_kimi.agent.state import AnyCall, begins_turn, calls_of

PREFIX = "transfer_to_"

_SECOND = "Not done: {first} came first in this turn, and a conversation is handed over once at a time."


def handoff_tool(name: str, description: str) -> BaseTool:
    """The tool by which any other agent hands the conversation over to the agent `name`."""

    def transfer(tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        done = ToolMessage(
            f"The conversation was handed over to {name}.", tool_call_id=tool_call_id, name=PREFIX + name
        )
        return Command(update={"active_agent": name, "messages": [done]})

    told = f"Hand this conversation over to {name}, who then goes on with it. {description}".strip()
    return StructuredTool.from_function(transfer, name=PREFIX + name, description=told)


def superseded(said: AIMessage, call: AnyCall, handoffs: Collection[str]) -> str | None:
    """Why a hand-off is not done: another came before it in the same turn."""
    if call["name"] not in handoffs:
        return None
    made = [other for other in calls_of(said) if other["name"] in handoffs and "error" not in other]
    return _SECOND.format(first=made[0]["name"]) if made and made[0]["id"] != call["id"] else None


def idle_handoffs(messages: Sequence[BaseMessage], handoffs: Collection[str]) -> int:
    """How many times in a row the conversation was handed on without a word and without any other call."""
    turn = takewhile(lambda message: not begins_turn(message), reversed(messages))
    answers = (message for message in turn if isinstance(message, AIMessage))
    return sum(1 for _ in takewhile(lambda answer: _idle(answer, handoffs), answers))


def _idle(answer: AIMessage, handoffs: Collection[str]) -> bool:
    return not answer.text.strip() and all(call["name"] in handoffs for call in calls_of(answer))
