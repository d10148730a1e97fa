"""How the server reads requests: every body within a limit of bytes, every request within a limit of time."""

import io
import re
import socket
import time
from contextlib import suppress
from typing import Any

from langchain_kimi.catalogue import MAX_REQUEST_BYTES, MAX_UPLOAD_BYTES
from langchain_kimi.testing.api.http_request import BASE

_FORM = 1024 * 1024
"""Bytes that the multipart form around an uploaded file may have."""
_LINE = 1024
"""Bytes of the longest line between two chunks of a body."""
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?\r?\n")
_GOODBYE = 2.0
"""Seconds for which what a refused client still sends is read and thrown away, so that it reads its answer."""
_PIECE = 65_536


class UnreadableBody(Exception):
    """A body that is not read to its end: it is too large, or its length is not said right."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Incoming(io.RawIOBase):
    """The receiving half of a socket, on which a whole request must arrive within its time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._deadline = 0.0

    def readable(self) -> bool:
        return True

    def expect_within(self, seconds: float) -> None:
        """Begins the time of the next request."""
        self._deadline = time.monotonic() + seconds

    def readinto(self, buffer: Any) -> int:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the request did not arrive in time")
        self._connection.settimeout(seconds)
        return self._connection.recv_into(buffer)

    def discard(self) -> None:
        """Ends the answer and drops what the client still sends; closed at once, it would not read the answer."""
        self.expect_within(_GOODBYE)
        buffer = bytearray(_PIECE)
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
            while self.readinto(buffer):
                pass


def read_body(stream: io.BufferedIOBase, headers: Any, path: str) -> bytes:
    """The body of a request. Raises UnreadableBody, and EOFError where the client left in the middle."""
    limit = MAX_UPLOAD_BYTES + _FORM if path.partition("?")[0] == f"{BASE}/files" else MAX_REQUEST_BYTES
    lengths = set(headers.get_all("content-length", ()))
    if (encoding := headers.get("transfer-encoding")) is not None:
        if lengths or encoding.strip().lower() != "chunked":
            raise UnreadableBody(400, "Invalid request: the length of the body is not said in one known way")
        return _read_chunks(stream, limit)
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise UnreadableBody(400, "Invalid request: Content-Length is no number of bytes")
    length = int(lengths.pop()) if lengths else 0
    return _read(stream, _within(length, limit))


def _read_chunks(stream: io.BufferedIOBase, limit: int) -> bytes:
    body = bytearray()
    while size := _chunk_size(stream.readline(_LINE)):
        _within(len(body) + size, limit)
        body += _read(stream, size)
        if stream.readline(_LINE).strip():
            raise UnreadableBody(400, "Invalid request: a chunk of the body is longer than its size")
    for _ in range(_LINE):  # trailers
        if not stream.readline(_LINE).strip():
            return bytes(body)
    raise UnreadableBody(400, "Invalid request: the body has too many trailers")


def _chunk_size(line: bytes) -> int:
    if not line:
        raise EOFError
    if (found := _CHUNK.fullmatch(line)) is None:
        raise UnreadableBody(400, "Invalid request: a chunk of the body has no size")
    return int(found.group(1), 16)


def _read(stream: io.BufferedIOBase, length: int) -> bytes:
    body = stream.read(length)
    if len(body) < length:
        raise EOFError
    return body


def _within(length: int, limit: int) -> int:
    if length > limit:
        raise UnreadableBody(413, "Request exceeds the maximum size")
    return length
