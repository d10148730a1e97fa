"""JSON as Kimi writes it, and the size of texts in bytes and tokens."""

import json
from typing import Any

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def compact(value: Any) -> str:
    """JSON as Kimi writes it: no spaces, non-ASCII characters as they are."""
    return _JSON.encode(value)


def encode(value: object) -> bytes:
    """The bytes of `compact`; a lone surrogate is written as JSON's escape, as no text can hold it."""
    return compact(value).encode("utf-8", "backslashreplace")


def tokens(size: int) -> int:
    """The tokens estimated for so many bytes."""
    return -(-size // 4)


def size(text: str) -> int:
    """The bytes of a text."""
    return len(text.encode("utf-8", "surrogatepass"))


def objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list; none of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
