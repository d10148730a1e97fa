"""What one agent of a team sees of the conversation that all of them share."""

import json
from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call

from langchain_kimi._raw_calls import parse_arguments, wire_arguments
from langchain_kimi.agent.state import calls_of
from langchain_kimi.agent.transcript import indented, plain_name

_MEANWHILE = (
    "Meanwhile other agents went on with this conversation. Only a line that begins with `[` is a new entry, by the "
    "agent or of the tool in the brackets; indented lines belong to the entry above them."
)


def view(messages: Sequence[BaseMessage], name: str) -> list[BaseMessage]:
    """The conversation for the agent `name`: its own messages and results as they are, with its own reasoning.

    What other agents said and did since it last spoke is told in one user message, without their reasoning and ids,
    so that no model gets another's thoughts as its own, and any model can read it. Nothing that an agent or a tool
    says can pass for an entry of another. What an agent saw once it sees in the same words ever after: its requests
    only grow.
    """
    seen: list[BaseMessage] = []
    told: list[str] = []
    own = False
    for message in messages:
        if isinstance(message, AIMessage):
            own = message.name == name
        if own or not isinstance(message, (AIMessage, ToolMessage)):
            _flush(told, seen)
            seen.append(message)
        else:
            told += _lines(message)
    _flush(told, seen)
    return seen


def _flush(told: list[str], seen: list[BaseMessage]) -> None:
    if told:
        seen.append(HumanMessage("\n".join([_MEANWHILE, *told])))
        told.clear()


def _lines(message: AIMessage | ToolMessage) -> list[str]:
    """A message in words, for those who did not write it; each is an entry that begins on a line of its own."""
    if isinstance(message, ToolMessage):
        return [indented(f"[result of {plain_name(message.name or '') or 'a tool'}] {_words(message)}")]
    who = f"[{plain_name(message.name or '') or 'another agent'}]"
    lines = [f"{who} {text}"] if (text := _words(message)) else []
    for call in calls_of(message):
        args = call["args"] if isinstance(call["args"], str) else json.dumps(call["args"], ensure_ascii=False)
        lines.append(f"{who} called {plain_name(call['name'] or '')}({args})")
    return [indented(line) for line in lines]


def _words(message: BaseMessage) -> str:
    """The text, and the kinds of what cannot be put into words."""
    if isinstance(message.content, str):
        return message.content
    kinds = [str(part.get("type")) for part in message.content if isinstance(part, dict)]
    unseen = [f"({kind} not shown)" for kind in kinds if kind not in ("text", "reasoning", "tool_call")]
    return " ".join([part for part in (message.text,) if part] + unseen)


def with_readable_calls(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The messages as models other than ChatKimi are shown them: calls whose arguments are no JSON object have one.

    Other integrations send such arguments as they are, and strict hosts refuse the thread for that.
    """
    return [
        _readable(message) if isinstance(message, AIMessage) and message.invalid_tool_calls else message
        for message in messages
    ]


def _readable(message: AIMessage) -> AIMessage:
    calls = [
        tool_call(name=call["name"] or "", args=parse_arguments(wire_arguments(call["args"] or "")), id=call["id"])
        for call in message.invalid_tool_calls
    ]
    return message.model_copy(update={"tool_calls": [*message.tool_calls, *calls], "invalid_tool_calls": []})
