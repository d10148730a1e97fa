"""What most tests share: a server played by a script, and a model that talks to it."""

import gc
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"  # read when langgraph is imported; subprocesses inherit it
# A folder without certificates: on loopback none is needed, and each HTTP client would load the machine's for 30 ms.
os.environ["SSL_CERT_DIR"] = os.path.dirname(__file__)
os.environ.pop("SSL_CERT_FILE", None)

import pytest
from langchain_core.tools import tool

from langchain_kimi import ChatKimi
from langchain_kimi.testing import KimiServer
from tests.clock import with_clock
from tests.databases import database
from tests.services import postgres

__all__ = ["database", "postgres"]

KEY = "sk-test-0123456789"
FRAMEWORKS = Path(__file__).parent / "frameworks"
"""Tests with other frameworks, which are slow: each takes its framework's time."""

Serve = Callable[..., KimiServer]
"""The type of the fixture `serve`."""

PAIRED = pytest.mark.paired
"""Of a test with several lists of parameters: each value stands in one quick test, the other combinations are slow."""

SYNC_AND_ASYNC = pytest.mark.parametrize("way", ["sync", "async"])
"""One of the two is quick, the other slow."""
FOUR_WAYS = pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
TWO_OF_FOUR_WAYS = pytest.mark.parametrize(
    "way",
    [
        "invoke",
        "astream",
        pytest.param("stream", marks=pytest.mark.slow),
        pytest.param("ainvoke", marks=pytest.mark.slow),
    ],
)
"""For what does not depend on the way: two of the four are slow."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector away from modules and tests: they stay, and to look through them takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before pytest picks by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("paired"):
            if not _is_a_pair(item):
                item.add_marker("slow")
        elif _is_the_other_way(item) or FRAMEWORKS in item.path.parents:
            item.add_marker("slow")


_HALVES = {"sync": 0, "async": 1, "invoke": 0, "astream": 0, "stream": 1, "ainvoke": 1}
"""The two halves of the ways in which a test runs."""


def _is_the_other_way(item: Any) -> bool:
    """Whether it runs a test in a way that is slow: of two ways, one is quick, and of four, two.

    Which of them are quick depends on the name and the other values, so that each way is quick in half of the tests.
    """
    way = item.callspec.params.get("way") if hasattr(item, "callspec") else None
    if way not in _HALVES:
        return False
    others = [part for part in item.callspec.id.split("-") if part not in _HALVES]
    return _HALVES[way] != crc32("-".join([item.originalname, *others]).encode()) % 2


def _is_a_pair(item: Any) -> bool:
    """Whether it is one of the quick ones: as many as the longest list, the shorter ones gone through again and again.

    Each round begins one value later, so that lists of two and of four are not always seen in step.
    """
    places = [(_place(mark, item.callspec.params), len(mark.args[1])) for mark in item.iter_markers("parametrize")]
    longest = max(length for _, length in places)
    return any(
        all(index == (number + number // length) % length for index, length in places) for number in range(longest)
    )


def _place(mark: pytest.Mark, given: dict[str, Any]) -> int:
    """The row of the list that the test was given."""
    names, rows = mark.args
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    for place, row in enumerate(rows):
        row = row.values if isinstance(row, type(pytest.param())) else [row] if len(names) == 1 else row
        if all(given[name] is value for name, value in zip(names, row, strict=True)):
            return place
    raise LookupError(f"{mark} has no row with the values of {given}.")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a KimiServer with a script; it is closed when the test ends."""
    started: list[KimiServer] = []

    def start(script: Any, **settings: Any) -> KimiServer:
        started.append(KimiServer(script, **settings))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.close()


def kimi(server: KimiServer, model: str = "kimi-k2.6", **settings: Any) -> ChatKimi:
    """A model on the server; no retries, so that each test sees its own requests only.

    `clock` is a VirtualClock by which the model waits before retries.
    """
    clock = settings.pop("clock", None)
    made = ChatKimi(**{"model": model, "base_url": server.url, "api_key": KEY, "max_retries": 0, **settings})
    return made if clock is None else with_clock(made, clock)


@pytest.fixture(autouse=True)
def _no_key_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOONSHOT_API_KEY", "MOONSHOT_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
