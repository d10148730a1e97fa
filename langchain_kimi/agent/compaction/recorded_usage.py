"""The usage that a host reported for an earlier request of the thread, as far as it still holds."""

from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage

OUTDATED_USAGE = "kimi_replaced"
"""The key of `additional_kwargs` under which a message that replaced others has the id of the last answer whose usage
counts those others."""


def current_usage(messages: Sequence[BaseMessage]) -> int | None:
    """The index of the last answer with usage; None where no answer has any, or messages before it were replaced."""
    index = last_usage(messages)
    if index is None:
        return None
    answer_id = messages[index].id or ""
    if any(message.additional_kwargs.get(OUTDATED_USAGE) == answer_id for message in messages):
        return None
    return index


def last_usage(messages: Sequence[BaseMessage]) -> int | None:
    """The index of the last answer with usage; None where no answer has any."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if isinstance(message, AIMessage) and message.usage_metadata and message.usage_metadata["input_tokens"]:
            return index
    return None
