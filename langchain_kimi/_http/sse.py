"""Server-sent events."""

from collections.abc import Iterator

from langchain_kimi._http.response_limits import ResponseLimits

DONE = b"[DONE]"
BOM = b"\xef\xbb\xbf"


class SSEParser:
    """Splits an event stream into the data of its events, whatever the sizes of the pieces.

    Lines end with `\\n`, `\\r\\n` or `\\r`; other Unicode line breaks are legal inside JSON. SSEParser without data are
    skipped, and so is everything after `[DONE]`. Raises ResponseTooLargeError for an event beyond `limits`.
    """

    def __init__(self, limits: ResponseLimits | None = None, host: str = "") -> None:
        self._limits = limits or ResponseLimits()
        self._host = host
        self._partial_line = bytearray()
        self._data = bytearray()
        self._first = True
        self._after_cr = False
        self.count = 0
        """The number of events so far."""
        self.done = False
        """Whether `[DONE]` was read."""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The events that `piece` completes."""
        if self.done:
            return
        if self._after_cr or b"\r" in piece:
            piece = self._with_newlines(piece)
        lines = piece.split(b"\n")
        if self._partial_line or len(lines) == 1:
            self._partial_line += lines[0]
            if len(lines) == 1:
                self._check(len(self._partial_line))
                return
            lines[0] = bytes(self._partial_line)
            self._partial_line.clear()
        if rest := lines.pop():
            self._partial_line += rest
        for line in lines:
            if line:
                self._line(line)
            elif self._data:
                yield from self._event()
                if self.done:
                    return
        if self._data or self._partial_line:
            self._check(len(self._partial_line))

    def end(self) -> Iterator[bytes]:
        """The last event of a stream that ends without its blank line."""
        yield from self.feed(b"\n\n")

    def _event(self) -> Iterator[bytes]:
        self._data.pop()  # the end of the last line
        data = bytes(self._data)
        self._data.clear()
        if data and not data.isspace():
            self._limits.check_document(data, self._host)
            self.count += 1
            self.done = data == DONE
            yield data

    def _line(self, line: bytes) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(BOM)
        if line.startswith(b"data:"):
            self._data += line[6:] if line[5:6] == b" " else line[5:]
            self._data += b"\n"

    def _check(self, unfinished: int) -> None:
        if len(self._data) + unfinished > self._limits.document:
            raise self._limits.exceeded("document", self._host)

    def _with_newlines(self, piece: bytes) -> bytes:
        """The piece with `\\n` for every line break; a `\\n` at its start may belong to the previous `\\r`."""
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
        if piece:
            self._after_cr = piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
