"""Detects an agent that repeats itself.

An agent repeats itself if it makes the same call with the same arguments and gets the same result again and again, also
with other calls in between. A tool whose result changes, such as one that polls, is not affected.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from langchain_core.messages import BaseMessage, ToolMessage

from langchain_kimi._parameter_names import checks_field_names
from langchain_kimi.agent.thread_messages import AnyCall, answers_with_results, exchanges

FINGERPRINT = "kimi_guard"
"""The key in `additional_kwargs` of a result that the guard changed: the fingerprint of the tool's own result."""
_BLOCKED = (
    "Not run: this call was made {count} times with the same result. It is blocked; do something else, or answer with "
    "what you have."
)
_WINDOW = 60
"""Model turns that are compared."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often a call in a row has had the same result, and that result's fingerprint."""

    count: int = 0
    fingerprint: str = ""


@checks_field_names
@dataclass(frozen=True, slots=True)
class LoopGuard:
    """When to stop an agent that repeats itself. It counts results of one call with the same arguments in a user turn.

    `hint`: from this number of equal results on, the result has a hint for the model. `block`: after this number the
    call does not run any more. `stop`: at this attempt the turn ends with one last answer. `errors`: the turn also ends
    after this number of model turns in a row in which every call failed. `exempt`: tools whose calls are not counted.
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
        """How often this pending call was made before with its latest result."""
        if call["name"] in self.exempt:
            return Repeats()
        name, args = call["name"], call["args"]
        count, last = 0, ""
        for answer, results in islice(answers_with_results(messages), _WINDOW):
            made = [*answer.tool_calls, *answer.invalid_tool_calls]
            equal = [call for call in made if call["name"] == name and call["args"] == args]
            for earlier in reversed(equal):
                result = next((one for one in reversed(results) if one.tool_call_id == earlier["id"]), None)
                if result is None:
                    continue
                current = fingerprint(result)
                if last and current != last:
                    return Repeats(count, last)
                count, last = count + 1, current
        return Repeats(count, last)

    def hints(self, repeats: Repeats) -> bool:
        """Whether another equal result of the call has a hint for the model."""
        return repeats.count + 1 >= self.hint

    def block_reason(self, repeats: Repeats) -> str | None:
        """The reason for which the call does not run any more, as text for the model, or None."""
        return _BLOCKED.format(count=repeats.count) if repeats.count >= self.block else None

    def stop_reason(
        self, messages: Sequence[BaseMessage], calls: Sequence[AnyCall], handoffs: int = 0
    ) -> Literal["loop", "errors"] | None:
        """The reason for which the turn ends before these pending calls run, or None.

        `handoffs`: how many answers in a row did nothing but hand the conversation over.
        """
        attempts = [self.repeats(messages, call).count + 1 for call in calls]
        if max(*attempts, handoffs) >= self.stop:
            return "loop"
        return "errors" if self.only_errors(messages) else None

    def only_errors(self, messages: Sequence[BaseMessage]) -> bool:
        """Whether every call failed in the last `errors` model turns."""
        last = list(islice(exchanges(messages), self.errors))
        results = [(call, result) for answered in last for call, result in answered]
        return len(last) == self.errors and all(
            result.status == "error" and call["name"] not in self.exempt for call, result in results
        )


def fingerprint(result: ToolMessage) -> str:
    """A text that is equal for equal results. A result with a hint has the fingerprint of the tool's own result."""
    original = result.additional_kwargs.get(FINGERPRINT)
    if isinstance(original, str):
        return original
    return hashlib.blake2b(f"{result.status} {result.content}".encode(errors="replace"), digest_size=8).hexdigest()


def with_hint(result: ToolMessage, count: int) -> ToolMessage:
    """The result with the hint that it is the same as before."""
    hint = f"This call has now had the same result {count} times. Do something else, or answer with what you have."
    content = f"{result.content}\n\n{hint}" if isinstance(result.content, str) else [*result.content, hint]
    additional_kwargs = {**result.additional_kwargs, FINGERPRINT: fingerprint(result)}
    return result.model_copy(update={"content": content, "additional_kwargs": additional_kwargs})
