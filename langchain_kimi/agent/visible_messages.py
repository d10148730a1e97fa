"""The conversation as one member of a team reads it."""

import json
import re
from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call

from langchain_kimi._raw_calls import parse_arguments, wire_arguments
from langchain_kimi.agent.thread_messages import block_placeholder, tool_calls_of

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
_INDENT = "  "
_MEANWHILE = (
    "Meanwhile other agents went on with this conversation. Only a line that begins with `[` is a new entry, by the "
    "agent or of the tool in the brackets; indented lines belong to the entry above them."
)


def visible_messages(messages: Sequence[BaseMessage], name: str) -> list[BaseMessage]:
    """The conversation for the agent `name`: its own messages and tool results unchanged, with its own reasoning.

    One user message reports what other agents wrote and did since its last answer, without their reasoning and ids. So
    no model gets another model's thinking, and every model can read the conversation. Text of an agent or a tool cannot
    pass for an entry of another. An entry never changes later, so the agent's requests only grow at their end.
    """
    visible: list[BaseMessage] = []
    report: list[str] = []
    own = False
    for message in messages:
        if isinstance(message, AIMessage):
            own = message.name == name
        if own or not isinstance(message, (AIMessage, ToolMessage)):
            _add_report(report, visible)
            visible.append(message)
        else:
            report += _entries(message)
    _add_report(report, visible)
    return visible


def _add_report(report: list[str], visible: list[BaseMessage]) -> None:
    if report:
        visible.append(HumanMessage("\n".join([_MEANWHILE, *report])))
        report.clear()


def _entries(message: AIMessage | ToolMessage) -> list[str]:
    """A message as text for other agents. Each entry begins on a line of its own."""
    if isinstance(message, ToolMessage):
        return [indented(f"[result of {plain_name(message.name or '') or 'a tool'}] {_text(message)}")]
    author = f"[{plain_name(message.name or '') or 'another agent'}]"
    entries = [f"{author} {text}"] if (text := _text(message)) else []
    for call in tool_calls_of(message):
        args = call["args"] if isinstance(call["args"], str) else json.dumps(call["args"], ensure_ascii=False)
        entries.append(f"{author} called {plain_name(call['name'] or '')}({args})")
    return [indented(entry) for entry in entries]


def _text(message: BaseMessage) -> str:
    """The message's text, with a placeholder for each other content block."""
    if isinstance(message.content, str):
        return message.content
    return " ".join(filter(None, [message.text, *map(block_placeholder, message.content)]))


def with_readable_calls(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The messages for models other than ChatKimi, in which all calls have a JSON object as arguments.

    Other integrations send arguments that are not a JSON object unchanged, and strict hosts refuse such a thread.
    """
    return [
        _with_readable_calls(message) if isinstance(message, AIMessage) and message.invalid_tool_calls else message
        for message in messages
    ]


def _with_readable_calls(message: AIMessage) -> AIMessage:
    calls = [
        tool_call(name=call["name"] or "", args=parse_arguments(wire_arguments(call["args"] or "")), id=call["id"])
        for call in message.invalid_tool_calls
    ]
    return message.model_copy(update={"tool_calls": [*message.tool_calls, *calls], "invalid_tool_calls": []})


def indented(text: str) -> str:
    """The text with every line after the first indented, so that only the first can begin like a new entry.

    A line ends at everything that Python or a reader may take for the end of one, including U+2028 and form feeds.
    """
    return f"\n{_INDENT}".join(text.splitlines()) if text else text


def plain_name(name: str) -> str:
    """The name of an agent or tool without characters that could end the label that contains it."""
    return _NOT_IN_NAMES.sub("_", name)
