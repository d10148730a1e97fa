"""Processes that send requests to a host as fast as their shared limits let them."""

import asyncio
import multiprocessing
import secrets
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
import redis

from langchain_kimi import ChatKimi, KimiWarning, RateLimits
from langchain_kimi._shared_limits import Timing
from langchain_kimi.errors import RateLimitsUnavailableError
from tests.services import no_redis

REDIS = "redis://127.0.0.1:6379"
QUICK = Timing(
    window=2.0,
    margin=0.2,
    lease=1.5,
    heartbeat=0.15,
    poll=0.3,
    patience=0.3,
    settle=1.0,
    retry=0.2,
    overload_pause=1.0,
)
"""Times that let tests see several windows and expired leases."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["langchain_kimi.chat_model", "tests.shared_limits.workers"])


@dataclass
class Account:
    """Shared limits of a name that nothing else uses."""

    limits: dict[str, Any]
    timing: Timing = QUICK
    url: str = REDIS
    name: str = field(default_factory=lambda: f"test-{secrets.token_hex(6)}")

    def rate_limits(self, **changes: Any) -> RateLimits:
        """The limits, with the times of tests."""
        limits = RateLimits(**{"shared": self.url, "account": self.name, **self.limits, **changes})
        assert limits._shared is not None
        limits._shared.timing = self.timing
        return limits

    def client(self) -> Any:
        return redis.Redis.from_url(self.url, decode_responses=True)

    def key(self, name: str) -> str:
        return f"langchain-kimi:limits:1:{{{self.name}}}:{name}"

    def leases(self) -> set[str]:
        """The requests that are in progress by Redis."""
        return set(self.client().smembers(self.key("leases")))

    def state(self, name: str) -> str | None:
        """A field of the state."""
        return self.client().hget(self.key("state"), name)

    def listeners(self) -> int:
        """How many processes can be woken."""
        return len(self.client().pubsub_channels(self.key("wake:*")))

    def now(self) -> float:
        """The server's time in milliseconds."""
        seconds, microseconds = self.client().time()
        return float(seconds * 1000 + microseconds / 1000)

    def delete(self) -> None:
        client = self.client()
        if keys := client.keys(self.key("*")):
            client.delete(*keys)


@pytest.fixture
def account_of() -> Iterator[Any]:
    """Makes an `Account`, which is deleted in the end; skips where no Redis answers."""
    if reason := no_redis():
        pytest.skip(reason)
    accounts: list[Account] = []

    def make(timing: Timing = QUICK, **limits: Any) -> Account:
        accounts.append(Account(limits, timing))
        return accounts[-1]

    yield make
    for account in accounts:
        account.delete()


@contextmanager
def workers(count: int, account: Account, url: str, at_a_time: int = 4) -> Iterator[list[Any]]:
    """So many processes at work, half of them with threads and half with tasks. They are killed in the end."""
    started = [start_worker(number, account, url, at_a_time) for number in range(count)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.join()


def start_worker(number: int, account: Account, url: str, at_a_time: int = 4) -> Any:
    """A process that has so many requests at a time, and the key `worker-NUMBER`."""
    process = _FORKS.Process(target=work, args=(number, asdict(account), url, at_a_time), daemon=True)
    process.start()
    return process


def work(number: int, account: dict[str, Any], url: str, at_a_time: int) -> None:
    """Send requests until killed."""
    warnings.simplefilter("ignore", KimiWarning)
    account = {**account, "timing": Timing(**account["timing"])}
    model = ChatKimi(
        model="kimi-k3",
        base_url=url,
        api_key=f"worker-{number}",
        max_tokens=20,
        extra_body={"padding": "x" * 2_000},
        max_retries=1_000,
        rate_limits=Account(**account).rate_limits(),
    )
    if number % 2:
        asyncio.run(_tasks(model, at_a_time))
    threads = [threading.Thread(target=_ask_for_ever, args=(model,), daemon=True) for _ in range(at_a_time)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _ask_for_ever(model: ChatKimi) -> None:
    while True:
        with suppress(RateLimitsUnavailableError):
            model.invoke("go")


async def _tasks(model: ChatKimi, at_a_time: int) -> None:
    async def ask_for_ever() -> None:
        while True:
            with suppress(RateLimitsUnavailableError):
                await model.ainvoke("go")

    await asyncio.gather(*(ask_for_ever() for _ in range(at_a_time)))
