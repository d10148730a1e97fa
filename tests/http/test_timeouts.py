"""The setting `timeout` in each of its forms."""

import httpx2
import pytest

from langchain_kimi._http import Timeouts


@pytest.mark.parametrize(
    ("timeout", "timeouts"),
    [
        (None, Timeouts(connect=10, first_byte=600, silence=300, total=None)),
        (30, Timeouts(connect=10, first_byte=30, silence=30)),
        (0.5, Timeouts(connect=0.5, first_byte=0.5, silence=0.5)),
        ((1, 2, 3, 4), Timeouts(connect=1, first_byte=2, silence=2, write=3, pool=4)),
        (httpx2.Timeout(5, connect=1), Timeouts(connect=1, first_byte=5, silence=5, write=5, pool=5)),
        (httpx2.Timeout(None), Timeouts(None, None, None, None, None, None)),
        (Timeouts(total=9), Timeouts(total=9)),
    ],
)
def test_the_setting_timeout_in_each_form(timeout: object, timeouts: Timeouts) -> None:
    assert Timeouts.of(timeout) == timeouts
