"""`HttpRequest`: a request to an endpoint other than chat, as the fake API received it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import HeaderParser
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from langchain_kimi._redaction import MASK, is_secret_header

BASE_PATH = "/v1"
"""The beginning of the path of every request."""


@dataclass(frozen=True)
class Upload:
    """A file in a multipart form."""

    name: str
    data: bytes = field(repr=False)


@dataclass(eq=False)
class HttpRequest:
    """One request to an endpoint other than chat.

    `path` has no query, `headers` have lower-case names and masked secrets, `body` holds the raw bytes. `status` is the
    status of the response; None until there is one.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int | None = None

    @classmethod
    def parse(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> "HttpRequest":
        """The request from its HTTP parts; `headers` have lower-case names."""
        url = urlsplit(target)
        return cls(method, unquote(url.path), dict(parse_qsl(url.query)), mask_headers(headers), body)

    @property
    def route(self) -> str:
        """The path after `/v1`."""
        return self.path.removeprefix(BASE_PATH)

    @cached_property
    def json(self) -> dict[str, Any]:
        """The parsed body. Raises `ValueError` if it is not a JSON object."""
        parsed = json.loads(self.body)
        if not isinstance(parsed, dict):
            raise ValueError("the body is not a JSON object")
        return parsed

    @cached_property
    def form(self) -> dict[str, str | Upload]:
        """The fields of a multipart form. Raises `ValueError` if the body is not one."""
        head = Message()
        head["content-type"] = self.headers.get("content-type", "")
        boundary = head.get_boundary()
        if head.get_content_type() != "multipart/form-data" or not boundary:
            raise ValueError("request Content-Type isn't multipart/form-data")
        return dict(_fields(self.body, boundary.encode()))


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without their secrets."""
    return {name: _mask(value) if is_secret_header(name) else value for name, value in headers.items()}


def _mask(value: str) -> str:
    return f"Bearer {MASK}" if value.lower().startswith("bearer ") else MASK


def _fields(body: bytes, boundary: bytes) -> Iterator[tuple[str, str | Upload]]:
    """Name and value of each part. `email` parses the headers only: it would change the bytes of some contents."""
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary)
    for part in parts[:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        headers = HeaderParser().parsestr(head.decode("utf-8", "replace").lstrip())
        name = str(headers.get_param("name", "", header="content-disposition"))
        filename = headers.get_filename()
        yield name, data.decode("utf-8", "replace") if filename is None else Upload(filename, data)
