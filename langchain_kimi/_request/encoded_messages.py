"""Messages as the host's JSON, with the sums over them that a request needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi import tokens
from langchain_kimi._request.hosts import translate_message
from langchain_kimi._request.messages import encode_message
from langchain_kimi._request.missing_reasoning import missing_reasoning_note
from langchain_kimi._request.settings import Note
from langchain_kimi._request.tools import renamed_tools


@dataclass(frozen=True, slots=True)
class EncodingOptions:
    """All that the bytes of an encoded transcript depend on besides its messages."""

    thinks: bool
    pad_reasoning: bool
    """Whether a space stands for reasoning that is missing."""
    inputs: tuple[str, ...] | None
    """What the model reads; None where that is not known."""
    k2_ids: bool
    host: str
    """The host whose own call ids stay, with `k2_ids`; empty otherwise."""
    reasoning_key: str
    """The host's key for reasoning."""

    def encode(self, messages: Sequence[BaseMessage], *, partial: bool = False) -> list[dict[str, Any]]:
        """The messages in Kimi's form; `partial` marks the last one as one to continue.

        Raises IllegalRequestError for a message that Kimi has no form for.
        """
        return [
            encode_message(
                message,
                thinks=self.thinks,
                pad_reasoning=self.pad_reasoning,
                inputs=self.inputs,
                partial=partial and position == len(messages),
            )
            for position, message in enumerate(messages, 1)
        ]

    def dump(self, messages: Sequence[BaseMessage], wire: Sequence[dict[str, Any]]) -> "EncodedMessages":
        """The JSON of messages in Kimi's form."""
        json = [
            orjson.dumps(translate_message(encoded, message, self.reasoning_key))
            for encoded, message in zip(wire, messages, strict=True)
        ]
        names: list[str] = []
        notes: dict[str, Note] = {}
        for message in messages:
            if isinstance(message, AIMessage):
                names += [call["name"] or "" for call in (*message.tool_calls, *message.invalid_tool_calls)]
                if self.thinks and self.pad_reasoning and (note := missing_reasoning_note(message)):
                    notes[note.topic] = note
        count = sum(map(_rough_count, json, messages))
        return EncodedMessages(json, count, len(names), renamed_tools(names), notes)


@dataclass(frozen=True, slots=True)
class EncodedMessages:
    """Messages as the host's JSON."""

    json: Sequence[bytes] = ()
    """The JSON of each message."""
    tokens: int = 0
    """A rough estimate of their tokens, which takes no time to make; `tokens.count_messages` is the better one."""
    calls: int = 0
    """How many tool calls they hold."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """The user's names of called tools, by the name on the wire where that is another."""
    notes: Mapping[str, Note] = field(default_factory=dict)
    """Notes on missing reasoning, by topic."""

    def __add__(self, other: "EncodedMessages") -> "EncodedMessages":
        return EncodedMessages(
            [*self.json, *other.json],
            self.tokens + other.tokens,
            self.calls + other.calls,
            {**self.renamed, **other.renamed},
            {**self.notes, **other.notes},
        )


def _rough_count(json: bytes, message: BaseMessage) -> int:
    """A token for four bytes of a message's JSON; an estimate of the message itself where that may hold pictures."""
    return tokens.count_message(message) if isinstance(message.content, list) else len(json) // 4
