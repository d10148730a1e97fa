"""Files in the account: uploaded for their text, for the model's eyes, or as the requests of a batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

from langchain_core.documents import Document

from langchain_kimi import _endpoints as endpoints
from langchain_kimi._endpoints import KimiFile
from langchain_kimi._http import OnProgress, Transport, UploadForm
from langchain_kimi._http.local_file import open_regular
from langchain_kimi._steps import Steps, arun_steps, run_steps
from langchain_kimi.catalogue import FILE_PURPOSES, MAX_UPLOAD_BYTES, FilePurpose
from langchain_kimi.errors import BadRequestError, IllegalRequestError, KimiError

Source = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes themselves, or an open binary file, which is read from its beginning."""

FileList: TypeAlias = list[KimiFile]


class KimiFiles:
    """The account's files. Every method has a twin for asynchronous use, whose name begins with `a`.

    All raise a KimiError for what the host refuses. Kimi keeps 1,000 files and 10 GB of an account.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(
        self,
        source: Source,
        *,
        purpose: FilePurpose = "file-extract",
        name: str | None = None,
        progress: OnProgress | None = None,
    ) -> KimiFile:
        """Upload a file of at most 100 MB: for its text (`file-extract`), as an `image` or `video` that messages refer
        to by `.reference` or show as `.block`, or as the requests of a `batch`.

        `progress` is told of bytes sent and bytes in all. Raises FileNotFoundError (or another OSError) for a file that
        cannot be read, and IllegalRequestError, before anything is sent, for one that is empty or too large.
        """
        return run_steps(upload(source, purpose, name, progress), self._transport)

    async def aupload(
        self,
        source: Source,
        *,
        purpose: FilePurpose = "file-extract",
        name: str | None = None,
        progress: OnProgress | None = None,
    ) -> KimiFile:
        """`upload` for asynchronous use; the file is read on the event loop, 64 kB at a time."""
        return await arun_steps(upload(source, purpose, name, progress), self._transport)

    def list(self) -> FileList:
        """All files."""
        return endpoints.list_files().run(self._transport)

    async def alist(self) -> FileList:
        """`list` for asynchronous use."""
        return await endpoints.list_files().arun(self._transport)

    def get(self, file_id: str) -> KimiFile:
        """What is known of a file."""
        return endpoints.get_file(file_id).run(self._transport)

    async def aget(self, file_id: str) -> KimiFile:
        """`get` for asynchronous use."""
        return await endpoints.get_file(file_id).arun(self._transport)

    def content(self, file_id: str) -> bytes:
        """A file's content; of one that was uploaded for its text, the text in UTF-8."""
        return endpoints.get_content(file_id).run(self._transport)

    async def acontent(self, file_id: str) -> bytes:
        """`content` for asynchronous use."""
        return await endpoints.get_content(file_id).arun(self._transport)

    def delete(self, file_id: str) -> None:
        """Delete a file."""
        endpoints.delete_file(file_id).run(self._transport)

    async def adelete(self, file_id: str) -> None:
        """`delete` for asynchronous use."""
        await endpoints.delete_file(file_id).arun(self._transport)

    def load(
        self, source: Source, *, name: str | None = None, delete: bool = False, progress: OnProgress | None = None
    ) -> Document:
        """A file's text as a Document, extracted by Kimi: PDF, Office, web pages, code, plain text and more.

        `metadata` holds `source`, `file_id`, `size` in bytes and `created` in seconds since 1970. `delete` removes the
        upload afterwards, also where nothing could be extracted.
        """
        return run_steps(_load(source, name, delete, progress), self._transport)

    async def aload(
        self, source: Source, *, name: str | None = None, delete: bool = False, progress: OnProgress | None = None
    ) -> Document:
        """`load` for asynchronous use. Where it is cancelled the upload stays."""
        return await arun_steps(_load(source, name, delete, progress), self._transport)


def upload(source: Source, purpose: str, name: str | None, progress: OnProgress | None) -> Steps[KimiFile]:
    """The policy of uploading a file."""
    if purpose not in FILE_PURPOSES:
        raise IllegalRequestError(f"purpose={purpose!r}: Kimi takes {', '.join(FILE_PURPOSES)}.")
    with _opened(source, name) as file:
        _check_size(file)
        form = UploadForm(file.file, file.name, file.size, {"purpose": purpose}, progress)
        return (yield from endpoints.upload_file(form))


def _load(source: Source, name: str | None, delete: bool, progress: OnProgress | None) -> Steps[Document]:
    file = yield from upload(source, "file-extract", name, progress)
    try:
        if file.status == "error":
            raise BadRequestError(f"Kimi could not read {file.name}: {file.problem or 'it does not say why'}.")
        content = yield from endpoints.get_content(file.id)
    except KimiError:
        if delete:
            yield from endpoints.delete_file(file.id)
        raise
    if delete:
        yield from endpoints.delete_file(file.id)
    origin = os.fspath(source) if isinstance(source, str | os.PathLike) else file.name
    metadata = {"source": origin, "file_id": file.id, "size": file.size, "created": file.created}
    return Document(endpoints.extracted_text(content), metadata=metadata)


class _File(NamedTuple):
    file: BinaryIO
    name: str
    size: int


@contextmanager
def _opened(source: Source, name: str | None) -> Iterator[_File]:
    if isinstance(source, bytes):
        yield _File(BytesIO(source), name or "file", len(source))
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        with open_regular(path) as file:
            yield _File(file, name or path.name, path.stat().st_size)
    else:
        size = source.seek(0, os.SEEK_END)
        given = getattr(source, "name", None)
        yield _File(source, name or (Path(given).name if isinstance(given, str) else "file"), size)


def _check_size(file: _File) -> None:
    if not file.size:
        raise IllegalRequestError(f"{file.name} is empty; Kimi takes no empty file. Nothing was sent.")
    if file.size > MAX_UPLOAD_BYTES:
        raise IllegalRequestError(
            f"{file.name} has {file.size:,} bytes; Kimi takes files of at most {MAX_UPLOAD_BYTES:,} (100 MB). Split it "
            "or make it smaller. Nothing was sent."
        )
