"""A slice of the kills of agents with tools in `once`, on each database: see once.py."""

import pytest

from tests.services import no_postgres
from tests.soak import once

pytestmark = pytest.mark.slow

SECONDS = 5.0


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_no_call_starts_twice_and_every_thread_ends(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    if database == "postgres" and (reason := no_postgres()):
        pytest.skip(reason)
    with capsys.disabled():  # the counts are to be seen
        assert once.main([database], ["sync", "async"], kills=1000, seed=7, seconds=SECONDS) == 0
