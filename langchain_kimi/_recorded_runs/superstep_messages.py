"""The messages that the tasks of a superstep wrote, and what the state is after them."""

from typing import Any, TypeGuard

from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages

from langchain_kimi._recorded_runs.checkpoint_log import TaskWrites
from langchain_kimi.agent.state import add_kimi_messages
from langchain_kimi.agent.thread_messages import CLOSING_MESSAGE


def as_message(update: Any) -> BaseMessage | None:
    """An update of messages as a message; None for what is none, which other graphs may write to the channel."""
    try:
        return convert_to_messages([update])[0]
    except (ValueError, NotImplementedError):
        return None
    except (TypeError, AttributeError, KeyError):  # of calls that are no mappings or lack keys, which it does not check
        return None


def updated_messages(state: list[BaseMessage], message: BaseMessage) -> list[BaseMessage] | None:
    """The state after one update; None for an update that cannot be applied."""
    try:
        return list(add_kimi_messages(state, [[message]]))
    except ValueError:
        return None


def written_messages(task: TaskWrites) -> list[Any]:
    """The updates of messages that a task wrote, of all of its writes."""
    return [message for value in task.values("messages") for message in (value if isinstance(value, list) else [value])]


def has_id(message: Any) -> bool:
    """Whether an update is a message with an id."""
    return isinstance(message, BaseMessage) and message.id is not None


def is_model_answer(message: Any) -> TypeGuard[AIMessage]:
    """Whether a message came from a model, and not from a person or the agent itself."""
    if not isinstance(message, AIMessage) or CLOSING_MESSAGE in message.additional_kwargs:
        return False
    return bool(message.response_metadata or message.usage_metadata)
