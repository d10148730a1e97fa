"""Decides what to shorten and what to remove, without any request.

An exchange is an assistant message with the results of its calls. The running turn begins with the user's last message.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from langchain_kimi.agent.compaction.archive import message_entry, reasoning_entry
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.draft import Draft
from langchain_kimi.agent.compaction.excerpts import fit_excerpt
from langchain_kimi.agent.compaction.message_groups import MessageGroup
from langchain_kimi.agent.compaction.shortening import SHORTENED, shorten_result, without_reasoning

_BIG = 4
"""A result that is so many times as long as it would be afterwards is shortened before smaller ones."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes of the request in estimated tokens."""

    target: int
    """What it should have after a compaction."""
    trigger: int
    """The size from which on the thread is compacted."""
    window: int
    """What it may have at most."""
    summary: int
    """The part of it that the message which replaces removed ones may have."""


def drop_reasoning(draft: Draft, agent: str | None = None) -> None:
    """Remove the reasoning of earlier user turns.

    `agent`: the member of a team whose reasoning alone is removed, since other members may read their own.
    """
    dropped = saved = 0
    for group in draft.groups[: draft.running]:
        message = draft.messages[group.start]
        if not isinstance(message, AIMessage) or (agent and message.name != agent):
            continue
        if (changed := without_reasoning(message)) is not None:
            draft.add_to_archive(reasoning_entry(message, draft.turns[group.start]))
            saved += draft.replace(group.start, changed)
            dropped += 1
    if dropped:
        draft.add_change("dropped_reasoning", dropped, saved)


class Plan:
    """Shortens and removes in a draft, the least loss first, until the request has its target size."""

    def __init__(self, draft: Draft, limits: Limits, settings: Compaction, *, archived: bool) -> None:
        """`archived`: whether texts may name keys of the archive."""
        self._draft = draft
        self._limits = limits
        self._settings = settings
        self._archived = archived
        self._latest = _latest_results(draft.original, settings.keep_results)

    def apply(self) -> None:
        """Carry out the steps; each stops as soon as the target is reached."""
        groups = self._draft.groups
        earlier, running = groups[: self._draft.running], groups[self._draft.running :]
        self._shorten_results(earlier)
        self._remove([group for group in earlier if self._is_removable(group)])
        self._shorten_results(running)
        self._remove(_complete_exchanges(running))
        self._confirm_removal()
        if self._expected > self._limits.window:
            self._show_excerpts()

    @property
    def _expected(self) -> int:
        """The size of the request, with a summary where messages are removed."""
        return self._draft.total + (self._limits.summary if self._draft.removed else 0)

    def _shorten_results(self, groups: Iterable[MessageGroup]) -> None:
        """Leave out the middle of results, except the latest: big ones first, and among these the oldest."""
        draft = self._draft
        big = _BIG * self._settings.result_tokens
        indexes = [index for group in groups for index in group.indexes if index not in self._latest]
        indexes.sort(key=lambda index: (draft.size(index) <= big, index))
        count = saved = 0
        for index in indexes:
            if self._expected <= self._limits.target:
                break
            result = draft.messages[index]
            if not isinstance(result, ToolMessage):
                continue
            entry = message_entry(result, draft.turns[index])
            short = shorten_result(result, self._settings.result_tokens, entry.key if self._archived else None)
            if short is not None:
                draft.add_to_archive(entry)
                saved += draft.replace(index, short)
                count += 1
        if count:
            draft.add_change("shortened_results", count, saved)

    def _remove(self, groups: Iterable[MessageGroup]) -> None:
        """Remove groups, the oldest first."""
        for group in groups:
            if self._expected <= self._limits.target:
                break
            self._draft.remove(group)

    def _is_removable(self, group: MessageGroup) -> bool:
        """Whether a group of an earlier turn may be removed: a message between its results, such as a system message,
        must not."""
        messages = self._draft.original
        only_own = all(isinstance(messages[index], (AIMessage, ToolMessage)) for index in group.indexes)
        return group.kind in ("summary", "user") or (group.kind == "answer" and only_own)

    def _confirm_removal(self) -> None:
        """Archive what is removed; where it is no longer than its summary would be, remove nothing."""
        draft = self._draft
        if draft.removed and (draft.removed_tokens <= self._limits.summary or not draft.exchanges):
            draft.restore_removed()
        for group in draft.removed:
            for index in group.indexes:
                message = draft.original[index]
                if group.kind != "summary" and SHORTENED not in message.additional_kwargs:
                    draft.add_to_archive(message_entry(message, draft.turns[index]))

    def _show_excerpts(self) -> None:
        """Show excerpts of the longest results, all of one length, so that requests are half-way between the target and
        the trigger."""
        draft = self._draft
        removed = {index for group in draft.removed for index in group.indexes}
        results = [
            (index, message)
            for index, message in enumerate(draft.messages)
            if isinstance(message, ToolMessage) and message.id and index not in removed
        ]
        excess = self._expected - (self._limits.target + self._limits.trigger) // 2
        length = max(_common_length([draft.size(index) for index, _ in results], excess), self._settings.result_tokens)
        count = saved = 0
        for index, result in results:
            if draft.size(index) > length:
                entry = message_entry(result, draft.turns[index])
                draft.add_to_archive(entry)
                excerpt = fit_excerpt(result, length, entry.key if self._archived else None)
                saved += draft.show_excerpt(index, excerpt)
                count += 1
        if count:
            draft.add_change("excerpts_of_results", count, saved)


def _latest_results(messages: Sequence[BaseMessage], number: int) -> set[int]:
    """The indexes of so many latest results, and of those that the model has not read yet."""
    results = [index for index, message in enumerate(messages) if isinstance(message, ToolMessage)]
    answers = [index for index, message in enumerate(messages) if isinstance(message, AIMessage)]
    unread = [index for index in results if answers and index > answers[-1]]
    return {*(results[len(results) - number :] if number else ()), *unread}


def _complete_exchanges(running: Sequence[MessageGroup]) -> list[MessageGroup]:
    """The groups of the running turn that may be removed: complete exchanges before the last one, and summaries."""
    answers = [index for index, group in enumerate(running) if group.kind == "answer"]
    before_last = running[: answers[-1]] if answers else []
    return [group for group in before_last if group.kind == "summary" or (group.kind == "answer" and group.complete)]


def _common_length(sizes: Sequence[int], excess: int) -> int:
    """The length to which the longest of the sizes must be reduced, all to the same, to save `excess`; 0 where that is
    impossible."""
    longest = sorted(sizes, reverse=True)
    for count, following in enumerate([*longest[1:], 0], 1):
        if sum(longest[:count]) - count * following >= excess:
            return (sum(longest[:count]) - excess) // count
    return 0
