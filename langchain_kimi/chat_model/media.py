"""Pictures and videos from a path, the web or memory, as LangChain's content blocks."""

import asyncio
import base64
import mimetypes
import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from langchain_kimi._http.local_file import open_regular
from langchain_kimi._http.web_file import afetch, fetch
from langchain_kimi._media_parts import UnsupportedBlockError, known_type, type_of
from langchain_kimi._redaction import shown_url
from langchain_kimi.catalogue import MAX_REQUEST_BYTES
from langchain_kimi.errors import IllegalRequestError

LARGEST_FILE = (MAX_REQUEST_BYTES - 1024 * 1024) // 4 * 3
"""Bytes of the largest file that fits into a request, in base64 and with some text."""

MediaSource = str | os.PathLike[str] | bytes
"""A path, a URL or the bytes of an image or a video."""


def media_block(source: MediaSource, *, mime_type: str | None = None) -> dict[str, Any]:
    """An image or a video as a content block for a HumanMessage or a tool's result: LangChain's, in base64.

    `source` is a path, a `file:`, `http:`, `https:`, `data:` or `ms:` URL, or the bytes themselves; a web address is
    fetched at once from this machine, without Kimi's key (do not pass addresses that you do not trust). The media type
    is that of the data, else `mime_type`, the type of the name or the host's content type; an `ms://` id is an image
    unless `mime_type` says video. Raises IllegalRequestError for a type that Kimi does not read and for too large data,
    OSError for a file that cannot be read, and a KimiError where the fetch fails.
    """
    if (url := _web_url(source)) is not None:
        data, content_type = fetch(url, largest=LARGEST_FILE)
        return _inline_block(data, shown_url(url), mime_type or content_type)
    if isinstance(source, str) and source.startswith(("data:", "ms:")):
        return _url_block(source, mime_type)
    return _inline_block(source if isinstance(source, bytes) else _read(source), _source_name(source), mime_type)


async def amedia_block(source: MediaSource, *, mime_type: str | None = None) -> dict[str, Any]:
    """`media_block` for asynchronous use: a fetch does not block the event loop, nor does a file."""
    if (url := _web_url(source)) is not None:
        data, content_type = await afetch(url, largest=LARGEST_FILE)
        return _inline_block(data, shown_url(url), mime_type or content_type)
    return await asyncio.to_thread(media_block, source, mime_type=mime_type)


def _web_url(source: MediaSource) -> str | None:
    return source if isinstance(source, str) and source.lower().startswith(("http://", "https://")) else None


def _source_name(source: MediaSource) -> str:
    return "the data" if isinstance(source, bytes) else os.fspath(source)


def _read(source: str | os.PathLike[str]) -> bytes:
    name = os.fspath(source)
    path = Path(url2pathname(urlsplit(name).path) if name.startswith("file:") else name)
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_FILE:
            raise _too_large(name, size)
        return file.read(LARGEST_FILE + 1)  # a file can grow meanwhile, and some report no size


def _inline_block(data: bytes, name: str, declared: str | None) -> dict[str, Any]:
    if not data:
        raise IllegalRequestError(f"{name} is empty.")
    if len(data) > LARGEST_FILE:
        raise _too_large(name, len(data))
    detected = type_of(data)
    media_type = detected or _media_type(declared, name)
    if detected is None and media_type.startswith("image/"):
        raise IllegalRequestError(
            f"{name} is declared as {media_type}, but its data begins like no image that Kimi reads."
        )
    encoded = base64.b64encode(data).decode()
    return {"type": _medium(media_type), "base64": encoded, "mime_type": media_type}


def _url_block(url: str, mime_type: str | None) -> dict[str, Any]:
    """The block for what has its data in its URL, or was uploaded."""
    declared = mime_type or (url[5:].partition(";")[0].partition(",")[0] if url.startswith("data:") else "image/png")
    return {"type": _medium(_media_type(declared, url[:40])), "url": url}


def _media_type(declared: str | None, name: str) -> str:
    """The declared type, else that of the name. Raises IllegalRequestError for a type that Kimi does not read."""
    plain = (declared or "").partition(";")[0].strip()
    if plain in ("", "application/octet-stream", "binary/octet-stream"):
        plain = mimetypes.guess_type(urlsplit(name).path)[0] or ""
    try:
        return known_type(plain or "application/octet-stream")
    except UnsupportedBlockError as error:
        raise IllegalRequestError(f"{name} ({plain or 'of unknown type'}): {error}") from error


def _medium(mime_type: str) -> Literal["image", "video"]:
    return "video" if mime_type.startswith("video/") else "image"


def _too_large(name: str, size: int) -> IllegalRequestError:
    return IllegalRequestError(
        f"{name} has {size:,} bytes; {LARGEST_FILE:,} fit into one of Kimi's requests. Make it smaller, or upload it "
        "(purpose `image` or `video`) and send the block {'type': 'image', 'url': 'ms://<file id>'}."
    )
