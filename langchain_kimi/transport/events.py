"""Server-sent events."""

from collections.abc import Iterator

DONE = b"[DONE]"


class Events:
    """Splits an event stream into the data of its events, however the bytes were cut.

    Only `\\n` and `\\r\\n` end a line: other Unicode line breaks are legal inside JSON.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The events that `piece` completes."""
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            if line:
                self._line(line)
            elif self._data:
                yield b"\n".join(self._data)
                self._data.clear()

    def end(self) -> Iterator[bytes]:
        """The last event of a stream that ends without its blank line."""
        yield from self.feed(b"\n\n")

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
