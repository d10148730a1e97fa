"""Builds the `response_metadata` of a response, with a report of what is unusual about it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_kimi._finish_reasons import CONTENT_FILTER, KNOWN, LENGTH, normalized
from langchain_kimi._raw_calls import PROVIDER
from langchain_kimi.usage import REPEATED, WAITS, is_inconsistent, usage_metadata, usage_of_headers

REPORT = "kimi_report"
"""The key in `response_metadata` of the list of what is unusual about a response; absent where nothing is."""

_FIELDS = {"model": "model_name"} | {key: key for key in ("id", "created", "service_tier", "system_fingerprint")}
_TRACE_HEADERS = {"request_id": ("x-request-id", "msh-request-id"), "trace_id": ("x-trace-id", "x-msh-trace-id")}
_TOOL_MARKUP = re.compile(r"<\|tool_calls_section_begin\|>|<\|tool_call_begin\|>|<\|open\|>\s*tools?_?call")


class ResponseMetadata:
    """Collects what the events of a response say beside their deltas.

    `headers` are those of the response, `repeated` those of earlier attempts, `waits` the waits between them; they are
    read at the end, since they are filled in while the response arrives.
    """

    def __init__(
        self,
        headers: Mapping[str, str] | None,
        repeated: Sequence[Mapping[str, str]],
        waits: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self._repeated = repeated
        self._waits = waits
        self._fields: dict[str, Any] = {}
        self.finish_reason: str | None = None
        self.usage: Mapping[str, Any] | None = None
        """The last `usage` object of the response."""

    def add_event(self, event: Mapping[str, Any]) -> None:
        """Collect the fields of an event: the first value of each, and the last usage."""
        for key, name in _FIELDS.items():
            if event.get(key):
                self._fields.setdefault(name, event[key])
        self.add_usage(event.get("usage"))

    def add_usage(self, usage: object) -> None:
        """Collect a `usage` object, unless it is empty or of another type."""
        if isinstance(usage, dict) and usage:
            self.usage = usage

    def as_dict(self, report: Sequence[str] = (), *, has_calls: bool = False) -> dict[str, Any]:
        """The `response_metadata` of the message."""
        traces = {
            name: next((self.headers[key] for key in keys if self.headers.get(key)), None)
            for name, keys in _TRACE_HEADERS.items()
        }
        metadata = {**self._fields, "model_provider": PROVIDER, "finish_reason": self.finish_reason}
        if self.finish_reason is not None:
            metadata["normalized_finish_reason"] = normalized(self.finish_reason, has_calls=has_calls)
        metadata |= {name: value for name, value in traces.items() if value}
        attempts = [usage_metadata(usage_of_headers(headers, 0)) for headers in self._repeated]
        if repeated := [usage for usage in attempts if usage is not None]:
            metadata[REPEATED] = repeated
        if self._waits:
            metadata[WAITS] = [dict(wait) for wait in self._waits]
        return metadata | {REPORT: list(report)} if report else metadata

    def report(self, text: str, reasoning: str, *, has_calls: bool, replaced_surrogates: bool) -> list[str]:
        """What is unusual about the response, one word each."""
        cut = self.finish_reason in LENGTH or self.finish_reason == CONTENT_FILTER
        empty = not text.strip() and not has_calls and not cut
        checks = {
            "finish_missing": self.finish_reason is None,
            "finish_unknown": self.finish_reason is not None and self.finish_reason not in KNOWN,
            "content_filter": self.finish_reason == CONTENT_FILTER,
            "think_only": empty and bool(reasoning),
            "empty": empty and not reasoning,
            "leaked_tool_markup": bool(_TOOL_MARKUP.search(text) or _TOOL_MARKUP.search(reasoning)),
            "usage_inconsistent": is_inconsistent(self.usage),
            "lone_surrogates": replaced_surrogates,
        }
        return [word for word, applies in checks.items() if applies]
