"""The difference of two recorded runs: their messages side by side, with what differs marked, and their sums."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import NamedTuple

from markupsafe import Markup

from langchain_kimi._recorded_runs import ModelCallRecord, RecordedRun, RunMessage
from langchain_kimi._run_report.formats import (
    format_count,
    format_plain_json,
    format_seconds,
    format_share,
    format_text,
    format_usd,
)
from langchain_kimi.usage import Usage

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 3_000
"""Texts of more words are compared line by line."""
_LONGEST_VALUE = 200
_MOST_LINES = 5_000
"""Texts of more lines are not compared in detail."""


class SumRow(NamedTuple):
    """A sum of both runs, as text, and whether they differ."""

    name: str
    first: str
    second: str
    change: str


class TextPair(NamedTuple):
    """A text of both messages, with what differs marked."""

    label: str
    first: Markup
    second: Markup


@dataclass(frozen=True)
class MessagePair:
    """Two messages that correspond to each other, or one without a counterpart."""

    number: int
    first: RunMessage | None
    second: RunMessage | None
    is_same: bool
    first_call: ModelCallRecord | None
    second_call: ModelCallRecord | None
    texts: tuple[TextPair, ...]
    settings: tuple[tuple[str, str, str], ...] = ()
    """What differs in the requests: the name of a field, and its value in each."""

    @property
    def role(self) -> str:
        """The role of the messages."""
        one = self.first or self.second
        assert one is not None
        return one.role

    @property
    def agent(self) -> str:
        """The agent of the messages."""
        one = self.first or self.second
        return (one.agent if one else None) or ""


@dataclass(frozen=True)
class RunDifference:
    """Two runs and where they differ."""

    first: RecordedRun
    second: RecordedRun

    @cached_property
    def pairs(self) -> list[MessagePair]:
        """The messages of both runs, conversation by conversation, each in order."""
        pairs: list[MessagePair] = []
        one, two = _conversations(self.first), _conversations(self.second)
        for key in dict.fromkeys([*one, *two]):
            for left, right in _aligned(self.first, one.get(key, []), self.second, two.get(key, [])):
                pairs.append(self._pair(len(pairs) + 1, left, right))
        return pairs

    @property
    def changes(self) -> int:
        """The number of pairs that differ."""
        return sum(not pair.is_same for pair in self.pairs)

    @property
    def sums(self) -> list[SumRow]:
        """The sums of both runs."""
        rows = list(_sum_rows("", self.first.usage, self.second.usage))
        calls = len(self.first.tool_calls), len(self.second.tool_calls)
        rows.append(SumRow("Tool calls", format_count(calls[0]), format_count(calls[1]), _change(*calls)))
        times = self.first.time.seconds, self.second.time.seconds
        if None not in times:
            rows.append(SumRow("Time", format_seconds(times[0]), format_seconds(times[1]), ""))
        one, two = self.first.usage_by_agent, self.second.usage_by_agent
        agents = list(dict.fromkeys([*one, *two]))
        if len(agents) > 1:
            for agent in agents:
                rows += _sum_rows(f"{agent}: ", one.get(agent, Usage()), two.get(agent, Usage()))
        return rows

    def _pair(self, number: int, first: RunMessage | None, second: RunMessage | None) -> MessagePair:
        calls = _call_of(self.first, first), _call_of(self.second, second)
        texts = tuple(_text_pairs(_labelled(self.first, first), _labelled(self.second, second)))
        same = first is not None and second is not None and _key(self.first, first) == _key(self.second, second)
        settings = tuple(_setting_changes(*calls))
        return MessagePair(number, first, second, same and not settings, *calls, texts, settings)


def _sum_rows(prefix: str, one: Usage, two: Usage) -> Iterator[SumRow]:
    numbers = {
        "Requests": (one.requests, two.requests),
        "Input tokens": (one.input_tokens, two.input_tokens),
        "Output tokens": (one.output_tokens, two.output_tokens),
        "Thinking tokens": (one.reasoning_tokens, two.reasoning_tokens),
    }
    for name, (left, right) in numbers.items():
        yield SumRow(f"{prefix}{name}", format_count(left), format_count(right), _change(left, right))
    rates = format_share(one.cache_hit_rate), format_share(two.cache_hit_rate)
    yield SumRow(f"{prefix}Cached", *rates, "" if rates[0] == rates[1] else f"{rates[0] or '0%'} → {rates[1] or '0%'}")
    yield SumRow(
        f"{prefix}USD", format_usd(one.cost_usd), format_usd(two.cost_usd), _change_of_cost(one.cost_usd, two.cost_usd)
    )


def _change(one: int, two: int) -> str:
    return "" if one == two else f"{'+' if two > one else '−'}{abs(two - one):,}"


def _change_of_cost(one: float | None, two: float | None) -> str:
    if one is None or two is None or one == two:
        return ""
    sign = "+" if two > one else "−"
    return f"{sign}{format_usd(abs(two - one))}" + (f" ({sign}{abs(two - one) / one:.0%})" if one else "")


# The messages of both runs.


def _conversations(run: RecordedRun) -> dict[tuple[str, int], list[RunMessage]]:
    """The messages by conversation: the run's own, and those of agents in its tools, by tool and number of the call."""
    keys: dict[int | None, tuple[str, int]] = {None: ("", 0)}
    counts: dict[str, int] = {}
    for call in run.tool_calls:
        counts[call.name] = counts.get(call.name, 0) + 1
        keys[call.number] = call.name, counts[call.name]
    conversations: dict[tuple[str, int], list[RunMessage]] = {("", 0): []}
    for message in run.messages:
        key = (message.agent or "", 0) if message.caller == 0 else keys[message.caller]
        conversations.setdefault(key, []).append(message)
    return conversations


_Pair = tuple[RunMessage | None, RunMessage | None]


def _aligned(
    run: RecordedRun, one: Sequence[RunMessage], other: RecordedRun, two: Sequence[RunMessage]
) -> Iterator[_Pair]:
    """Messages that are equal beside each other; between them, those of the same kind."""
    left, right = [_key(run, message) for message in one], [_key(other, message) for message in two]
    for tag, start, end, from_, to in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(one[start:end], two[from_:to], strict=True)
        else:
            yield from _by_kind(one[start:end], two[from_:to])


def _by_kind(one: Sequence[RunMessage], two: Sequence[RunMessage]) -> Iterator[_Pair]:
    left, right = [(message.role, message.agent) for message in one], [(message.role, message.agent) for message in two]
    for tag, start, end, from_, to in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from zip(one[start:end], two[from_:to], strict=True)
        else:
            yield from ((message, None) for message in one[start:end])
            yield from ((None, message) for message in two[from_:to])


def _key(run: RecordedRun, message: RunMessage) -> tuple[object, ...]:
    """What makes two messages equal."""
    return message.role, message.agent, tuple(_labelled(run, message).items())


def _call_of(run: RecordedRun, message: RunMessage | None) -> ModelCallRecord | None:
    if message is None:
        return None
    return next((call for call in run.model_calls if call.answer == message.number), None)


def _labelled(run: RecordedRun, message: RunMessage | None) -> dict[str, str]:
    """The texts of a message by what they are."""
    if message is None:
        return {}
    texts = {"Thinking": message.reasoning} if message.reasoning else {}
    if message.parts:
        texts["Text"] = "\n".join(
            part.value if part.kind == "text" else f"({part.kind}: {_shortened(part.value)})" for part in message.parts
        )
    for at, number in enumerate(message.tool_calls, 1):
        call = run.tool_calls[number - 1]
        texts[f"Call {at}"] = f"{call.name} {call.arguments}"
    return texts


def _shortened(value: str) -> str:
    """A value of a part that is not text; of a long one, such as a picture, its length and a hash."""
    if len(value) <= _LONGEST_VALUE:
        return value
    return f"{len(value):,} characters, {hashlib.sha256(value.encode('utf-8', 'replace')).hexdigest()[:12]}"


def _setting_changes(one: ModelCallRecord | None, two: ModelCallRecord | None) -> Iterator[tuple[str, str, str]]:
    if one is None or two is None:
        return
    if one.model != two.model:
        yield "model", one.model, two.model
    if one.tools != two.tools:
        yield "tools", ", ".join(one.tools or ()), ", ".join(two.tools or ())
    for name in sorted({*one.settings, *two.settings}):
        left, right = one.settings.get(name), two.settings.get(name)
        if left != right:
            yield name, str(left), str(right)


# The texts of two messages.


def _text_pairs(one: dict[str, str], two: dict[str, str]) -> Iterator[TextPair]:
    for label in dict.fromkeys([*one, *two]):
        yield TextPair(label, *marked_differences(_readable(one.get(label, "")), _readable(two.get(label, ""))))


def _readable(text: str) -> str:
    name, space, arguments = text.partition(" ")
    json, of_call = format_plain_json(text), format_plain_json(arguments)
    if json is None and of_call is not None and name.isidentifier():
        return f"{format_text(name)}{space}{of_call}"
    return format_text(text) if json is None else json


def marked_differences(one: str, two: str) -> tuple[Markup, Markup]:
    """Both texts, what only the first has marked as deleted, and what only the second has as inserted."""
    if one == two:
        return Markup.escape(one), Markup.escape(two)
    left, right = _WORD.findall(one), _WORD.findall(two)
    if max(len(left), len(right)) > _MOST_WORDS:
        left, right = one.splitlines(keepends=True), two.splitlines(keepends=True)
    if max(len(left), len(right)) > _MOST_LINES:
        return _marked("del", one), _marked("ins", two)
    first, second = Markup(""), Markup("")
    for tag, start, end, from_, to in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        before, after = "".join(left[start:end]), "".join(right[from_:to])
        first += Markup.escape(before) if tag == "equal" else _marked("del", before)
        second += Markup.escape(after) if tag == "equal" else _marked("ins", after)
    return first, second


def _marked(element: str, text: str) -> Markup:
    return Markup("<{0}>{1}</{0}>").format(Markup(element), text) if text else Markup("")
