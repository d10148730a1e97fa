"""Whether a request is a recorded one, and where it differs, field by field.

Requests are compared by method, path and normalised body: never by host, port or headers, and without regard to the
order of keys. What may vary is declared as `ignore`, a list of

- JSON paths: `$.user`, `$.messages[*].content.thread`, `$.messages[0].*`; a step into a string reads it as JSON
- `"uuids"` and `"timestamps"` (dates and times as ISO 8601 writes them), wherever they stand in a string
- compiled patterns: what they find in any string does not count
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_kimi.testing.cassettes.bodies import dumps
from langchain_kimi.testing.cassettes.errors import CassetteError
from langchain_kimi.testing.cassettes.scrub import MASK

Ignored = str | re.Pattern[str]

_NAMED = {
    "uuids": re.compile(r"\b[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\b"),
    "timestamps": re.compile(
        r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?)?"
    ),
}
_STEP = re.compile(r"\.([A-Za-z_$][\w$-]*|\*)|\[(-?\d+|\*)\]|\[(?:\"([^\"]+)\"|'([^']+)')\]")
_AROUND = 40
_LONGEST = 300


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

    def __str__(self) -> str:
        if isinstance(self.recorded, str) and isinstance(self.sent, str):
            recorded, sent = _apart(self.recorded, self.sent)
            return f"{self.path}: recorded {recorded}, sent {sent}"
        if self.sent is MISSING:
            return f"{self.path}: recorded {_short(self.recorded)}, not sent"
        if self.recorded is MISSING:
            return f"{self.path}: not recorded, sent {_short(self.sent)}"
        return f"{self.path}: recorded {_short(self.recorded)}, sent {_short(self.sent)}"


class Variations:
    """What may differ between a recorded and a sent request."""

    def __init__(self, ignore: Iterable[Ignored] = ()) -> None:
        self._patterns: list[re.Pattern[str]] = []
        self._paths: list[list[str | int]] = []
        for item in [ignore] if isinstance(ignore, str | re.Pattern) else ignore:
            if isinstance(item, re.Pattern):
                self._patterns.append(item)
            elif item in _NAMED:
                self._patterns.append(_NAMED[item])
            else:
                self._paths.append(_steps(item))

    def without(self, body: Any) -> Any:
        """A body without what may vary; the given one stays as it is."""
        for steps in self._paths:
            body = _removed(body, steps)
        return self._cut(body) if self._patterns else body

    def _cut(self, value: Any) -> Any:
        if isinstance(value, str):
            for pattern in self._patterns:
                value = pattern.sub("<varies>", value)
            return value
        if isinstance(value, dict):
            return {key: self._cut(item) for key, item in value.items()}
        return [self._cut(item) for item in value] if isinstance(value, list) else value


def differences(recorded: Any, sent: Any, path: str = "") -> list[Difference]:
    """Where two values of JSON differ. A mask in a recorded string stands for whatever was there."""
    return list(_compare(recorded, sent, path))


def _compare(recorded: Any, sent: Any, path: str) -> Iterator[Difference]:
    if isinstance(recorded, dict) and isinstance(sent, dict):
        yield from _compare_objects(recorded, sent, path)
    elif isinstance(recorded, list) and isinstance(sent, list):
        yield from _compare_arrays(recorded, sent, path)
    elif not _same(recorded, sent):
        yield Difference(path or "the body", recorded, sent)


def _compare_objects(recorded: Mapping[str, Any], sent: Mapping[str, Any], path: str) -> Iterator[Difference]:
    for key in [*recorded, *(key for key in sent if key not in recorded)]:
        place = f"{path}.{key}" if path else key
        if key not in sent:
            yield Difference(place, recorded[key], MISSING)
        elif key not in recorded:
            yield Difference(place, MISSING, sent[key])
        else:
            yield from _compare(recorded[key], sent[key], place)


def _compare_arrays(recorded: list[Any], sent: list[Any], path: str) -> Iterator[Difference]:
    if len(recorded) == len(sent):
        pairs = list(zip(recorded, sent, strict=True))
        if sorted(map(_canonical, recorded)) == sorted(map(_canonical, sent)) and any(one != two for one, two in pairs):
            yield Difference(path, _Order(recorded), _Order(sent))
            return
        for index, (one, two) in enumerate(pairs):
            yield from _compare(one, two, f"{path}[{index}]")
        return
    start = _common(recorded, sent)
    end = _common(recorded[start:][::-1], sent[start:][::-1])
    for index, item in enumerate(recorded[start : len(recorded) - end], start):
        yield Difference(f"{path}[{index}]", item, MISSING)
    for index, item in enumerate(sent[start : len(sent) - end], start):
        yield Difference(f"{path}[{index}]", MISSING, item)


class _Order:
    """An array that has the same items as another in a different order."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __repr__(self) -> str:
        return f"in the order {_short([_named(item) for item in self._items])}"


def _named(item: Any) -> Any:
    if isinstance(item, dict):
        function = item.get("function")
        return (function.get("name") if isinstance(function, dict) else None) or item.get("name") or item
    return item


def _common(one: list[Any], two: list[Any]) -> int:
    length = 0
    for left, right in zip(one, two, strict=False):
        if left != right:
            break
        length += 1
    return length


def _same(recorded: Any, sent: Any) -> bool:
    if isinstance(recorded, str) and isinstance(sent, str) and MASK.search(recorded):
        parts = map(re.escape, MASK.split(recorded))
        return re.fullmatch("(?s:.*?)".join(parts), sent) is not None
    if isinstance(recorded, bool) or isinstance(sent, bool):
        return recorded is sent
    return bool(recorded == sent)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, _Missing | _Order) else dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def _apart(one: str, two: str) -> tuple[str, str]:
    """Two strings around the place where they differ."""
    if max(len(one), len(two)) <= 2 * _AROUND:
        return dumps(one), dumps(two)
    pairs = enumerate(zip(one, two, strict=False))
    start = next((at for at, (left, right) in pairs if left != right), min(len(one), len(two)))
    begin = max(0, start - _AROUND)
    return _window(one, begin), _window(two, begin)


def _window(text: str, begin: int) -> str:
    end = begin + 3 * _AROUND
    return ("…" if begin else "") + dumps(text[begin:end]) + ("…" if end < len(text) else "")


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 1
    while path.startswith("$") and at < len(path) and (found := _STEP.match(path, at)):
        name, index, *quoted = found.groups()
        steps.append(int(index) if index and index != "*" else name or index or quoted[0] or quoted[1])
        at = found.end()
    if not steps or at < len(path):
        raise CassetteError(
            f"ignore={path!r} is no JSON path. Write one such as '$.messages[*].content.thread', or one of "
            f"{', '.join(map(repr, _NAMED))}, or a compiled pattern."
        )
    return steps


def _removed(value: Any, steps: list[str | int]) -> Any:
    step, rest = steps[0], steps[1:]
    if isinstance(value, str):
        return _removed_inside(value, steps)
    if isinstance(value, dict):
        chosen = [key for key in value if step in ("*", key)]
        if not rest:
            return {key: item for key, item in value.items() if key not in chosen}
        return {key: _removed(item, rest) if key in chosen else item for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if isinstance(step, str) and step != "*":
        return [_removed(item, steps) for item in value]
    places = range(len(value)) if step == "*" else [int(step) if int(step) >= 0 else len(value) + int(step)]
    if not rest:
        return [item for place, item in enumerate(value) if place not in places]
    return [_removed(item, rest) if place in places else item for place, item in enumerate(value)]


def _removed_inside(text: str, steps: list[str | int]) -> str:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return dumps(_removed(json.loads(text), steps))
    except (ValueError, RecursionError):
        return text
