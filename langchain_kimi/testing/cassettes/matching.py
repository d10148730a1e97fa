"""Compares a request with recorded ones, field by field.

Method, path and normalised body are compared, but not host, port, headers or the order of keys. `ignore` lists the
parts that may vary:

- JSON paths: `$.user`, `$.messages[*].content.thread`, `$.messages[0].*`; a step into a string reads it as JSON
- `"uuids"` and `"timestamps"` (dates and times in the forms of ISO 8601), anywhere in a string
- compiled patterns, whose matches in any string are ignored
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_kimi.testing.cassettes.cassette_errors import CassetteError
from langchain_kimi.testing.cassettes.secret_values import SECRET_MASK
from langchain_kimi.testing.serialization import compact_json

Ignored = str | re.Pattern[str]

_NAMED_PATTERNS = {
    "uuids": re.compile(r"\b[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\b"),
    "timestamps": re.compile(
        r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?)?"
    ),
}
_STEP = re.compile(r"\.([A-Za-z_$][\w$-]*|\*)|\[(-?\d+|\*)\]|\[(?:\"([^\"]+)\"|'([^']+)')\]")
_CONTEXT = 40
"""Characters around a difference of two strings."""
_MAX_LENGTH = 300
_NARROW_CONTEXT, _NARROW_LENGTH = 6, 30
"""The same in one line of a summary."""


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs; `MISSING` stands for a field that one side does not have."""

    path: str
    recorded: Any
    sent: Any

    @property
    def summary(self) -> str:
        """Where it is and what differs, for a line of limited width."""
        recorded, sent = self.recorded, self.sent
        if isinstance(recorded, str) and isinstance(sent, str):
            recorded, sent = _excerpts(recorded, sent, _NARROW_CONTEXT)
        else:
            recorded, sent = _short(recorded, _NARROW_LENGTH), _short(sent, _NARROW_LENGTH)
        return f"{self.path}: {recorded} became {sent}"

    def __str__(self) -> str:
        if isinstance(self.recorded, str) and isinstance(self.sent, str):
            recorded, sent = _excerpts(self.recorded, self.sent)
            return f"{self.path}: recorded {recorded}, sent {sent}"
        if self.sent is MISSING:
            return f"{self.path}: recorded {_short(self.recorded)}, not sent"
        if self.recorded is MISSING:
            return f"{self.path}: not recorded, sent {_short(self.sent)}"
        return f"{self.path}: recorded {_short(self.recorded)}, sent {_short(self.sent)}"


class IgnoredParts:
    """The parts in which a sent request may differ from a recorded one."""

    def __init__(self, ignore: Iterable[Ignored] = ()) -> None:
        self._patterns: list[re.Pattern[str]] = []
        self._paths: list[list[str | int]] = []
        for item in [ignore] if isinstance(ignore, str | re.Pattern) else ignore:
            if isinstance(item, re.Pattern):
                self._patterns.append(item)
            elif item in _NAMED_PATTERNS:
                self._patterns.append(_NAMED_PATTERNS[item])
            else:
                self._paths.append(_parse_path(item))

    def remove_from(self, body: Any) -> Any:
        """A copy of a body without the ignored parts."""
        for steps in self._paths:
            body = _without_path(body, steps)
        return self._without_matches(body) if self._patterns else body

    def _without_matches(self, value: Any) -> Any:
        if isinstance(value, str):
            for pattern in self._patterns:
                value = pattern.sub("<varies>", value)
            return value
        if isinstance(value, dict):
            return {key: self._without_matches(item) for key, item in value.items()}
        return [self._without_matches(item) for item in value] if isinstance(value, list) else value


def differences(recorded: Any, sent: Any, path: str = "") -> list[Difference]:
    """Where two JSON values differ. A mask in a recorded string equals any text."""
    return list(_compare(recorded, sent, path))


def _compare(recorded: Any, sent: Any, path: str) -> Iterator[Difference]:
    if isinstance(recorded, dict) and isinstance(sent, dict):
        yield from _compare_objects(recorded, sent, path)
    elif isinstance(recorded, list) and isinstance(sent, list):
        yield from _compare_arrays(recorded, sent, path)
    elif not _equal(recorded, sent):
        yield Difference(path or "the body", recorded, sent)


def _compare_objects(recorded: Mapping[str, Any], sent: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for key in [*recorded, *(key for key in sent if key not in recorded)]:
        field_path = f"{path}.{key}" if path else key
        if key not in sent:
            yield Difference(field_path, recorded[key], MISSING)
        elif key not in recorded:
            yield Difference(field_path, MISSING, sent[key])
        else:
            yield from _compare(recorded[key], sent[key], field_path)


def _compare_arrays(recorded: list[Any], sent: list[Any], path: str) -> Iterator[Difference]:
    if len(recorded) == len(sent):
        pairs = list(zip(recorded, sent, strict=True))
        if sorted(map(_canonical, recorded)) == sorted(map(_canonical, sent)) and any(one != two for one, two in pairs):
            yield Difference(path, _ItemOrder(recorded), _ItemOrder(sent))
            return
        for index, (one, two) in enumerate(pairs):
            yield from _compare(one, two, f"{path}[{index}]")
        return
    start = common_length(recorded, sent)
    end = common_length(recorded[start:][::-1], sent[start:][::-1])
    for index, item in enumerate(recorded[start : len(recorded) - end], start):
        yield Difference(f"{path}[{index}]", item, MISSING)
    for index, item in enumerate(sent[start : len(sent) - end], start):
        yield Difference(f"{path}[{index}]", MISSING, item)


class _ItemOrder:
    """An array that has the same items as another in a different order."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __repr__(self) -> str:
        return f"in the order {_short([_item_name(item) for item in self._items])}"


def _item_name(item: Any) -> Any:
    if isinstance(item, dict):
        function = item.get("function")
        return (function.get("name") if isinstance(function, dict) else None) or item.get("name") or item
    return item


def common_length(one: list[Any], two: list[Any]) -> int:
    """The length of the longest common prefix of two lists."""
    pairs = list(zip(one, two, strict=False))
    return next((at for at, (left, right) in enumerate(pairs) if left != right), len(pairs))


def _equal(recorded: Any, sent: Any) -> bool:
    if isinstance(recorded, str) and isinstance(sent, str) and SECRET_MASK.search(recorded):
        parts = map(re.escape, SECRET_MASK.split(recorded))
        return re.fullmatch("(?s:.*?)".join(parts), sent) is not None
    if isinstance(recorded, bool) or isinstance(sent, bool):
        return recorded is sent
    return bool(recorded == sent)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _short(value: Any, length: int = _MAX_LENGTH) -> str:
    text = repr(value) if isinstance(value, _Missing | _ItemOrder) else compact_json(value)
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters)"


def _excerpts(one: str, two: str, context: int = _CONTEXT) -> tuple[str, str]:
    """Two strings around their first difference."""
    if max(len(one), len(two)) <= 2 * context:
        return compact_json(one), compact_json(two)
    pairs = enumerate(zip(one, two, strict=False))
    start = next((at for at, (left, right) in pairs if left != right), min(len(one), len(two)))
    begin = max(0, start - context)
    return _excerpt(one, begin, context), _excerpt(two, begin, context)


def _excerpt(text: str, begin: int, context: int) -> str:
    end = begin + 3 * context
    return ("…" if begin else "") + compact_json(text[begin:end]) + ("…" if end < len(text) else "")


def _parse_path(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 1
    while path.startswith("$") and at < len(path) and (match := _STEP.match(path, at)):
        name, index, *quoted = match.groups()
        steps.append(int(index) if index and index != "*" else name or index or quoted[0] or quoted[1])
        at = match.end()
    if not steps or at < len(path):
        raise CassetteError(
            f"ignore={path!r} is not a JSON path. Use one such as '$.messages[*].content.thread', or one of "
            f"{', '.join(map(repr, _NAMED_PATTERNS))}, or a compiled pattern."
        )
    return steps


def _without_path(value: Any, steps: list[str | int]) -> Any:
    step, rest = steps[0], steps[1:]
    if isinstance(value, str):
        return _without_path_in_json(value, steps)
    if isinstance(value, dict):
        chosen = [key for key in value if step in ("*", key)]
        if not rest:
            return {key: item for key, item in value.items() if key not in chosen}
        return {key: _without_path(item, rest) if key in chosen else item for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if isinstance(step, str) and step != "*":
        return [_without_path(item, steps) for item in value]
    indexes = range(len(value)) if step == "*" else [int(step) if int(step) >= 0 else len(value) + int(step)]
    if not rest:
        return [item for index, item in enumerate(value) if index not in indexes]
    return [_without_path(item, rest) if index in indexes else item for index, item in enumerate(value)]


def _without_path_in_json(text: str, steps: list[str | int]) -> str:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return compact_json(_without_path(json.loads(text), steps))
    except (ValueError, RecursionError):
        return text
