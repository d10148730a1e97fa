"""Keys, URLs and headers, checked before anything is sent. No message here shows what it is about."""

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
    """The key without white space around it; None where there is none. Raises AuthenticationError for what is no key.

    A key that no HTTP header can carry would otherwise stand in the HTTP library's own exception.
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
    """A base URL without white space around it and slashes at its end. Raises IllegalRequestError for a wrong one."""
    url = url.strip().rstrip("/")
    parts = _parts(url)
    if parts is None:
        raise IllegalRequestError("base_url is no URL: its host or its port cannot be read.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise IllegalRequestError(
            "base_url must hold neither a user name or password nor a query or fragment: URLs are written to logs and "
            "traces, and a password would replace the key. Give the key as api_key, anything else as default_headers."
        )
    if not url.startswith(("https://", "http://")):
        raise IllegalRequestError(f"base_url={url!r} must begin with https:// or http://.")
    if not (url.isascii() and url.isprintable()) or " " in url or not parts.hostname:
        raise IllegalRequestError(f"base_url={url!r} is no URL of a host: give https://<host>/v1.")
    return url


def _parts(url: str) -> SplitResult | None:
    """The parts of a URL with or without its scheme; None where the host or the port is none."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        _ = parts.port  # raises with the text in its place, which may be a password
    except ValueError:
        return None
    return parts


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises IllegalRequestError for headers that HTTP does not take, or that a dump has masked."""
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise IllegalRequestError("default_headers must be a mapping of strings to strings.")
        if problem := _header_problem(name, value):
            raise IllegalRequestError(problem)


@lru_cache(maxsize=256)
def _header_problem(name: str, value: str) -> str | None:
    """Why HTTP does not take a header, without showing its value."""
    if not _HEADER_NAME.fullmatch(name):
        return f"default_headers: {escape_controls(name[:40])!r} is no name of a header."
    if value == MASK:
        return f"default_headers[{name!r}] was masked when these settings were dumped: give its value anew."
    if not _HEADER_VALUE.fullmatch(value):
        return (
            f"default_headers[{name!r}] holds a character that HTTP headers do not take: a line break, a letter not of "
            "ASCII, or white space at its ends. The value is not shown here."
        )
    return None


def check_client_headers(headers: Iterable[tuple[str, str]]) -> None:
    """Raises IllegalRequestError for a header of the user's HTTP client that HTTP does not take.

    The HTTP library would name its value, in its exception and in its log.
    """
    for name, value in headers:
        if _CONTROL.search(value) or value != value.strip():
            raise IllegalRequestError(
                f"The header {escape_controls(name)!r} of your http_client holds a line break or another character "
                "that HTTP does not take. The value is not shown here."
            )


def _problem(key: str) -> str | None:
    """Why a text is no key, without showing it."""
    if key[0] in _QUOTES or key[-1] in _QUOTES:
        return "is in quotation marks: give it without them"
    if not key.isascii():
        return "holds a character outside of ASCII, as a copied text may: copy the key itself"
    if any(character.isspace() for character in key):
        return 'holds white space: give one key alone, without the word "Bearer"'
    if not key.isprintable():
        return "holds a control character"
    return None
