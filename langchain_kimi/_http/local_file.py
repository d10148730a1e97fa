"""A file of this machine, opened without waiting for it and only where it is one with an end."""

import os
import stat
from typing import BinaryIO

from langchain_kimi.errors import IllegalRequestError


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """The file, opened for reading. Raises OSError, and IllegalRequestError for a pipe, a device or a socket: reading
    those can wait for ever or never end.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise IllegalRequestError(f"{os.fspath(path)} is not a regular file, so it is not read. Pass a file or bytes.")
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
