"""Recorded runs: what happened in a run, read from a thread's checkpoints, from recorded requests or from a log."""

from langchain_kimi._recorded_runs.recorded_run import (
    ApprovalRecord,
    MessagePart,
    ModelCallRecord,
    RecordedRun,
    RunEvent,
    RunMessage,
    TimeSpan,
    ToolCallRecord,
)
from langchain_kimi._recorded_runs.run_cache_breaks import cache_breaks_of
from langchain_kimi._recorded_runs.sources import RunSourceError, read_recorded_run
from langchain_kimi._recorded_runs.thread import read_thread

__all__ = [
    "ApprovalRecord",
    "MessagePart",
    "ModelCallRecord",
    "RecordedRun",
    "RunEvent",
    "RunMessage",
    "RunSourceError",
    "TimeSpan",
    "ToolCallRecord",
    "cache_breaks_of",
    "read_recorded_run",
    "read_thread",
]
