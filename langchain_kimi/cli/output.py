"""What every command writes: lines without control characters, in any encoding."""

import codecs
import io
import sys
from typing import TextIO

from langchain_kimi._redaction import escape_controls, redact

_PLAIN = {"✓": "+", "✗": "x", "█": "#", "▏": "|", "▕": "|", "─": "-", "→": "->", "…": "...", "·": "-", "°": "deg "}
"""What stands for our own signs where the terminal's encoding does not have them."""


def use_any_encoding() -> None:
    """Lets the output streams write any text: what their encoding does not have is written in ASCII."""
    codecs.register_error("langchain_kimi.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="langchain_kimi.plain")


def write_line(text: object, *, keep: str = "") -> None:
    """Write a line; text of others that it holds can neither forge a line nor steer the terminal.

    `keep` names control characters to leave as they are.
    """
    _write(sys.stdout, text, keep)


def write_error(text: str) -> None:
    """Write a line to stderr, without secrets."""
    _write(sys.stderr, redact(text))


def _write(stream: TextIO, text: object, keep: str = "") -> None:
    stream.write(f"{escape_controls(str(text), keep=keep)}\n")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    written = (_PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode() for character in unknown)
    return "".join(written), error.end
