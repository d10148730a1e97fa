"""The thinking in an answer, under whichever key its host sends it."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from langchain_kimi._raw_calls import BOTH_KEYS, REASONING, REASONING_DETAILS, REASONING_KEY

_STRING = "reasoning"
_DETAILS = "reasoning_details"
_READABLE = {"reasoning.text": "text", "reasoning.summary": "summary"}
_PER_VALUE = 32
"""Characters that a value counts beside its own: an empty list takes twenty times the memory of its two brackets."""
_PIECES = ("text", "summary", "data")


class Thinking:
    """The thinking while its pieces arrive."""

    def __init__(self) -> None:
        self._pieces: list[str] | None = None
        self._key = REASONING
        self._details: list[Any] = []
        self._begun: dict[tuple[int | str, str], _Detail] = {}
        self.size = 0
        """Characters of `reasoning_details`, and what their values take beside them."""

    def take(self, delta: Mapping[str, Any], *, joins: bool) -> str:
        """Collect what a delta or message says of thinking; the text that it adds. `joins`: details come in pieces."""
        found = delta.get(REASONING)
        if not isinstance(found, str):
            if _STRING in delta or _DETAILS in delta:
                found = self._take_other(delta, joins=joins)
        elif isinstance(delta.get(_STRING), str):
            self._key = BOTH_KEYS
        if not isinstance(found, str):
            return ""
        if self._pieces is None:
            self._pieces = []
        self._pieces.append(found)
        return found

    def kept(self, *, text: bool) -> dict[str, Any]:
        """What goes onto the message; an empty text where `text` is false, since chunks carried it."""
        kept: dict[str, Any] = {}
        if self._pieces is not None:
            kept[REASONING] = self.text if text else ""
        if self._key != REASONING:
            kept[REASONING_KEY] = self._key
        if self._details:
            kept[REASONING_DETAILS] = [one.joined() if isinstance(one, _Detail) else one for one in self._details]
        return kept

    @property
    def text(self) -> str:
        """All of it that can be read."""
        if self._pieces and len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def _take_other(self, delta: Mapping[str, Any], *, joins: bool) -> str | None:
        details, said = delta.get(_DETAILS), delta.get(_STRING)
        if details and isinstance(details, list):
            self.size += _size_of(details)
            for detail in details:
                self._keep(detail, joins=joins)
        if isinstance(said, str):
            self._key = _STRING
            return said
        if not details or self._key == _STRING:
            return None
        self._key = _DETAILS
        read = [detail.get(_READABLE.get(str(detail.get("type")))) for detail in details if isinstance(detail, dict)]
        texts = [text for text in read if isinstance(text, str)]
        return "".join(texts) if texts else None

    def _keep(self, detail: Any, *, joins: bool) -> None:
        index = detail.get("index") if joins and isinstance(detail, dict) else None
        if not isinstance(index, (int, str)):
            self._details.append(deepcopy(detail))
            return
        key = (index, str(detail.get("type")))
        begun = self._begun.get(key)
        if begun is None:
            begun = self._begun[key] = _Detail()
            self._details.append(begun)
        begun.take(detail)


def _size_of(details: list[Any]) -> int:
    written = repr(details)
    return len(written) + _PER_VALUE * sum(map(written.count, ",[{"))


class _Detail:
    """One entry of `reasoning_details` while its pieces arrive."""

    def __init__(self) -> None:
        self._facts: dict[str, Any] = {}
        self._pieces: dict[str, list[str]] = {}

    def take(self, detail: Mapping[str, Any]) -> None:
        for key, value in detail.items():
            if key in _PIECES and isinstance(value, str):
                self._pieces.setdefault(key, []).append(value)
            elif value is not None or key not in self._facts:
                self._facts[key] = value

    def joined(self) -> dict[str, Any]:
        return self._facts | {key: "".join(pieces) for key, pieces in self._pieces.items()}
