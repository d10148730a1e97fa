"""The form of a file upload."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

OnProgress = Callable[[int, int], object]
"""Called with the bytes sent so far and the bytes in all; it starts at 0 again if the request is retried."""


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A form with one file. The file is sent in pieces from its beginning, each time that the request is sent."""

    file: BinaryIO = field(repr=False)
    name: str
    size: int
    """Bytes of the file."""
    fields: Mapping[str, str] = field(default_factory=dict)
    progress: OnProgress | None = None

    def content(self) -> dict[str, Any]:
        """The form as arguments of httpx's `build_request`."""
        return {"data": dict(self.fields), "files": {"file": (self.name, _ReportingFile(self))}}


class _ReportingFile:
    """The form's file, which reports the progress of reading. httpx gets its length by `seek` and `tell`."""

    def __init__(self, form: UploadForm) -> None:
        self._form = form

    def read(self, size: int = -1) -> bytes:
        piece = self._form.file.read(size)
        if piece and self._form.progress:
            self._form.progress(self._form.file.tell(), self._form.size)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._form.file.seek(offset, whence)

    def tell(self) -> int:
        return self._form.file.tell()
