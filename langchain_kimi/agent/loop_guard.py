"""Tells an agent that goes in circles from one that works.

A circle is the same call with the same arguments and the same result, again and again; calls in between do not break
it. A tool whose result changes, such as one that polls, is left alone.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

from langchain_core.messages import BaseMessage, ToolMessage

from langchain_kimi.agent.state import AnyCall, exchanges

MARK = "kimi_guard"
"""Where a result that the guard changed keeps the fingerprint of the tool's own result."""
_WINDOW = 60
"""Model turns that are looked at."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often a call in a row has had the same result, and that result's fingerprint."""

    count: int = 0
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class LoopGuard:
    """When an agent goes in circles. Counts are of one call with the same arguments and the same result in a user turn.

    At the `hint`-th such result a hint is added to it; after `block` of them the call is not run any more; at the
    `stop`-th try the turn ends with one last answer. `errors`: so many model turns in a row of which every call failed
    end the turn too. Calls of tools in `exempt` are not looked at.
    """

    hint: int = 3
    block: int = 5
    stop: int = 8
    errors: int = 12
    exempt: Collection[str] = frozenset()

    def __post_init__(self) -> None:
        if not 2 <= self.hint <= self.block < self.stop:
            raise ValueError(f"LoopGuard: 2 <= hint ({self.hint}) <= block ({self.block}) < stop ({self.stop}).")
        if self.errors < 1:
            raise ValueError(f"LoopGuard(errors={self.errors}): at least 1.")
        if isinstance(self.exempt, str):
            raise ValueError(f"LoopGuard(exempt={self.exempt!r}): a set of tool names, not one string.")

    def repeats(self, messages: Sequence[BaseMessage], call: AnyCall) -> Repeats:
        """How often this pending call was made before, each time with the result that it had last."""
        if call["name"] in self.exempt:
            return Repeats()
        count, last = 0, ""
        for answered in islice(exchanges(messages), _WINDOW):
            for earlier, result in reversed(answered):
                if earlier["name"] != call["name"] or earlier["args"] != call["args"]:
                    continue
                seen = fingerprint(result)
                if last and seen != last:
                    return Repeats(count, last)
                count, last = count + 1, seen
        return Repeats(count, last)

    def only_errors(self, messages: Sequence[BaseMessage]) -> bool:
        """Whether for too many model turns in a row every call failed."""
        last = list(islice(exchanges(messages), self.errors))
        results = [(call, result) for answered in last for call, result in answered]
        return len(last) == self.errors and all(
            result.status == "error" and call["name"] not in self.exempt for call, result in results
        )


def fingerprint(result: ToolMessage) -> str:
    """Equal for equal results; of a result that the guard changed, that of the tool's own."""
    marked = result.additional_kwargs.get(MARK)
    if isinstance(marked, str):
        return marked
    return hashlib.blake2b(f"{result.status} {result.content}".encode(errors="replace"), digest_size=8).hexdigest()


def hinted(result: ToolMessage, count: int) -> ToolMessage:
    """The result with the hint that it is the same as before."""
    hint = f"This call has now had the same result {count} times. Do something else, or answer with what you have."
    content = f"{result.content}\n\n{hint}" if isinstance(result.content, str) else [*result.content, hint]
    kept = {**result.additional_kwargs, MARK: fingerprint(result)}
    return result.model_copy(update={"content": content, "additional_kwargs": kept})
