"""Reads a run from the lines of a `ReasoningLog`."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from langchain_core.messages.ai import UsageMetadata

from langchain_kimi._recorded_runs.message_parts import message_parts
from langchain_kimi._recorded_runs.recorded_run import (
    ModelCallRecord,
    RecordedRun,
    RunEvent,
    RunMessage,
    TimeSpan,
    ToolCallRecord,
)
from langchain_kimi.testing.cassettes import CassetteError

_LOG_LINE = re.compile(rb'^\{"time": .*"run_id": ')
_HEAD = 4_096
_SUFFIX = ".jsonl"
_UNNAMED = "agent"
_MISSING = ("A log does not hold what models were sent, nor the results of tools.",)


def is_log_file(path: Path) -> bool:
    """Whether a file is read as a reasoning log: by its beginning or its ending. Raises OSError."""
    return begins_as_log(path) or path.suffix == _SUFFIX


def begins_as_log(path: Path) -> bool:
    """Whether a file begins as a reasoning log. Raises OSError."""
    with path.open("rb") as file:
        return _LOG_LINE.match(file.read(_HEAD)) is not None


def log_records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The lines of a log with their numbers. Raises CassetteError for a line that is none of a log."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = orjson.loads(line)
                record["model"], record["run_id"]
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise CassetteError(f"{path}, line {number} is not a line of a reasoning log: {error}") from error
            yield number, record


def billed_usage(record: Mapping[str, Any]) -> UsageMetadata | None:
    """The usage in a line; None for an answer from LangChain's cache, for which nothing was sent."""
    usage: UsageMetadata | None = record.get("usage")
    return None if _is_from_cache(usage) else usage


def is_free(record: Mapping[str, Any]) -> bool:
    """Whether the request of a line cost nothing: it failed, or its answer came from LangChain's cache."""
    return record.get("error") is not None or record.get("cost_usd") == 0 or _is_from_cache(record.get("usage"))


def _is_from_cache(usage: Any) -> bool:
    return usage is not None and usage.get("total_cost") == 0


def read_log_run(path: Path, thread_id: str | None = None) -> RecordedRun:
    """The run in a log, or the part of it that belongs to a thread. Raises CassetteError or OSError."""
    reader = _LogReader()
    for number, record in log_records(path):
        if thread_id is None or record.get("thread_id") == thread_id:
            try:
                reader.add(record)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise CassetteError(f"{path}, line {number} is not a line of a reasoning log: {error}") from error
    return RecordedRun(
        name=path.name,
        kind="log",
        messages=tuple(reader.messages),
        model_calls=tuple(reader.model_calls),
        tool_calls=tuple(reader.tool_calls),
        events=tuple(reader.events),
        missing=_MISSING,
    )


def _time_of(record: Mapping[str, Any]) -> TimeSpan:
    end = datetime.fromisoformat(record["time"]).timestamp()
    seconds = record.get("seconds")
    return TimeSpan(None if seconds is None else end - seconds, end, is_measured=seconds is not None)


class _LogReader:
    """Collects the records of a run, one line after the other."""

    def __init__(self) -> None:
        self.messages: list[RunMessage] = []
        self.model_calls: list[ModelCallRecord] = []
        self.tool_calls: list[ToolCallRecord] = []
        self.events: list[RunEvent] = []

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a line."""
        agent = str(record.get("agent") or record.get("node") or _UNNAMED)
        time = _time_of(record)
        failure = record.get("error")
        error = f"{failure['type']}: {failure['message']}" if failure else None
        answer = self._add_answer(record, agent, time.end) if record.get("finish_reason") or not failure else None
        self.model_calls.append(
            ModelCallRecord(
                number=len(self.model_calls) + 1,
                agent=agent,
                model=str(record["model"]),
                answer=answer,
                usage=billed_usage(record),
                finish_reason=record.get("finish_reason"),
                error=error,
                time=time,
                original=record,
                is_free=is_free(record),
            )
        )
        if error:
            self.events.append(RunEvent("error", agent, error, time.end))

    def _add_answer(self, record: Mapping[str, Any], agent: str, time: float | None) -> int:
        number = len(self.messages) + 1
        first = len(self.tool_calls) + 1
        for own, call in enumerate(record.get("tool_calls") or (), first):
            fields = str(call.get("name")), str(call.get("id") or ""), str(call.get("arguments") or "")
            self.tool_calls.append(ToolCallRecord(own, agent, *fields, number))
        calls = tuple(range(first, len(self.tool_calls) + 1))
        parts = message_parts(record.get("content"))
        reasoning = record.get("reasoning")
        self.messages.append(RunMessage(number, "assistant", parts, record, agent, reasoning, calls, time))
        return number
