"""LangChain messages as Kimi's. Each message is encoded by itself, so an unchanged message keeps its bytes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_kimi._media_parts import UnsupportedBlockError, encode_part
from langchain_kimi._raw_calls import NO_REASONING, PROVIDER, REASONING, raw_calls, wire_arguments
from langchain_kimi._request.tools import DYNAMIC_TOOLS, dynamic_tools, has_dynamic_tools, wire_name
from langchain_kimi.errors import IllegalRequestError

PARTIAL = "partial"
"""The key in `additional_kwargs` that marks a message to continue; it counts on the last message of a request only."""


def encode_message(
    message: BaseMessage,
    *,
    thinks: bool,
    pad_reasoning: bool = True,
    inputs: Sequence[str] | None = None,
    partial: bool = False,
) -> dict[str, Any]:
    """One message on the wire. `name` is left out: Kimi's template would write it instead of the role.

    `thinks`: an assistant message with tool calls must carry reasoning; where none is known, a space stands for it, or,
    without `pad_reasoning`, nothing. `inputs` is what the model reads, None where that is not known: a picture in a
    tool's result becomes a short text where the model cannot see it. `partial` marks an assistant message that the
    model is to continue. Raises IllegalRequestError for a message or block that Kimi has no form for.
    """
    if isinstance(message, AIMessage):
        encoded = _encode_assistant(message, thinks and pad_reasoning)
        return {**encoded, PARTIAL: True} if partial else encoded
    if isinstance(message, ToolMessage):
        return {
            "role": "tool",
            "tool_call_id": message.tool_call_id,
            "content": _text_or_parts(message.content, inputs),
        }
    if isinstance(message, SystemMessage):
        if has_dynamic_tools(message):
            return _encode_dynamic_tools(message)
        return {"role": "system", "content": _text_or_parts(message.content)}
    if isinstance(message, HumanMessage):
        return {"role": "user", "content": _content(message.content)}
    if isinstance(message, ChatMessage):
        return {"role": message.role, "content": _content(message.content)}
    raise IllegalRequestError(
        f"Kimi has no form for a {type(message).__name__}. Use System, Human, AI, Tool or ChatMessage."
    )


def split_partial(messages: Sequence[BaseMessage]) -> tuple[Sequence[BaseMessage], Sequence[AIMessage]]:
    """The messages, and apart from them a last assistant message that the model is to continue (partial mode), if any.

    Raises IllegalRequestError for such a message with tool calls.
    """
    last = messages[-1] if messages else None
    if not isinstance(last, AIMessage) or last.additional_kwargs.get(PARTIAL) is not True:
        return messages, ()
    if last.tool_calls or last.invalid_tool_calls:
        raise IllegalRequestError(
            "An answer cannot be continued from tool calls. Leave `partial` out and answer the calls, or ask again."
        )
    return messages[:-1], (last,)


def _encode_dynamic_tools(message: SystemMessage) -> dict[str, Any]:
    """The message on the wire, which has no content. Raises IllegalRequestError for a schema that cannot be legal."""
    tools = dynamic_tools(message)
    for tool in tools:
        for path, words in tool.problems:
            raise IllegalRequestError(
                f"tool {tool.name!r}: Kimi would refuse its schema at {path or 'root'!r}: {words}. Change the schema, "
                "or make the message with `dynamic_tools_message`, which leaves such tools out."
            )
    content = {"content": message.content} if message.content else {}
    return {"role": "system", **content, DYNAMIC_TOOLS: [tool.wire for tool in tools]}


def _encode_assistant(message: AIMessage, pad_reasoning: bool) -> dict[str, Any]:
    encoded: dict[str, Any] = {"role": "assistant", "content": _text(message)}
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
        if pad_reasoning and not reasoning:
            encoded[REASONING] = NO_REASONING
    return encoded


def reasoning_of(message: AIMessage) -> str | None:
    """Kimi's own reasoning: from `additional_kwargs`, else from reasoning blocks; another provider's is not Kimi's."""
    if message.response_metadata.get("model_provider", PROVIDER) != PROVIDER:
        return None
    reasoning = message.additional_kwargs.get(REASONING)
    if isinstance(reasoning, str):
        return reasoning
    thoughts = [block.get("reasoning", "") for block in _blocks(message.content) if block.get("type") == "reasoning"]
    return "".join(thoughts) if thoughts else None


def _text(message: AIMessage) -> str:
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
        return encode_part(block)
    except UnsupportedBlockError as error:
        raise IllegalRequestError(str(error)) from error
