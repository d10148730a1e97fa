"""Partial mode: a last assistant message that the model goes on with, instead of answering it."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi.errors import IllegalRequestError

PARTIAL = "partial"
"""The key in `additional_kwargs` that marks a beginning; it counts on the last message of a request only."""


def split_beginning(messages: Sequence[BaseMessage]) -> tuple[Sequence[BaseMessage], AIMessage | None]:
    """The messages, and apart from them a last one that is a beginning to go on with.

    Raises IllegalRequestError for a beginning that calls tools.
    """
    last = messages[-1] if messages else None
    if not isinstance(last, AIMessage) or last.additional_kwargs.get(PARTIAL) is not True:
        return messages, None
    if last.tool_calls or last.invalid_tool_calls:
        raise IllegalRequestError(
            "An answer cannot be continued from tool calls. Leave `partial` out and answer the calls, or ask again."
        )
    return messages[:-1], last


def as_beginning(encoded: dict[str, Any]) -> dict[str, Any]:
    """An encoded assistant message as one to go on with."""
    return {**encoded, PARTIAL: True}
