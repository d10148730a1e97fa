"""A slice of the kills of LangChain's agents with tools in `once`: see once.py."""

import pytest

from tests.soak import once

SECONDS = 3.0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_no_call_starts_twice_and_every_thread_ends(durability: str, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():  # the counts are to be seen
        assert once.main(["sqlite"], [durability], kills=1000, seed=7, seconds=SECONDS, agent="middleware") == 0
