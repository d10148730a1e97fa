"""Messages of several speakers as one text, in which no speaker can pass for another."""

import re

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
_INDENT = "  "


def indented(line: str) -> str:
    """The text with each further line of it indented, so that only the first can begin like a new entry.

    A line ends at everything that Python or a reader may take for the end of one, U+2028 and form feeds included.
    """
    return f"\n{_INDENT}".join(line.splitlines()) if line else line


def plain_name(name: str) -> str:
    """The name of a speaker or tool without anything that could end the label it stands in."""
    return _NOT_IN_NAMES.sub("_", name)
