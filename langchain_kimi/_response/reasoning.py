"""Collects the reasoning of a response, under whichever key the host sends it."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from langchain_kimi._hosts import OTHER_REASONING_KEYS, REASONING_DETAILS_KEY
from langchain_kimi._raw_calls import BOTH_KEYS, REASONING, REASONING_DETAILS, REASONING_KEY

_OTHER_KEYS = frozenset((*OTHER_REASONING_KEYS, REASONING_DETAILS_KEY))
_TEXT_FIELDS = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""The field with the readable text of a detail, by the detail's type."""
_JOINED_FIELDS = ("text", "summary", "data")
_MEMORY_PER_VALUE = 32
"""Characters that each value counts beside its own: an empty list takes twenty times the memory of its two brackets."""


class ReasoningAccumulator:
    """Collects reasoning from the deltas of a response."""

    def __init__(self) -> None:
        self._pieces: list[str] | None = None
        self._key = REASONING
        self._details: list[Any] = []
        self._open_details: dict[tuple[int | str, str], _DetailAccumulator] = {}
        self.details_size = 0
        """Characters of `reasoning_details`, and the memory of their values in characters."""

    def add(self, delta: Mapping[str, Any], *, joins: bool) -> str:
        """Collect the reasoning of a delta or message and return the text that it adds.

        `joins`: details with the same index continue each other, as in the deltas of a stream.
        """
        reasoning = delta.get(REASONING)
        if not isinstance(reasoning, str):
            if _OTHER_KEYS.isdisjoint(delta):
                return ""
            reasoning = self._add_under_other_keys(delta, joins=joins)
            if reasoning is None:
                return ""
        elif _text_under_other_key(delta) is not None:
            self._key = BOTH_KEYS
        if self._pieces is None:
            self._pieces = []
        self._pieces.append(reasoning)
        return reasoning

    def additional_kwargs(self, *, include_text: bool) -> dict[str, Any]:
        """The entries for the message's `additional_kwargs`; an empty text without `include_text`, for the end of a
        stream whose chunks carried the text.
        """
        kwargs: dict[str, Any] = {}
        if self._pieces is not None:
            kwargs[REASONING] = self.text if include_text else ""
        if self._key != REASONING:
            kwargs[REASONING_KEY] = self._key
        if self._details:
            kwargs[REASONING_DETAILS] = [
                detail.joined() if isinstance(detail, _DetailAccumulator) else detail for detail in self._details
            ]
        return kwargs

    @property
    def text(self) -> str:
        """The readable reasoning so far."""
        if self._pieces and len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def _add_under_other_keys(self, delta: Mapping[str, Any], *, joins: bool) -> str | None:
        details = delta.get(REASONING_DETAILS_KEY)
        if details and isinstance(details, list):
            self.details_size += _memory_of(details)
            for detail in details:
                self._add_detail(detail, joins=joins)
        if (keyed := _text_under_other_key(delta)) is not None:
            self._key, text = keyed
            return text
        if not isinstance(details, list) or not details or self._key in OTHER_REASONING_KEYS:
            return None
        self._key = REASONING_DETAILS_KEY
        texts = [read for detail in details if (read := _text_of_detail(detail)) is not None]
        return "".join(texts) if texts else None

    def _add_detail(self, detail: Any, *, joins: bool) -> None:
        index = detail.get("index") if joins and isinstance(detail, dict) else None
        if not isinstance(index, (int, str)):
            self._details.append(deepcopy(detail))
            return
        key = (index, str(detail.get("type")))
        accumulator = self._open_details.get(key)
        if accumulator is None:
            accumulator = self._open_details[key] = _DetailAccumulator()
            self._details.append(accumulator)
        accumulator.add(detail)


class _DetailAccumulator:
    """Joins the pieces of one entry of `reasoning_details`."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._pieces: dict[str, list[str]] = {}

    def add(self, detail: Mapping[str, Any]) -> None:
        for key, value in detail.items():
            if key in _JOINED_FIELDS and isinstance(value, str):
                self._pieces.setdefault(key, []).append(value)
            elif value is not None or key not in self._fields:
                self._fields[key] = value

    def joined(self) -> dict[str, Any]:
        return self._fields | {key: "".join(pieces) for key, pieces in self._pieces.items()}


def _text_under_other_key(delta: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first reasoning key other than Kimi's that holds text, and the text."""
    for key in OTHER_REASONING_KEYS:
        if isinstance(text := delta.get(key), str):
            return key, text
    return None


def _text_of_detail(detail: object) -> str | None:
    text = detail.get(_TEXT_FIELDS.get(str(detail.get("type")))) if isinstance(detail, dict) else None
    return text if isinstance(text, str) else None


def _memory_of(details: list[Any]) -> int:
    written = repr(details)
    return len(written) + _MEMORY_PER_VALUE * sum(map(written.count, ",[{"))
