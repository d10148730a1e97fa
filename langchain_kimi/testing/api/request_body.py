"""Reads requests from a socket with limits: every body within a size, every request within a time.

`http.server` parses the request line and the headers only, and has neither limit.
"""

import io
import re
import socket
import time
from contextlib import suppress
from typing import Any

from langchain_kimi.catalogue import MAX_REQUEST_BYTES, MAX_UPLOAD_BYTES
from langchain_kimi.testing.api.http_request import BASE_PATH

_MAX_FORM_BYTES = 1024 * 1024
"""Bytes of the multipart form around an uploaded file."""
_MAX_LINE_BYTES = 1024
"""Bytes of a line between two chunks of a body."""
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?\r?\n")
_DISCARD_SECONDS = 2.0
"""Seconds for which the rest of a refused request is read and dropped, so that its client reads the response."""
_BUFFER_BYTES = 65_536


class UnreadableBody(Exception):
    """The body is too large, or its length is not given correctly."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RequestStream(io.RawIOBase):
    """The receiving half of a socket. A whole request has to arrive before its deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._deadline = 0.0

    def readable(self) -> bool:
        return True

    def set_deadline(self, seconds: float) -> None:
        """Sets the deadline of the next request, in seconds from now."""
        self._deadline = time.monotonic() + seconds

    def readinto(self, buffer: Any) -> int:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the request did not arrive in time")
        self._connection.settimeout(seconds)
        return self._connection.recv_into(buffer)

    def discard(self) -> None:
        """Ends the response and drops what the client still sends.

        A client whose connection is closed at once may not read the response.
        """
        self.set_deadline(_DISCARD_SECONDS)
        buffer = bytearray(_BUFFER_BYTES)
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
            while self.readinto(buffer):
                pass


def read_body(stream: io.BufferedIOBase, headers: Any, path: str) -> bytes:
    """The body of a request. Raises UnreadableBody, and EOFError if the client closed the connection before the end."""
    is_upload = path.partition("?")[0] == f"{BASE_PATH}/files"
    limit = MAX_UPLOAD_BYTES + _MAX_FORM_BYTES if is_upload else MAX_REQUEST_BYTES
    lengths = set(headers.get_all("content-length", ()))
    if (encoding := headers.get("transfer-encoding")) is not None:
        if lengths or encoding.strip().lower() != "chunked":
            raise UnreadableBody(400, "Invalid request: the length of the body is not given in one known way")
        return _read_chunks(stream, limit)
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise UnreadableBody(400, "Invalid request: Content-Length is not a number of bytes")
    length = int(lengths.pop()) if lengths else 0
    return _read(stream, _check_limit(length, limit))


def _read_chunks(stream: io.BufferedIOBase, limit: int) -> bytes:
    body = bytearray()
    while size := _chunk_size(stream.readline(_MAX_LINE_BYTES)):
        _check_limit(len(body) + size, limit)
        body += _read(stream, size)
        if stream.readline(_MAX_LINE_BYTES).strip():
            raise UnreadableBody(400, "Invalid request: a chunk of the body is longer than its size")
    for _ in range(_MAX_LINE_BYTES):  # trailers
        if not stream.readline(_MAX_LINE_BYTES).strip():
            return bytes(body)
    raise UnreadableBody(400, "Invalid request: the body has too many trailers")


def _chunk_size(line: bytes) -> int:
    if not line:
        raise EOFError
    if (match := _CHUNK.fullmatch(line)) is None:
        raise UnreadableBody(400, "Invalid request: a chunk of the body has no size")
    return int(match.group(1), 16)


def _read(stream: io.BufferedIOBase, length: int) -> bytes:
    body = stream.read(length)
    if len(body) < length:
        raise EOFError
    return body


def _check_limit(length: int, limit: int) -> int:
    if length > limit:
        raise UnreadableBody(413, "Request exceeds the maximum size")
    return length
