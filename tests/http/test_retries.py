"""Which failures are retried, and after which wait."""

import itertools

import pytest

from langchain_kimi import errors
from langchain_kimi._error_responses import from_response
from langchain_kimi._http import RetryPolicy
from langchain_kimi.errors import KimiError, OverloadedError, RateLimitError, ServerError


def waits(error: KimiError, most: int | None, tries: int = 40) -> list[float]:
    """The waits of one call that meets nothing but this error."""
    retries = RetryPolicy(most)
    given = itertools.takewhile(lambda wait: wait is not None, (retries.delay(error) for _ in range(tries)))
    return [wait for wait in given if wait is not None]


def test_passing_failures_are_repeated_soon_and_few_times() -> None:
    for error in (ServerError("x"), errors.APIConnectionError("x"), errors.APITimeoutError("x")):
        first, second, third = waits(error, 3)
        assert 0.3 < first < 0.7 < second < 1.3 < third < 2.6


def test_overload_is_waited_for_long_and_longer_until_patience_ends() -> None:
    seconds = waits(OverloadedError("x"), None)
    assert 7 < seconds[0] < 13 < seconds[1] < 26 < seconds[2] < 51
    assert 200 < sum(seconds) <= 300
    assert len({*waits(OverloadedError("x"), 2)[:1], seconds[0]}) == 2  # parallel agents do not come back together
    assert waits(ServerError("x", type="server_unavailable"), 1)[0] > 7


def test_overload_and_rate_limit_do_not_use_up_the_few_retries() -> None:
    retries = RetryPolicy()
    assert all(retries.delay(RateLimitError("x", retry_after=1)) for _ in range(5))
    assert retries.delay(ServerError("x")) is not None
    assert retries.delay(ServerError("x")) is not None
    assert retries.delay(ServerError("x")) is None


def test_a_number_of_retries_bounds_all_of_them_together() -> None:
    retries = RetryPolicy(3)
    failures = [OverloadedError("x"), ServerError("x"), RateLimitError("x"), OverloadedError("x")]
    assert [retries.delay(error) is not None for error in failures] == [True, True, True, False]
    assert len(waits(OverloadedError("x"), 20)) == 20  # more than the default would wait for


def test_no_wait_is_longer_than_the_user_agrees_to() -> None:
    assert max(waits(OverloadedError("x"), 9)) <= 60
    assert max(waits(OverloadedError("x", retry_after=60), 9)) == 60
    retries = RetryPolicy(9, 5)
    assert [retries.delay(OverloadedError("x")) for _ in range(3)] == [5, 5, 5]
    for most in (None, 9):
        error = RateLimitError("x", retry_after=61)
        assert RetryPolicy(most).delay(error) is None
        assert error.retry_after == 61
        assert "longer than max_retry_wait=60" in error.__notes__[0]
        assert 3600 <= (RetryPolicy(most, 3600).delay(RateLimitError("x", retry_after=3600)) or 0) <= 3600


@pytest.mark.parametrize("asked", [0.0, 7.0, 55.0])
def test_rate_limit_waits_as_long_as_it_says_and_a_little_more(asked: float) -> None:
    first, other = (waits(RateLimitError("x", retry_after=asked), 1)[0] for _ in range(2))
    assert asked <= first <= asked + 0.25
    assert first != other  # those who were refused together do not come back together


def test_a_host_is_never_asked_before_the_moment_it_named() -> None:
    for error in (OverloadedError("x", retry_after=20), ServerError("x", retry_after=20)):
        assert all(20 <= waits(error, 1)[0] <= 25 for _ in range(50))


@pytest.mark.parametrize("nonsense", [-1.0, float("nan")])
def test_a_nonsensical_moment_is_ignored(nonsense: float) -> None:
    assert 5 <= waits(RateLimitError("x", retry_after=nonsense), 1)[0] < 6
    assert 0.3 < waits(ServerError("x", retry_after=nonsense), 1)[0] < 0.7


def test_rate_limit_that_says_nothing_is_waited_for() -> None:
    first, second, *_ = waits(RateLimitError("x"), None)
    assert 5 <= first < 6
    assert 10 <= second < 11


@pytest.mark.parametrize(
    "error",
    [
        errors.QuotaExceededError("x"),
        errors.AuthenticationError("x"),
        errors.BadRequestError("x"),
        errors.NotFoundError("x"),
        errors.ContextOverflowError("x"),
        RateLimitError("x", retry_after=3600),
        from_response(429, {"error": {"message": "request reached organization TPD rate limit"}}, host="h", headers={}),
    ],
)
def test_final_errors_are_not_waited_for(error: KimiError) -> None:
    assert waits(error, 3) == []


def test_nothing_is_repeated_without_retries() -> None:
    assert waits(OverloadedError("x"), 0) == waits(ServerError("x"), 0) == []


def test_the_incident_of_the_missing_header_passes() -> None:
    said = {"error": {"type": "invalid_request_error", "message": "missing required header Kimi-Api-Version"}}
    error = from_response(400, said, host="h", headers={})
    assert error.status == 400
    assert len(waits(error, 2)) == 2
