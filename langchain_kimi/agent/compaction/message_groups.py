"""Groups the messages of a thread: compaction keeps or removes a group as a whole."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_kimi.agent.thread_messages import tool_calls_of

SUMMARY = "kimi_summary"
"""The key of `additional_kwargs` under which a message that replaces removed ones has its `task`, `text`, `turns` and
`exchanges`."""


@dataclass(frozen=True, slots=True)
class MessageGroup:
    """The messages from index `start` up to, not including, `end`.

    An `answer` is an assistant message with the results of its calls; every other kind is one message.
    """

    kind: Literal["system", "user", "summary", "answer"]
    start: int
    end: int
    complete: bool = True
    """Whether every call has its result and no other message stands between them."""

    @property
    def indexes(self) -> range:
        """The indexes of its messages."""
        return range(self.start, self.end)


def is_summary(message: BaseMessage) -> bool:
    """Whether the message replaces removed ones."""
    return isinstance(message, HumanMessage) and SUMMARY in message.additional_kwargs


def is_user_message(message: BaseMessage) -> bool:
    """Whether the message is the user's own."""
    return not isinstance(message, (AIMessage, ToolMessage, SystemMessage)) and not is_summary(message)


def summary_fields(message: BaseMessage) -> Mapping[str, Any]:
    """The `task`, `text`, `turns` and `exchanges` of a summary message; empty for any other."""
    fields = message.additional_kwargs.get(SUMMARY)
    return fields if isinstance(fields, Mapping) else {}


def group_messages(messages: Sequence[BaseMessage]) -> Iterator[MessageGroup]:
    """The groups of the whole thread, in order."""
    start = 0
    while start < len(messages):
        message = messages[start]
        if isinstance(message, SystemMessage):
            group = MessageGroup("system", start, start + 1)
        elif is_summary(message):
            group = MessageGroup("summary", start, start + 1)
        elif is_user_message(message):
            group = MessageGroup("user", start, start + 1)
        else:
            group = _answer_group(messages, start)
        yield group
        start = group.end


def running_turn(groups: Sequence[MessageGroup]) -> int:
    """The index of the group with which the running user turn begins: the first of the last user messages in a row."""
    users = [index for index, group in enumerate(groups) if group.kind == "user"]
    start = users[-1] if users else 0
    while start and groups[start - 1].kind == "user":
        start -= 1
    return start


def turn_numbers(messages: Sequence[BaseMessage]) -> Iterator[int]:
    """For each message the number of its user turn, from 1; turns that a summary replaced count too."""
    turn = 0
    for message in messages:
        if is_summary(message):
            turn += int(summary_fields(message).get("turns", 0))
        elif is_user_message(message):
            turn += 1
        yield turn


def _answer_group(messages: Sequence[BaseMessage], start: int) -> MessageGroup:
    """The assistant message at `start` and everything up to the last result before the next assistant message."""
    open_calls = [call["id"] or "" for call in tool_calls_of(messages[start])]
    end, complete = start + 1, True
    if open_calls:
        for index in range(start + 1, len(messages)):
            message = messages[index]
            if isinstance(message, AIMessage):
                break
            if isinstance(message, ToolMessage):
                complete = complete and index == end and message.tool_call_id in open_calls
                if message.tool_call_id in open_calls:
                    open_calls.remove(message.tool_call_id)
                end = index + 1
    return MessageGroup("answer", start, end, complete and not open_calls)
