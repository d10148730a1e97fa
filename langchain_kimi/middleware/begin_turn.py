"""The begin of a user turn on a thread whose last turn crashed, was cancelled or waits for a person.

LangGraph drops what tasks of an interrupted superstep had recorded when the thread takes a new message. The records
stay with the checkpoint before that superstep, so the middleware reads them there and puts them into the thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any
from uuid import UUID, uuid5

from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from langchain_kimi._steps import Steps
from langchain_kimi.agent.recovery import NOT_STARTED, input_call_results, ordered_messages
from langchain_kimi.agent.side_effects.once import is_once_request
from langchain_kimi.agent.thread_messages import UNKNOWN_RESULT, begins_turn, pending_calls, tool_calls_of
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage, add_agent_usage, add_usage_by_agent

_MOST_CHECKPOINTS = 16
"""How many checkpoints are read at most to find the last one of an interrupted turn."""


@dataclass(slots=True)
class _Records:
    """What the tasks of an interrupted superstep had written."""

    messages: list[AnyMessage] = field(default_factory=list)
    spent: AgentUsage = field(default_factory=lambda: AgentUsage())
    spent_by_agent: dict[str, AgentUsage] = field(default_factory=dict)
    waits_for_approval: bool = False


@dataclass(frozen=True, slots=True)
class _ReadCheckpoint:
    """Reads a checkpoint, as an operation for `run_steps`."""

    saver: BaseCheckpointSaver[Any]
    config: RunnableConfig

    def run(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint; None if there is none."""
        return self.saver.get_tuple(self.config)

    async def arun(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint; None if there is none."""
        return await self.saver.aget_tuple(self.config)


def begin_turn(state: Mapping[str, Any], config: RunnableConfig) -> Steps[dict[str, Any]]:
    """The update of the state with which a user turn begins.

    Every call of an earlier turn has a result: the one that was recorded, else an error result that says that it is
    unknown. Open calls at the end of the input do not run, since their author is unknown. Usage before the turn does
    not count against its limits.
    """
    start = _start_of_input(state["messages"])
    earlier, input_messages = state["messages"][:start], state["messages"][start:]
    records = (yield from _read_records(config, state.get("kimi_begin"))) if _is_unfinished(earlier) else _Records()
    repaired = list(_repaired(earlier, records))
    results = input_call_results(input_messages)
    update: dict[str, Any] = {
        "kimi_turn": add_agent_usage(state.get("spent"), records.spent),
        "stop_reason": None,
        "kimi_begin": config.get("metadata", {}).get("langgraph_step", 0),
        "kimi_step": None,
    }
    if unknown := state.get("kimi_unknown"):
        update["kimi_unknown"] = dict.fromkeys(unknown)
    if records.spent:
        update |= {"spent": records.spent, "spent_by_agent": records.spent_by_agent}
    if len(repaired) != len(earlier) or not all(map(is_, repaired, earlier)):
        update["messages"] = [RemoveMessage(id=REMOVE_ALL_MESSAGES), *repaired, *input_messages, *results]
    elif results:
        update["messages"] = results
    return update


def _start_of_input(messages: Sequence[AnyMessage]) -> int:
    """The index of the first of the last user messages in a row, with which the turn begins."""
    turns = [index for index, message in enumerate(messages) if begins_turn(message)]
    start = turns[-1] if turns else 0
    while start and begins_turn(messages[start - 1]):
        start -= 1
    return start


def _is_unfinished(messages: Sequence[AnyMessage]) -> bool:
    """Whether the thread ended with something else than an answer."""
    return bool(messages) and (not isinstance(messages[-1], AIMessage) or bool(tool_calls_of(messages[-1])))


def _repaired(messages: Sequence[AnyMessage], records: _Records) -> Iterator[AnyMessage]:
    """The messages with a result behind every call, and in the last turn with what was recorded."""
    turns: list[list[AnyMessage]] = [[]]
    for message in messages:
        if begins_turn(message):
            turns.append([])
        turns[-1].append(message)
    for turn in turns[:-1]:
        yield from ordered_messages(turn, UNKNOWN_RESULT) if pending_calls(turn) else turn
    last = _with_records(turns[-1], records.messages)
    reason = NOT_STARTED if records.waits_for_approval else UNKNOWN_RESULT
    yield from ordered_messages(last, reason) if records.messages or pending_calls(last) else last


def _with_records(turn: Sequence[AnyMessage], records: Sequence[AnyMessage]) -> list[AnyMessage]:
    """The turn with the recorded messages, in place of results that another middleware made up for the same calls."""
    recorded = {message.tool_call_id for message in records if isinstance(message, ToolMessage)}
    ids = {message.id for message in turn}
    others = [
        message for message in turn if not (isinstance(message, ToolMessage) and message.tool_call_id in recorded)
    ]
    return [*others, *(message for message in records if message.id not in ids)]


def _read_records(config: RunnableConfig, began: int | None) -> Steps[_Records]:
    """What was recorded since the last checkpoint of the interrupted turn, which began in this superstep."""
    configurable = config.get("configurable", {})
    saver, thread = configurable.get("__pregel_checkpointer"), configurable.get("thread_id")
    records = _Records()
    if began is not None and isinstance(saver, BaseCheckpointSaver) and thread:
        namespace = str(configurable.get("checkpoint_ns", "")).rpartition("|")[0]
        latest: RunnableConfig = {"configurable": {"thread_id": thread, "checkpoint_ns": namespace}}
        if (checkpoint := (yield from _last_checkpoint(saver, latest, began))) is not None:
            _read_writes(checkpoint, records)
    return records


def _last_checkpoint(
    saver: BaseCheckpointSaver[Any], latest: RunnableConfig, began: int
) -> Steps[CheckpointTuple | None]:
    """The last checkpoint of the interrupted turn.

    Above it are those of the running turn, as far as they are written already: the one of the new message, and those
    of other middleware that ran before this one.
    """
    first: CheckpointTuple | None = yield _ReadCheckpoint(saver, latest)
    checkpoint, found_input = first, False
    for _ in range(_MOST_CHECKPOINTS):
        if checkpoint is None or checkpoint.metadata.get("step", 0) < began:
            break
        is_input = checkpoint.metadata.get("source") == "input"
        if found_input and not is_input:
            return checkpoint
        found_input = found_input or is_input
        parent = checkpoint.parent_config
        checkpoint = (yield _ReadCheckpoint(saver, parent)) if parent else None
    return None if found_input else first


def _read_writes(checkpoint: CheckpointTuple, records: _Records) -> None:
    # Under a task id of its own, LangGraph stores the new message with the checkpoint before it.
    input_task = str(uuid5(UUID(checkpoint.checkpoint["id"]), "__input__"))
    for task, channel, value in checkpoint.pending_writes or ():
        if channel == "__interrupt__":
            records.waits_for_approval = records.waits_for_approval or any(map(_asks_for_approval, value))
        elif task == input_task:
            continue
        elif channel == "messages":
            records.messages += value if isinstance(value, list) else [value]
        elif channel == "spent":
            records.spent = add_agent_usage(records.spent, value)
        elif channel == "spent_by_agent":
            records.spent_by_agent = add_usage_by_agent(records.spent_by_agent, value)


def _asks_for_approval(interrupt: Any) -> bool:
    """Whether an interrupt asks for decisions on all calls of an answer, so that none of them has started."""
    value = getattr(interrupt, "value", None)
    return isinstance(value, Mapping) and "action_requests" in value and not is_once_request(value)
