"""Decompresses the body of a response piece by piece, with a bound on the size of each result."""

import zlib
from collections.abc import Iterator
from typing import Any

from langchain_kimi.errors import APIConnectionError

ACCEPTED = "gzip, deflate"
"""The `accept-encoding` of every request: the encodings that are decompressed here within bounded memory."""
_GZIP = 16 + zlib.MAX_WBITS
_AT_ONCE = 256 * 1024


class Decompressor:
    """Decompresses one content encoding. Raises APIConnectionError for an unknown one and for damaged data."""

    def __init__(self, encoding: str, host: str) -> None:
        self._host = host
        self._stream: Any = None
        self._start = b""
        self.is_identity = encoding in ("", "identity")
        """Whether the content is not compressed."""
        if encoding in ("gzip", "x-gzip"):
            self._stream = zlib.decompressobj(_GZIP)
        elif encoding != "deflate" and not self.is_identity:
            raise APIConnectionError(
                f"{host} compressed its response as {encoding!r}, which was not accepted ({ACCEPTED}), so it cannot be "
                "read. Check the proxies between you and the host.",
                host=host,
            )

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The decompressed content of a piece of the body; bytes after the end of the compressed data are ignored."""
        if self._stream is None:
            piece = self._start = self._start + piece
            if len(piece) < 2:
                return
            self._stream = zlib.decompressobj(_deflate_format(piece))
        more = bool(piece)
        try:
            while more and not self._stream.eof:
                content = self._stream.decompress(piece, _AT_ONCE)
                yield content
                piece = self._stream.unconsumed_tail
                more = bool(piece) or len(content) == _AT_ONCE
        except zlib.error as error:
            raise APIConnectionError(
                f"The response of {self._host} is damaged: it cannot be decompressed ({error}).", host=self._host
            ) from error


def _deflate_format(start: bytes) -> int:
    """The window bits for `deflate`, by its first two bytes: many hosts send it without zlib's header."""
    has_header = start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
