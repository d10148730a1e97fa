"""Sends the requests of all groups, one after the other, and collects what they show."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from langchain_kimi._host_checks import assumptions
from langchain_kimi._host_checks.arguments import VALID_ARGUMENTS
from langchain_kimi._host_checks.checks import Check, CheckResult, Group
from langchain_kimi._host_checks.cost import Estimate, estimate_requests
from langchain_kimi._host_checks.endings import DROPPED, ENDINGS
from langchain_kimi._host_checks.history import HISTORY
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.obedience import OBEDIENCE
from langchain_kimi._host_checks.responses import CHAT_PATH, ChatRequest, HostResponse, leave_after_text
from langchain_kimi._host_checks.streams import STREAMS
from langchain_kimi._host_checks.thinking import REASONING, THINKING_OFF
from langchain_kimi._host_checks.token_usage import USAGE
from langchain_kimi._http import RetryPolicy, Transport, raw_exchange
from langchain_kimi.errors import (
    AuthenticationError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
)

ASSUMED = Group("assumptions", (), assumptions.requests, lambda profile, record: [])
GROUPS = (STREAMS, THINKING_OFF, REASONING, OBEDIENCE, VALID_ARGUMENTS, HISTORY, ENDINGS, ASSUMED, USAGE, DROPPED)
"""All groups in their order: the first learn what the others need of the host, and the last may leave it wedged."""
CHECKS: tuple[Check, ...] = tuple(check for group in GROUPS for check in group.checks)

_HOPELESS = (AuthenticationError, PermissionDeniedError, QuotaExceededError, RateLimitError)
"""Errors of an answer after which no further request is sent: they say nothing of the host."""


@dataclass
class Report:
    """What is known of a host, also of one whose checks were interrupted."""

    profile: HostProfile
    results: list[CheckResult] = field(default_factory=list)
    record: dict[str, list[HostResponse]] = field(default_factory=dict)

    @property
    def responses(self) -> list[HostResponse]:
        """All responses."""
        return [response for sent in self.record.values() for response in sent]

    @property
    def failed_musts(self) -> list[CheckResult]:
        """The results for which the host is no faithful Kimi."""
        return [one for one in self.results if one.outcome == "failed" and one.check.level == "must"]

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of `ChatKimi` for the host."""
        settings: dict[str, Any] = {"model": self.profile.model, "base_url": self.profile.url}
        if self.profile.dialect:
            settings["dialect"] = self.profile.dialect
        for result in self.results:
            settings |= result.arguments
        return settings


Progress = Callable[[str, int, int], None]
"""Is told of a group's name, how many of its requests were answered, and how many there are."""


def estimate(profile: HostProfile) -> Estimate:
    """The most that `run_checks` will cost, if the host switches thinking off as Kimi does where that is possible."""
    likely = replace(profile, switch="thinking" if profile.may_be_instant else None)
    return estimate_requests((request for group in GROUPS for request in group.requests(likely)), profile.row)


def run_checks(report: Report, transport: Transport, on_progress: Progress) -> None:
    """Check a host, and add what it shows to the report group by group.

    Raises a KimiError where the first request is not answered, and where the host refuses the key, the account or any
    further request.
    """
    for group in GROUPS:
        requests = group.requests(report.profile)
        for number, request in enumerate(requests):
            on_progress(group.name, number, len(requests))
            response = _send(transport, request, report.profile.model)
            report.record.setdefault(request.name, []).append(response)
            _raise_if_hopeless(response, is_first=len(report.record) == 1)
        report.results += group.judge(report.profile, report.record)
        on_progress(group.name, len(requests), len(requests))


def _raise_if_hopeless(response: HostResponse, *, is_first: bool) -> None:
    error = response.error
    if error is not None and (is_first or isinstance(error, _HOPELESS)):
        raise error


def _send(transport: Transport, request: ChatRequest, model: str) -> HostResponse:
    """The response, after retries of failures that may pass."""
    body, retries = orjson.dumps(request.body(model)), RetryPolicy(None if request.retries else 0)
    leave = leave_after_text if request.leaves else None
    while True:
        response = HostResponse(request, raw_exchange(transport, CHAT_PATH, body, leave), transport.host)
        seconds = None if response.error is None else retries.delay(response.error)
        if seconds is None:
            return response
        transport.clock.sleep(seconds)
