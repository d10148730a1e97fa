"""The width and height of pictures from their first bytes, without decoding them."""

import base64
import binascii
import struct

_HEAD = 32
"""Bytes that hold the size in every format but JPEG."""
_SCANNED = 262_144
"""Bytes in which a JPEG's size is looked for, behind previews and colour profiles."""
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of JPEG segments that hold the size."""

Size = tuple[int, int]
"""Width and height in pixels."""


def picture_size(data: str) -> Size | None:
    """The size of a PNG, JPEG, GIF, WebP or BMP in base64 or as a data URL; None for anything else."""
    encoded = data.partition(";base64,")[2] if data.startswith("data:") else data
    head = _decoded(encoded, _HEAD)
    try:
        if head.startswith(b"\xff\xd8\xff"):
            return _jpeg_size(_decoded(encoded, _SCANNED))
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return _positive(struct.unpack_from(">II", head, 16))
        if head.startswith((b"GIF87a", b"GIF89a")):
            return _positive(struct.unpack_from("<HH", head, 6))
        if head.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", head, 18)
            return _positive((width, abs(height)))
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _webp_size(head)
    except struct.error:  # the data ends too early
        pass
    return None


def _decoded(encoded: str, size: int) -> bytes:
    """The first bytes of base64."""
    try:
        return base64.b64decode(encoded[: -(-size // 3) * 4])
    except (binascii.Error, ValueError):
        return b""


def _positive(size: tuple[int, ...]) -> Size | None:
    width, height = size
    return (width, height) if width > 0 and height > 0 else None


def _jpeg_size(data: bytes) -> Size | None:
    at = 2
    while True:
        marker, length = struct.unpack_from(">xBH", data, at)
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return _positive((width, height))
        at += 2 + length


def _webp_size(head: bytes) -> Size | None:
    kind = head[12:16]
    if kind == b"VP8X" and len(head) >= 30:
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 26))
        return _positive((width, height))
    return None
