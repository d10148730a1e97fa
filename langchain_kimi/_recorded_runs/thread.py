"""Reads a run from the checkpoints of a thread: of agents and teams of this package, and of any graph with messages."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver

from langchain_kimi._raw_calls import raw_calls, reasoning_text
from langchain_kimi._recorded_runs.checkpoint_log import Superstep, TaskWrites, read_supersteps
from langchain_kimi._recorded_runs.message_parts import message_parts
from langchain_kimi._recorded_runs.recorded_run import (
    MessageRole,
    ModelCallRecord,
    RecordedRun,
    RunMessage,
    RunStatus,
    TimeSpan,
    ToolCallRecord,
    ToolStatus,
)
from langchain_kimi._recorded_runs.state_usage import usage_by_agent_of_state, usage_difference, usage_of_state
from langchain_kimi._recorded_runs.superstep_messages import (
    as_message,
    has_id,
    is_model_answer,
    updated_messages,
    written_messages,
)
from langchain_kimi._recorded_runs.thread_events import ThreadEvents
from langchain_kimi.agent.loop_guard import FINGERPRINT
from langchain_kimi.agent.measured_times import SECONDS, start_and_end
from langchain_kimi.agent.model_call import VISIBLE_TOOLS
from langchain_kimi.agent.team.subagent import NAMESPACE
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage
from langchain_kimi.usage import REPEATED, Usage, is_from_cache

_ROLES: Mapping[str, MessageRole] = {"human": "user", "ai": "assistant", "tool": "tool", "system": "system"}
_UNNAMED = "agent"
_TASK = re.compile(r"^(.*?):[0-9a-f-]{32,36}$")
_MISSING = (
    "A thread does not hold the system prompt, the definitions of the tools and the settings of the requests.",
    "A thread does not hold the requests of agents without checkpoints of their own; only their sums are known.",
)


class UnknownThreadError(LookupError):
    """There is no thread of this name."""


def read_thread(saver: BaseCheckpointSaver[Any], thread_id: str) -> RecordedRun:
    """The run that a thread holds. Raises UnknownThreadError if the checkpointer has no such thread."""
    supersteps = read_supersteps(saver, thread_id)
    if not supersteps:
        raise UnknownThreadError(f"There is no thread {thread_id!r}.")
    return _ThreadReader(thread_id, supersteps).read()


@dataclass(slots=True)
class _Conversation:
    """The messages of one graph: of the thread, or of an agent in a tool."""

    namespace: str
    agent: str
    state: list[BaseMessage] = field(default_factory=list)
    numbers: dict[str | None, int] = field(default_factory=dict)
    """The number of each message, by its id."""
    open_calls: dict[str, int] = field(default_factory=dict)
    """The numbers of the tool calls without a result, by the calls' ids."""


class _ThreadReader:
    def __init__(self, thread_id: str, supersteps: Sequence[Superstep]) -> None:
        self._thread_id = thread_id
        self._supersteps = supersteps
        self._conversations: dict[str, _Conversation] = {}
        self._messages: list[RunMessage] = []
        self._namespaces: list[str] = []
        """That of each message."""
        self._numbers: dict[str | None, int] = {}
        """The number of the last message with an id, in any conversation."""
        self._model_calls: list[ModelCallRecord] = []
        self._tool_calls: list[ToolCallRecord] = []
        self._events = ThreadEvents()

    def read(self) -> RecordedRun:
        for step in self._supersteps:
            self._add_superstep(step)
        last = max((step for step in self._supersteps if not step.namespace), key=lambda step: step.start)
        return RecordedRun(
            name=self._thread_id,
            kind="thread",
            messages=tuple(self._with_callers()),
            model_calls=tuple(self._model_calls),
            tool_calls=tuple(map(self._with_sub_agent, self._tool_calls)),
            approvals=self._events.approvals,
            events=tuple(self._events.events),
            status=self._status(last),
            missing=_MISSING,
            recorded_usage=usage_by_agent_of_state(last),
        )

    def _add_superstep(self, step: Superstep) -> None:
        is_first = step.namespace not in self._conversations
        conversation = self._conversations.setdefault(
            step.namespace, _Conversation(step.namespace, step.agent or _agent_of_namespace(step.namespace))
        )
        if is_first and step.messages:
            self._add_stored(step.messages, replace(step, tasks=[], end=step.start), conversation)
        stored = step.next.messages if step.next else None
        if stored is not None:
            self._add_stored(stored, step, conversation)
        for task in step.tasks:
            if stored is None:
                self._add(written_messages(task), step, task, conversation)
            self._add_other_usage(task, conversation)
            self._events.add_task(task, step, conversation.agent)

    def _status(self, last: Superstep) -> RunStatus:
        if any(approval.status == "open" for approval in self._events.approvals):
            return "waiting"
        return "interrupted" if last.is_open else "finished"

    def _with_callers(self) -> Iterator[RunMessage]:
        """The messages with the tool calls in which their conversations ran."""
        callers = {call.sub_agent: call.number for call in self._tool_calls if call.sub_agent}
        for message, namespace in zip(self._messages, self._namespaces, strict=True):
            yield replace(message, caller=callers.get(namespace, 0)) if namespace else message

    # Messages.

    def _add_stored(self, stored: Sequence[BaseMessage], step: Superstep, conversation: _Conversation) -> None:
        """Adds the messages of a checkpoint that holds all of them, as graphs without a DeltaChannel have them."""
        tasks = {message.id: task for task in step.tasks for message in written_messages(task) if has_id(message)}
        others = next((task for task in step.tasks if task.values("messages")), TaskWrites("", {}))
        ids = {message.id for message in stored}
        gone = [RemoveMessage(id=str(message.id)) for message in conversation.state if message.id not in ids]
        known = {message.id: message for message in conversation.state}
        new = [one for one in stored if one.id not in known or known[one.id].content != one.content]
        for task in dict.fromkeys(tasks.get(one.id, others).task_id for one in new):
            own = [one for one in new if tasks.get(one.id, others).task_id == task]
            self._add([*gone, *own], step, tasks.get(own[0].id, others), conversation)
            gone = []
        if gone:
            self._add(gone, step, others, conversation)

    def _add(self, updates: Sequence[Any], step: Superstep, task: TaskWrites, conversation: _Conversation) -> None:
        """Adds updates of messages one by one, so that each answer has the messages before it as its input."""
        changed: list[BaseMessage] = []
        before = {message.id for message in conversation.state}
        for update in updates:
            message = as_message(update)
            if message is None or (state := updated_messages(conversation.state, message)) is None:
                continue
            conversation.state = state
            if isinstance(message, RemoveMessage):
                continue
            stored = next((one for one in reversed(state) if one.id == message.id), state[-1])
            known = conversation.numbers.get(stored.id)
            if known is None:
                self._add_message(stored, step, task, conversation)
            elif self._messages[known - 1].original.content != stored.content:
                changed.append(stored)
                self._add_message(stored, step, task, conversation)
        removed = len(before - {message.id for message in conversation.state})
        if removed or changed:
            by_model = step.metadata.get("source") == "loop" and any(map(is_model_answer, updates))
            self._events.add_edit(changed, removed, step, conversation.agent, by_model=by_model)

    def _add_message(
        self, message: BaseMessage, step: Superstep, task: TaskWrites, conversation: _Conversation
    ) -> None:
        if (elsewhere := self._number_elsewhere(message, conversation)) is not None:
            conversation.numbers[message.id] = elsewhere
            return
        number = len(self._messages) + 1
        is_new = message.id not in conversation.numbers
        conversation.numbers[message.id] = self._numbers[message.id] = number
        agent = _agent_of(message, task, conversation)
        calls: tuple[int, ...] = ()
        if isinstance(message, AIMessage) and is_new:
            calls = tuple(self._add_tool_calls(message, number, agent, conversation))
        times = start_and_end(message.additional_kwargs)
        time = times[1] if times and is_new else step.end or step.start
        self._namespaces.append(conversation.namespace)
        self._messages.append(_run_message(message, number, agent, calls, time))
        if is_new and is_model_answer(message):
            self._add_model_call(message, number, agent, step, conversation)
        elif is_new and isinstance(message, ToolMessage):
            self._add_result(message, number, step, task, conversation)

    def _number_elsewhere(self, message: BaseMessage, conversation: _Conversation) -> int | None:
        """The number of a message that another graph passed on to this one."""
        number = self._numbers.get(message.id)
        if number is None or message.id in conversation.numbers:
            return None
        earlier = self._messages[number - 1].original
        return number if type(earlier) is type(message) and earlier.content == message.content else None

    def _add_model_call(
        self, answer: AIMessage, number: int, agent: str, step: Superstep, conversation: _Conversation
    ) -> None:
        metadata = answer.response_metadata
        inputs = [conversation.numbers[one.id] for one in conversation.state if one is not answer]
        tools = answer.additional_kwargs.get(VISIBLE_TOOLS)
        self._model_calls.append(
            ModelCallRecord(
                number=len(self._model_calls) + 1,
                agent=agent,
                model=str(metadata.get("model_name") or "unknown"),
                answer=number,
                inputs=tuple(inputs),
                tools=tuple(tools) if tools is not None else None,
                usage=answer.usage_metadata,
                earlier_usages=tuple(metadata.get(REPEATED, ())),
                finish_reason=metadata.get("finish_reason") or metadata.get("stop_reason"),
                time=_time_of(answer, step),
                is_free=is_from_cache(answer),
            )
        )
        self._events.add_retries(answer, number, step, agent)

    def _add_other_usage(self, task: TaskWrites, conversation: _Conversation) -> None:
        """Gives the usage of a task beyond its answers' own to its last answer."""
        spent: AgentUsage | None = task.last("spent")
        answers = filter(is_model_answer, written_messages(task))
        numbers = {conversation.numbers.get(message.id) for message in answers}
        own = [index for index, call in enumerate(self._model_calls) if call.answer in numbers]
        if not spent or not own:
            return
        counted = sum((self._model_calls[index].total for index in own), Usage())
        other = usage_difference(usage_of_state(spent), counted)
        if other.requests > 0:
            call = self._model_calls[own[-1]]
            self._model_calls[own[-1]] = replace(call, other_usage=other)

    # Tool calls.

    def _add_tool_calls(self, answer: AIMessage, number: int, agent: str, conversation: _Conversation) -> Iterator[int]:
        for call in raw_calls(answer):
            record = ToolCallRecord(
                number=len(self._tool_calls) + 1,
                agent=agent,
                name=call["name"],
                call_id=call["id"] or "",
                arguments=call["arguments"],
                message=number,
            )
            conversation.open_calls[record.call_id] = record.number
            self._tool_calls.append(record)
            yield record.number

    def _add_result(
        self, result: ToolMessage, number: int, step: Superstep, task: TaskWrites, conversation: _Conversation
    ) -> None:
        call_number = conversation.open_calls.pop(result.tool_call_id, None)
        if call_number is None:
            return
        call = self._tool_calls[call_number - 1]
        ran = SECONDS in result.additional_kwargs
        status: ToolStatus = "success" if result.status != "error" else "error" if ran else "not run"
        spent: Mapping[str, Any] = task.last("spent") or {}
        self._tool_calls[call_number - 1] = replace(
            call,
            result=number,
            status=status,
            time=_time_of(result, step) if status != "not run" else TimeSpan(),
            sub_agent=result.additional_kwargs.get(NAMESPACE),
            fees_usd=spent.get("fees_usd", 0.0),
        )
        if FINGERPRINT in result.additional_kwargs:
            text = "The loop guard added a hint to a result." if ran else "The loop guard blocked a repeated call."
            self._events.add("guard", call.agent, text, self._messages[number - 1].time, number)

    def _with_sub_agent(self, call: ToolCallRecord) -> ToolCallRecord:
        """The call with the name of the agent in its tool, instead of that agent's namespace."""
        conversation = self._conversations.get(call.sub_agent or "-")
        return replace(call, sub_agent=conversation.agent if conversation else None)


def _run_message(message: BaseMessage, number: int, agent: str, calls: tuple[int, ...], time: float) -> RunMessage:
    return RunMessage(
        number=number,
        role=_ROLES.get(message.type, "user"),
        parts=message_parts(message.content),
        original=message,
        agent=agent,
        reasoning=reasoning_text(message) if isinstance(message, AIMessage) else None,
        tool_calls=calls,
        time=time,
    )


def _agent_of(message: BaseMessage, task: TaskWrites, conversation: _Conversation) -> str:
    """The agent in whose conversation a message stands: the member of a team that wrote it, else the graph's agent."""
    if isinstance(message, AIMessage):
        if message.name:
            return message.name
        agents = list(task.last("spent_by_agent") or ())
        return str(agents[0]) if len(agents) == 1 else conversation.agent
    return conversation.agent


def _agent_of_namespace(namespace: str) -> str:
    """A name for the agent of a graph without a name: the node that it runs in."""
    match = _TASK.match(namespace.rpartition("|")[2])
    return match[1] if match else _UNNAMED


def _time_of(message: BaseMessage, step: Superstep) -> TimeSpan:
    if times := start_and_end(message.additional_kwargs):
        return TimeSpan(*times, is_measured=True)
    seconds = message.additional_kwargs.get(SECONDS)
    end = step.start + seconds if isinstance(seconds, int | float) else step.end
    return TimeSpan(step.start, end)
