"""A model turn of a thread that is compacted where it is due, or where the model refuses the request as too long."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AnyMessage, BaseMessage, ToolMessage
from langgraph.config import get_config
from langgraph.runtime import get_runtime

from langchain_kimi._steps import Steps
from langchain_kimi.agent.compaction.archive import message_text, thread_id_of
from langchain_kimi.agent.compaction.compactor import CompactionResult, Compactor
from langchain_kimi.agent.compaction.excerpts import Excerpts, with_excerpts
from langchain_kimi.agent.events import emit
from langchain_kimi.agent.model_call import ModelTurn
from langchain_kimi.errors import warn

ModelCall: TypeAlias = Callable[[Sequence[BaseMessage], bool], Steps[ModelTurn]]
"""The steps of a model turn that reads these messages. If the flag is set, a request that leaves less space than the
output cap is refused."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread before the model's next turn."""

    messages: list[AnyMessage]
    excerpts: Excerpts
    """The results of which requests have an excerpt."""
    prompt: Sequence[BaseMessage]
    """The messages of a request before the thread's own."""
    visible: Callable[[Sequence[BaseMessage]], Sequence[BaseMessage]] = lambda messages: messages
    """The thread as the model reads it."""


def compacted_model_turn(
    compactor: Compactor, thread: Thread, results: Sequence[ToolMessage], call: ModelCall, *, can_reduce_cap: bool
) -> Steps[ModelTurn]:
    """The model's turn after the thread and these results.

    The turn's `preceding` has the compacted messages and the results. `can_reduce_cap`: whether a request that was
    refused as too long may fit with a smaller output cap.
    """
    messages = with_excerpts(thread.messages, thread.excerpts)
    compacted: CompactionResult | None = None
    if compactor.is_due(thread.visible(messages), thread.prompt):
        compacted = yield from _compact(compactor, thread)
        messages = with_excerpts(compacted.messages, compacted.excerpts)
    full_cap = compacted is None
    try:
        turn = yield from call([*messages, *results], full_cap)
    except ContextOverflowError as error:
        if compacted:
            raise
        compacted = yield from _compact(compactor, thread, error)
        if not (compacted.update or compacted.excerpts != thread.excerpts or can_reduce_cap):
            raise
        messages = with_excerpts(compacted.messages, compacted.excerpts)
        turn = yield from call([*messages, *results], False)
    if compacted is None:
        return replace(turn, preceding=[*results, *turn.preceding])
    changed = {"kimi_excerpts": compacted.excerpts} if compacted.excerpts != thread.excerpts else {}
    return replace(
        turn,
        billed_answers=[*compacted.answers, *turn.billed_answers],
        preceding=[*compacted.update, *results, *turn.preceding],
        update={**turn.update, **changed},
    )


def _compact(compactor: Compactor, thread: Thread, overflow: Exception | None = None) -> Steps[CompactionResult]:
    compacted = yield from compactor.compact(
        thread.messages,
        thread_id=thread_id_of(get_config()),
        store=get_runtime().store,
        prompt=thread.prompt,
        overflow=overflow,
        excerpts=thread.excerpts,
    )
    _report_excerpts(thread, compacted)
    emit(
        {
            "event": "compaction",
            "before": compacted.tokens_before,
            "after": compacted.tokens_after,
            "steps": compacted.steps,
            "archived": compacted.archived,
        }
    )
    return compacted


def _report_excerpts(thread: Thread, compacted: CompactionResult) -> None:
    """Warn about results of which the model reads only an excerpt from now on, and emit their sizes."""
    by_id = {message.id: message for message in compacted.messages}
    for message_id, excerpt in compacted.excerpts.items():
        result = by_id.get(message_id)
        if not isinstance(result, ToolMessage) or thread.excerpts.get(message_id) == excerpt:
            continue
        name, characters, shown = result.name or "a tool", len(message_text(result)), excerpt["characters"]
        emit(
            {
                "event": "result_excerpt",
                "name": name,
                "tool_call_id": result.tool_call_id,
                "characters": characters,
                "shown": shown,
            }
        )
        if message_id not in thread.excerpts:
            warn(
                f"A result of {name!r} with {characters:,} characters does not fit into the model's window: the model "
                f"is shown {shown:,} of them, and the state keeps all."
            )
