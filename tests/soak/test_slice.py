"""A slice of the soak: see faults.py."""

import pytest

from tests.soak import faults

pytestmark = pytest.mark.slow

SECONDS = 20.0


def test_random_faults_end_right_or_typed(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():  # the counts are to be seen
        assert faults.main(SECONDS, seed=7) == 0
