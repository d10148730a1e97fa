"""The double's files: upload, list, content, delete, and what chat requests refer to by `ms://<id>`."""

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_kimi.catalogue import MAX_UPLOAD_BYTES
from langchain_kimi.testing.api.http_request import HttpRequest, Upload
from langchain_kimi.testing.api.response import Answer, invalid, json_answer, not_found, whole

_MOST = 1_000
_PURPOSES = ("file-extract", "batch", "batch_output", "lambda", "image", "video")
_MEDIA = {"image_url": "image", "video_url": "video"}


@dataclass(frozen=True)
class File:
    """A file that the double keeps."""

    name: str
    purpose: str
    data: bytes = field(repr=False)
    text: str = field(default="", repr=False)
    """What was extracted from it."""
    id: str = field(default_factory=lambda: secrets.token_hex(10))
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def shown(self) -> dict[str, Any]:
        """The file as the API tells of it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.data),
            "created_at": self.created,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "ok",
            "status_details": "",
        }


class Files:
    """All files of one double, by id."""

    def __init__(self, extracts: Mapping[str, str]) -> None:
        self._extracts = extracts
        self._files: dict[str, File] = {}

    def keep(self, file: File) -> File:
        """Adds a file, and returns it."""
        self._files[file.id] = file
        return file

    def get(self, file_id: object) -> File | None:
        """The file of an id."""
        return self._files.get(file_id) if isinstance(file_id, str) else None

    def upload(self, request: HttpRequest) -> Answer:
        """POST /files."""
        try:
            form = request.form
        except ValueError as error:
            return invalid(str(error))
        purpose, upload = form.get("purpose", ""), form.get("file")
        if purpose not in _PURPOSES:
            return invalid(
                f"Invalid purpose: {purpose}, only `file-extract`, `batch`, `batch_output`, `lambda`, `image` and "
                "`video` accepted"
            )
        if not isinstance(upload, Upload):
            return invalid("Invalid request: file is required")
        return self._kept(upload, str(purpose))

    def _kept(self, upload: Upload, purpose: str) -> Answer:
        if len(upload.data) > MAX_UPLOAD_BYTES:
            return invalid("File size is too large, max file size is 100MB, please confirm and re-upload the file")
        if not upload.data:
            return invalid("File size is zero, please confirm and re-upload the file")
        if len(self._files) >= _MOST:
            return invalid(f"The number of files has reached its limit of {_MOST}, please delete some of them")
        text = ""
        if purpose == "file-extract":
            try:
                text = self._extracts.get(upload.name) or upload.data.decode("utf-8-sig")
            except UnicodeDecodeError:
                return invalid(f"text extract error: nothing could be read from {upload.name}")
        return json_answer(self.keep(File(upload.name, purpose, upload.data, text)).shown)

    def list(self, request: HttpRequest) -> Answer:
        """GET /files."""
        return json_answer({"object": "list", "data": [file.shown for file in self._files.values()]})

    def info(self, request: HttpRequest, file_id: str) -> Answer:
        """GET /files/{id}."""
        file = self.get(file_id)
        return json_answer(file.shown) if file else not_found(f"file {file_id} not found")

    def content(self, request: HttpRequest, file_id: str) -> Answer:
        """GET /files/{id}/content: what was extracted, else the file itself."""
        file = self.get(file_id)
        if file is None:
            return not_found(f"file {file_id} not found")
        if file.purpose == "file-extract":
            return whole(200, file.text.encode(), {"content-type": "text/plain; charset=utf-8"})
        return whole(200, file.data, {"content-type": "application/octet-stream"})

    def delete(self, request: HttpRequest, file_id: str) -> Answer:
        """DELETE /files/{id}."""
        if self._files.pop(file_id, None) is None:
            return not_found(f"file {file_id} not found")
        return json_answer({"id": file_id, "object": "file", "deleted": True})

    def problem(self, request: Mapping[str, Any]) -> str | None:
        """Why the files that a chat request refers to cannot be read; the texts are ours."""
        for kind, file_id in _references(request.get("messages")):
            file = self.get(file_id)
            if file is None:
                return f"Invalid request: file {file_id} not found"
            if file.purpose != kind:
                return f"Invalid request: file {file_id} was uploaded for {file.purpose}, not for {kind}"
        return None


def _references(messages: object) -> Iterator[tuple[str, str]]:
    """Kind and id of every uploaded file that the messages refer to."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            url = part.get(kind) if kind in _MEDIA else None
            url = url.get("url") if isinstance(url, dict) else url
            if isinstance(url, str) and url.startswith("ms://"):
                yield _MEDIA[str(kind)], url.removeprefix("ms://")
