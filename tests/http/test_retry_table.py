"""The table of retries in the documentation is what happens: requests sent and seconds waited, by a virtual clock."""

import random
import re
from pathlib import Path
from typing import Any

import pytest

from langchain_kimi import KimiPlatform, Timeouts, errors
from langchain_kimi.testing import KimiServer, Reply, overloaded, rate_limited, refused
from tests.clock import VirtualClock
from tests.conftest import KEY, PAIRED, kimi
from tests.raw_server import Sent, raw_server

PAGE = Path(__file__).parents[2] / "docs" / "production.md"
FAILURES: dict[str, Reply] = {
    "Overload": overloaded(),
    "Maintenance": refused(503, "server_unavailable", "maintenance"),
    "Rate limit without a wait": refused(429, "rate_limit_reached_error", "slow down"),
    "Rate limit with `Retry-After: 20`": refused(
        429, "rate_limit_reached_error", "slow down", headers={"retry-after": "20"}
    ),
    "Rate limit with `Retry-After: 90`": refused(
        429, "rate_limit_reached_error", "slow down", headers={"retry-after": "90"}
    ),
    "Server error": refused(500, "server_error", "oops"),
    "Quota": refused(429, "exceeded_current_quota_error", "insufficient balance"),
    "Refusal": refused(400, "invalid_request_error", "no"),
}
SETTINGS = {"0": 0, "1": 1, "2": 2, "default": None}
WAYS = ["invoke", "ainvoke", "stream", "astream"]


def documented() -> dict[str, dict[str, str]]:
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in PAGE.read_text().splitlines()]
    head = next(row for row in rows if row[0] == "Failure")
    assert [re.sub(r"[`=]|max_retries", "", name) for name in head[1:]] == list(SETTINGS)
    return {row[0]: dict(zip(SETTINGS, row[1:], strict=True)) for row in rows if row[0] in FAILURES}


async def asked(way: str, model: Any) -> None:
    if way == "invoke":
        model.invoke("hi")
    elif way == "ainvoke":
        await model.ainvoke("hi")
    elif way == "stream":
        list(model.stream("hi"))
    else:
        [chunk async for chunk in model.astream("hi")]


async def fail(way: str, server: KimiServer, **settings: Any) -> tuple[int, float]:
    """Requests and seconds until one call gives up."""
    clock = VirtualClock()
    model = kimi(server, clock=clock, **settings)
    before = len(server.requests)
    with pytest.raises(errors.KimiError):
        await asked(way, model)
    assert max(clock.waited, default=0) <= 60
    return len(server.requests) - before, clock.now()


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("failure", FAILURES)
async def test_the_table_says_what_happens(serve: Any, monkeypatch: pytest.MonkeyPatch, failure: str, way: str) -> None:
    server = serve(lambda request: FAILURES[failure])
    for name, most in SETTINGS.items():
        measured = []
        for bound in (min, max):  # the shortest and the longest waits that chance can make
            monkeypatch.setattr(random, "uniform", lambda low, high, bound=bound: bound(low, high))
            measured.append(await fail(way, server, max_retries=most))
        counts = {count for count, _ in measured}
        requests = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        longest = max(seconds for _, seconds in measured)
        plural = "request" if requests == "1" else "requests"
        said = f"{requests} {plural}, {longest:.4g} s" if longest else f"{requests} {plural}"
        assert documented()[failure][name] == said, name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("most", [None, 50])
async def test_the_total_deadline_bounds_the_waits(serve: Any, way: str, most: int | None) -> None:
    server = serve(lambda request: overloaded())
    requests, seconds = await fail(way, server, max_retries=most, timeout=Timeouts(total=100))
    assert 3 <= requests <= 5
    assert seconds < 100


@pytest.mark.parametrize("way", WAYS)
async def test_a_longer_wait_than_agreed_to_is_the_user_s_decision(serve: Any, way: str) -> None:
    server = serve(lambda request: rate_limited(90))
    assert (await fail(way, server))[0] == 1
    with pytest.raises(AssertionError):  # the clock waited more than 60 seconds
        await fail(way, server, max_retries=1, max_retry_wait=120)
    assert len(server.requests) == 3


@pytest.mark.parametrize("most", [0, 1, None])
def test_the_platform_retries_alike(most: int | None) -> None:
    clock = VirtualClock()
    full = Sent(b'{"error": {"type": "engine_overloaded_error", "message": "full"}}', status=429)
    with raw_server(full) as server:
        platform = KimiPlatform(base_url=server.url, api_key=KEY, max_retries=most, max_retry_wait=5, clock=clock)
        with pytest.raises(errors.OverloadedError):
            platform.balance()
    assert len(server.requests) == (61 if most is None else 1 + most)
    assert set(clock.waited) <= {5}
