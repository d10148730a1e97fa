"""What a check expects, and what it found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.responses import ChatRequest, HostResponse

Level = Literal["must", "should"]
Outcome = Literal["passed", "differs", "failed", "unclear"]

DOCUMENTATION = "documentation"
"""Moonshot's public API pages."""
VERIFIER = "verifier"
"""MoonshotAI/Kimi-Vendor-Verifier, by which Moonshot checks hosts."""
STREAM_SPECIFICATION = "stream specification"
"""Moonshot's acceptance tests for hosts, as published in novitalabs/Kimi-Vendor-Verifier."""
RECORDED = "recorded"
"""Recorded by third parties, of Kimi's API and of hosts."""

MOST_SLIPS = 1
"""Slips of the model that never fail a check of obedience."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a host did at one check.

    `differs` means that the host is not as Kimi, but `ChatKimi` copes, with `setting` where one is named. `failed`
    means that nothing in `ChatKimi` makes up for it. `unclear` means that the responses did not show it.
    """

    check: "Check"
    outcome: Outcome
    observed: str
    setting: str = ""
    """What to do about it, in words."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """The arguments of `ChatKimi` that do it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that Moonshot expects of a host."""

    name: str
    level: Level
    """`must`: without it, agents get wrong answers or none."""
    expected: str
    source: str

    def passed(self, observed: str = "as expected") -> CheckResult:
        """The host does as Kimi does."""
        return CheckResult(self, "passed", observed)

    def differs(self, observed: str, setting: str = "", **arguments: Any) -> CheckResult:
        """The host is not as Kimi, and `ChatKimi` copes."""
        return CheckResult(self, "differs", observed, setting, arguments)

    def failed(self, observed: str, setting: str = "") -> CheckResult:
        """The host is not as Kimi, and `ChatKimi` does not cope."""
        return CheckResult(self, "failed", observed, setting)

    def unclear(self, observed: str) -> CheckResult:
        """The responses did not show it."""
        return CheckResult(self, "unclear", observed)

    def by_rate(self, good: int, total: int, floor: float, words: str, setting: str = "") -> CheckResult:
        """A check of the model's obedience: it fails by two slips or more, and by a rate below `floor`."""
        if not total:
            return self.unclear("no answer reached its end")
        observed = f"{good} of {total} {words}"
        if total - good > MOST_SLIPS and good / total < floor:
            return self.failed(observed, setting)
        if not good:
            return self.unclear(f"{observed}; too few to tell")
        return self.passed(observed)


Record = Mapping[str, list[HostResponse]]
"""All responses so far by the names of their requests."""


@dataclass(frozen=True, slots=True)
class Group:
    """Checks that share requests."""

    name: str
    checks: tuple[Check, ...]
    requests: Callable[[HostProfile], list[ChatRequest]]
    judge: Callable[[HostProfile, Record], list[CheckResult]]
    """Judges the responses, and notes in the profile what the next groups need to know of the host."""
