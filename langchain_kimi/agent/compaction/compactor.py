"""Shortens a thread whose next request would not fit into the model's window; begin to read at `Compactor.compact`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, RemoveMessage
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.store.base import BaseStore

from langchain_kimi import tokens
from langchain_kimi._steps import Steps
from langchain_kimi.agent.compaction.archive import write_entries
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.draft import Draft
from langchain_kimi.agent.compaction.excerpts import Excerpts, with_excerpts
from langchain_kimi.agent.compaction.plan import Limits, Plan, drop_reasoning
from langchain_kimi.agent.compaction.summary import Summary, removed_parts, summarise, summary_message
from langchain_kimi.agent.compaction.window import Window
from langchain_kimi.agent.events import CompactionChange

_MIN_SUMMARY, _MAX_SUMMARY = 150, 4_000
"""Tokens of the message that replaces removed ones."""


@dataclass(frozen=True, slots=True)
class CompactionResult:
    """A shortened thread. Unchanged messages are the same objects as before; changed ones keep their ids."""

    messages: list[AnyMessage]
    update: list[Any]
    """The update of a state's `messages`: changed messages and RemoveMessages; empty where nothing is changed."""
    tokens_before: int
    tokens_after: int
    """Tokens of the request, as far as they are known."""
    steps: list[CompactionChange] = field(default_factory=list)
    """What was done, in order: `dropped_reasoning`, `shortened_results`, `excerpts_of_results`, `summarised` or
    `dropped_exchanges`; `not_archived` where the archive could not be written, and `above_target` where the thread is
    still longer than the target."""
    answers: list[AIMessage] = field(default_factory=list)
    """The answers to requests for the summary, which count as usage."""
    excerpts: Excerpts = field(default_factory=dict)
    """The results that are whole in `messages`, and of which requests have an excerpt."""
    archived: list[str] = field(default_factory=list)
    """The keys of the archive's new entries."""


class Compactor:
    """Applies a `Compaction` to the threads of one model with its tools. `agent`: its name in a team."""

    def __init__(
        self, settings: Compaction, model: BaseChatModel, tools: Sequence[Any] = (), agent: str | None = None
    ) -> None:
        self.settings = settings
        self._model = model
        self._agent = agent
        self._window = Window(model, tools, settings.window, settings.reserve)

    def is_due(self, messages: Sequence[BaseMessage], prompt: Sequence[BaseMessage] = ()) -> bool:
        """Whether the next request would exceed the trigger. `prompt`: the messages before the thread's own."""
        limit = self._window.limit
        return limit is not None and self._window.size(messages, prompt) > self.settings.trigger * limit

    def compact(
        self,
        messages: Sequence[AnyMessage],
        *,
        thread_id: str | None = None,
        store: BaseStore | None = None,
        prompt: Sequence[BaseMessage] = (),
        overflow: BaseException | None = None,
        excerpts: Excerpts | None = None,
    ) -> Steps[CompactionResult]:
        """Shorten the thread.

        `plan.py` decides what to shorten and to remove. All of that is archived first, where the settings say so; then
        the model summarises what is removed. If the archive or the summary fails, the thread is shortened all the same,
        and the result's `steps` say why.

        `overflow`: the error with which the model refused the request as too long: the thread then is longer than it
        seemed. `excerpts`: those that requests have so far.
        """
        archived = self.settings.archive
        draft, budget = self._plan(messages, prompt, overflow, excerpts or {}, archived=archived)
        steps: list[CompactionChange] = []
        if archived and (why := (yield from write_entries(store, thread_id, draft.archive.values()))):
            archived = False
            steps.append(CompactionChange(what="not_archived", number=len(draft.archive), tokens=0, why=why))
            draft, budget = self._plan(messages, prompt, overflow, excerpts or {}, archived=False)
        steps += draft.steps
        replacement, answers = None, []
        if draft.removed:
            summary = yield from self._summarise(draft, budget.limits)
            answers = summary.answers
            replacement = summary_message(draft, summary, budget.limits.summary, archived=archived)
            what = "dropped_exchanges" if summary.text is None else "summarised"
            saved = draft.removed_tokens - tokens.count_message(replacement)
            steps.append(CompactionChange(what=what, number=draft.exchanges, tokens=saved, why=summary.why))
        shortened = draft.result(replacement)
        after = budget.measure(with_excerpts(shortened, draft.excerpts))
        if after > budget.target:
            why = "the messages that must stay are longer"
            steps.append(CompactionChange(what="above_target", number=0, tokens=after - budget.target, why=why))
        return CompactionResult(
            shortened,
            _state_update(messages, shortened),
            budget.before,
            after,
            steps,
            answers,
            draft.excerpts,
            list(draft.archive) if archived else [],
        )

    def _plan(
        self,
        messages: Sequence[AnyMessage],
        prompt: Sequence[BaseMessage],
        overflow: BaseException | None,
        excerpts: Excerpts,
        *,
        archived: bool,
    ) -> tuple[Draft, "_Budget"]:
        """What to shorten and to remove, and how long the request is and may be.

        `archived`: whether texts may name keys of the archive.
        """
        window = self._window
        before = window.size(with_excerpts(messages, excerpts), prompt)
        limit = window.limit or before
        if overflow is not None:
            limit, before = window.after_refusal(overflow, before)
        fixed = window.fixed_size(prompt)
        draft = Draft(messages, excerpts, fixed)
        if window.ignores_earlier_reasoning:
            drop_reasoning(draft, self._agent)
        # An unknown prompt adds the same number of tokens to every request; another tokeniser changes the size by a
        # factor, which is never large.
        scale = min(max(before / draft.total, 0.5), 2.0)
        unknown = max(int(before / scale) - draft.total, 0)
        draft.total += unknown
        target, trigger = int(limit * self.settings.target), int(limit * self.settings.trigger)
        estimated_target = int(target / scale)
        limits = Limits(
            target=estimated_target,
            trigger=int(trigger / scale),
            window=int(limit / scale),
            summary=min(max(estimated_target // 4, _MIN_SUMMARY), _MAX_SUMMARY),
        )
        Plan(draft, limits, self.settings, archived=archived).apply()
        return draft, _Budget(before, target, limits, fixed + unknown, scale)

    def _summarise(self, draft: Draft, limits: Limits) -> Steps[Summary]:
        """The summary of what the draft removes."""
        if not self.settings.summarise:
            return Summary(why="summarise=False")
        # A result that was shortened before fits with its note.
        parts, earlier = removed_parts(draft, self.settings.result_tokens * 5 // 4 + 40)
        return (
            yield from summarise(
                self._model,
                self.settings.summary_prompt,
                parts,
                earlier,
                max_request=limits.trigger,
                max_summary=limits.summary * 2 // 3,
                metadata={"lc_agent_name": self._agent} if self._agent else {},
            )
        )


@dataclass(frozen=True, slots=True)
class _Budget:
    """How many tokens the request has, and how many it may have."""

    before: int
    target: int
    limits: Limits
    """The target and the other sizes in estimated tokens."""
    fixed: int
    """The estimated tokens of the request without the messages of the thread."""
    scale: float
    """Tokens for each estimated token."""

    def measure(self, messages: Sequence[BaseMessage]) -> int:
        """The tokens of the request with these messages."""
        return int((self.fixed + tokens.count_messages(messages)) * self.scale)


def _state_update(before: Sequence[AnyMessage], after: Sequence[AnyMessage]) -> list[Any]:
    """The update that changes one list of messages into the other, for a reducer that compares ids."""
    by_id = {message.id: message for message in before}
    if None in by_id or len(by_id) < len(before):
        is_same = len(before) == len(after) and all(old is new for old, new in zip(before, after, strict=True))
        return [] if is_same else [RemoveMessage(id=REMOVE_ALL_MESSAGES), *after]
    ids = {message.id for message in after}
    changed = [message for message in after if by_id.get(message.id) is not message]
    return [*changed, *(RemoveMessage(id=str(message.id)) for message in before if message.id not in ids)]
