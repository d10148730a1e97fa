"""A file on its way to the host."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

OnProgress = Callable[[int, int], object]
"""Is told how many bytes of how many have been sent; from 0 again where the request is repeated."""


@dataclass(frozen=True, slots=True)
class UploadForm:
    """A form with one file, sent piece by piece from the file's beginning, each time that the request is sent."""

    file: BinaryIO = field(repr=False)
    name: str
    size: int
    """Bytes of the file."""
    fields: Mapping[str, str] = field(default_factory=dict)
    progress: OnProgress | None = None

    def content(self) -> dict[str, Any]:
        """The form as httpx takes it."""
        return {"data": dict(self.fields), "files": {"file": (self.name, _Told(self))}}


class _Told:
    """The form's file, which tells of being read. httpx asks for its length by `seek` and `tell`."""

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
