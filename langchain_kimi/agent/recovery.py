"""Recovers what a run left behind when it was interrupted in the middle of a turn.

A crash, a cancelled run or an unanswered interrupt leaves a thread with recorded task results that are not part of a
checkpoint yet. These functions read such a `StateSnapshot` and return the updates that commit its results.
`report_write_errors` wraps a checkpointer so that a run stops when a write fails.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import wraps
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph import START
from langgraph.types import Overwrite, StateSnapshot, StateUpdate

from langchain_kimi.agent.side_effects.intents import open_intents
from langchain_kimi.agent.side_effects.once import interrupted
from langchain_kimi.agent.state import TOOLS_NODE, add_kimi_messages
from langchain_kimi.agent.thread_messages import (
    UNKNOWN_RESULT,
    error_result,
    last_answer,
    pending_calls,
    with_unique_ids,
)
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage, add_usage_by_agent
from langchain_kimi.agent.usage_limits.budget import RunBudget, UsageByAgent

_CALL_NODES = (TOOLS_NODE, "unusable")
"""The nodes that write tool results."""

_FROM_INPUT = (
    "This call was part of the input and was not run here. No result of it is recorded: it may or may not have run "
    "before."
)
NOT_STARTED = "Not run: the user went on before this call was approved."
_RUN_STOPPED = "The checkpointer could not write, so the run was stopped: later work is not recorded."


def has_open_calls(snapshot: StateSnapshot) -> bool:
    """Whether tasks that run tools have no result yet."""
    return any(task.name == TOOLS_NODE and task.result is None for task in snapshot.tasks)


def recorded_calls(snapshot: StateSnapshot, checkpoint: CheckpointTuple | None) -> list[StateUpdate] | None:
    """The updates that commit what is recorded of the calls of a turn while some of its tools are still open.

    That are the results of finished tools, and from the `checkpoint`, the calls of tools in `once` that may have run.
    None where nothing is recorded or all tools have finished.
    """
    results = [task.result for task in snapshot.tasks if task.name in _CALL_NODES and isinstance(task.result, Mapping)]
    if len(results) == len(snapshot.tasks):
        return None
    if unknown := {one["call_id"]: interrupted(one["shown"], one["message"]) for one in open_intents(checkpoint)}:
        results.append({"kimi_unknown": unknown})
    if not results:
        return None
    return _commit(ordered_messages(snapshot.values.get("messages", [])), TOOLS_NODE, results)


def results_before_message(snapshot: StateSnapshot) -> list[StateUpdate] | None:
    """The updates that end an interrupted turn before the thread takes a new message.

    They commit the recorded results and answer every other open call with an error result. None where nothing is open.
    """
    results = [task.result for task in snapshot.tasks if isinstance(task.result, Mapping)]
    messages = snapshot.values.get("messages", [])
    if not (results or (snapshot.next and pending_calls(messages))):
        return None
    ended = ordered_messages(messages, NOT_STARTED if {"review", "review_call"} & {*snapshot.next} else UNKNOWN_RESULT)
    node = "wrap_up" if ended and isinstance(ended[-1], AIMessage) else TOOLS_NODE
    return _commit(ended, node, results)


def input_call_results(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Error results for the open calls at the end of the input, after their message if it needs unique call ids."""
    answer = last_answer(messages)
    if answer is None or not pending_calls(messages):
        return []
    unique = with_unique_ids(answer)
    calls = pending_calls([unique if message is answer else message for message in messages])
    return [*([] if unique is answer else [unique]), *(error_result(call, _FROM_INPUT) for call in calls)]


def as_turn_input(supersteps: Sequence[Sequence[StateUpdate]]) -> list[list[StateUpdate]]:
    """The updates with `as_node="__input__"` turned into `as_node="__start__"`, for a thread in the middle of a turn.

    LangGraph keeps an `__input__` update beside the open tasks, and the next input drops it.
    """
    return [
        [update._replace(as_node=START) if update.as_node == "__input__" else update for update in updates]
        for updates in supersteps
    ]


def open_call_configs(snapshot: StateSnapshot, config: RunnableConfig) -> dict[str, RunnableConfig]:
    """The configs of the sub-agents' threads of tool calls without a result, by checkpoint namespace."""
    configurable = config.get("configurable", {})
    parent = f"{configurable['checkpoint_ns']}|" if configurable.get("checkpoint_ns") else ""
    namespaces = [
        f"{parent}{TOOLS_NODE}:{task.id}" for task in snapshot.tasks if task.name == TOOLS_NODE and task.result is None
    ]
    return {
        namespace: {"configurable": {"thread_id": configurable["thread_id"], "checkpoint_ns": namespace}}
        for namespace in namespaces
    }


def usage_before_resume(
    snapshot: StateSnapshot, open_calls: Mapping[str, CheckpointTuple | None]
) -> tuple[UsageByAgent, dict[str, UsageByAgent]]:
    """The usage of the finished tool calls of an interrupted run, and of its open ones by checkpoint namespace."""
    results = [task.result for task in snapshot.tasks if task.name == TOOLS_NODE and isinstance(task.result, Mapping)]
    finished: UsageByAgent = {}
    for result in results:
        for write in _writes(result.get("spent_by_agent")):
            finished = add_usage_by_agent(finished, write)
    unfinished: dict[str, UsageByAgent] = {}
    for namespace, checkpoint in open_calls.items():
        if checkpoint is None:
            continue
        by_agent = checkpoint.checkpoint["channel_values"].get("spent_by_agent") or {}
        for _, channel, value in checkpoint.pending_writes or ():
            if channel == "spent_by_agent":
                by_agent = add_usage_by_agent(by_agent, value)
        # The seconds of a sub-agent are counted as the time of its call.
        unfinished[namespace] = {
            agent: cast(AgentUsage, {key: value for key, value in usage.items() if key != "seconds"})
            for agent, usage in by_agent.items()
        }
    return finished, unfinished


def report_write_errors(checkpointer: BaseCheckpointSaver[Any], budget: RunBudget) -> BaseCheckpointSaver[Any]:
    """A copy of the checkpointer that stores the first error of its writes in the run's budget."""
    reporting: Any = copy(checkpointer)
    for name in ("put", "put_writes"):
        setattr(reporting, name, _reporting(getattr(checkpointer, name), budget))
        setattr(reporting, f"a{name}", _areporting(getattr(checkpointer, f"a{name}"), budget))
    typed: BaseCheckpointSaver[Any] = reporting
    return typed


def checkpoints_only(checkpointer: BaseCheckpointSaver[Any]) -> BaseCheckpointSaver[Any]:
    """A copy of the checkpointer that writes checkpoints and no pending writes, so that an update is one write.

    LangGraph also adds an update to the checkpoint before it. A kill between the two writes would leave it there as the
    results of open tasks.
    """
    quiet: Any = copy(checkpointer)
    quiet.put_writes, quiet.aput_writes = _no_writes, _ano_writes
    typed: BaseCheckpointSaver[Any] = quiet
    return typed


def _commit(messages: list[AnyMessage], node: str, results: Sequence[Mapping[str, Any]]) -> list[StateUpdate]:
    """The updates that replace the messages by these and commit the tasks' other writes."""
    others = [
        {key: write} for result in results for key in result.keys() - {"messages"} for write in _writes(result[key])
    ]
    return [StateUpdate(update, as_node=node) for update in ({"messages": Overwrite(messages)}, *others)]


def _writes(value: Any) -> list[Any]:
    """A task's writes to one channel; LangGraph shows several writes as one mapping."""
    several = isinstance(value, Mapping) and set(value) == {"$writes"}
    return list(value["$writes"]) if several else [value]


def ordered_messages(messages: list[AnyMessage], reason: str | None = None) -> list[AnyMessage]:
    """The thread's messages with the tool results since the last checkpoint in the order of their calls.

    With a `reason`, every open call gets an error result that states it.
    """
    start = max((at for at, message in enumerate(messages) if isinstance(message, AIMessage)), default=-1) + 1
    order = {call["id"]: position for position, call in enumerate(pending_calls(messages[:start]))}
    results = [*messages[start:], *(error_result(call, reason) for call in pending_calls(messages) if reason)]
    results.sort(key=lambda message: order.get(getattr(message, "tool_call_id", None), len(order)))
    return add_kimi_messages(messages[:start], [results])


def _store_error(budget: RunBudget, error: Exception) -> None:
    if budget.write_error is None:
        error.add_note(_RUN_STOPPED)
        budget.write_error = error


def _reporting(write: Callable[..., Any], budget: RunBudget) -> Callable[..., Any]:
    @wraps(write)
    def reporting(*args: Any, **kwargs: Any) -> Any:
        try:
            return write(*args, **kwargs)
        except Exception as error:
            _store_error(budget, error)
            raise

    return reporting


def _areporting(write: Callable[..., Any], budget: RunBudget) -> Callable[..., Any]:
    @wraps(write)
    async def reporting(*args: Any, **kwargs: Any) -> Any:
        try:
            return await write(*args, **kwargs)
        except Exception as error:
            _store_error(budget, error)
            raise

    return reporting


def _no_writes(*args: Any, **kwargs: Any) -> None:
    """Writes nothing."""


async def _ano_writes(*args: Any, **kwargs: Any) -> None:
    """Writes nothing."""
