"""The files of the fake API: upload, list, content, delete, and the `ms://<id>` references of chat requests."""

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_kimi.catalogue import MAX_UPLOAD_BYTES
from langchain_kimi.testing.api.http_request import HttpRequest, Upload
from langchain_kimi.testing.api.http_response import (
    HttpResponse,
    full_response,
    invalid_request,
    json_response,
    not_found,
)

_MAX_FILES = 1_000
# The catalogue has the purposes for users; this list is that of the server's error text.
_PURPOSES = ("file-extract", "batch", "batch_output", "lambda", "image", "video")
_MEDIA_PURPOSES = {"image_url": "image", "video_url": "video"}


@dataclass(frozen=True)
class StoredFile:
    """A file of the fake API."""

    name: str
    purpose: str
    data: bytes = field(repr=False)
    text: str = field(default="", repr=False)
    """The text that was extracted from it."""
    id: str = field(default_factory=lambda: secrets.token_hex(10))
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def as_json(self) -> dict[str, Any]:
        """The file as the API describes it."""
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


class FileEndpoints:
    """The endpoints below `/files`, with all files by id."""

    def __init__(self, extracts: Mapping[str, str]) -> None:
        self._extracts = extracts
        self._files: dict[str, StoredFile] = {}

    def add(self, file: StoredFile) -> StoredFile:
        """Adds a file and returns it."""
        self._files[file.id] = file
        return file

    def get(self, file_id: object) -> StoredFile | None:
        """The file with this id."""
        return self._files.get(file_id) if isinstance(file_id, str) else None

    def upload(self, request: HttpRequest) -> HttpResponse:
        """POST /files."""
        try:
            form = request.form
        except ValueError as error:
            return invalid_request(str(error))
        purpose, upload = form.get("purpose", ""), form.get("file")
        if purpose not in _PURPOSES:
            return invalid_request(
                f"Invalid purpose: {purpose}, only `file-extract`, `batch`, `batch_output`, `lambda`, `image` and "
                "`video` accepted"
            )
        if not isinstance(upload, Upload):
            return invalid_request("Invalid request: file is required")
        return self._store(upload, str(purpose))

    def _store(self, upload: Upload, purpose: str) -> HttpResponse:
        if len(upload.data) > MAX_UPLOAD_BYTES:
            return invalid_request(
                "File size is too large, max file size is 100MB, please confirm and re-upload the file"
            )
        if not upload.data:
            return invalid_request("File size is zero, please confirm and re-upload the file")
        if len(self._files) >= _MAX_FILES:
            return invalid_request(
                f"The number of files has reached its limit of {_MAX_FILES}, please delete some of them"
            )
        text = ""
        if purpose == "file-extract":
            try:
                text = self._extracts.get(upload.name) or upload.data.decode("utf-8-sig")
            except UnicodeDecodeError:
                return invalid_request(f"text extract error: nothing could be read from {upload.name}")
        return json_response(self.add(StoredFile(upload.name, purpose, upload.data, text)).as_json)

    def list(self, request: HttpRequest) -> HttpResponse:
        """GET /files."""
        return json_response({"object": "list", "data": [file.as_json for file in self._files.values()]})

    def info(self, request: HttpRequest, file_id: str) -> HttpResponse:
        """GET /files/{id}."""
        file = self.get(file_id)
        return json_response(file.as_json) if file else not_found(f"file {file_id} not found")

    def content(self, request: HttpRequest, file_id: str) -> HttpResponse:
        """GET /files/{id}/content: the extracted text of a file with purpose `file-extract`, else the file itself."""
        file = self.get(file_id)
        if file is None:
            return not_found(f"file {file_id} not found")
        if file.purpose == "file-extract":
            return full_response(200, file.text.encode(), {"content-type": "text/plain; charset=utf-8"})
        return full_response(200, file.data, {"content-type": "application/octet-stream"})

    def delete(self, request: HttpRequest, file_id: str) -> HttpResponse:
        """DELETE /files/{id}."""
        if self._files.pop(file_id, None) is None:
            return not_found(f"file {file_id} not found")
        return json_response({"id": file_id, "object": "file", "deleted": True})

    def reference_error(self, request: Mapping[str, Any]) -> str | None:
        """Why the files that a chat request refers to cannot be read. Kimi's own texts are not known."""
        for purpose, file_id in _references(request.get("messages")):
            file = self.get(file_id)
            if file is None:
                return f"Invalid request: file {file_id} not found"
            if file.purpose != purpose:
                return f"Invalid request: file {file_id} was uploaded for {file.purpose}, not for {purpose}"
        return None


def _references(messages: object) -> Iterator[tuple[str, str]]:
    """Purpose and id of every uploaded file that the messages refer to."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            url = part.get(kind) if kind in _MEDIA_PURPOSES else None
            url = url.get("url") if isinstance(url, dict) else url
            if isinstance(url, str) and url.startswith("ms://"):
                yield _MEDIA_PURPOSES[str(kind)], url.removeprefix("ms://")
