"""What may be shown: text without secrets and without control characters.

A secret is a value that a request carried in a header of a telling name (the key above all), or a text of the form that
Moonshot's keys and account ids have. Values are remembered while the process lives, so that they are masked wherever a
host, a library or a log repeats them.
"""

import html
import json
import logging
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote_plus, urlsplit

MASK: Final = "***"

_FORMS = re.compile(r"\b(org|ak|proj|sk|cak)-[A-Za-z0-9_-]{6,}")
_UNESCAPED = re.compile(r"[A-Za-z0-9._~-]+")
"""Values that JSON, URLs, HTML and Python's `repr` write as they are."""
_HEADER_NAME = re.compile(
    r"(?:^|[-_])(?:(?:proxy-)?authori[sz]ation|auth|set-cookie|cookie|credentials?|passw(?:or)?d|secret|signature|token"
    r"|(?<!idempotency-)(?<!cache-)key|apikey)(?:$|[-_])",
    re.IGNORECASE,
)
_AUTH_SCHEMES = frozenset(
    (
        *("apikey", "aws4-hmac-sha256", "basic", "bearer", "concealed", "digest", "dpop", "gnap", "hoba", "mutual"),
        *("negotiate", "ntlm", "oauth", "privatetoken", "scram-sha-1", "scram-sha-256", "token", "vapid"),
    )
)
"""The schemes of IANA's registry, and those that are common without being registered."""
_SHORTEST = 8
_PLACEHOLDERS = frozenset({"no-key-required", "not-needed", "notneeded", "not-required", "placeholder", "lm-studio"})
"""Values of eight and more letters that are given where a host wants any key; masking them would spoil texts."""
_MOST_KNOWN = 1_000

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line breaks, marks that turn the direction of writing, and halves of surrogate pairs."""

_known: dict[str, None] = {}


def escape_controls(text: str, *, keep: str = "") -> str:
    """The text with control characters, newlines among them, written as escapes such as `\\n` and `\\x1b`.

    Text of a host, a model or a tool can then neither forge a line of a log nor steer a terminal. `keep` names
    characters to leave as they are: `"\\n\\t"` for text of several lines.
    """
    return _CONTROLS.sub(lambda match: match.group() if match.group() in keep else _escape(match.group()), text)


def redact(text: str) -> str:
    """The text without known secrets and without anything that has the form of a key or an account's id."""
    return _FORMS.sub(rf"\1-{MASK}", mask_known(text))


def shown_line(text: str) -> str:
    """A host's text on one line, without secrets and control characters."""
    return escape_controls(redact(text))


def mask_known(text: str) -> str:
    """The text without the secrets that requests of this process carried."""
    return mask_values(text, tuple(_known))


def mask_values(text: str, values: Iterable[str]) -> str:
    """The text without the values, as they are or as JSON, a URL, HTML or `repr` writes them."""
    for value in values:
        pattern = _pattern(value)
        if pattern is None:
            text = text.replace(value, _masked(value)) if value in text else text
        else:
            text = pattern.sub(_masked(value), text)
    return text


def mask_bytes(data: bytes, values: Iterable[str]) -> bytes:
    """A body, which may be JSON, without the values."""
    for value in values:
        pattern = _bytes_pattern(value)
        if pattern is not None:
            data = pattern.sub(_masked(value).encode(), data)
        elif (raw := value.encode()) in data:
            data = data.replace(raw, _masked(value).encode())
    return data


def secret_values(headers: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The secrets in a request's headers, which are remembered from here on."""
    values = [value for header in headers if is_secret_header(header[0]) for value in _secrets_of(*header)]
    for value in values:
        if value not in _known:
            _known[value] = None
            if len(_known) > _MOST_KNOWN:
                _known.pop(next(iter(_known)), None)
    return tuple(dict.fromkeys(values))


@lru_cache(maxsize=1_000)
def is_secret_header(name: str) -> bool:
    """Whether a header of this name holds a secret, such as a key, a token or a cookie."""
    return _HEADER_NAME.search(name) is not None


def shown_url(url: str) -> str:
    """A URL without user name, password, query and fragment, where secrets may stand."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "the URL"
    query = "?…" if parts.query else ""
    return escape_controls(f"{parts.scheme}://{host}{parts.path}{query}" if host else f"{parts.path}{query}")


def any_form(value: str) -> str:
    """The regular expression of a value as it is, and as JSON, a URL, HTML and `repr` write it."""
    return "".join(map(_any_form, value))


class LogFilter(logging.Filter):
    """Masks known secrets in the records of a logger; with `escape` it also writes control characters as escapes."""

    def __init__(self, *, escape: bool = False) -> None:
        super().__init__()
        self._escapes = escape

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where it must be changed; nothing is left out."""
        try:
            text = record.getMessage()
        except Exception:  # a record whose arguments do not fit is for logging to report
            return True
        shown = mask_known(text)
        if self._escapes:
            shown = escape_controls(shown)
        if shown != text:
            record.msg, record.args = shown, None
        if record.exc_info and not record.exc_text:
            traceback = redact(logging.Formatter().formatException(record.exc_info))
            record.exc_text = escape_controls(traceback, keep="\n\t") if self._escapes else traceback
        return True


logging.getLogger("langchain_kimi").addFilter(LogFilter(escape=True))


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()


def _secrets_of(name: str, value: str) -> list[str]:
    """The secret parts of a header: the values of cookies, else the value as a whole and each of its words.

    The scheme of an `Authorization` header, such as `Bearer`, is no secret.
    """
    if name.lower().endswith("cookie"):
        parts: list[str] = []
        for cookie in re.split(r"[;\s]+", value):
            first, *others = cookie.split("=")
            parts += others or [first]
    else:
        value = value.strip()
        scheme, _, credentials = value.partition(" ")
        if credentials and "auth" in name.lower() and scheme.lower() in _AUTH_SCHEMES:
            value = credentials.strip()
        parts = [value, *value.split()]
    return [part for part in parts if _is_secret(part)]


def _is_secret(value: str) -> bool:
    return len(value) >= _SHORTEST and value.lower() not in _PLACEHOLDERS


def _masked(value: str) -> str:
    form = _FORMS.match(value)
    return f"{form.group(1)}-{MASK}" if form else MASK


@lru_cache(maxsize=_MOST_KNOWN)
def _pattern(value: str) -> re.Pattern[str] | None:
    """Every form of a value; None where it has one form only."""
    return None if _UNESCAPED.fullmatch(value) else re.compile(any_form(value))


@lru_cache(maxsize=_MOST_KNOWN)
def _bytes_pattern(value: str) -> re.Pattern[bytes] | None:
    pattern = _pattern(value)
    return pattern and re.compile(pattern.pattern.encode())


def _any_form(character: str) -> str:
    if _UNESCAPED.fullmatch(character):
        return re.escape(character)
    code = ord(character)
    plain = {character, json.dumps(character)[1:-1], repr(character)[1:-1], f"u{code:04x}", f"u{code:04X}"}
    other = {f"%{code:02x}", f"%{code:02X}", html.escape(character), f"&#{code};", f"&#x{code:x};"}
    escaped = "|".join(
        re.escape(form.lstrip("\\")) for form in sorted(plain, key=len, reverse=True) if form.strip("\\")
    )
    others = "|".join(re.escape(form) for form in sorted(other | {quote_plus(character, errors="replace")}, key=len))
    # A text may have been written as text several times, so any number of backslashes may stand before.
    return rf"(?:\\*(?:{escaped})|{others})" if character != "\\" else r"(?:\\+(?:u005[cC])?|%5[cC]|&#92;|&#x5c;)"
