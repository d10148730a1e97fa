"""Reads a run from recorded requests and responses: a cassette, or a recording of VCR.py or go-vcr."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

from langchain_kimi._recorded_runs.message_parts import message_parts
from langchain_kimi._recorded_runs.recorded_run import (
    MessageRole,
    ModelCallRecord,
    RecordedRun,
    RunEvent,
    RunEventKind,
    RunMessage,
    ToolCallRecord,
)
from langchain_kimi.testing.cassettes.assistant_messages import AssistantMessage, parse_message, response_message
from langchain_kimi.testing.cassettes.audit import in_kimi_form
from langchain_kimi.testing.cassettes.cassette_file import SUFFIX, Interaction, load_cassette
from langchain_kimi.testing.cassettes.conversations import RecordedTurn, is_assistant, previous_turn
from langchain_kimi.testing.cassettes.importer import read_recording
from langchain_kimi.testing.cassettes.matching import common_length
from langchain_kimi.testing.serialization import dicts_in
from langchain_kimi.usage import usage_metadata

_UNNAMED = "agent"
_NOT_SETTINGS = ("model", "messages", "tools")
_MISSING = (
    "A recording does not hold times, nor whether a tool failed.",
    "A recording does not name agents: requests that continue each other are one agent's.",
)


def read_interactions(path: Path) -> list[Interaction]:
    """The requests and responses of a recording. Raises CassetteError or OSError where it cannot be read."""
    return load_cassette(path) if path.name.endswith(SUFFIX) else read_recording(path)


def read_recording_run(path: Path) -> RecordedRun:
    """The run in a recording. Raises CassetteError or OSError where it cannot be read."""
    return run_of_interactions(read_interactions(path), path.name)


def run_of_interactions(interactions: Iterable[Interaction], name: str) -> RecordedRun:
    """The run in recorded requests and responses."""
    reader = _RecordingReader()
    for at, interaction in enumerate(interactions, 1):
        if (body := interaction.chat) is not None:
            turn = RecordedTurn(at, in_kimi_form(body), response_message(interaction))
            reader.add(turn, interaction)
    return RecordedRun(
        name=name,
        kind="recording",
        messages=tuple(reader.messages),
        model_calls=tuple(reader.model_calls),
        tool_calls=tuple(reader.tool_calls),
        events=tuple(reader.events),
        missing=_MISSING,
    )


@dataclass(slots=True)
class _Conversation:
    """Requests that continue each other."""

    agent: str
    caller: int | None
    """The number of the tool call in which it ran, as far as that is known."""
    turn: RecordedTurn
    """The last request."""
    numbers: list[int] = field(default_factory=list)
    """The numbers of its messages."""
    answer: int | None = None
    """The number of its answer."""
    open_calls: dict[str, int] = field(default_factory=dict)
    """The numbers of the tool calls without a result, by the calls' ids."""


class _RecordingReader:
    """Collects the records of a run, one request after the other."""

    def __init__(self) -> None:
        self.messages: list[RunMessage] = []
        self.model_calls: list[ModelCallRecord] = []
        self.tool_calls: list[ToolCallRecord] = []
        self.events: list[RunEvent] = []
        self._turns: list[RecordedTurn] = []
        self._conversations: list[_Conversation] = []
        self._by_turn: dict[int, _Conversation] = {}

    def add(self, turn: RecordedTurn, interaction: Interaction) -> None:
        """Add a request with its response."""
        conversation = self._conversation(turn)
        self._add_inputs(turn, conversation)
        conversation.turn, conversation.answer = turn, None
        self._turns.append(turn)
        self._by_turn[turn.at] = conversation
        if turn.response.error is None:
            self._add_answer(turn.response, conversation)
        self._add_model_call(turn, conversation, interaction)

    def _conversation(self, turn: RecordedTurn) -> _Conversation:
        """The conversation that a request continues, or a new one."""
        for conversation in reversed(self._conversations):
            if _extends(turn, conversation.turn):
                return conversation
        if (earlier := previous_turn(turn, self._turns)) is not None:
            return self._by_turn[earlier.at]
        conversation = _Conversation(*self._agent_and_caller(turn), RecordedTurn(0, {}, AssistantMessage()))
        self._conversations.append(conversation)
        return conversation

    def _agent_and_caller(self, turn: RecordedTurn) -> tuple[str, int | None]:
        """A new conversation's agent and call: those of a tool, if its first message is the task of an open call."""
        texts = [_text(message) for message in dicts_in(turn.messages) if message.get("role") == "user"]
        for conversation in self._conversations:
            for number in conversation.open_calls.values():
                call = self.tool_calls[number - 1]
                if texts[:1] and texts[0] == _task(call.arguments) and call.sub_agent is None:
                    self.tool_calls[number - 1] = replace(call, sub_agent=call.name)
                    return call.name, number
        others = len(self._conversations)
        return (f"{_UNNAMED} {others + 1}", 0) if others else (_UNNAMED, None)

    # Messages.

    def _add_inputs(self, turn: RecordedTurn, conversation: _Conversation) -> None:
        before = conversation.turn.messages
        common = common_length(before, turn.messages)
        earlier = {_key(message): number for message, number in zip(before, conversation.numbers, strict=True)}
        if conversation.answer is not None:
            earlier[_key_of_answer(conversation.turn.response)] = conversation.answer
        numbers = conversation.numbers[:common]
        for message in turn.messages[common:]:
            number = earlier.get(_key(message))
            numbers.append(self._add_message(message, conversation) if number is None else number)
        conversation.numbers = numbers
        if common < len(before):
            text = f"The request has other messages than the one before, from messages[{common}] on."
            self._add_event("edit", conversation.agent, text, max(numbers, default=None))

    def _add_message(self, message: Any, conversation: _Conversation) -> int:
        number = len(self.messages) + 1
        fields: Mapping[str, Any] = message if isinstance(message, Mapping) else {}
        role = cast(MessageRole, fields.get("role")) if fields.get("role") in get_args(MessageRole) else "user"
        calls: tuple[int, ...] = ()
        reasoning = None
        if is_assistant(message):
            parsed = parse_message(message)
            reasoning = parsed.reasoning
            calls = tuple(self._add_tool_calls(parsed, number, conversation))
        parts = message_parts(fields.get("content"))
        agent, caller = conversation.agent, conversation.caller
        self.messages.append(RunMessage(number, role, parts, message, agent, reasoning, calls, caller=caller))
        if role == "tool":
            self._add_result(str(fields.get("tool_call_id")), number, conversation)
        return number

    def _add_answer(self, answer: AssistantMessage, conversation: _Conversation) -> None:
        number = conversation.answer = len(self.messages) + 1
        calls = tuple(self._add_tool_calls(answer, number, conversation))
        parts = message_parts(answer.text)
        agent, caller = conversation.agent, conversation.caller
        self.messages.append(
            RunMessage(number, "assistant", parts, answer, agent, answer.reasoning, calls, caller=caller)
        )

    # Calls.

    def _add_model_call(self, turn: RecordedTurn, conversation: _Conversation, interaction: Interaction) -> None:
        response = turn.response
        tools = [dict(tool.get("function") or {}).get("name") for tool in dicts_in(turn.body.get("tools"))]
        self.model_calls.append(
            ModelCallRecord(
                number=len(self.model_calls) + 1,
                agent=conversation.agent,
                model=str(turn.body.get("model") or "unknown"),
                answer=conversation.answer,
                inputs=tuple(conversation.numbers),
                tools=tuple(str(name) for name in tools),
                settings={name: value for name, value in turn.body.items() if name not in _NOT_SETTINGS},
                usage=usage_metadata(response.usage),
                finish_reason=response.finish_reason,
                error=response.error,
                original=interaction,
                is_free=response.error is not None,
            )
        )
        if response.error is not None:
            text = f"Status {interaction.response['status']}: {response.error}"
            self._add_event("error", conversation.agent, text, max(conversation.numbers, default=None))
        elif interaction.response.get("ends") == "cut":
            self._add_event("incomplete", conversation.agent, "The connection broke.", conversation.answer)

    def _add_tool_calls(self, answer: AssistantMessage, number: int, conversation: _Conversation) -> Iterator[int]:
        for call_id, name, arguments in answer.calls:
            own = len(self.tool_calls) + 1
            self.tool_calls.append(ToolCallRecord(own, conversation.agent, name, call_id, arguments, number))
            conversation.open_calls[call_id] = own
            yield own

    def _add_result(self, call_id: str, number: int, conversation: _Conversation) -> None:
        if (own := conversation.open_calls.pop(call_id, None)) is not None:
            self.tool_calls[own - 1] = replace(self.tool_calls[own - 1], result=number, status="success")

    def _add_event(self, kind: RunEventKind, agent: str, text: str, message: int | None = None) -> None:
        self.events.append(RunEvent(kind, agent, text, message=message))


def _extends(turn: RecordedTurn, earlier: RecordedTurn) -> bool:
    """Whether a request is the earlier one with its answer, or the earlier one again after a failure."""
    messages, before = turn.messages, earlier.messages
    if not before or messages[: len(before)] != before:
        return False
    if earlier.response.error is not None:
        return True
    return len(messages) > len(before) and is_assistant(messages[len(before)])


def _key(message: Any) -> str:
    """A text that tells the messages of a conversation apart; an answer has the same one in later requests."""
    if is_assistant(message):
        return _key_of_answer(parse_message(message))
    return json.dumps(message, sort_keys=True, default=str)


def _key_of_answer(answer: AssistantMessage) -> str:
    return json.dumps(["assistant", answer.text, answer.calls])


def _text(message: Mapping[str, Any]) -> str:
    return "".join(part.value for part in message_parts(message.get("content")) if part.kind == "text")


def _task(arguments: str) -> Any:
    """The `task` of a call to an agent; None in any other call."""
    try:
        parsed = json.loads(arguments)
    except ValueError:
        return None
    return parsed.get("task") if isinstance(parsed, dict) else None
