"""Scripts in YAML: a list of replies with the same names as in Python.

    - expect: {user: "2 + 3"}              # optional; see Reply.expecting
      thinking: A sum.
      called: {add: {a: 2, b: 3}}          # a list of these to call one tool twice; a string is sent unchanged
    - overloaded: 2                        # times
    - expect: {tool: "5"}
      said: It is 5.

The other keys are `shaped: {city: Oslo}`, `continued: text`, `finish: length`, `times: 3`; the errors
`refused: {status: 400, type: invalid_request_error, message: …}`, `rate_limited: 1.5` (seconds), `too_many: 3` (at
once), `empty: 200`; and the faults `cut_after: 3` (events, or `{bytes: 100}`), `stall: 2` (events, or
`{after_events: 2, seconds: 0.5}`), `slowly: 1` (bytes), `garbage: {data: "{", after_events: 1}`,
`error_event: {after_events: 1, message: …}`, and `no_choice:` (without a value).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain_kimi.testing.script import reply as script
from langchain_kimi.testing.script.reply import Reply
from langchain_kimi.testing.script.schema_replies import continued, shaped
from langchain_kimi.testing.serialization import compact_json, parse_yaml

_BASES: dict[str, Callable[[Any], Reply]] = {
    "said": lambda text: script.said(_str(text)),
    "shaped": lambda values: shaped(**_fields(values)),
    "continued": lambda text: continued(_str(text)),
    "refused": lambda of: script.refused(**_fields(of)),
    "overloaded": lambda times: script.overloaded(1 if times is None else times),
    "rate_limited": lambda seconds: script.rate_limited(seconds),
    "too_many": lambda concurrency: script.too_many(concurrency),
    "no_choice": lambda nothing: script.no_choice(),
    "empty": lambda status: script.empty(200 if status is None else status),
}
"""The keys that create a reply; at most one per entry."""
_ADDITIONS: dict[str, Callable[[Reply, Any], Reply]] = {
    "thinking": lambda reply, text: reply.thinking(_str(text)),
    "called": lambda reply, calls: _calling(reply, calls),
    "finish": lambda reply, reason: reply.finish(_str(reason)),
    "times": lambda reply, times: replace(reply, times=int(times)),
    "expect": lambda reply, expected: reply.expecting(**{key: _str(text) for key, text in _fields(expected).items()}),
    "cut_after": lambda reply, of: script.cut_after(reply, **(of if isinstance(of, Mapping) else {"events": int(of)})),
    "stall": lambda reply, of: script.stall(reply, **(of if isinstance(of, Mapping) else {"after_events": int(of)})),
    "slowly": lambda reply, size: script.slowly(reply, bytes=int(size)),
    "garbage": lambda reply, of: _garbage(reply, **(of if isinstance(of, Mapping) else {"data": of})),
    "error_event": lambda reply, of: script.error_event(reply, **_fields(of)),
}
"""The keys that add to the reply, in this order."""


def conversation(path: str | os.PathLike[str]) -> list[Reply]:
    """The replies of a YAML file. Raises ValueError, which names the file and the reply, if it is invalid."""
    text = Path(path).read_text(encoding="utf-8")
    try:
        entries = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is not valid YAML: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{os.fspath(path)} holds no list of replies such as `- said: Hello`")
    replies = []
    for number, entry in enumerate(entries, 1):
        try:
            replies.append(_reply(entry))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)}, reply {number}: {error}") from error
    return replies


def _reply(entry: Any) -> Reply:
    entry = _fields(entry)
    if unknown := entry.keys() - _BASES.keys() - _ADDITIONS.keys():
        known = ", ".join([*_BASES, *_ADDITIONS])
        raise ValueError(f"unknown key {', '.join(sorted(unknown))}; the keys are {known}")
    bases = [name for name in _BASES if name in entry]
    if len(bases) > 1:
        raise ValueError(f"{' and '.join(bases)} exclude each other")
    reply = _BASES[bases[0]](entry[bases[0]]) if bases else Reply()
    for name, add in _ADDITIONS.items():
        if name in entry:
            reply = add(reply, entry[name])
    return reply


def _calling(reply: Reply, calls: Any) -> Reply:
    for call in calls if isinstance(calls, list) else [calls]:
        for name, arguments in _fields(call).items():
            text = arguments if isinstance(arguments, str) else compact_json(arguments or {})
            reply = reply.calling_raw(name, text)
    return reply


def _garbage(reply: Reply, data: Any, after_events: int = 0) -> Reply:
    return script.garbage(_str(data).encode(), within=reply, after_events=after_events)


def _fields(value: Any) -> dict[str, Any]:
    if value is None or value is True:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is not a mapping")
    return {str(key): inner for key, inner in value.items()}


def _str(value: Any) -> str:
    """The value as text: YAML reads `said: 5` as a number."""
    return value if isinstance(value, str) else compact_json(value)
