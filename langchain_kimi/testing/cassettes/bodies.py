"""Bodies between the wire and the file: JSON as a structure, an event stream as its events, anything else as text.

A packed body is a mapping with one of `json`, `text`, `base64` or `events`; an empty body is an empty mapping. Events
are strings between the two halves of `frame`, which most chunks of a stream have in common, or one of

    data: '…'     an event with this data and nothing else
    block: '…'    any other lines up to a blank one, comments for instance
    end: '…'      what followed the last blank line, in a stream that broke off

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

from langchain_kimi.testing.cassettes.errors import CassetteError

Packed = dict[str, Any]

_DEEPEST = 60
_SURROGATE = re.compile("[\ud800-\udfff]")
_DELTA = re.compile(r'"delta": ?(?=\{)')
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_DECODER = json.JSONDecoder()


def pack(data: bytes, content_type: str = "") -> Packed:
    """A decoded body for the file. The random boundary of a form becomes a fixed one."""
    if found := _BOUNDARY.search(content_type):
        data = data.replace(found.group(1).encode(), b"boundary")
    if not data:
        return {}
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
    if content_type.startswith("text/event-stream"):
        return _pack_events(text)
    value = as_json(text)
    return {"text": text} if value is None else {"json": value}


def unpack(packed: Mapping[str, Any]) -> bytes:
    """The body's bytes."""
    return b"".join(pieces(packed))


def pieces(packed: Mapping[str, Any]) -> list[bytes]:
    """The body as it is sent: event by event, or whole."""
    if "events" in packed:
        before, after = packed.get("frame") or ("", "")
        return [_event(item, before, after).encode() for item in packed["events"]]
    if "json" in packed:
        return [dumps(packed["json"]).encode()]
    if "text" in packed:
        return [packed["text"].encode()]
    return [base64.b64decode(packed["base64"])] if "base64" in packed else []


def dumps(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_json(text: str) -> Any:
    """The object or array that the text is; None for anything else, and for JSON that YAML could not give back."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text, parse_constant=_no_json, object_pairs_hook=_once, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return value if _fits(value) else None


def datas(packed: Mapping[str, Any]) -> list[str]:
    """The data of each event of a packed stream, `[DONE]` included."""
    found = []
    for block in unpack(packed).decode().split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if lines:
            found.append("\n".join(lines))
    return found


def decompressed(data: bytes, encodings: str) -> bytes:
    """A body without its content-encodings, also one that was cut short. Raises CassetteError for unknown ones."""
    for encoding in reversed([name.strip().lower() for name in encodings.split(",")]):
        if encoding in ("gzip", "x-gzip"):
            data = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data)
        elif encoding == "deflate":
            raw = data[:1] != b"\x78"
            data = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS).decompress(data)
        elif encoding == "br":
            data = _first_of("brotli", "brotlicffi").Decompressor().process(data)
        elif encoding == "zstd":
            data = _unzstd(data)
        elif encoding not in ("", "identity"):
            raise CassetteError(f"an answer came with the content-encoding {encoding!r}, which cannot be recorded")
    return data


def _unzstd(data: bytes) -> bytes:
    module = _first_of("compression.zstd", "backports.zstd", "zstandard")
    decompressor = module.ZstdDecompressor()
    if module.__name__ == "zstandard":
        decompressor = decompressor.decompressobj()
    return bytes(decompressor.decompress(data))


def _first_of(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise CassetteError(
        f"an answer is compressed: to record it, `pip install {names[0] if len(names) < 3 else names[-1]}`"
    )


def _pack_events(text: str) -> Packed:
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
    *blocks, end = text.split("\n\n")
    frame = _frame(blocks)
    events: list[Any] = [_packed_event(block, frame) for block in blocks]
    if end:
        events.append({"end": end})
    return {"frame": list(frame), "events": events} if frame else {"events": events}


def _packed_event(block: str, frame: tuple[str, str] | None) -> Any:
    data = block[6:]
    if not block.startswith("data: ") or "\n" in data:
        return {"block": block}
    if frame and data.startswith(frame[0]) and data.endswith(frame[1]):
        return data[len(frame[0]) : len(data) - len(frame[1])]
    return {"data": data}


def _event(item: Any, before: str, after: str) -> str:
    if isinstance(item, str):
        return f"data: {before}{item}{after}\n\n"
    if "data" in item:
        return f"data: {item['data']}\n\n"
    return f"{item['block']}\n\n" if "block" in item else str(item["end"])


def _frame(blocks: list[str]) -> tuple[str, str] | None:
    """What most events have before and after their delta; None where no two events share it."""
    seen: Counter[tuple[str, str]] = Counter()
    for block in blocks:
        if block.startswith("data: ") and "\n" not in block and (found := _DELTA.search(block)):
            try:
                _, end = _DECODER.raw_decode(block, found.end())
            except (ValueError, RecursionError):
                continue
            seen[block[6 : found.end()], block[end:]] += 1
    if not seen:
        return None
    frame, times = seen.most_common(1)[0]
    return frame if times > 1 else None


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key stands twice")
    return mapping


def _fits(value: Any, depth: int = 0) -> bool:
    """Whether YAML holds the value: no lone surrogates, not too deep."""
    if isinstance(value, str):
        return not _SURROGATE.search(value)
    if depth > _DEEPEST:
        return not isinstance(value, dict | list)
    if isinstance(value, dict):
        return all(_fits(key) and _fits(item, depth + 1) for key, item in value.items())
    return all(_fits(item, depth + 1) for item in value) if isinstance(value, list) else True
