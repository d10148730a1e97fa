"""The conversation as one member of a team reads it."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call

from langchain_kimi._media_parts import inline_media_block, media_kind
from langchain_kimi._raw_calls import parse_arguments, wire_arguments
from langchain_kimi.agent.thread_messages import block_placeholder, tool_calls_of

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
_INDENT = "  "
_MEANWHILE = (
    "Meanwhile other agents went on with this conversation. Only a line that begins with `[` is a new entry, by the "
    "agent or of the tool in the brackets; indented lines belong to the entry above them."
)


@dataclass(frozen=True, slots=True)
class MediaInputs:
    """The pictures and videos that a model takes in user messages."""

    kinds: Collection[str] | None = None
    """`image`, `video`, both or none; None where it is not known."""
    is_kimi: bool = False
    """Whether it takes all formats of Kimi, and references to uploaded files."""

    @classmethod
    def of(cls, model: BaseChatModel, *, is_kimi: bool) -> Self:
        """The inputs of a model by its profile."""
        profile = model.profile
        kinds = [kind for kind in ("image", "video") if profile.get(f"{kind}_inputs")] if profile else None
        return cls(kinds, is_kimi)

    def block(self, block: Any) -> dict[str, Any] | None:
        """A block of another agent's message as LangChain's block, if it is media that the model surely takes."""
        kind = media_kind(block)
        return inline_media_block(block, any_format=self.is_kimi) if kind and kind in (self.kinds or ()) else None

    def readable(self, message: BaseMessage) -> BaseMessage:
        """A user's message with a text in place of media that the model surely does not take."""
        if self.kinds is None or not isinstance(message, HumanMessage) or isinstance(message.content, str):
            return message
        refused = [media_kind(block) not in (None, *self.kinds) for block in message.content]
        if not any(refused):
            return message
        content = [
            {"type": "text", "text": _note(block, shown=False)} if no else block
            for no, block in zip(refused, message.content, strict=True)
        ]
        return message.model_copy(update={"content": content})


@dataclass(slots=True)
class _Entry:
    """What one message of another agent adds to the report: text, and pictures that follow it."""

    text: str
    media: list[dict[str, Any]] = field(default_factory=list)


def visible_messages(
    messages: Sequence[BaseMessage],
    name: str,
    inputs: MediaInputs = MediaInputs(),
) -> list[BaseMessage]:
    """The conversation for the agent `name`: its own messages and tool results unchanged, with its own reasoning.

    One user message reports what other agents wrote and did since its last answer, without their reasoning and ids. So
    no model gets another model's thinking, and every model can read the conversation. The report has the pictures and
    videos that the agent's model takes, and a text for each other one, as have the user's messages. Text of an agent or
    a tool cannot pass for an entry of another. An entry never changes later, so the agent's requests only grow at their
    end.
    """
    visible: list[BaseMessage] = []
    report: list[_Entry] = []
    own = False
    for message in messages:
        if isinstance(message, AIMessage):
            own = message.name == name
        if _declares_tools_of_another(message, name):
            continue
        if own or not isinstance(message, (AIMessage, ToolMessage)):
            _add_report(report, visible)
            visible.append(message if own else inputs.readable(message))
        else:
            report += _entries(message, inputs)
    _add_report(report, visible)
    return visible


def _declares_tools_of_another(message: BaseMessage, name: str) -> bool:
    """Whether the message adds tools to the requests of another agent."""
    return isinstance(message, SystemMessage) and message.name not in (None, name) and is_tool_declaration(message)


def is_tool_declaration(message: BaseMessage) -> bool:
    """Whether the message adds tools to a conversation with Kimi."""
    return isinstance(message, SystemMessage) and bool(message.additional_kwargs.get("tools"))


def _add_report(report: list[_Entry], visible: list[BaseMessage]) -> None:
    if not report:
        return
    content: list[str | dict[str, Any]] = []
    lines = [_MEANWHILE]
    for entry in report:
        lines.append(entry.text)
        if entry.media:
            content += [{"type": "text", "text": "\n".join(lines)}, *entry.media]
            lines = []
    text = "\n".join(lines)
    if content and text:
        content.append({"type": "text", "text": text})
    visible.append(HumanMessage(content or text))
    report.clear()


def _entries(message: AIMessage | ToolMessage, inputs: MediaInputs) -> list[_Entry]:
    """A message as text for other agents. Each entry begins on a line of its own."""
    text, media = _text_and_media(message, inputs)
    if isinstance(message, ToolMessage):
        return [_Entry(indented(f"[result of {plain_name(message.name or '') or 'a tool'}] {text}"), media)]
    author = f"[{plain_name(message.name or '') or 'another agent'}]"
    entries = [_Entry(indented(f"{author} {text}"), media)] if text else []
    for call in tool_calls_of(message):
        args = call["args"] if isinstance(call["args"], str) else json.dumps(call["args"], ensure_ascii=False)
        entries.append(_Entry(indented(f"{author} called {plain_name(call['name'] or '')}({args})")))
    return entries


def _text_and_media(message: BaseMessage, inputs: MediaInputs) -> tuple[str, list[dict[str, Any]]]:
    """The message's text with a note for each other content block, and the blocks that the model takes."""
    if isinstance(message.content, str):
        return message.content, []
    media = [inputs.block(block) for block in message.content]
    notes = [_note(block, shown=shown is not None) for block, shown in zip(message.content, media, strict=True)]
    return " ".join(filter(None, [message.text, *notes])), [block for block in media if block]


def _note(block: Any, *, shown: bool) -> str:
    """The text for a content block that is not text; empty for reasoning and tool calls."""
    kind = media_kind(block)
    if shown:
        return f"({kind} below)"
    return f"({kind} not shown)" if kind else block_placeholder(block)


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
