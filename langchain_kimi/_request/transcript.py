"""The messages of a request: repaired, encoded and checked, all of it only behind the prefix that the cache holds."""

import itertools
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_kimi import tokens
from langchain_kimi._request.content import without_surrogates
from langchain_kimi._request.encode_cache import CACHE, Fingerprint, TranscriptPrefix, fingerprints_of
from langchain_kimi._request.encoded_messages import EncodedMessages, EncodingOptions
from langchain_kimi._request.messages import split_partial
from langchain_kimi._request.repair import repair
from langchain_kimi._request.tools import Declared, dynamic_tools
from langchain_kimi._rules import NOTHING_CHECKED, CheckedPrefix, Violation, check, checked_prefix, is_valid_prefix
from langchain_kimi._surrogates import replaced

_MARSHALLED_SURROGATE = re.compile(rb"\xed[\xa0-\xbf]")
"""How a fingerprint holds a lone surrogate; other bytes may look the same."""


class EncodedTranscript:
    """The messages of one request. Those of its prefix come out of the cache; `check` stores the longer prefix."""

    def __init__(self, options: EncodingOptions, messages: Sequence[BaseMessage]) -> None:
        """Repair the messages. Raises IllegalRequestError for a message with tool calls that is to be continued."""
        originals, partial = split_partial(messages)
        fingerprints = fingerprints_of(originals)
        prefix = CACHE.find(options, fingerprints)
        clean = _clean(originals, fingerprints, prefix.repaired.length)
        clean_partial = [without_surrogates(message) for message in partial]
        self.had_surrogates = any(map(operator.is_not, (*clean, *clean_partial), (*originals, *partial)))
        if self.had_surrogates:
            fingerprints = fingerprints_of(clean)
            prefix = CACHE.find(options, fingerprints)
        self._options, self._fingerprints, self._prefix = options, fingerprints, prefix
        self._is_partial = bool(partial)
        self._certain_tokens: int | None = None
        self._repaired = repair(clean, k2_ids=options.k2_ids, host=options.host, after=prefix.repaired)
        self._first = len(prefix.repaired.sources)
        self.repairs = self._repaired.repairs
        self.messages = [*self._repaired.messages, *clean_partial]
        """All messages as they are encoded."""
        self._new_dynamic_tools = [dynamic_tools(message) for message in clean[prefix.repaired.length :]]

    @property
    def dynamic_tools(self) -> list[Declared]:
        """The dynamic tools of all messages."""
        return [*self._prefix.dynamic_tools, *itertools.chain.from_iterable(self._new_dynamic_tools)]

    def encode(self) -> EncodedMessages:
        """Encode the messages. Raises IllegalRequestError for a message that Kimi has no form for."""
        new = self.messages[self._first :]
        self._wire = self._options.encode(new, partial=self._is_partial)
        count = len(self._repaired.prefix.sources) - self._first
        self._final = self._prefix.encoded + self._options.dump(new[:count], self._wire[:count])
        return self._final + self._options.dump(new[count:], self._wire[count:])

    def count_certain(self) -> int:
        """The estimated tokens of the messages, without reasoning and pictures: see `tokens.count_certain`."""
        known, end = self._prefix.certain_tokens, len(self._repaired.prefix.sources)
        final = self.messages[0 if known is None else self._first : end]
        self._certain_tokens = (known or 0) + tokens.count_certain(final)
        return self._certain_tokens + tokens.count_certain(self.messages[end:])

    def wire(self) -> list[dict[str, Any]]:
        """All messages in Kimi's form."""
        return self._options.encode(self.messages, partial=self._is_partial)

    def check(self, fields: Mapping[str, Any], *, size: int, elsewhere: bool) -> list[Violation]:
        """Why Kimi would refuse a request with these other fields, which has `size` bytes and may go elsewhere.

        Where it would not, the part of the transcript that no later message can change is stored in the cache.
        """
        body, checked = {**fields, "messages": self._wire}, self._prefix.checked
        if not is_valid_prefix(checked, body):
            body, checked = {**fields, "messages": self.wire()}, NOTHING_CHECKED
        violations = check(body, size=size, elsewhere=elsewhere, after=checked)
        if not violations:
            self._store(checked_prefix(body, len(self._repaired.prefix.sources) - checked.length, checked))
        return violations

    def _store(self, checked: CheckedPrefix | None) -> None:
        """Store the prefix, if it is longer than the one in the cache and all of it has fingerprints."""
        before, repaired = self._prefix, self._repaired.prefix
        if checked is None or not before.repaired.length < repaired.length <= len(self._fingerprints):
            return
        tools = self._new_dynamic_tools[: repaired.length - before.repaired.length]
        prefix = TranscriptPrefix(
            fingerprints=self._fingerprints[: repaired.length],
            repaired=repaired,
            encoded=self._final,
            checked=checked,
            dynamic_tools=[*before.dynamic_tools, *itertools.chain.from_iterable(tools)],
            certain_tokens=self._certain_tokens,
            size=self._size(before),
        )
        CACHE.store(self._options, prefix, replaces=before)

    def _size(self, before: TranscriptPrefix) -> int:
        """The bytes of JSON and fingerprints of the prefix that continues `before`."""
        json = self._final.json[len(before.encoded.json) :]
        rests = [rest for _, _, rest in self._fingerprints[before.repaired.length : self._repaired.prefix.length]]
        return before.size + sum(map(len, json)) + sum(map(len, rests))


def _clean(messages: Sequence[BaseMessage], fingerprints: Sequence[Fingerprint], known: int) -> Sequence[BaseMessage]:
    """The messages with U+FFFD for each lone surrogate; the first `known` ones have none."""
    clean = list(messages)
    for index in range(known, len(messages)):
        if index >= len(fingerprints) or _may_hold_surrogates(fingerprints[index]):
            clean[index] = without_surrogates(messages[index])
    return clean


def _may_hold_surrogates(fingerprint: Fingerprint) -> bool:
    _, text, rest = fingerprint
    return (text is not None and replaced(text) is not text) or (
        b"\xed" in rest and _MARSHALLED_SURROGATE.search(rest) is not None
    )
