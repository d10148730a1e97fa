"""How numbers, times and texts are written in a report."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from langchain_kimi._redaction import escape_controls

UNKNOWN = "unknown"
_MINUTE, _HOUR = 60, 3_600
_LONGEST_JSON = 200_000
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[\[\]{},:]')
_KINDS = {'"': "t", "t": "l", "f": "l", "n": "l"}


def format_usd(value: float | None) -> str:
    """An amount of US dollars, with as many digits as a small one needs."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "$0"
    return f"${value:,.2f}" if abs(value) >= 1 else f"${value:.6f}".rstrip("0").rstrip(".")


def format_count(value: float | None) -> str:
    """A number of tokens, requests or characters."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:,.0f}"


def format_share(value: float | None) -> str:
    """A share in percent; empty where there is nothing to have a share of."""
    return "" if value is None or not math.isfinite(value) else f"{value:.0%}"


def format_seconds(value: float | None) -> str:
    """A length of time."""
    if value is None or not math.isfinite(value):
        return ""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < _MINUTE:
        return f"{value:.1f} s"
    if value < _HOUR:
        return f"{int(value // _MINUTE)} min {int(value % _MINUTE)} s"
    return f"{int(value // _HOUR)} h {int(value % _HOUR // _MINUTE)} min"


def format_clock_time(value: float | None) -> str:
    """A time in UTC, to the second."""
    if value is None or not math.isfinite(value):
        return ""
    try:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return ""


def format_text(text: str) -> str:
    """A text with control characters, and marks that turn the direction of writing, as escapes."""
    return escape_controls(text.replace("\r\n", "\n"), keep="\n\t")


def format_json(text: str) -> Markup | None:
    """A JSON object or array over several lines, its values marked by kind; None for any other text.

    Numbers and strings stand as they were written.
    """
    tokens = _json_tokens(text)
    return None if tokens is None else Markup("").join(_marked(token) for token in _in_lines(tokens))


def format_plain_json(text: str) -> str | None:
    """A JSON object or array over several lines; None for any other text."""
    tokens = _json_tokens(text)
    return None if tokens is None else format_text("".join(token for token, _ in _in_lines(tokens)))


def _json_tokens(text: str) -> list[str] | None:
    if not text.lstrip().startswith(("{", "[")) or len(text) > _LONGEST_JSON:
        return None
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return _TOKEN.findall(text)


def _in_lines(tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The tokens with their kinds, and with line breaks and spaces between them."""
    depth = 0
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else ""
        if token in "{[":
            depth += 1
            yield token + ("" if following in "}]" else _line(depth)), ""
        elif token in "}]":
            depth -= 1
            yield ("" if tokens[index - 1] in "{[" else _line(depth)) + token, ""
        elif token in ",:":
            yield token + (_line(depth) if token == "," else " "), ""
        else:
            yield token, "k" if following == ":" else _KINDS.get(token[0], "n")


def _line(depth: int) -> str:
    return "\n" + "  " * depth


def _marked(token: tuple[str, str]) -> Markup:
    text, kind = token
    return Markup('<span class="j{}">{}</span>').format(kind, format_text(text)) if kind else escape(text)
