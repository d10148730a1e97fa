"""Slices of the soak: see faults.py."""

import pytest

from tests.soak import faults


@pytest.mark.parametrize("runs", [8, pytest.param(600, marks=pytest.mark.slow)])
def test_random_faults_end_right_or_typed(runs: int, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():  # the counts are to be seen
        assert faults.main(faults.numbers_of(7 + runs, runs)) == 0
