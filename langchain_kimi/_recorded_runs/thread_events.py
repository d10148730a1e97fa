"""The questions to people and the other events of a thread: limits, errors, retries, compactions and edits."""

from collections.abc import Sequence
from typing import Any, get_args

from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi._recorded_runs.checkpoint_log import Superstep, TaskWrites
from langchain_kimi._recorded_runs.recorded_run import ApprovalRecord, RunEvent, RunEventKind, TimeSpan
from langchain_kimi.agent.compaction.message_groups import SUMMARY
from langchain_kimi.agent.state import LimitReason
from langchain_kimi.usage import REPEATED, WAITS

_LIMITS = frozenset(name for part in get_args(LimitReason) for name in (get_args(part) or (part,)))
_CUT = {"length": "The answer reached its output cap.", "content_filter": "The host's moderation stopped the answer."}


class ThreadEvents:
    """Collects the questions and events of a thread, one task after the other."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []
        self._approvals: dict[str, ApprovalRecord] = {}
        """By the ids of their interrupts."""

    @property
    def approvals(self) -> tuple[ApprovalRecord, ...]:
        """The questions to people, in the order in which they were put."""
        return tuple(self._approvals.values())

    def add_task(self, task: TaskWrites, step: Superstep, agent: str) -> None:
        """Add the questions and the events of a task of an agent's graph."""
        self._add_approvals(task, step, agent)
        time = step.end or step.start
        reason = task.last("stop_reason")
        if reason in _LIMITS:
            self.add("limit", agent, f"The agent ended the turn: {reason}.", time)
        elif reason in _CUT:
            self.add("incomplete", agent, _CUT[reason], time)
        for error in task.values("__error__"):
            self.add("error", agent, f"A step failed: {error}", step.start)
        for name in task.last("kimi_unknown") or ():
            self.add("unknown", agent, f"The result of the call {name} is not known.", time)
        if task.last("kimi_excerpts"):
            self.add("excerpt", agent, "Requests have excerpts of results that exceed the window.", time)

    def add_retries(self, answer: AIMessage, number: int, step: Superstep, agent: str) -> None:
        """Add the attempts that failed or broke off before an answer; `number` is that of its message."""
        metadata = answer.response_metadata
        for wait in metadata.get(WAITS, ()):
            status = f" with status {wait['status']}" if wait.get("status") else ""
            text = f"An attempt failed{status} ({wait['error']}); the next began {wait['seconds']:g} seconds later."
            self.add("retry", agent, text, None, number)
        for usage in metadata.get(REPEATED, ()):
            text = f"An attempt broke off after {usage['input_tokens']:,} input tokens, and was repeated."
            self.add("retry", agent, text, step.start, number)

    def add_edit(
        self, changed: Sequence[BaseMessage], removed: int, step: Superstep, agent: str, *, by_model: bool
    ) -> None:
        """Add a compaction, which comes with the model's answer, or an edit of the state; `removed` is a number."""
        summaries = sum(SUMMARY in message.additional_kwargs for message in changed)
        parts = [f"{removed} messages removed"] * bool(removed)
        parts += [f"{len(changed) - summaries} messages shortened"] * (len(changed) > summaries)
        parts += ["a summary written"] * bool(summaries)
        kind: RunEventKind = "compaction" if by_model else "edit"
        text = "The thread was made shorter" if by_model else "The thread was edited"
        self.add(kind, agent, f"{text}: {', '.join(parts)}.", step.start)

    def add(self, kind: RunEventKind, agent: str, text: str, time: float | None, message: int | None = None) -> None:
        """Add an event; `message` is the number of the message that it is about."""
        self.events.append(RunEvent(kind, agent, text, time, message))

    def _add_approvals(self, task: TaskWrites, step: Superstep, agent: str) -> None:
        resumed = task.last("__resume__")
        answers = resumed if isinstance(resumed, list) else [] if resumed is None else [resumed]
        interrupts = [one for value in task.values("__interrupt__") for one in _as_list(value)]
        for index, interrupt in enumerate(interrupts):
            if interrupt.id in self._approvals:
                continue  # a question of an agent in a tool, which reached the graph around it
            own = answers[-1:] if len(interrupts) == 1 else answers[index : index + 1]
            self._approvals[interrupt.id] = ApprovalRecord(
                number=len(self._approvals) + 1,
                agent=agent,
                question=interrupt.value,
                answer=own[0] if own else None,
                status="answered" if own else "dropped" if step.end else "open",
                time=TimeSpan(step.start, step.end),
            )


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
