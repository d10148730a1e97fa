"""Bodies in the form of the file: JSON as a structure, an event stream as its events, anything else as text.

A packed body is a mapping with one of `json`, `text`, `base64` or `events`; an empty body is an empty mapping. Most
events of a stream share the text before and after their delta, which is stored once as `frame`. Such an event is the
string between the two halves; any other event is one of

    data: '…'     an event with only this data
    block: '…'    any other lines up to a blank line, for instance comments
    end: '…'      the text after the last blank line of an interrupted stream

Only JSON loses bytes: its spaces, and the notation of its numbers.
"""

import base64
import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from langchain_kimi.testing.cassettes.cassette_errors import CassetteError
from langchain_kimi.testing.serialization import compact_json

PackedBody = dict[str, Any]

_MAX_DEPTH = 60
_SURROGATE = re.compile("[\ud800-\udfff]")
_DELTA = re.compile(r'"delta": ?(?=\{)')
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_DECODER = json.JSONDecoder()


def pack_body(data: bytes, content_type: str = "") -> PackedBody:
    """A decoded body in the form of the file. The random boundary of a multipart form becomes a fixed one."""
    if match := _BOUNDARY.search(content_type):
        data = data.replace(match.group(1).encode(), b"boundary")
    if not data:
        return {}
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
    if content_type.startswith("text/event-stream"):
        return _pack_events(text)
    value = _parse_json(text)
    return {"text": text} if value is None else {"json": value}


def unpack_body(packed: Mapping[str, Any]) -> bytes:
    """The bytes of a packed body."""
    return b"".join(body_pieces(packed))


def body_pieces(packed: Mapping[str, Any]) -> list[bytes]:
    """The bytes of a packed body as they are sent: event by event, or whole."""
    if "events" in packed:
        before, after = packed.get("frame") or ("", "")
        return [_event_text(item, before, after).encode() for item in packed["events"]]
    if "json" in packed:
        return [compact_json(packed["json"]).encode()]
    if "text" in packed:
        return [packed["text"].encode()]
    return [base64.b64decode(packed["base64"])] if "base64" in packed else []


def _parse_json(text: str) -> Any:
    """The object or array in the text; None for anything else, and for JSON that YAML does not preserve."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(
            text, parse_constant=_reject_constant, object_pairs_hook=_unique_keys, parse_float=_finite_float
        )
    except (ValueError, RecursionError):
        return None
    return value if _fits_yaml(value) else None


def event_data(packed: Mapping[str, Any]) -> list[str]:
    """The data of each event of a packed stream, `[DONE]` included."""
    data = []
    for block in unpack_body(packed).decode().split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if lines:
            data.append("\n".join(lines))
    return data


def decompress(data: bytes, encodings: str) -> bytes:
    """A body without its content-encodings, also an interrupted one. Raises CassetteError for unknown encodings."""
    for encoding in reversed([name.strip().lower() for name in encodings.split(",")]):
        if encoding in ("gzip", "x-gzip"):
            data = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data)
        elif encoding == "deflate":
            raw = data[:1] != b"\x78"
            data = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS).decompress(data)
        elif encoding == "br":
            data = _import_first("brotli", "brotlicffi").Decompressor().process(data)
        elif encoding == "zstd":
            data = _decompress_zstd(data)
        elif encoding not in ("", "identity"):
            raise CassetteError(f"A response has the content-encoding {encoding!r}, which cannot be recorded.")
    return data


def _decompress_zstd(data: bytes) -> bytes:
    module = _import_first("compression.zstd", "backports.zstd", "zstandard")
    decompressor = module.ZstdDecompressor()
    if module.__name__ == "zstandard":
        decompressor = decompressor.decompressobj()
    return bytes(decompressor.decompress(data))


def _import_first(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise CassetteError(
        f"A response is compressed. To record it, `pip install {names[0] if len(names) < 3 else names[-1]}`."
    )


def _pack_events(text: str) -> PackedBody:
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
    *blocks, end = text.split("\n\n")
    frame = _common_frame(blocks)
    events: list[Any] = [_pack_event(block, frame) for block in blocks]
    if end:
        events.append({"end": end})
    return {"frame": list(frame), "events": events} if frame else {"events": events}


def _pack_event(block: str, frame: tuple[str, str] | None) -> Any:
    data = block[6:]
    if not block.startswith("data: ") or "\n" in data:
        return {"block": block}
    if frame and data.startswith(frame[0]) and data.endswith(frame[1]):
        return data[len(frame[0]) : len(data) - len(frame[1])]
    return {"data": data}


def _event_text(item: Any, before: str, after: str) -> str:
    if isinstance(item, str):
        return f"data: {before}{item}{after}\n\n"
    if "data" in item:
        return f"data: {item['data']}\n\n"
    return f"{item['block']}\n\n" if "block" in item else str(item["end"])


def _common_frame(blocks: list[str]) -> tuple[str, str] | None:
    """The text before and after the delta of most events; None if no two events share it."""
    seen: Counter[tuple[str, str]] = Counter()
    for block in blocks:
        if block.startswith("data: ") and "\n" not in block and (match := _DELTA.search(block)):
            try:
                _, end = _DECODER.raw_decode(block, match.end())
            except (ValueError, RecursionError):
                continue
            seen[block[6 : match.end()], block[end:]] += 1
    if not seen:
        return None
    frame, times = seen.most_common(1)[0]
    return frame if times > 1 else None


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key occurs twice")
    return mapping


def _fits_yaml(value: Any, depth: int = 0) -> bool:
    """Whether YAML can hold the value: it has no lone surrogates and is not too deep."""
    if isinstance(value, str):
        return not _SURROGATE.search(value)
    if depth > _MAX_DEPTH:
        return not isinstance(value, dict | list)
    if isinstance(value, dict):
        return all(_fits_yaml(key) and _fits_yaml(item, depth + 1) for key, item in value.items())
    return all(_fits_yaml(item, depth + 1) for item in value) if isinstance(value, list) else True
