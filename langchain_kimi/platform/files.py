"""Files in the account: uploaded for their text, as images or videos of messages, or as the requests of a batch."""

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

FileSource = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes themselves, or an open binary file, which is read from its beginning."""

FileList: TypeAlias = list[KimiFile]


class KimiFiles:
    """The account's files. Every method has a twin for asynchronous use, whose name begins with `a`.

    All raise a KimiError if the host refuses the request. Kimi stores up to 1,000 files and 10 GB per account.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(
        self,
        source: FileSource,
        *,
        purpose: FilePurpose = "file-extract",
        name: str | None = None,
        progress: OnProgress | None = None,
    ) -> KimiFile:
        """Upload a file of at most 100 MB: for its text (`file-extract`), as an `image` or `video` that messages refer
        to by `.reference` or show as `.block`, or as the requests of a `batch`.

        `progress` is called with the bytes sent and the bytes in all. Raises FileNotFoundError (or another OSError) for
        a file that cannot be read, and IllegalRequestError, before anything is sent, for an empty or too large one.
        """
        return run_steps(upload(source, purpose, name, progress), self._transport)

    async def aupload(
        self,
        source: FileSource,
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
        """The metadata of a file."""
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
        self, source: FileSource, *, name: str | None = None, delete: bool = False, progress: OnProgress | None = None
    ) -> Document:
        """A file's text as a Document, extracted by Kimi: PDF, Office, web pages, code, plain text and more.

        `metadata` holds `source`, `file_id`, `size` in bytes and `created` in seconds since 1970. `delete` removes the
        upload afterwards, also where nothing could be extracted.
        """
        return run_steps(_load(source, name, delete, progress), self._transport)

    async def aload(
        self, source: FileSource, *, name: str | None = None, delete: bool = False, progress: OnProgress | None = None
    ) -> Document:
        """`load` for asynchronous use. Where it is cancelled the upload stays."""
        return await arun_steps(_load(source, name, delete, progress), self._transport)


def upload(source: FileSource, purpose: str, name: str | None, progress: OnProgress | None) -> Steps[KimiFile]:
    """The steps of uploading a file."""
    if purpose not in FILE_PURPOSES:
        raise IllegalRequestError(f"purpose={purpose!r}: use {', '.join(FILE_PURPOSES)}.")
    with _opened(source, name) as file:
        _check_size(file)
        form = UploadForm(file.file, file.name, file.size, {"purpose": purpose}, progress)
        return (yield from endpoints.upload_file(form))


def _load(source: FileSource, name: str | None, delete: bool, progress: OnProgress | None) -> Steps[Document]:
    file = yield from upload(source, "file-extract", name, progress)
    try:
        if file.status == "error":
            raise BadRequestError(f"Kimi could not read {file.name}: {file.problem or 'it gives no reason'}.")
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
def _opened(source: FileSource, name: str | None) -> Iterator[_File]:
    if isinstance(source, bytes):
        yield _File(BytesIO(source), name or "file", len(source))
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        with open_regular(path) as file:
            yield _File(file, name or path.name, path.stat().st_size)
    else:
        size = source.seek(0, os.SEEK_END)
        path_name = getattr(source, "name", None)
        yield _File(source, name or (Path(path_name).name if isinstance(path_name, str) else "file"), size)


def _check_size(file: _File) -> None:
    if not file.size:
        raise IllegalRequestError(f"{file.name} is empty; Kimi does not accept empty files. Nothing was sent.")
    if file.size > MAX_UPLOAD_BYTES:
        raise IllegalRequestError(
            f"{file.name} has {file.size:,} bytes; Kimi accepts files of at most {MAX_UPLOAD_BYTES:,}. Split it or "
            "make it smaller. Nothing was sent."
        )
