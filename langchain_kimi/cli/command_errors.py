"""Turns the failure of a command into one line (what went wrong, where, what to do) and an exit status."""

import re
import traceback

CHECK_FAILED = 1
"""Kimi refused or did not answer, or a check found something."""
NOT_RUN = 2
"""The command could not be run: wrong arguments, no key, a file that cannot be read."""
INTERRUPTED = 130
"""Ctrl-C, as shells expect it."""

_ADVICE = {
    FileNotFoundError: "Check the path",
    IsADirectoryError: "Name a file, not a folder",
    NotADirectoryError: "Check the path",
    PermissionError: "Check its permissions",
}
_ERRNO = re.compile(r"\[Errno -?\d+\] ")


class CommandError(Exception):
    """A command cannot be run; the message is one sentence or two for the user."""


def one_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.filename is not None:
        advice = next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), None)
        return f"{_name(error.filename)}: {error.strerror}{f'. {advice}.' if advice else ''}"
    kind = type(error).__name__
    text = " ".join(_ERRNO.sub("", str(error)).split()) or kind
    if _is_expected(error):
        return text
    return f"unexpected {kind}: {text}{where(error)}. Please report this as a bug."


def exit_status(error: Exception) -> int:
    """1 where Kimi refused the request or did not respond, else 2."""
    # Imported here: it loads LangChain, and help should not wait for that.
    from langchain_kimi.errors import AuthenticationError, IllegalRequestError, KimiError

    if not isinstance(error, KimiError) or isinstance(error, IllegalRequestError):
        return NOT_RUN
    without_key = isinstance(error, AuthenticationError) and error.status is None
    return NOT_RUN if without_key else CHECK_FAILED


def where(error: BaseException) -> str:
    """The file and line that raised, in parentheses; empty where they are not known."""
    if isinstance(error, SyntaxError):  # its message says where
        return ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _is_expected(error: BaseException) -> bool:
    """Whether the message was written for the user of a command."""
    from langchain_kimi.errors import KimiError

    return isinstance(error, CommandError | OSError | ImportError | KimiError)


def _name(path: object) -> str:
    return path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else str(path)
