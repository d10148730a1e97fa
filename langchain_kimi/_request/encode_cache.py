"""Transcripts that were encoded before, so that one more request of a conversation costs only its new messages.

A request of a conversation begins as the one before it did. The cache keeps what was computed for that beginning under
all that the result depends on: the encoding options and a fingerprint of each message, computed anew for every request,
since callers change messages in place. So it does not matter which model object sends the request, in which thread, and
whether the messages are the same objects or come out of a checkpointer. The cache keeps no message alive.
"""

import marshal
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi._request.encoded_messages import EncodedMessages, EncodingOptions
from langchain_kimi._request.repair import NOTHING_REPAIRED, RepairedPrefix
from langchain_kimi._request.tools import Declared
from langchain_kimi._rules import CheckedPrefix

MAX_BYTES = 64 * 1024 * 1024
"""The largest size of the JSON and fingerprints of all entries; those that were stored first are dropped first."""

_MARSHAL_VERSION = 2
"""The last version of the format in which equal values are equal bytes, however they are referenced."""

Fingerprint: TypeAlias = tuple[type[BaseMessage], str | None, bytes]


@dataclass(frozen=True, slots=True)
class TranscriptPrefix:
    """The beginning of a transcript: repaired, encoded, and checked without violations."""

    fingerprints: Sequence[Fingerprint] = ()
    repaired: RepairedPrefix = NOTHING_REPAIRED
    encoded: EncodedMessages = field(default_factory=EncodedMessages)
    checked: CheckedPrefix = field(default_factory=CheckedPrefix)
    dynamic_tools: Sequence[Declared] = ()
    certain_tokens: int | None = None
    """The tokens of its messages that a model reads in any case; None where they were not counted."""
    size: int = 0
    """Bytes of JSON and fingerprints."""


class EncodeCache:
    """The prefixes of the last transcripts. Safe in threads: entries are never changed, only replaced."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[object, tuple[int, TranscriptPrefix]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def find(self, options: EncodingOptions, fingerprints: Sequence[Fingerprint]) -> TranscriptPrefix:
        """The longest known prefix of a transcript with these fingerprints; an empty one where none is known."""
        for count in range(len(fingerprints), 0, -1) if self._entries else ():
            _, prefix = self._entries.get(_key(options, fingerprints[:count]), (0, None))
            if prefix is not None and prefix.fingerprints == fingerprints[:count]:
                return prefix
        return TranscriptPrefix()

    def store(self, options: EncodingOptions, prefix: TranscriptPrefix, *, replaces: TranscriptPrefix) -> None:
        """Store a prefix instead of the shorter one that it was made from."""
        key, size = _key(options, prefix.fingerprints), prefix.size
        with self._lock:
            self._drop(_key(options, replaces.fingerprints))
            self._drop(key)
            self._entries[key] = (size, prefix)
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: object) -> None:
        size, _ = self._entries.pop(key, (0, None))
        self._bytes -= size


def _key(options: EncodingOptions, fingerprints: Sequence[Fingerprint]) -> object:
    """A prefix by its last two messages: the last alone may be a result that many conversations have."""
    return options, len(fingerprints), *fingerprints[-2:]


def fingerprints_of(messages: Iterable[BaseMessage]) -> list[Fingerprint]:
    """For each message all that its encoding depends on, as a value that compares fast and strictly.

    The list ends before the first message that holds other values than JSON has.
    """
    fingerprints: list[Fingerprint] = []
    for message in messages:
        fields = message.__dict__
        get, content = fields.get, fields["content"]
        text, blocks = (content, None) if type(content) is str else (None, content)
        calls: Any = get("tool_call_id")
        if isinstance(message, AIMessage):
            calls = (message.tool_calls, message.invalid_tool_calls)
        kwargs, provider = fields["additional_kwargs"], fields["response_metadata"].get("model_provider")
        rest = (calls, kwargs, blocks, provider, get("name"), get("status"), get("role"))
        try:
            fingerprints.append((type(message), text, marshal.dumps(rest, _MARSHAL_VERSION)))
        except ValueError:
            break
    return fingerprints


CACHE = EncodeCache()
"""The cache of this process."""
