"""Keeps a long thread under the model's window.

When the next request would fill too much of it, the thread is made shorter: thinking that the model does not read any
more goes first, then old tool results are cut down, then the oldest exchanges give way to a summary that the model
itself writes. What the user said last stays as it is. The wire's beginning moves with it, and Kimi's cache with that,
so it is done seldom and thoroughly.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.errors import GraphBubbleUp
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.store.base import BaseStore

from langchain_kimi import tokens
from langchain_kimi.agent.compaction.archive import ArchiveEntry, put_entries
from langchain_kimi.agent.compaction.excerpts import Excerpts, with_excerpts
from langchain_kimi.agent.compaction.plan import Plan, Room, Step, summary_of
from langchain_kimi.agent.compaction.summary import PROMPT, Summary, standing_for, summarise, told
from langchain_kimi.agent.compaction.window import Window, is_overflow
from langchain_kimi.agent.steps import Effect

_NOT_ARCHIVED = "not_archived"
_LEAST_SUMMARY, _MOST_SUMMARY = 150, 4_000
"""Tokens of a summary with what stands around it."""


__all__ = ["Compaction", "CompactionResult", "Compactor", "Step", "is_overflow"]


@dataclass(frozen=True)
class Compaction:
    """When a thread is made shorter, and how. Sizes are tokens; shares are of the room, the window less the reserve.

    `window`: what the model reads and writes in one request; by default what its profile says, and without one
    nothing is done before the model refuses a request as too long. `reserve`: room for the answer, by default the
    model's output cap. `trigger`: the share from which on the thread is made shorter; `target`: the share that it
    then has. `keep_results`: so many of the latest tool results stay whole in the state, and those that the model has
    not read yet. Where they do not fit into the window, only requests have excerpts of them, so long that the request
    is half-way between `target` and `trigger`. `result_tokens`: what is left of an older one. `summarise`: whether
    the model writes a summary of what goes, with `summary_prompt`; without, a note says that something is missing.
    `archive`: whether what goes is written to the agent's `store`, under the thread's id. The agent then has a tool
    `recall`, by which the model reads it again; a run without a store raises ValueError.
    """

    window: int | None = None
    reserve: int | None = None
    trigger: float = 0.85
    target: float = 0.5
    keep_results: int = 8
    result_tokens: int = 400
    summarise: bool = True
    summary_prompt: str = PROMPT
    archive: bool = False

    def __post_init__(self) -> None:
        for name in ("window", "reserve", "keep_results", "result_tokens"):
            value, least = getattr(self, name), 0 if name in ("reserve", "keep_results") else 1
            if value is None and name in ("window", "reserve"):
                continue
            if type(value) is not int or value < least:
                raise ValueError(f"Compaction({name}={value!r}): a whole number, {least} or more.")
        if self.window is not None and self.reserve is not None and self.reserve >= self.window:
            raise ValueError(f"Compaction: reserve ({self.reserve}) must be less than window ({self.window}).")
        if not 0 < self.target < self.trigger <= 1:
            raise ValueError(f"Compaction: 0 < target ({self.target}) < trigger ({self.trigger}) <= 1.")
        if not self.summary_prompt.strip():
            raise ValueError("Compaction(summary_prompt=''): give a prompt, or summarise=False.")


@dataclass(frozen=True, slots=True)
class CompactionResult:
    """A thread made shorter. Messages that were not changed are the very ones given; changed ones keep their ids."""

    messages: list[AnyMessage]
    update: list[Any]
    """What makes the `messages` of a state so: changed messages, and RemoveMessages; empty where nothing was done."""
    tokens_before: int
    """Tokens of the request, as far as they are known."""
    tokens_after: int
    steps: list[Step] = field(default_factory=list)
    """What was done, in order: `dropped_reasoning`, `shortened_results`, `summarised` or `dropped_exchanges`,
    `excerpts_of_results`, `not_archived`; `above_target` where it is not enough. Their tokens are estimates."""
    answers: list[AIMessage] = field(default_factory=list)
    """The answers that were paid for."""
    excerpts: Excerpts = field(default_factory=dict)
    """The results that are whole in `messages`, and of which the model is shown an excerpt."""
    archived: list[str] = field(default_factory=list)
    """Keys of what was written to the archive."""


class Compactor:
    """A `Compaction` for one model and its tools."""

    def __init__(
        self, context: Compaction, model: BaseChatModel, tools: Sequence[Any] = (), agent: str | None = None
    ) -> None:
        self._context = context
        self._model = model
        self._agent = agent
        self._window = Window(model, tools, context.window, context.reserve)

    def check_store(self, store: BaseStore | None) -> None:
        """Raise ValueError where the run has no store and the archive needs one.

        An agent may get its store when it runs, from a graph around it or from LangGraph's server, so that this cannot
        be checked when it is built.
        """
        if self._context.archive and store is None:
            raise ValueError(
                "Compaction(archive=True) writes removed messages to the agent's store, and this run has none. Give "
                "the agent a `store`, or run it in a graph that has one; or leave out `archive`."
            )

    def is_due(self, messages: Sequence[BaseMessage], prompt: Sequence[BaseMessage] = ()) -> bool:
        """Whether the thread must be made shorter before the next request. `prompt` is what stands before it there."""
        room = self._window.room
        return room is not None and self._window.size(messages, prompt) > self._context.trigger * room

    def compact(
        self,
        messages: Sequence[AnyMessage],
        *,
        thread_id: str | None = None,
        store: BaseStore | None = None,
        prompt: Sequence[BaseMessage] = (),
        overflow: BaseException | None = None,
        excerpts: Excerpts | None = None,
    ) -> Generator[Effect, Any, CompactionResult]:
        """The policy: what is to be done for a thread to be made shorter, and the shorter thread.

        `overflow` is the error by which the model refused the request as too long: the thread then is longer than it
        seems. A failed summary or archive is told in the steps and raises nothing.
        """
        task = _Task(self, messages, prompt, overflow, excerpts or {})
        steps: list[Step] = []
        archived: list[str] = []
        plan = task.planned(archived=self._context.archive)
        if self._context.archive:
            why = yield from _archive(store, thread_id, plan.entries)
            if why:
                steps.append(Step(_NOT_ARCHIVED, len(plan.entries), 0, why))
                plan = task.planned(archived=False)
            else:
                archived = list(plan.entries)
        steps += plan.steps
        summary = Summary()
        standing = None
        if plan.removed:
            summary = yield from self._summary(plan)
            standing = standing_for(plan, summary)
            steps.append(_told_step(plan, summary, standing))
        done = plan.with_standing(standing)
        after = task.measured(with_excerpts(done, plan.excerpts))
        if after > task.target:
            steps.append(Step("above_target", 0, after - task.target, "what must stay is longer than that"))
        update = _update(messages, done)
        return CompactionResult(done, update, task.before, after, steps, summary.answers, plan.excerpts, archived)

    def _summary(self, plan: Plan) -> Generator[Effect, Any, Summary]:
        if not self._context.summarise:
            return Summary(why="summarise=False")
        size = self._context.result_tokens * 5 // 4 + 40  # one that was shortened fits, with its note
        groups = [group for group in plan.removed if group.kind != "summary"]
        parts = [told(plan.messages[group.start : group.end], size) for group in groups]
        earlier = [
            str(summary_of(plan.given[group.start]).get("text") or "")
            for group in plan.removed
            if group.kind == "summary"
        ]
        return (
            yield from summarise(
                self._model,
                self._context.summary_prompt,
                parts,
                "\n\n".join(filter(None, earlier)),
                room=plan.room.most,
                length=plan.room.summary * 2 // 3,
                metadata={"lc_agent_name": self._agent} if self._agent else {},
            )
        )


class _Task:
    """One compaction: how large the thread is, and how large it may be."""

    def __init__(
        self,
        owner: Compactor,
        messages: Sequence[AnyMessage],
        prompt: Sequence[BaseMessage],
        overflow: BaseException | None,
        excerpts: Excerpts,
    ) -> None:
        self._owner, self._messages, self._excerpts = owner, messages, excerpts
        window = owner._window
        self._fixed = window.fixed(prompt)
        self.before = window.size(with_excerpts(messages, excerpts), prompt)
        room = window.room or self.before
        if overflow is not None:
            room, self.before = window.refused(overflow, self.before)
        self.target = int(room * owner._context.target)
        self._most = int(room * owner._context.trigger)
        self._full = room
        last = tokens.last_usage(messages)
        self._replaced = None if last is None else messages[last].id or ""
        plan = self._begun(archived=False)
        # A prompt that is not known here makes a request longer by a sum; a tokeniser by a factor, a small one.
        self._scale = min(max(self.before / plan.total, 0.5), 2.0)
        self._fixed += max(int(self.before / self._scale) - plan.total, 0)

    def planned(self, archived: bool) -> Plan:
        """What to take out of the thread."""
        plan = self._begun(archived)
        target = int(self.target / self._scale)
        summary = min(max(target // 4, _LEAST_SUMMARY), _MOST_SUMMARY)
        plan.shrink(Room(target, int(self._most / self._scale), int(self._full / self._scale), summary))
        return plan

    def measured(self, messages: Sequence[AnyMessage]) -> int:
        """The tokens of the request with these messages."""
        return int((self._fixed + tokens.count_messages(messages)) * self._scale)

    def _begun(self, archived: bool) -> Plan:
        context = self._owner._context
        plan = Plan(
            self._messages,
            fixed=self._fixed,
            replaced=self._replaced,
            keep_results=context.keep_results,
            result_tokens=context.result_tokens,
            archived=archived,
            excerpts=dict(self._excerpts),
        )
        if self._owner._window.ignores_thinking:
            plan.drop_reasoning(self._owner._agent)
        return plan


def _archive(
    store: BaseStore | None, thread_id: str | None, entries: dict[str, ArchiveEntry]
) -> Generator[Effect, Any, str | None]:
    """Write the entries; why that did not work."""
    if store is None:
        return "the agent has no store"
    if thread_id is None:
        return "the run has no thread_id"
    if not entries:
        return None
    try:
        try:
            yield put_entries(store, thread_id, entries.values())
        except ValueError:  # LangGraph's InMemoryStore with an index refuses a batch in which a text comes twice
            for entry in entries.values():
                yield put_entries(store, thread_id, [entry])
    except GraphBubbleUp:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _told_step(plan: Plan, summary: Summary, standing: HumanMessage) -> Step:
    saved = plan.removed_tokens - tokens.count_message(standing)
    return Step("dropped_exchanges" if summary.text is None else "summarised", plan.exchanges, saved, summary.why)


def _update(given: Sequence[AnyMessage], done: Sequence[AnyMessage]) -> list[Any]:
    """What turns one list of messages into the other, under a reducer that goes by ids."""
    old = {message.id: message for message in given}
    if None in old or len(old) < len(given):
        same = len(given) == len(done) and all(one is other for one, other in zip(given, done, strict=True))
        return [] if same else [RemoveMessage(id=REMOVE_ALL_MESSAGES), *done]
    kept = {message.id for message in done}
    changed = [message for message in done if old.get(message.id) is not message]
    return [*changed, *(RemoveMessage(id=str(message.id)) for message in given if message.id not in kept)]
