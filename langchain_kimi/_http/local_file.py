"""Opens files of this machine, without blocking on them and only if reading them comes to an end."""

import os
import stat
from typing import BinaryIO

from langchain_kimi.errors import IllegalRequestError


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading.

    Raises the OSError of `open`, with a sentence as its text, and IllegalRequestError for a pipe, a device or a
    socket: reading those can block for ever or never end.
    """
    name = os.fspath(path)
    try:
        file = open(path, "rb", opener=_without_blocking)  # noqa: SIM115 - the caller closes it
    except OSError as error:
        reason = error.strerror or type(error).__name__
        advice = "Check its permissions" if isinstance(error, PermissionError) else "Check the path"
        raise type(error)(f"{name} cannot be read: {reason}. {advice}.") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise IllegalRequestError(f"{name} is not a regular file, so it is not read. Pass a file or bytes.")
    return file


def _without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
