"""A thread while it is compacted: which messages are changed or removed so far, and how many tokens that leaves."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AnyMessage, BaseMessage

from langchain_kimi import tokens
from langchain_kimi.agent.compaction.archive import ArchiveEntry
from langchain_kimi.agent.compaction.excerpts import Excerpts, make_excerpt, with_excerpts
from langchain_kimi.agent.compaction.message_groups import MessageGroup, group_messages, running_turn, turn_numbers
from langchain_kimi.agent.compaction.recorded_usage import OUTDATED_USAGE, last_usage
from langchain_kimi.agent.events import CompactionChange


class Draft:
    """The original messages are never changed: a changed message is a copy with the same id. Tokens are estimates."""

    def __init__(self, messages: Sequence[AnyMessage], excerpts: Excerpts, request_tokens: int) -> None:
        """`request_tokens`: those of the request beside these messages."""
        self.original = messages
        self.messages: list[AnyMessage] = list(messages)
        self.excerpts: dict[str, Any] = dict(excerpts)
        self.groups = list(group_messages(messages))
        self.running = running_turn(self.groups)
        """The index of the group with which the running user turn begins."""
        self.turns = list(turn_numbers(messages))
        """The number of the user turn of each message."""
        self.removed: list[MessageGroup] = []
        self.archive: dict[str, ArchiveEntry] = {}
        """By key, what is to be archived before the draft replaces the thread."""
        self.steps: list[CompactionChange] = []
        self._sizes = [tokens.count_message(message) for message in with_excerpts(messages, excerpts)]
        self.total = request_tokens + sum(self._sizes)
        last = last_usage(messages)
        self.outdated_usage = None if last is None else messages[last].id or ""
        """The id of the last answer with usage, which does not hold for a changed thread."""

    def add_change(self, what: str, number: int, tokens: int) -> None:
        """Report a change of so many messages that saves so many tokens."""
        self.steps.append(CompactionChange(what=what, number=number, tokens=tokens, why=""))

    @property
    def exchanges(self) -> int:
        """How many groups are removed, without earlier summaries."""
        return sum(group.kind != "summary" for group in self.removed)

    @property
    def removed_tokens(self) -> int:
        """The tokens of the removed messages."""
        return sum(self._sizes[index] for group in self.removed for index in group.indexes)

    def removed_messages(self) -> list[BaseMessage]:
        """The removed messages in order, each in its original form."""
        return [self.original[index] for group in self.removed for index in group.indexes]

    def size(self, index: int) -> int:
        """The tokens of a message, or of its excerpt."""
        return self._sizes[index]

    def replace(self, index: int, message: AnyMessage) -> int:
        """Replace a message by a changed copy; returns the tokens that this saves."""
        kwargs = {**message.additional_kwargs, OUTDATED_USAGE: self.outdated_usage}
        self.messages[index] = message.model_copy(update={"additional_kwargs": kwargs})
        return self._resize(index, tokens.count_message(message))

    def show_excerpt(self, index: int, settings: Any) -> int:
        """Show an excerpt of a message in requests; returns the tokens that this saves. The message stays whole."""
        message = self.messages[index]
        self.excerpts[message.id or ""] = settings
        return self._resize(index, tokens.count_message(make_excerpt(message, settings)))

    def remove(self, group: MessageGroup) -> None:
        """Remove a group."""
        self.removed.append(group)
        self.total -= sum(self._sizes[index] for index in group.indexes)

    def restore_removed(self) -> None:
        """Undo all removals."""
        self.total += self.removed_tokens
        self.removed = []

    def add_to_archive(self, entry: ArchiveEntry) -> None:
        """Archive an entry, unless there is one with its key."""
        self.archive.setdefault(entry.key, entry)

    def result(self, replacement: AnyMessage | None) -> list[AnyMessage]:
        """The messages of the thread, with `replacement` where the first removed message was."""
        if replacement is None:
            return self.messages
        removed = {index for group in self.removed for index in group.indexes}
        first = self.removed[0].start
        return [
            replacement if index == first else message
            for index, message in enumerate(self.messages)
            if index == first or index not in removed
        ]

    def _resize(self, index: int, size: int) -> int:
        saved = self._sizes[index] - size
        self._sizes[index] = size
        self.total -= saved
        return saved
