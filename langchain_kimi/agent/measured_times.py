"""When models and tools ran, as their messages hold it: a start and a length, so that a stored thread tells both."""

from collections.abc import Mapping
from typing import Any

STARTED = "kimi_started"
"""The key in `additional_kwargs` of an answer or a result: when its request or tool began, in seconds since 1970 UTC,
with milliseconds."""

SECONDS = "kimi_seconds"
"""The key in `additional_kwargs` of an answer or a result: how long its requests or its tool took, in seconds."""


def measured_times(started: float, seconds: float) -> dict[str, float]:
    """The entries of `additional_kwargs` for these times."""
    return {STARTED: round(started, 3), SECONDS: round(seconds, 3)}


def start_and_end(additional_kwargs: Mapping[str, Any]) -> tuple[float, float] | None:
    """The times in the `additional_kwargs` of a message; None where they are not there."""
    started, seconds = additional_kwargs.get(STARTED), additional_kwargs.get(SECONDS)
    if not isinstance(started, int | float) or not isinstance(seconds, int | float):
        return None
    return float(started), float(started) + float(seconds)
