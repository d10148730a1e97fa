"""Joins characters that a host splits over two deltas of a stream."""

from collections.abc import Mapping
from typing import Any

from langchain_kimi._hosts import KIMI_REASONING_KEY, OTHER_REASONING_KEYS
from langchain_kimi._surrogates import PieceJoiner

_TEXT_FIELDS = frozenset(("content", KIMI_REASONING_KEY, *OTHER_REASONING_KEYS))


class SplitCharacterJoiner:
    """Joins surrogate pairs that are split over two deltas, and replaces lone surrogates everywhere else."""

    def __init__(self) -> None:
        self._joiner = PieceJoiner()

    @property
    def has_replaced(self) -> bool:
        """Whether a lone surrogate was replaced."""
        return self._joiner.found_surrogates

    def repair(self, value: Any) -> Any:
        """A value that no later event continues, without lone surrogates."""
        return self._joiner.replaced(value)

    def repair_delta(self, delta: Mapping[str, Any]) -> dict[str, Any]:
        """A delta without lone surrogates; half a pair at the end of a text is held back for the next delta."""
        repaired: dict[str, Any] = {}
        for key, value in delta.items():
            if key in _TEXT_FIELDS and isinstance(value, str):
                repaired[key] = self._joiner.feed(key, value)
            elif key == "tool_calls" and isinstance(value, list):
                repaired[key] = [self._repair_call(call) for call in value]
            else:
                repaired[key] = self.repair(value)
        return repaired

    def last_delta(self) -> dict[str, Any] | None:
        """A delta with the halves that are still held back; None where there are none."""
        rest = self._joiner.rest()
        calls = [
            {"index": key[0], "function": {"arguments": text}} for key, text in rest.items() if isinstance(key, tuple)
        ]
        texts = {key: text for key, text in rest.items() if isinstance(key, str)}
        return {**texts, "tool_calls": calls} if rest else None

    def _repair_call(self, call: Any) -> Any:
        if not isinstance(call, dict) or not isinstance(index := call.get("index"), (int, str)):
            return self.repair(call)
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(arguments := function.get("arguments"), str):
            return self.repair(call)
        repaired = {**function, "arguments": self._joiner.feed((index,), arguments)}
        return self.repair({**call, "function": repaired})
