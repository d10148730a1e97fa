"""Deltas of which a host cut a character in two, made whole."""

from collections.abc import Mapping
from typing import Any

from langchain_kimi._surrogates import PieceJoiner

_TEXTS = ("content", "reasoning_content", "reasoning")


class Mender:
    """Joins surrogate pairs that a stream splits over two deltas, and replaces lone surrogates in all else."""

    def __init__(self) -> None:
        self._joiner = PieceJoiner()

    @property
    def found(self) -> bool:
        """Whether anything was replaced."""
        return self._joiner.found

    def plain(self, value: Any) -> Any:
        """What does not go on in another event."""
        return self._joiner.replaced(value)

    def delta(self, delta: Mapping[str, Any]) -> dict[str, Any]:
        """A delta of a stream; half a pair at the end of a text is held back."""
        mended: dict[str, Any] = {}
        for key, value in delta.items():
            if key in _TEXTS and isinstance(value, str):
                mended[key] = self._joiner.feed(key, value)
            elif key == "tool_calls" and isinstance(value, list):
                mended[key] = [self._call(call) for call in value]
            else:
                mended[key] = self.plain(value)
        return mended

    def rest(self) -> dict[str, Any] | None:
        """The delta with what was held back in vain; None where that is nothing."""
        rest = self._joiner.rest()
        calls = [
            {"index": key[0], "function": {"arguments": text}} for key, text in rest.items() if isinstance(key, tuple)
        ]
        texts = {key: text for key, text in rest.items() if isinstance(key, str)}
        return {**texts, "tool_calls": calls} if rest else None

    def _call(self, call: Any) -> Any:
        if not isinstance(call, dict) or not isinstance(index := call.get("index"), (int, str)):
            return self.plain(call)
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(arguments := function.get("arguments"), str):
            return self.plain(call)
        whole = {**function, "arguments": self._joiner.feed((index,), arguments)}
        return self.plain({**call, "function": whole})
