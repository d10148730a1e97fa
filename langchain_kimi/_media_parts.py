"""Content blocks of every maker, read as the parts that Kimi takes: text, images and videos, inline or uploaded."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

IMAGE_TYPES = frozenset(f"image/{kind}" for kind in ("jpeg", "png", "gif", "webp", "bmp", "heic", "heif"))
VIDEO_TYPES = frozenset(
    f"video/{kind}" for kind in ("mp4", "mpeg", "mov", "avi", "x-flv", "mpg", "webm", "wmv", "3gpp")
)
_COMMON_IMAGE_TYPES = frozenset(f"image/{kind}" for kind in ("jpeg", "png", "gif", "webp"))
"""Images that all providers read."""

_OTHER_NAMES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "video/quicktime": "video/mov",
    "video/x-msvideo": "video/avi",
    "video/x-ms-wmv": "video/wmv",
}
_MARKS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"FLV", "video/x-flv"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_OTHER_BRANDS = (b"avif", b"avis", b"M4A ", b"M4B ", b"crx ")
"""Pictures and sound that Kimi does not read, in the same frame as its videos."""
_HEAD = 16
"""Characters of base64 that are decoded: twelve bytes hold every format's mark."""
_WAYS = {
    "audio": "Kimi hears no audio: transcribe it and send the text.",
    "file": "Kimi reads no files in messages: upload it for extraction (purpose `file-extract`) and send its text.",
    "svg": "Kimi reads no SVG: render it as a PNG and send that.",
}
_WANTED = "Give images and videos as base64 with their mime type, or as an ms:// reference."


class UnsupportedBlockError(ValueError):
    """A content block that Kimi has no form for, and what to do instead."""


def encode_part(block: Mapping[str, Any]) -> dict[str, Any]:
    """A content block as a part of Kimi's. Raises UnsupportedBlockError.

    Read are LangChain's blocks (old and new, images and videos in `file` blocks too), OpenAI's and Anthropic's. A web
    address stays as it is: whether it is taken is the host's to say.
    """
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": block.get("text", "")}
    if kind == "text-plain" and isinstance(block.get("text"), str):
        return {"type": "text", "text": block["text"]}
    if kind in ("image_url", "video_url"):
        value = block.get(kind)
        url = value.get("url") if isinstance(value, Mapping) else value
        _check_url(url, kind)
        return {"type": kind, kind: value}
    medium = _medium(block)
    if medium is None:
        raise UnsupportedBlockError(_no_form(block))
    url = _url(block, medium)
    _check_url(url, medium)
    return {"type": f"{medium}_url", f"{medium}_url": {"url": url}}


def sendable(block: Mapping[str, Any]) -> bool:
    """Whether Kimi reads the block as it is: text, or an image or video that is whole, inline or uploaded."""
    try:
        part = encode_part(block)
    except UnsupportedBlockError:
        return False
    if part["type"] == "text":
        return isinstance(part["text"], str)
    url = part[part["type"]]
    url = url["url"] if isinstance(url, Mapping) else url
    if url.startswith("ms://"):
        return True
    head, _, data = url.partition(",")
    if not head.startswith("data:"):
        return False
    return part["type"] == "video_url" or str(type_of(_head(data))).startswith("image/")


def media_kind(block: object) -> str | None:
    """`image` or `video` for a content block of any maker that Kimi has a form for; None for everything else."""
    try:
        kind = encode_part(block)["type"] if isinstance(block, Mapping) else "text"
    except UnsupportedBlockError:
        return None
    return None if kind == "text" else str(kind).removesuffix("_url")


def inline_media_block(block: Mapping[str, Any], *, any_format: bool) -> dict[str, Any] | None:
    """An image or a video of any maker as LangChain's block, of the type that the data shows.

    With `any_format` it may have each format that Kimi reads, or refer to an uploaded file. Without, an image has a
    format that all providers read. None for what is not so, such as a web address.
    """
    if not sendable(block):
        return None
    part = encode_part(block)
    kind, value = part["type"].removesuffix("_url"), part[part["type"]]
    url = value["url"] if isinstance(value, Mapping) else value
    if url.startswith("ms://"):
        return {"type": part["type"], part["type"]: {"url": url}} if any_format else None
    head, _, data = url.partition(",")
    mime_type = type_of(_head(data)) or head[5:].partition(";")[0]
    if kind == "image" and not any_format and mime_type not in _COMMON_IMAGE_TYPES:
        return None
    return {"type": kind, "base64": data, "mime_type": mime_type}


def type_of(data: bytes) -> str | None:
    """The mime type that the first twelve bytes of an image or a video show, None where they show none of Kimi's."""
    for mark, mime_type in _MARKS:
        if data.startswith(mark):
            return mime_type
    if data.startswith(b"RIFF"):
        return {b"WEBP": "image/webp", b"AVI ": "video/avi"}.get(data[8:12])
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in _HEIF_BRANDS:
            return "image/heic"
        return None if brand in _OTHER_BRANDS else "video/mov" if brand == b"qt  " else "video/mp4"
    return None


def known_type(mime_type: str) -> str:
    """Kimi's name of a mime type, without parameters; raises UnsupportedBlockError for one that Kimi does not read."""
    plain = mime_type.partition(";")[0].strip().lower()
    named = _OTHER_NAMES.get(plain, plain)
    if named in IMAGE_TYPES or named in VIDEO_TYPES:
        return named
    if not named:
        raise UnsupportedBlockError(f"The data: URL names no mime type. {_WANTED}")
    if named.startswith("image/svg"):
        raise UnsupportedBlockError(_WAYS["svg"])
    if named.startswith("audio/"):
        raise UnsupportedBlockError(_WAYS["audio"])
    if named.startswith(("image/", "video/")):
        names = ", ".join(sorted(one.partition("/")[2] for one in (IMAGE_TYPES | VIDEO_TYPES)))
        raise UnsupportedBlockError(f"Kimi reads no {named}; it reads {names}.")
    raise UnsupportedBlockError(_WAYS["file"])


def _medium(block: Mapping[str, Any]) -> str | None:
    """`image` or `video`: what the block says it is, or what its mime type says where it is any file."""
    kind = block.get("type")
    if kind in ("image", "video"):
        return str(kind)
    if kind in ("file", "media"):
        named = str(block.get("mime_type") or "").partition("/")[0]
        return named if named in ("image", "video") else None
    return None


def _url(block: Mapping[str, Any], medium: str) -> str:
    """The address of the block's data: inline, uploaded, or on the web."""
    source = block.get("source")
    if isinstance(source, Mapping):
        names = {"base64": "data", "mime_type": "media_type", "url": "url", "file_id": "file_id"}
        block = {name: source.get(key) for name, key in names.items()}
    if "base64" in block or "data" in block:
        data = block.get("base64") or block.get("data")
        if data:
            return _inline(data, block.get("mime_type"), medium)
    if url := block.get("url"):
        return str(url)
    uploaded = block.get("file_id") or (block.get("id") if block.get("source_type") == "id" else None)
    if uploaded:
        return str(uploaded) if str(uploaded).startswith("ms://") else f"ms://{uploaded}"
    raise UnsupportedBlockError(f"The {medium} block holds no data. {_WANTED}")


def _inline(data: object, declared: object, medium: str) -> str:
    if not isinstance(data, str):
        raise UnsupportedBlockError(f"The data of the {medium} block is {type(data).__name__}, not a base64 string.")
    if declared:
        mime_type = known_type(str(declared))
    elif (seen := type_of(_head(data))) is None:
        raise UnsupportedBlockError(
            f"The {medium} block has no mime_type, and its data begins like no {medium} that Kimi reads."
        )
    else:
        mime_type = seen
    return f"data:{mime_type};base64,{data}"


def _check_url(url: object, kind: str) -> None:
    if not isinstance(url, str) or not url:
        raise UnsupportedBlockError(f"The {kind} block holds no url. {_WANTED}")
    if url.startswith("data:"):
        known_type(url[5:].partition(",")[0])


def _no_form(block: Mapping[str, Any]) -> str:
    kind = str(block.get("type"))
    if kind in ("audio", "input_audio"):
        return _WAYS["audio"]
    if kind in ("file", "document", "input_file", "media", "text-plain"):
        return _WAYS["file"]
    return f"Kimi takes text, image and video parts, not {kind!r} ({', '.join(sorted(block)) or 'empty'}). {_WANTED}"


def _head(data: str) -> bytes:
    try:
        return base64.b64decode(data[:_HEAD])
    except (binascii.Error, ValueError):
        return b""
