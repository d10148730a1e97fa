"""`HttpRequest`: a request to one of the endpoints beside chat, as the double received it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from langchain_kimi._redaction import is_secret_header

BASE = "/v1"
"""What the path of every request begins with."""

_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_PARAMETER = re.compile(r'\b(name|filename\*?)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))')


@dataclass(frozen=True)
class Upload:
    """A file in a multipart form."""

    name: str
    data: bytes = field(repr=False)


@dataclass(eq=False)
class HttpRequest:
    """One request to an endpoint beside chat.

    `path` has no query, `headers` have lower-case names and masked secrets, `body` is raw. `status` is the answer's;
    None while there is none yet.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int | None = None

    @classmethod
    def read(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> "HttpRequest":
        """The request by its HTTP parts; `headers` have lower-case names."""
        url = urlsplit(target)
        return cls(method, unquote(url.path), dict(parse_qsl(url.query)), masked(headers), body)

    @property
    def route(self) -> str:
        """The path after `/v1`."""
        return self.path.removeprefix(BASE)

    @cached_property
    def json(self) -> dict[str, Any]:
        """The parsed body; `ValueError` where it is not a JSON object."""
        parsed = json.loads(self.body)
        if not isinstance(parsed, dict):
            raise ValueError("the body is not a JSON object")
        return parsed

    @cached_property
    def form(self) -> dict[str, str | Upload]:
        """The fields of a multipart form; `ValueError` where the body is none."""
        found = _BOUNDARY.search(self.headers.get("content-type", ""))
        if not self.headers.get("content-type", "").startswith("multipart/form-data") or not found:
            raise ValueError("request Content-Type isn't multipart/form-data")
        return dict(_fields(self.body, b"--" + found.group(1).encode()))


def masked(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without their secrets."""
    return {name: _mask(value) if is_secret_header(name) else value for name, value in headers.items()}


def _mask(value: str) -> str:
    return "Bearer ***" if value.lower().startswith("bearer ") else "***"


def _fields(body: bytes, boundary: bytes) -> Iterator[tuple[str, str | Upload]]:
    start = body.find(boundary)
    while start >= 0:
        start += len(boundary)
        end = body.find(b"\r\n" + boundary, start)
        if end < 0:
            return
        head, _, data = body[start + 2 : end].partition(b"\r\n\r\n")
        named = {key: quoted or bare for key, quoted, bare in _PARAMETER.findall(head.decode("utf-8", "replace"))}
        filename = named.get("filename")
        if "filename*" in named:
            filename = unquote(named["filename*"].rpartition("'")[2])
        if filename is not None:
            yield named.get("name", ""), Upload(re.sub(r"\\(.)", r"\1", filename), data)
        else:
            yield named.get("name", ""), data.decode("utf-8", "replace")
        start = end + 2
