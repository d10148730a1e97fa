"""LangChain to wire: messages, tools and settings become the one dict that a chat request is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_kimi.catalogue import SAMPLING, find
from langchain_kimi.encode.messages import encode_message
from langchain_kimi.encode.settings import Note, encode_sampling, encode_thinking, encode_tokens, resolve_tool_choice
from langchain_kimi.encode.tools import encode_tool, name_of

__all__ = ["Encoded", "Note", "encode_message", "encode_request", "encode_thinking", "encode_tool"]

_OURS = frozenset(
    (
        *("model", "thinking", "reasoning_effort", "keep_thinking", "max_tokens", "max_completion_tokens", "stop"),
        *("tools", "tool_choice", "illegal_tool_choice", "parallel_tool_calls", "extra_body", *SAMPLING),
    )
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request as it goes on the wire, and what of the user's choice was changed on the way."""

    body: dict[str, Any]
    notes: tuple[Note, ...]


def encode_request(chosen: Mapping[str, Any], messages: Sequence[BaseMessage], *, stream: bool) -> Encoded:
    """The request for `messages` under the settings `chosen` (ChatKimi's names; None and unset are the same).

    Raises IllegalRequestError for a setting that the model cannot take. `messages` come last in the body, so that the
    next request of a conversation begins with this one, byte for byte.
    """
    given = {key: value for key, value in chosen.items() if value is not None}
    model: str = given["model"]
    row = find(model)
    thinking = encode_thinking(
        row, model, given.get("thinking"), given.get("reasoning_effort"), given.get("keep_thinking")
    )
    tools = given.get("tools") or ()
    notes: list[Note] = []
    choice = resolve_tool_choice(
        given.get("tool_choice"),
        [name_of(tool) for tool in tools],
        row=row,
        thinks=thinking.thinks,
        raises=given.get("illegal_tool_choice") == "raise",
        notes=notes,
    )
    if "parallel_tool_calls" in given:
        notes.append(Note("parallel_tool_calls", "parallel_tool_calls is dropped: Kimi has no such parameter."))
    body: dict[str, Any] = {"model": model}
    if tools:
        body["tools"] = list(tools)
    if choice is not None:
        body["tool_choice"] = choice
    body |= thinking.fields
    body |= encode_tokens(row, given, thinks=thinking.thinks is not False, notes=notes)
    body |= encode_sampling(row, given, thinks=thinking.thinks is not False, notes=notes)
    if stop := given.get("stop"):
        body["stop"] = stop
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body |= {key: value for key, value in given.items() if key not in _OURS}
    body |= given.get("extra_body", {})
    body["messages"] = [encode_message(message, thinks=bool(thinking.thinks)) for message in messages]
    return Encoded(body, tuple(notes))
