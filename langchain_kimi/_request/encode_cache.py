"""Transcripts that were encoded lately, so that one more request costs what is new in it, and one copy of its bytes.

A request of a conversation begins as the one before it did. What was worked out of that beginning is kept under all
that the outcome hangs on: the form of the request and a fingerprint of each message, made anew for every request, since
people's code changes messages in place. So it does not matter which model object asks, in which thread, and whether
the messages are the same objects or come out of a checkpoint; none of them is kept alive.
"""

import marshal
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import orjson
from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi._request.hosts import translate_message
from langchain_kimi._request.messages import encode_message
from langchain_kimi._request.repair import START, Settled
from langchain_kimi._request.settings import Note
from langchain_kimi._request.tools import Declared
from langchain_kimi._rules import Judged

MOST = 64 * 1024 * 1024
"""Bytes of JSON and fingerprints that are kept in all; the transcripts that were used longest ago go first."""

_MARSHAL = 2
"""The last version of the format in which equal values are equal bytes, however they are referenced."""

Print = tuple[type[BaseMessage], str | None, bytes]


@dataclass(frozen=True, slots=True)
class Form:
    """All that the bytes of a message hang on besides the message, and the repair of a transcript besides that."""

    thinks: bool
    pads: bool
    inputs: tuple[str, ...] | None
    k2_ids: bool
    host: str
    """The host whose own ids stay, with `k2_ids`; empty otherwise."""
    reasoning: str
    """The host's key for reasoning."""

    def encode(self, message: BaseMessage) -> dict[str, Any]:
        """The message in Kimi's form."""
        return encode_message(message, thinks=self.thinks, pads=self.pads, inputs=self.inputs)

    def dump(self, encoded: dict[str, Any], message: BaseMessage) -> bytes:
        """The encoded message as the host's JSON."""
        return orjson.dumps(translate_message(encoded, message, self.reasoning))


@dataclass(frozen=True, slots=True)
class Beginning:
    """The beginning of a transcript: encoded, and judged with nothing found."""

    prints: Sequence[Print] = ()
    settled: Settled = START
    pieces: Sequence[bytes] = ()
    """The JSON of each of its messages on the wire."""
    judged: Judged | None = None
    brought: Sequence[Declared] = ()
    """The tools that its messages bring along."""
    called: dict[str, str] = field(default_factory=dict)
    """The user's names of called tools whose names on the wire are others."""
    calls: int = 0
    """How many tool calls it holds."""
    tokens: int = 0
    """An estimate of its tokens."""
    notes: dict[str, Note] = field(default_factory=dict)
    """On messages of it that lost their thinking, by topic."""

    @property
    def size(self) -> int:
        """Bytes of JSON and fingerprints."""
        return sum(map(len, self.pieces)) + sum(len(told) for _, _, told in self.prints)


class Recent:
    """The beginnings of the last transcripts. Safe in threads: what is kept is never changed, only replaced."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[object, tuple[int, Beginning]] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def find(self, form: Form, prints: Sequence[Print]) -> Beginning:
        """The longest known beginning of a transcript with these fingerprints; an empty one where none is known."""
        for count in range(len(prints), 0, -1) if self._kept else ():
            _, known = self._kept.get(_key(form, prints, count), (0, None))
            if known is not None and known.prints == prints[:count]:
                return known
        return Beginning()

    def keep(self, form: Form, beginning: Beginning, instead_of: Beginning) -> None:
        """Keep what begins the last request, instead of the shorter one that it grew from."""
        key, size = _key(form, beginning.prints, len(beginning.prints)), beginning.size
        with self._lock:
            self._drop(_key(form, instead_of.prints, len(instead_of.prints)))
            self._drop(key)
            self._kept[key] = (size, beginning)
            self._size += size
            while self._size > self._most:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: object) -> None:
        size, _ = self._kept.pop(key, (0, None))
        self._size -= size


def fingerprints(messages: Sequence[BaseMessage]) -> list[Print]:
    """What each message says, as values that compare fast and strictly, up to one with other than plain values."""
    prints: list[Print] = []
    made: Any
    for message in messages:
        held = message.__dict__
        get, content = held.get, held["content"]
        text, blocks = (content, None) if type(content) is str else (None, content)
        made = get("tool_call_id")
        if isinstance(message, AIMessage):
            made = (message.tool_calls, message.invalid_tool_calls)
        kept, provider = held["additional_kwargs"], held["response_metadata"].get("model_provider")
        told = (made, kept, blocks, provider, get("name"), get("status"), get("role"))
        try:
            prints.append((type(message), text, marshal.dumps(told, _MARSHAL)))
        except ValueError:
            break
    return prints


def _key(form: Form, prints: Sequence[Print], count: int) -> object:
    """A beginning by its last two messages: the last alone may be a result that many conversations have."""
    return form, count, *prints[max(count - 2, 0) : count]


RECENT = Recent()
"""Of this process."""
