"""Kimi's refusals and failures become errors that say what to do."""

import pickle
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from langchain_core import exceptions as core

from langchain_kimi import errors
from langchain_kimi._error_responses import from_response
from langchain_kimi.errors import KimiError

ACCOUNT = "Your account org-0123456789abcdef<ak-abcdefgh12345>"

CASES: list[tuple[int, str, str, type[KimiError], bool]] = [
    (400, "invalid_request_error", "invalid temperature: only 1 is allowed", errors.BadRequestError, False),
    (400, "content_filter", "considered high risk", errors.ContentFilterError, False),
    (401, "incorrect_api_key_error", "Incorrect API key provided", errors.AuthenticationError, False),
    (401, "invalid_authentication_error", "Invalid Authentication", errors.AuthenticationError, False),
    (403, "permission_denied_error", "The API you are accessing is not open", errors.PermissionDeniedError, False),
    (403, "access_terminated_error", "You've reached your weekly limit", errors.PermissionDeniedError, False),
    (403, "exceeded_current_quota_error", "not active, exceeded current quota", errors.QuotaExceededError, False),
    (404, "resource_not_found_error", "The requested resource was not found", errors.NotFoundError, False),
    (408, "", "timeout", errors.APITimeoutError, True),
    (413, "", "Request exceeds the maximum size", errors.BadRequestError, False),
    (429, "engine_overloaded_error", "The engine is currently overloaded", errors.OverloadedError, True),
    (429, "rate_limit_error", "The engine is currently overloaded", errors.OverloadedError, True),
    (429, "rate_limit_reached_error", f"{ACCOUNT} reached max RPM: 3", errors.RateLimitError, True),
    (429, "exceeded_current_quota_error", f"{ACCOUNT} is suspended", errors.QuotaExceededError, False),
    (429, "", "suspended due to insufficient balance", errors.QuotaExceededError, False),
    (500, "server_error", "", errors.ServerError, True),
    (503, "server_unavailable", "", errors.ServerError, True),
]


@pytest.mark.parametrize(("status", "kind", "said", "error", "retryable"), CASES)
def test_answer_becomes_its_error(status: int, kind: str, said: str, error: type[KimiError], retryable: bool) -> None:
    raised = from_response(status, {"error": {"type": kind, "message": said}}, host="kimi.example", headers={})
    assert type(raised) is error
    assert raised.is_retryable is retryable
    assert (raised.status, raised.type, raised.host) == (status, kind or None, "kimi.example")
    assert isinstance(raised, core.ModelError)
    assert "0123456789abcdef" not in str(raised)
    assert "abcdefgh" not in str(raised)


def test_context_overflow_carries_both_numbers() -> None:
    said = "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)"
    raised = from_response(400, {"error": {"message": said}}, host="h", headers={})
    assert isinstance(raised, errors.ContextOverflowError)
    assert isinstance(raised, core.ContextOverflowError)
    assert (raised.limit, raised.requested) == (262_144, 269_030)


@pytest.mark.parametrize(
    ("headers", "said", "seconds"),
    [({"retry-after": "7"}, "", 7.0), ({}, "please try again after 3 seconds", 3.0), ({}, "later", None)],
)
def test_wait_comes_from_header_or_message(headers: dict[str, str], said: str, seconds: float | None) -> None:
    raised = from_response(429, {"error": {"message": said}}, host="h", headers=headers)
    assert raised.retry_after == seconds


LATER = "Fri, 27 Nov 2026 10:00:30 GMT"
DATE = "Fri, 27 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "said", "seconds"),
    [
        ({"retry-after": LATER, "date": DATE}, "try again after 9 seconds", 30.0),
        ({"retry-after": DATE, "date": LATER}, "", 0.0),
        ({"retry-after": LATER}, "", 45.0),
        ({"retry-after": "soon", "date": DATE}, "try again after 9 seconds", 9.0),
        ({"retry-after": LATER, "date": "today"}, "try again after 9 seconds", 9.0),
        ({"retry-after": "Fri, 27 Nov 99999 10:00:30 GMT", "date": DATE}, "", None),
    ],
)
def test_a_date_to_wait_for_is_counted_from_the_host_s_own_clock(
    headers: dict[str, str], said: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: parsedate_to_datetime(LATER).timestamp() - 45)
    raised = from_response(429, {"error": {"message": said}}, host="h", headers=headers)
    assert raised.retry_after == seconds


@pytest.mark.parametrize(
    "body", ["<html><title>504</title><h1>504 Gateway Time-out</h1></html>", "", [], {"error": "x"}]
)
def test_answer_that_is_no_error_object_is_told_plainly(body: Any) -> None:
    raised = from_response(504, body, host="h", headers={"x-request-id": "r-1"})
    assert isinstance(raised, errors.ServerError)
    assert "<" not in str(raised)
    assert raised.request_id == "r-1"


def test_errors_survive_pickling() -> None:
    for raised in (
        from_response(429, {"error": {"message": "m"}}, host="h", headers={"retry-after": "7"}),
        errors.StructuredOutputError("m", "raw"),
        errors.IllegalRequestError("m", ()),
    ):
        copy = pickle.loads(pickle.dumps(raised))
        assert type(copy) is type(raised)
        assert copy.__dict__ == raised.__dict__
