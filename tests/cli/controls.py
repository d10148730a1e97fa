"""Text that would steer a terminal, and the check that none of it was printed."""

import re

from tests.cli.conftest import Result

EVIL = "a\x1b]0;owned\x07\x1b[2Jb\x9b1m"
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def without_controls(result: Result) -> str:
    """Everything that was printed, which holds no control characters but newlines and tabs."""
    text = result.out + result.err
    assert _CONTROLS.search(text) is None, repr(text)
    return text
