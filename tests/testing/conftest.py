"""A client of the fake API that knows nothing of this package."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.testing.wire import KEY, WAIT


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(headers=KEY, trust_env=False, timeout=WAIT) as client:
        yield client
