"""Checks keys, URLs and headers before anything is sent. No message shows the checked value."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from langchain_kimi._redaction import MASK, escape_controls
from langchain_kimi.errors import AuthenticationError, IllegalRequestError

_QUOTES = "\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")


def checked_key(key: Any) -> str | None:
    """The key without surrounding white space; None if there is none. Raises AuthenticationError for an invalid key.

    The HTTP library's own exception for a key that no header can hold would show the key.
    """
    value = key.get_secret_value() if isinstance(key, SecretStr) else key
    if value is None:
        return None
    if not isinstance(value, str):
        raise AuthenticationError(f"api_key must be a string, not {type(value).__name__}.")
    value = value.strip()
    problem = _problem(value) if value else None
    if problem:
        raise AuthenticationError(
            f"The key {problem}. Check api_key or MOONSHOT_API_KEY; the key itself is not shown here."
        )
    return value or None


@lru_cache(maxsize=256)
def checked_url(url: str) -> str:
    """A base URL without surrounding white space and trailing slashes. Raises IllegalRequestError if it is invalid."""
    url = url.strip().rstrip("/")
    parts = _parts(url)
    if parts is None:
        raise IllegalRequestError("base_url is not a URL: its host or its port cannot be read.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise IllegalRequestError(
            "base_url must contain no user name, password, query or fragment: URLs are written to logs and traces, and "
            "a password would replace the key. Pass the key as api_key, anything else as default_headers."
        )
    if not url.startswith(("https://", "http://")):
        raise IllegalRequestError(f"base_url={url!r} must begin with https:// or http://.")
    if not (url.isascii() and url.isprintable()) or " " in url or not parts.hostname:
        raise IllegalRequestError(f"base_url={url!r} is not the URL of a host: pass https://<host>/v1.")
    return url


def _parts(url: str) -> SplitResult | None:
    """The parts of a URL with or without a scheme; None if the host or the port is invalid."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        _ = parts.port  # raises an error that quotes the text, which may be a password
    except ValueError:
        return None
    return parts


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise IllegalRequestError for headers that are invalid in HTTP or were masked by a dump."""
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise IllegalRequestError("default_headers must be a mapping of strings to strings.")
        if problem := _header_problem(name, value):
            raise IllegalRequestError(problem)


@lru_cache(maxsize=256)
def _header_problem(name: str, value: str) -> str | None:
    """Why a header is invalid, without its value."""
    if not _HEADER_NAME.fullmatch(name):
        return f"default_headers: {escape_controls(name[:40])!r} is not a valid header name."
    if value == MASK:
        return f"default_headers[{name!r}] was masked when these settings were dumped: set its value again."
    if not _HEADER_VALUE.fullmatch(value):
        return (
            f"default_headers[{name!r}] contains a character that is not allowed in HTTP headers: a line break, a "
            "non-ASCII letter, or white space at its ends. The value is not shown here."
        )
    return None


def check_client_headers(headers: Iterable[tuple[str, str]]) -> None:
    """Raise IllegalRequestError for an invalid header of the user's HTTP client.

    The HTTP library's exception and log would show its value.
    """
    for name, value in headers:
        if _CONTROL.search(value) or value != value.strip():
            raise IllegalRequestError(
                f"The header {escape_controls(name)!r} of your http_client contains a line break or another "
                "character that is not allowed in HTTP. The value is not shown here."
            )


def _problem(key: str) -> str | None:
    """Why a text is not a valid key, without the text."""
    if key[0] in _QUOTES or key[-1] in _QUOTES:
        return "is in quotation marks: pass it without them"
    if not key.isascii():
        return "contains a non-ASCII character, which copying a text may add: copy the key itself"
    if any(character.isspace() for character in key):
        return 'contains white space: pass one key alone, without the word "Bearer"'
    if not key.isprintable():
        return "contains a control character"
    return None
