"""LangChain messages as Kimi's. Each message is encoded by itself, so an unchanged message keeps its bytes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_kimi._raw_calls import NO_REASONING, PROVIDER, REASONING, raw_calls, wire_arguments
from langchain_kimi._request.dynamic_tools import brought, encode_toolbox
from langchain_kimi._request.media import NoForm, part_of
from langchain_kimi._request.names import wire_name
from langchain_kimi.errors import IllegalRequestError


def encode_message(
    message: BaseMessage, *, thinks: bool, pads: bool = True, inputs: Sequence[str] | None = None
) -> dict[str, Any]:
    """One message on the wire. `name` is left out: Kimi's template would put it in the place of the role.

    `thinks`: an assistant message with tool calls must carry reasoning; where none is known, a space stands for it, or,
    without `pads`, nothing. `inputs` is what the model reads, None where that is not known: a picture in a tool's
    result, which nobody chose, is told of where the model cannot see it. Raises IllegalRequestError for a message or
    block that Kimi has no form for.
    """
    if isinstance(message, AIMessage):
        return _encode_assistant(message, thinks and pads)
    if isinstance(message, ToolMessage):
        return {
            "role": "tool",
            "tool_call_id": message.tool_call_id,
            "content": _text_or_parts(message.content, inputs),
        }
    if isinstance(message, SystemMessage):
        if tools := brought(message):
            return encode_toolbox(message, tools)
        return {"role": "system", "content": _text_or_parts(message.content)}
    if isinstance(message, HumanMessage):
        return {"role": "user", "content": _content(message.content)}
    if isinstance(message, ChatMessage):
        return {"role": message.role, "content": _content(message.content)}
    raise IllegalRequestError(
        f"Kimi has no form for a {type(message).__name__}. Use System, Human, AI, Tool or ChatMessage."
    )


def _encode_assistant(message: AIMessage, pads: bool) -> dict[str, Any]:
    encoded: dict[str, Any] = {"role": "assistant", "content": _said(message)}
    reasoning = reasoning_of(message)
    if reasoning is not None:
        encoded[REASONING] = reasoning
    if calls := raw_calls(message):
        encoded["tool_calls"] = [
            {
                "id": call["id"],
                "type": "builtin_function" if call["name"].startswith("$") else "function",
                "function": {"name": wire_name(call["name"]), "arguments": wire_arguments(call["arguments"])},
            }
            for call in calls
        ]
        if pads and not reasoning:
            encoded[REASONING] = NO_REASONING
    return encoded


def reasoning_of(message: AIMessage) -> str | None:
    """Kimi's own reasoning: from `additional_kwargs`, else from reasoning blocks; another provider's is not Kimi's."""
    if message.response_metadata.get("model_provider", PROVIDER) != PROVIDER:
        return None
    kept = message.additional_kwargs.get(REASONING)
    if isinstance(kept, str):
        return kept
    thoughts = [block.get("reasoning", "") for block in _blocks(message.content) if block.get("type") == "reasoning"]
    return "".join(thoughts) if thoughts else None


def _said(message: AIMessage) -> str:
    """The text of an assistant message: Kimi's content is one string, however LangChain cut it."""
    if isinstance(message.content, str):
        return message.content
    return "".join(block.get("text", "") for block in _blocks(message.content) if block.get("type") == "text")


def _text_or_parts(
    content: str | list[str | dict[str, Any]], inputs: Sequence[str] | None = None
) -> str | list[dict[str, Any]]:
    """Content as text where it is nothing but text, as parts otherwise."""
    encoded = _content(content)
    if isinstance(encoded, list) and inputs is not None:
        encoded = [_visible(part, inputs) for part in encoded]
    if isinstance(encoded, list) and all(part["type"] == "text" for part in encoded):
        return "\n".join(part["text"] for part in encoded)
    return encoded


def _content(content: str | list[str | dict[str, Any]]) -> str | list[dict[str, Any]]:
    return content if isinstance(content, str) else [_part(block) for block in _blocks(content)]


def _visible(part: dict[str, Any], inputs: Sequence[str]) -> dict[str, Any]:
    kind = part["type"].removesuffix("_url")
    return part if kind in ("text", *inputs) else {"type": "text", "text": f"({kind}: this model cannot see it)"}


def _blocks(content: str | list[str | dict[str, Any]]) -> Iterable[dict[str, Any]]:
    blocks = [content] if isinstance(content, str) else content
    return ({"type": "text", "text": block} if isinstance(block, str) else block for block in blocks)


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    """A content block as a part of Kimi's: text, image or video."""
    try:
        return part_of(block)
    except NoForm as error:
        raise IllegalRequestError(str(error)) from error
