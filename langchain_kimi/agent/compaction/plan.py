"""What to take out of a long thread, worked out without asking anyone.

First goes what costs nothing, then old results are shortened, then the oldest exchanges are taken out: those of earlier
user turns before those of the running one. An exchange is an assistant message with the results of all its calls; the
running turn begins with what the user said last and was not answered, which stays as it is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_kimi import tokens
from langchain_kimi._raw_calls import PROVIDER, REASONING, REASONING_DETAILS
from langchain_kimi.agent.compaction.archive import ArchiveEntry, message_entry, reasoning_entry
from langchain_kimi.agent.compaction.excerpts import excerpt, fitting, with_excerpts
from langchain_kimi.agent.loop_guard import MARK, fingerprint
from langchain_kimi.agent.state import calls_of

SUMMARY = "kimi_summary"
"""Where a message that stands for removed ones keeps what it tells: `task`, `text`, `turns` and `exchanges`."""
SHORTENED = "kimi_shortened"
"""Where a shortened result keeps how long it was, and its key in the archive if it is there."""

_NO_THOUGHT = " "
"""What stands for the thinking of a call's message: Kimi refuses such a message without any."""
_BIG = 4
"""A result so many times as long as it would be kept is shortened first."""
_LEFT_OUT = "\n[… {cut:,} of {all:,} characters were left out here to save room{how} …]\n"


class Step(NamedTuple):
    """One thing that was done: to how many messages or exchanges, and the tokens that it saved."""

    what: str
    number: int
    tokens: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """How much there is room for, in estimated tokens."""

    target: int
    """What the request may have afterwards."""
    most: int
    """From which size on the thread is made shorter."""
    full: int
    """What the request may have at all."""
    summary: int
    """What a summary may have."""


@dataclass(frozen=True, slots=True)
class Group:
    """Messages that stay or go together, from `start` up to `end`."""

    kind: Literal["system", "user", "summary", "answer"]
    start: int
    end: int
    whole: bool = True
    """Whether every call in it has its result, and nothing else is in between."""


def is_summary(message: BaseMessage) -> bool:
    """Whether the message stands for removed ones."""
    return isinstance(message, HumanMessage) and SUMMARY in message.additional_kwargs


def is_users(message: BaseMessage) -> bool:
    """Whether the message is what a user said."""
    return not isinstance(message, (AIMessage, ToolMessage, SystemMessage)) and not is_summary(message)


def groups_of(messages: Sequence[BaseMessage]) -> Iterator[Group]:
    """The thread's groups in order, all of it."""
    start = 0
    while start < len(messages):
        message = messages[start]
        if isinstance(message, SystemMessage):
            group = Group("system", start, start + 1)
        elif is_summary(message):
            group = Group("summary", start, start + 1)
        elif is_users(message):
            group = Group("user", start, start + 1)
        else:
            group = _answer(messages, start)
        yield group
        start = group.end


def _answer(messages: Sequence[BaseMessage], start: int) -> Group:
    """An assistant message and all up to the last result before the next one."""
    open_calls = [call["id"] or "" for call in calls_of(messages[start])]
    end, whole = start + 1, True
    if open_calls:
        for place in range(start + 1, len(messages)):
            message = messages[place]
            if isinstance(message, AIMessage):
                break
            if isinstance(message, ToolMessage):
                whole = whole and place == end and message.tool_call_id in open_calls
                if message.tool_call_id in open_calls:
                    open_calls.remove(message.tool_call_id)
                end = place + 1
    return Group("answer", start, end, whole and not open_calls)


@dataclass(slots=True)
class Plan:
    """A thread being made shorter. The given messages are never changed: changed ones are copies with their ids."""

    given: Sequence[AnyMessage]
    fixed: int
    """Tokens of the request beside these messages."""
    replaced: str | None
    """The id of the last answer whose recorded usage will not hold any more; None where there is none."""
    keep_results: int = 0
    result_tokens: int = 400
    archived: bool = False
    """Whether what goes is written to the archive."""
    excerpts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The results of which the model is shown an excerpt."""

    room: Room = field(init=False)
    messages: list[AnyMessage] = field(init=False)
    removed: list[Group] = field(init=False, default_factory=list)
    steps: list[Step] = field(init=False, default_factory=list)
    entries: dict[str, ArchiveEntry] = field(init=False, default_factory=dict)
    total: int = field(init=False)
    _sizes: list[int] = field(init=False)
    _groups: list[Group] = field(init=False)
    _running: int = field(init=False)
    """The place in `_groups` where the running turn begins."""
    _turns: list[int] = field(init=False)
    _recent: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.messages = list(self.given)
        self.excerpts = dict(self.excerpts)
        self._sizes = [tokens.count_message(message) for message in with_excerpts(self.given, self.excerpts)]
        self.total = self.fixed + sum(self._sizes)
        self._groups = list(groups_of(self.given))
        users = [place for place, group in enumerate(self._groups) if group.kind == "user"]
        self._running = users[-1] if users else 0
        while self._running and self._groups[self._running - 1].kind == "user":
            self._running -= 1
        self._turns = list(_turns(self.given))
        results = [place for place, message in enumerate(self.given) if isinstance(message, ToolMessage)]
        answers = [place for place, message in enumerate(self.given) if isinstance(message, AIMessage)]
        unread = [place for place in results if answers and place > answers[-1]]
        self._recent = {*(results[len(results) - self.keep_results :] if self.keep_results else ()), *unread}

    @property
    def first_removed(self) -> int:
        """The place of the first message that goes, which what stands for them takes."""
        return self.removed[0].start

    def shrink(self, room: Room) -> None:
        """Take out as much as is needed, the least loss first."""
        self.room = room
        earlier, running = self._groups[: self._running], self._groups[self._running :]
        self._shorten(earlier)
        self._remove(earlier, whole_only=False)
        self._shorten(running)
        answers = [place for place, group in enumerate(running) if group.kind == "answer"]
        self._remove(running[: answers[-1]] if answers else [], whole_only=True)
        self._settle_removed()
        if self._expected > room.full:
            self._show_less()

    @property
    def _expected(self) -> int:
        return self.total + (self.room.summary if self.removed else 0)

    @property
    def exchanges(self) -> int:
        """How many exchanges and messages of the user go."""
        return sum(group.kind != "summary" for group in self.removed)

    @property
    def removed_tokens(self) -> int:
        """The tokens of what goes."""
        return sum(sum(self._sizes[group.start : group.end]) for group in self.removed)

    def drop_reasoning(self, agent: str | None = None) -> None:
        """Drop the thinking of earlier user turns; in a team, only the agent's own: others may still read theirs."""
        dropped = saved = 0
        for group in self._groups[: self._running]:
            message = self.messages[group.start]
            if not isinstance(message, AIMessage) or (agent and message.name != agent):
                continue
            if (plain := _without_reasoning(message)) is not None:
                self._note(reasoning_entry(message, self._turns[group.start]))
                saved += self._replace(group.start, plain)
                dropped += 1
        if dropped:
            self.steps.append(Step("dropped_reasoning", dropped, saved))

    def _shorten(self, groups: Iterable[Group]) -> None:
        """Cut older results down, big ones first and the oldest of them, until all has room."""
        places = [place for group in groups for place in range(group.start, group.end) if place not in self._recent]
        big = _BIG * self.result_tokens
        places.sort(key=lambda place: (self._sizes[place] <= big, place))
        count = saved = 0
        for place in places:
            if self._expected <= self.room.target:
                break
            message = self.messages[place]
            if isinstance(message, ToolMessage) and (short := self._shortened(place, message)) is not None:
                saved += self._replace(place, short)
                count += 1
        if count:
            self.steps.append(Step("shortened_results", count, saved))

    def _show_less(self) -> None:
        """Show excerpts of the longest results, all equally long, so that the request fits with some room to go on."""
        gone = {place for group in self.removed for place in range(group.start, group.end)}
        places = [
            place
            for place, message in enumerate(self.messages)
            if isinstance(message, ToolMessage) and message.id and place not in gone
        ]
        sizes = sorted((self._sizes[place] for place in places), reverse=True)
        over = self._expected - (self.room.target + self.room.most) // 2
        level = self.result_tokens
        for count, following in enumerate([*sizes[1:], 0], 1):
            if sum(sizes[:count]) - count * following >= over:
                level = max(level, (sum(sizes[:count]) - over) // count)
                break
        shown = saved = 0
        for place in places:
            if self._sizes[place] > level:
                saved += self._excerpted(place, level)
                shown += 1
        if shown:
            self.steps.append(Step("excerpts_of_results", shown, saved))

    def _excerpted(self, place: int, size: int) -> int:
        """Show an excerpt of a result; the tokens that saves. The message itself stays whole."""
        message: Any = self.messages[place]
        entry = message_entry(message, self._turns[place])
        self._note(entry)
        about = fitting(message, size, entry.key if self.archived else None)
        self.excerpts[message.id] = about
        saved = self._sizes[place] - tokens.count_message(excerpt(message, about))
        self._sizes[place] -= saved
        self.total -= saved
        return saved

    def _shortened(self, place: int, message: ToolMessage) -> ToolMessage | None:
        """The result with its middle left out; None where that would save little."""
        if SHORTENED in message.additional_kwargs:
            return None
        entry = message_entry(message, self._turns[place])
        how = ""
        if self.archived:
            how = f'; recall(key="{entry.key}") gives all of it'
        text = cut_middle(entry.text, self.result_tokens, how)
        if tokens.count_text(text) * 5 > tokens.count_message(message) * 4:
            return None
        self._note(entry)
        about = {"characters": len(entry.text), "key": entry.key if self.archived else None}
        kept = {MARK: fingerprint(message), **message.additional_kwargs, SHORTENED: about}
        return message.model_copy(update={"content": text, "additional_kwargs": kept})

    def _remove(self, groups: Sequence[Group], *, whole_only: bool) -> None:
        for group in groups:
            if self._expected <= self.room.target:
                break
            removable = group.whole if whole_only else _only_answers(self.given, group)
            if group.kind == "summary" or (group.kind == "answer" and removable) or self._is_past(group):
                self._take_out(group)

    def _is_past(self, group: Group) -> bool:
        return group.kind == "user" and group.start < self._groups[self._running].start

    def _take_out(self, group: Group) -> None:
        self.removed.append(group)
        for place in range(group.start, group.end):
            self.total -= self._sizes[place]

    def _settle_removed(self) -> None:
        """Leave all where it is if what stands for it would be as long; else note what goes."""
        if not self.removed:
            return
        if self.removed_tokens <= self.room.summary or not self.exchanges:
            self.total += self.removed_tokens
            self.removed = []
        for group in self.removed:
            for place in range(group.start, group.end):
                message = self.given[place]
                if group.kind != "summary" and SHORTENED not in message.additional_kwargs:
                    self._note(message_entry(message, self._turns[place]))

    def with_standing(self, standing: HumanMessage | None) -> list[AnyMessage]:
        """The thread with `standing` in the place of what was removed."""
        if standing is None:
            return self.messages
        gone = {place for group in self.removed for place in range(group.start, group.end)}
        first = self.first_removed
        return [
            standing if place == first else message
            for place, message in enumerate(self.messages)
            if place == first or place not in gone
        ]

    def _replace(self, place: int, message: AnyMessage) -> int:
        """Put a changed message in the place of another; the tokens that saves."""
        kept = {**message.additional_kwargs, tokens.REPLACED: self.replaced}
        self.messages[place] = message.model_copy(update={"additional_kwargs": kept})
        size = tokens.count_message(message)
        saved = self._sizes[place] - size
        self._sizes[place] = size
        self.total -= saved
        return saved

    def _note(self, entry: ArchiveEntry) -> None:
        self.entries.setdefault(entry.key, entry)


def _turns(messages: Sequence[BaseMessage]) -> Iterator[int]:
    """The number of the user turn that each message belongs to, counted from the very beginning of the thread."""
    turn = 0
    for message in messages:
        if is_summary(message):
            turn += int(summary_of(message).get("turns", 0))
        elif is_users(message):
            turn += 1
        yield turn


def summary_of(message: BaseMessage) -> Mapping[str, Any]:
    """What a summary keeps about itself."""
    about = message.additional_kwargs.get(SUMMARY)
    return about if isinstance(about, Mapping) else {}


def _only_answers(messages: Sequence[BaseMessage], group: Group) -> bool:
    return all(isinstance(message, (AIMessage, ToolMessage)) for message in messages[group.start : group.end])


def _without_reasoning(message: AIMessage) -> AIMessage | None:
    """The message without its thinking; None where it has none to drop, or says nothing else."""
    if message.response_metadata.get("model_provider", PROVIDER) != PROVIDER or not tokens.count_reasoning(message):
        return None
    calls = bool(message.tool_calls or message.invalid_tool_calls)
    if message.additional_kwargs.get(REASONING) == _NO_THOUGHT or not (calls or message.text.strip()):
        return None
    kept = {key: value for key, value in message.additional_kwargs.items() if key not in (REASONING, REASONING_DETAILS)}
    if calls:
        kept[REASONING] = _NO_THOUGHT
    update: dict[str, Any] = {"additional_kwargs": kept}
    if isinstance(message.content, list):
        update["content"] = [
            block for block in message.content if isinstance(block, str) or block.get("type") != "reasoning"
        ]
    return message.model_copy(update=update)


def cut_middle(text: str, size: int, how: str = "") -> str:
    """The head and the tail of a text that is longer than `size` tokens, with a note of how much is left out."""
    whole = tokens.count_text(text)
    if whole <= size:
        return text
    kept = max(len(text) * size // whole, 2)
    head, tail = kept * 2 // 3, kept - kept * 2 // 3
    note = _LEFT_OUT.format(cut=len(text) - kept, all=len(text), how=how)
    return f"{text[:head]}{note}{text[-tail:]}"
