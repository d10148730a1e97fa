"""Removes from a message what is empty, foreign, or without a form on Kimi's wire."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_kimi._media_parts import sendable
from langchain_kimi._raw_calls import PROVIDER, REASONING, RawCall, is_call_block, parse_calls
from langchain_kimi._request.tools import has_dynamic_tools
from langchain_kimi._surrogates import replaced_in

NO_OUTPUT = "(no output)"
_DATA = ("base64", "data")
_LONGEST_DATA = 1_000
"""Characters of base64 that are sent to the model as text, since it cannot see what they encode."""

_Block: TypeAlias = str | dict[str, Any]
ToolResult: TypeAlias = ToolMessage | FunctionMessage
RecordRepair: TypeAlias = Callable[[int, str, str], None]
"""Takes the index of a message, the rule and what was done."""

_ROLES: Mapping[str, type[BaseMessage]] = {"developer": SystemMessage, "ai": AIMessage, "model": AIMessage}


_TEXT_FIELDS = ("content", "additional_kwargs", "name", "tool_call_id", "tool_calls", "invalid_tool_calls", "role")


def without_surrogates(message: BaseMessage) -> BaseMessage:
    """A copy of the message with U+FFFD for each lone surrogate; the message itself where it has none."""
    fields = message.__dict__
    changed: dict[str, Any] = {}
    for name in _TEXT_FIELDS:
        if name in fields and (clean := replaced_in(fields[name])) is not fields[name]:
            changed[name] = clean
    return message.model_copy(update=changed) if changed else message


def clean_assistant(index: int, message: AIMessage, record: RecordRepair) -> AIMessage | None:
    """An assistant message without what only its own provider reads; None where nothing is left."""
    content = message.content
    if content and isinstance(content, str):
        return message
    if isinstance(content, list) and not all(map(_is_read, content)):
        message = _without_foreign_blocks(index, message, record)
    if message.tool_calls or message.invalid_tool_calls or _has_text(message) or _has_reasoning(message):
        return message
    refusal = message.additional_kwargs.get("refusal")
    if refusal and isinstance(refusal, str):
        record(index, "refusal", "a refusal became the text of its message.")
        return message.model_copy(update={"content": refusal})
    record(index, "empty_message", "an assistant message without text, calls and reasoning was dropped.")
    return None


def _is_read(block: _Block) -> bool:
    """Whether the block is text, thinking or a call in LangChain's own form; the others are a provider's."""
    match block:
        case str() | {"type": "text", "text": str()} | {"type": "reasoning", "reasoning": str()}:
            return True
    return is_call_block(block)


def _without_foreign_blocks(index: int, message: AIMessage, record: RecordRepair) -> AIMessage:
    """Other providers' blocks taken out: refusals become text, calls the message's own if it has none."""
    readable: list[_Block] = []
    calls: list[RawCall] = []
    for block in message.content:
        if isinstance(block, str) or _is_read(block):
            readable.append(block)
            continue
        kind = block.get("type")
        match block["value"] if kind == "non_standard" and "value" in block else block:
            case {"type": "refusal", "refusal": str(refusal)}:
                readable.append({"type": "text", "text": refusal})
                record(index, "refusal", "a refusal became text.")
                continue
            case {"type": "tool_use", "name": str(name), **use}:
                tool_input = use.get("input") or {}
                arguments = tool_input if isinstance(tool_input, str) else _json(tool_input)
                calls.append(RawCall(id=str(use.get("id") or ""), name=name, arguments=arguments))
        record(index, "foreign_block", f"a content block of type {kind!r} was left out: Kimi has no form for it.")
    update: dict[str, Any] = {"content": readable}
    if calls and not message.tool_calls and not message.invalid_tool_calls:
        update["tool_calls"], update["invalid_tool_calls"] = parse_calls(calls)
        record(index, "calls_in_content", "the tool_use blocks became the tool calls of the message.")
    return message.model_copy(update=update)


def _has_text(message: AIMessage) -> bool:
    return any(block if isinstance(block, str) else block.get("text") for block in message.content)


def _has_reasoning(message: AIMessage) -> bool:
    """Whether reasoning that Kimi may be shown stands in the message."""
    if message.response_metadata.get("model_provider", PROVIDER) != PROVIDER:
        return False
    reasoning = message.additional_kwargs.get(REASONING)
    if isinstance(reasoning, str):
        return bool(reasoning)
    return any(isinstance(block, dict) and block.get("reasoning") for block in message.content)


def clean_input(index: int, message: BaseMessage, record: RecordRepair) -> BaseMessage | None:
    """A user or system message without blank parts; None where nothing is left."""
    content = _without_blanks(index, message.content, record)
    if not content and has_dynamic_tools(message):
        return message if not message.content else message.model_copy(update={"content": ""})
    if not content:
        record(index, "empty_message", f"an empty {message.type} message was dropped.")
        return None
    return message if content is message.content else message.model_copy(update={"content": content})


def clean_result(index: int, message: ToolResult, record: RecordRepair) -> ToolResult:
    """A result that is not empty, in text and media alone."""
    content = _without_blanks(index, message.content, record)
    if not content:
        record(index, "empty_result", f"an empty result became {NO_OUTPUT!r}.")
        content = NO_OUTPUT
    elif isinstance(content, list) and not all(map(_is_sendable, content)):
        record(index, "result_part", "parts of a result that are neither text nor inline media became their JSON text.")
        content = [block if _is_sendable(block) else _as_text_part(block) for block in content]
    return message if content is message.content else message.model_copy(update={"content": content})


def _is_sendable(block: _Block) -> bool:
    """Whether a part of a result is text, or an image or video that Kimi reads: it refuses other addresses."""
    return isinstance(block, str) or sendable(block)


def _as_text_part(block: _Block) -> dict[str, Any]:
    """A part without a form on the wire as text: JSON, in which the length stands for long base64 data."""
    if isinstance(block, dict):
        # LangChain gives blocks that it converts a new id each time, which would move the cached prefix.
        made_up = str(block.get("id", "")).startswith("lc_")
        block = {key: _shortened(key, value) for key, value in block.items() if not (made_up and key == "id")}
    return {"type": "text", "text": _json(block)}


def _shortened(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(name, inner) for name, inner in value.items()}
    encoded = isinstance(value, str) and (key in _DATA or value.startswith("data:"))
    return f"({len(value)} characters left out)" if encoded and len(value) > _LONGEST_DATA else value


def _without_blanks(index: int, content: str | list[_Block], record: RecordRepair) -> str | list[_Block]:
    """The content without blank parts; the same object where there are none."""
    if isinstance(content, str):
        return "" if content.isspace() else content
    filled = [block for block in content if not _is_blank(block)]
    if len(filled) == len(content):
        return content
    if filled:
        record(index, "empty_part", "empty text parts were left out.")
    return filled


def with_known_role(index: int, message: ChatMessage, record: RecordRepair) -> BaseMessage:
    """The message in a role that Kimi knows; one with an unknown role becomes the user's."""
    known = _ROLES.get(message.role, HumanMessage)
    rule = "developer_role" if message.role == "developer" else "unknown_role"
    record(index, rule, f"the role {message.role!r} became that of a {known.__name__}.")
    return known(message.content, id=message.id)


def _is_blank(block: _Block) -> bool:
    """Whether a text, or a text part, holds nothing but white space."""
    text = block if isinstance(block, str) else block.get("text") if block.get("type") == "text" else block
    return not text or (isinstance(text, str) and text.isspace())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
