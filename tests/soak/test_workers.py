"""A slice of the load test of the workers, with kills: see workers.py."""

import shutil

import pytest

from tests.services import no_postgres
from tests.soak import workers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_killed_workers_end_every_thread_right_and_run_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    if reason := no_postgres():
        pytest.skip(reason)
    if shutil.which("redis-server") is None:
        pytest.skip("there is no program redis-server")
    with capsys.disabled():  # the counts are to be seen
        assert workers.main(workers=2, threads=8, kill_every=2, concurrency=4, seed=7, seconds=300, idle_seconds=0) == 0
