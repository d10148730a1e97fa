"""Settings of compaction that are refused."""

from typing import Any

import pytest

from langchain_kimi import Compaction


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 0},
        {"window": "1"},
        {"reserve": -1},
        {"window": 100, "reserve": 100},
        {"trigger": 1.1},
        {"target": 0},
        {"trigger": 0.4, "target": 0.5},
        {"keep_results": -1},
        {"keep_results": True},
        {"result_tokens": 0},
        {"summary_prompt": " "},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Compaction") as raised:
        Compaction(**wrong)
    assert next(iter(wrong)) in str(raised.value)
