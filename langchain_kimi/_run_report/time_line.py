"""The time line of a report: bars for calls, in a lane for each agent, parallel ones below each other.

Positions are shares of the whole width. Where nothing happens for long, such as while a thread waits for its user, the
axis is cut, so that the calls stay wide enough to be seen.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from langchain_kimi._recorded_runs import ApprovalRecord, ModelCallRecord, RecordedRun, TimeSpan, ToolCallRecord
from langchain_kimi._run_report.formats import format_seconds

BarKind: TypeAlias = Literal["model", "tool", "failed", "approval"]
_Record: TypeAlias = ModelCallRecord | ToolCallRecord | ApprovalRecord

_LONGEST_GAP = 0.05
"""The longest pause that is drawn to scale, as a share of the time in which something happened."""
_TICKS = 8
_ROW, _BAR, _LANE_GAP = 18, 14, 8
"""Heights in pixels."""


class Bar(NamedTuple):
    """A call in the time line."""

    kind: BarKind
    left: float
    width: float
    top: int
    title: str
    target: str
    """The id of the element that it leads to."""


class Tick(NamedTuple):
    """A time on the axis, or a pause that was cut out of it."""

    left: float
    text: str
    is_pause: bool = False


@dataclass(slots=True)
class Lane:
    """The calls of an agent."""

    agent: str
    top: int
    height: int = 0
    bars: list[Bar] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TimeLine:
    """Lanes with their bars, and the axis below them."""

    lanes: list[Lane]
    ticks: list[Tick]
    height: int
    has_times: bool
    """Whether the axis is time; otherwise it is the order of the calls."""


def time_line(run: RecordedRun, prefix: str = "") -> TimeLine | None:
    """The time line of a run; None for a run without calls."""
    records = _in_order(run)
    if not records:
        return None
    has_times = any(record.time.start is not None for record in records)
    if has_times:
        records = [record for record in records if record.time.start is not None]
        spans = [_closed(record.time) for record in records]
        axis = _Axis(spans)
    else:
        spans = [(float(at), at + 0.9) for at in range(len(records))]
        axis = _Axis(spans, cuts=False)
    lanes, height = _lanes(records, spans, axis, prefix)
    return TimeLine(lanes, axis.ticks() if has_times else [], height, has_times)


def _in_order(run: RecordedRun) -> list[_Record]:
    """The calls by the message that they belong to: a request by its answer, a tool by the message that calls it."""
    records: list[tuple[int, int, _Record]] = []
    last = 0
    for call in run.model_calls:
        last = call.answer or max(call.inputs or (last,))
        records.append((last, 0, call))
    records += [(call.message, 1, call) for call in run.tool_calls]
    records += [(last + 1, 2, approval) for approval in run.approvals]
    return [record for _, _, record in sorted(records, key=lambda each: each[:2])]


def _closed(span: TimeSpan) -> tuple[float, float]:
    start = span.start or 0.0
    return start, max(start, span.end or start)


def _lanes(
    records: Sequence[_Record], spans: Sequence[tuple[float, float]], axis: "_Axis", prefix: str
) -> tuple[list[Lane], int]:
    by_agent: dict[str, list[tuple[tuple[float, float], _Record]]] = {}
    for record, span in zip(records, spans, strict=True):
        by_agent.setdefault(record.agent, []).append((span, record))
    lanes: list[Lane] = []
    top = 0
    for agent, own in by_agent.items():
        lane = Lane(agent, top)
        ends: list[float] = []
        for span, record in sorted(own, key=lambda each: each[0]):
            row = next((row for row, end in enumerate(ends) if end <= span[0]), len(ends))
            ends[row : row + 1] = [span[1]]
            left, right = axis.position(span[0]), axis.position(span[1])
            bar_top = top + row * _ROW + (_ROW - _BAR) // 2
            lane.bars.append(Bar(_kind(record), left, right - left, bar_top, _title(record), _target(record, prefix)))
        lane.height = len(ends) * _ROW
        lanes.append(lane)
        top += lane.height + _LANE_GAP
    return lanes, top


def _kind(record: _Record) -> BarKind:
    if isinstance(record, ModelCallRecord):
        return "failed" if record.error and record.answer is None else "model"
    if isinstance(record, ToolCallRecord):
        return "tool" if record.status == "success" else "failed"
    return "approval"


def _title(record: _Record) -> str:
    if isinstance(record, ModelCallRecord):
        name = record.model
    elif isinstance(record, ToolCallRecord):
        name = f"{record.name} ({record.status})"
    else:
        name = f"question to a person ({record.status})"
    return f"{name} {format_seconds(record.time.seconds)}".strip()


def _target(record: _Record, prefix: str) -> str:
    if isinstance(record, ModelCallRecord):
        return f"{prefix}m{record.answer}" if record.answer else f"{prefix}request{record.number}"
    if isinstance(record, ToolCallRecord):
        return f"{prefix}call{record.number}"
    return f"{prefix}question{record.number}"


class _Axis:
    """Maps times to positions from 0 to 100."""

    def __init__(self, spans: Sequence[tuple[float, float]], *, cuts: bool = True) -> None:
        active = _union(spans)
        longest = _LONGEST_GAP * max(sum(end - start for start, end in active), 0.001)
        self._starts: list[float] = []
        self._pieces: list[tuple[float, float, float, float]] = []
        """Start and end of each piece of time, and where it begins and how long it is on the axis."""
        at = 0.0
        for index, (start, end) in enumerate(active):
            if index:
                before = active[index - 1][1]
                drawn = min(start - before, longest) if cuts else start - before
                self._add(before, start, at, drawn)
                at += drawn
            self._add(start, end, at, end - start)
            at += end - start
        self._length = at or 1.0

    def _add(self, start: float, end: float, at: float, drawn: float) -> None:
        self._starts.append(start)
        self._pieces.append((start, end, at, drawn))

    def position(self, time: float) -> float:
        """Where a time is, in percent."""
        start, end, at, drawn = self._pieces[max(bisect_right(self._starts, time) - 1, 0)]
        inside = min((time - start) / (end - start), 1.0) if end > start else 0.0
        return round(100 * (at + inside * drawn) / self._length, 4)

    def ticks(self) -> list[Tick]:
        """Some times, as the time since the start, and the pauses that were cut."""
        first = self._starts[0]
        pauses = [piece for piece in self._pieces if piece[3] < piece[1] - piece[0]]
        ticks = [
            Tick(self.position((start + end) / 2), f"{format_seconds(end - start)} pause", True)
            for start, end, *_ in pauses
        ]
        shown = [tick.left for tick in ticks]
        for number in range(_TICKS):
            wanted = number / _TICKS * self._length
            start, _, at, _ = next(piece for piece in reversed(self._pieces) if piece[2] <= wanted)
            time = start + wanted - at
            left = round(100 * wanted / self._length, 4)
            if all(abs(left - other) > 100 / _TICKS / 2 for other in shown):
                ticks.append(Tick(left, f"+{format_seconds(time - first) or '0 ms'}"))
        return sorted(ticks)


def _union(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The times in which anything happened, in order and apart from each other."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
