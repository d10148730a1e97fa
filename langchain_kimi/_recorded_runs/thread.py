"""Reads a run from the checkpoints of a thread: of agents and teams of this package, and of any graph with messages."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard, get_args

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolMessage, convert_to_messages
from langgraph.checkpoint.base import BaseCheckpointSaver

from langchain_kimi._raw_calls import raw_calls, reasoning_text
from langchain_kimi._recorded_runs.checkpoint_log import Superstep, TaskWrites, read_supersteps
from langchain_kimi._recorded_runs.message_parts import message_parts
from langchain_kimi._recorded_runs.recorded_run import (
    ApprovalRecord,
    MessageRole,
    ModelCallRecord,
    RecordedRun,
    RunEvent,
    RunEventKind,
    RunMessage,
    RunStatus,
    TimeSpan,
    ToolCallRecord,
    ToolStatus,
)
from langchain_kimi.agent.compaction.message_groups import SUMMARY
from langchain_kimi.agent.loop_guard import FINGERPRINT
from langchain_kimi.agent.measured_times import SECONDS, start_and_end
from langchain_kimi.agent.model_call import VISIBLE_TOOLS
from langchain_kimi.agent.state import LimitReason, add_kimi_messages
from langchain_kimi.agent.team.subagent import NAMESPACE
from langchain_kimi.agent.thread_messages import CLOSING_MESSAGE
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage
from langchain_kimi.usage import REPEATED, WAITS, Usage, is_from_cache

_ROLES: Mapping[str, MessageRole] = {"human": "user", "ai": "assistant", "tool": "tool", "system": "system"}
_UNNAMED = "agent"
_LIMITS = frozenset(name for part in get_args(LimitReason) for name in (get_args(part) or (part,)))
_CUT = {"length": "The answer reached its output cap.", "content_filter": "The host's moderation stopped the answer."}
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
        self._approvals: dict[str, ApprovalRecord] = {}
        self._events: list[RunEvent] = []

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
            approvals=tuple(self._approvals.values()),
            events=tuple(self._events),
            status=self._status(last),
            missing=_MISSING,
            recorded_usage=_recorded_usage(last),
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
                self._add(_all_messages(task), step, task, conversation)
            self._add_other_usage(task, conversation)
            self._add_approvals(step, task, conversation)
            self._add_events(step, task, conversation)

    def _status(self, last: Superstep) -> RunStatus:
        if any(approval.status == "open" for approval in self._approvals.values()):
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
        tasks = {message.id: task for task in step.tasks for message in _all_messages(task) if _has_id(message)}
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
            message = _as_message(update)
            if message is None or (state := _updated(conversation.state, message)) is None:
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
            by_model = step.metadata.get("source") == "loop" and any(map(_is_answer, updates))
            self._add_edit(step, conversation.agent, changed, removed, by_model=by_model)

    def _add_message(
        self, message: BaseMessage, step: Superstep, task: TaskWrites, conversation: _Conversation
    ) -> None:
        elsewhere = self._numbers.get(message.id)
        if elsewhere is not None and message.id not in conversation.numbers:
            earlier = self._messages[elsewhere - 1].original
            if type(earlier) is type(message) and earlier.content == message.content:
                conversation.numbers[message.id] = elsewhere  # a graph passed it on to another
                return
        number = len(self._messages) + 1
        is_new = message.id not in conversation.numbers
        conversation.numbers[message.id] = self._numbers[message.id] = number
        agent = _agent_of(message, task, conversation)
        times = start_and_end(message.additional_kwargs)
        calls: tuple[int, ...] = ()
        if isinstance(message, AIMessage) and is_new:
            calls = tuple(self._add_tool_calls(message, number, agent, conversation))
        self._namespaces.append(conversation.namespace)
        self._messages.append(
            RunMessage(
                number=number,
                role=_ROLES.get(message.type, "user"),
                parts=message_parts(message.content),
                original=message,
                agent=agent,
                reasoning=reasoning_text(message) if isinstance(message, AIMessage) else None,
                tool_calls=calls,
                time=times[1] if times and is_new else step.end or step.start,
            )
        )
        if not is_new:
            return
        if _is_answer(message):
            self._add_model_call(message, number, agent, step, conversation)
        elif isinstance(message, ToolMessage):
            self._add_result(message, number, step, task, conversation)

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
        for wait in metadata.get(WAITS, ()):
            status = f" with status {wait['status']}" if wait.get("status") else ""
            text = f"An attempt failed{status} ({wait['error']}); the next began {wait['seconds']:g} seconds later."
            self._add_event("retry", agent, text, None, number)
        for usage in metadata.get(REPEATED, ()):
            read = f"{usage['input_tokens']:,} input tokens"
            self._add_event("retry", agent, f"An attempt broke off after {read}, and was repeated.", step.start, number)

    def _add_other_usage(self, task: TaskWrites, conversation: _Conversation) -> None:
        """Gives the usage of a task beyond its answers' own to its last answer."""
        spent: AgentUsage | None = task.last("spent")
        numbers = {conversation.numbers.get(message.id) for message in _all_messages(task) if _is_answer(message)}
        own = [index for index, call in enumerate(self._model_calls) if call.answer in numbers]
        if not spent or not own:
            return
        counted = sum((self._model_calls[index].total for index in own), Usage())
        other = _difference(_usage_of(spent), counted)
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
            self._add_event("guard", call.agent, text, self._messages[number - 1].time, number)

    def _with_sub_agent(self, call: ToolCallRecord) -> ToolCallRecord:
        """The call with the name of the agent in its tool, instead of that agent's namespace."""
        conversation = self._conversations.get(call.sub_agent or "-")
        return replace(call, sub_agent=conversation.agent if conversation else None)

    # Approvals and events.

    def _add_approvals(self, step: Superstep, task: TaskWrites, conversation: _Conversation) -> None:
        answers = task.last("__resume__")
        answers = answers if isinstance(answers, list) else [] if answers is None else [answers]
        interrupts = [one for value in task.values("__interrupt__") for one in _listed(value)]
        for index, interrupt in enumerate(interrupts):
            if interrupt.id in self._approvals:
                continue  # a question of an agent in a tool, which reached the graph around it
            own = answers[-1:] if len(interrupts) == 1 else answers[index : index + 1]
            self._approvals[interrupt.id] = ApprovalRecord(
                number=len(self._approvals) + 1,
                agent=conversation.agent,
                question=interrupt.value,
                answer=own[0] if own else None,
                status="answered" if own else "dropped" if step.end else "open",
                time=TimeSpan(step.start, step.end),
            )

    def _add_events(self, step: Superstep, task: TaskWrites, conversation: _Conversation) -> None:
        agent, time = conversation.agent, step.end or step.start
        reason = task.last("stop_reason")
        if reason in _LIMITS:
            self._add_event("limit", agent, f"The agent ended the turn: {reason}.", time)
        elif reason in _CUT:
            self._add_event("incomplete", agent, _CUT[reason], time)
        for error in task.values("__error__"):
            self._add_event("error", agent, f"A step failed: {error}", step.start)
        for name in task.last("kimi_unknown") or ():
            self._add_event("unknown", agent, f"The result of the call {name} is not known.", time)
        if task.last("kimi_excerpts"):
            self._add_event("excerpt", agent, "Requests have excerpts of results that exceed the window.", time)

    def _add_edit(
        self, step: Superstep, agent: str, changed: Sequence[BaseMessage], removed: int, *, by_model: bool
    ) -> None:
        """Adds the event of a compaction, which comes with the model's answer, or of an edit of the state."""
        summaries = sum(SUMMARY in message.additional_kwargs for message in changed)
        parts = [f"{removed} messages removed"] * bool(removed)
        parts += [f"{len(changed) - summaries} messages shortened"] * (len(changed) > summaries)
        parts += ["a summary written"] * bool(summaries)
        kind: RunEventKind = "compaction" if by_model else "edit"
        text = "The thread was made shorter" if by_model else "The thread was edited"
        self._add_event(kind, agent, f"{text}: {', '.join(parts)}.", step.start)

    def _add_event(
        self, kind: RunEventKind, agent: str, text: str, time: float | None, message: int | None = None
    ) -> None:
        self._events.append(RunEvent(kind, agent, text, time, message))


def _as_message(update: Any) -> BaseMessage | None:
    """An update of messages as a message; None for what is none."""
    try:
        return convert_to_messages([update])[0]
    except (ValueError, NotImplementedError, TypeError, AttributeError, KeyError):
        return None


def _updated(state: list[BaseMessage], message: BaseMessage) -> list[BaseMessage] | None:
    """The state after one update; None for an update that cannot be applied."""
    try:
        return list(add_kimi_messages(state, [[message]]))
    except ValueError:
        return None


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _all_messages(task: TaskWrites) -> list[Any]:
    return [message for value in task.values("messages") for message in (value if isinstance(value, list) else [value])]


def _has_id(message: Any) -> bool:
    return isinstance(message, BaseMessage) and message.id is not None


def _is_answer(message: Any) -> TypeGuard[AIMessage]:
    """Whether a message came from a model, and not from a person or the agent itself."""
    if not isinstance(message, AIMessage) or CLOSING_MESSAGE in message.additional_kwargs:
        return False
    return bool(message.response_metadata or message.usage_metadata)


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


def _usage_of(spent: Mapping[str, Any]) -> Usage:
    """A usage as an agent's state sums it."""
    known = not spent.get("unpriced")
    return Usage(
        input_tokens=spent.get("input_tokens", 0),
        cached_tokens=spent.get("cached_tokens", 0),
        cache_write_tokens=spent.get("cache_write_tokens", 0),
        output_tokens=spent.get("output_tokens", 0),
        reasoning_tokens=spent.get("reasoning_tokens", 0),
        requests=spent.get("requests", 0),
        cost_usd=spent.get("cost_usd", 0.0) if known else None,
        fees_usd=spent.get("fees_usd", 0.0),
    )


def _difference(whole: Usage, part: Usage) -> Usage:
    costs = (whole.cost_usd, part.cost_usd)
    return Usage(
        input_tokens=whole.input_tokens - part.input_tokens,
        cached_tokens=whole.cached_tokens - part.cached_tokens,
        cache_write_tokens=whole.cache_write_tokens - part.cache_write_tokens,
        output_tokens=whole.output_tokens - part.output_tokens,
        reasoning_tokens=whole.reasoning_tokens - part.reasoning_tokens,
        requests=whole.requests - part.requests,
        cost_usd=None if costs[0] is None or costs[1] is None else costs[0] - costs[1],
    )


def _recorded_usage(last: Superstep) -> dict[str, Usage]:
    by_agent = last.values.get("spent_by_agent")
    return {str(name): _usage_of(spent) for name, spent in by_agent.items()} if isinstance(by_agent, Mapping) else {}
