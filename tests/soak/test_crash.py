"""A slice of the crash test on each database: see crash.py."""

import pytest

from tests.services import no_postgres
from tests.soak import crash

pytestmark = pytest.mark.slow

SECONDS = 14.0


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_killed_agents_lose_nothing_and_go_on(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    if database == "postgres" and (reason := no_postgres()):
        pytest.skip(reason)
    with capsys.disabled():  # the counts are to be seen
        assert crash.main([database], kills=1000, seed=7, seconds=SECONDS) == 0
