"""An error response, or an error in a response, as its exception."""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

from langchain_kimi._api_keys import KEY_REGIONS
from langchain_kimi._redaction import redact, shown_line, shown_url
from langchain_kimi.catalogue import find, suggestion
from langchain_kimi.errors import (
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ContentFilterError,
    ContextOverflowError,
    KimiError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)

_OVERFLOW = re.compile(r"(?:token limit\s*:\s*|maximum context length is )(\d+)(?:.*?requested:?\s*(\d+))?", re.DOTALL)
"""The numbers in Kimi's refusal of a request as too long, and in that of other hosts."""
_TOO_LONG = ("input token length too long", "exceeds the model specification")
_WAIT = re.compile(r"try again after (\d+(?:\.\d+)?) ?s")
_LONGEST = 4_000
"""The most characters of a host's text that are read."""
_A_DAY = re.compile(r"\bTPD\b")
_INCIDENT = "missing required header Kimi-Api-Version"
"""Kimi's gateway refused good requests with this 400 for a while; no client sends such a header."""
_VERSION = re.compile(r"/v\d")
_NO_MONEY = re.compile(r"exceeded (?:your )?current (?:token )?quota|insufficient balance|please recharge|in arrears")


def from_response(
    status: int, body: Any, *, host: str, headers: Mapping[str, str], model: str = "", base_path: str | None = None
) -> KimiError:
    """The error for an error response. `body` is the parsed JSON, or the text of a body that is not JSON.

    For a success status, the class of the error follows from the body. `base_path` is the path of the base URL; an
    error for an unknown path says if `/v1` is missing in it.
    """
    detail = body.get("error", body) if isinstance(body, Mapping) else {}
    if not isinstance(detail, Mapping):
        detail = {"message": str(detail)}
    kind = shown_line(str(detail.get("type") or detail.get("code") or ""))
    text = shown_line(str(detail.get("message") or "")[:_LONGEST]) or _plain(body) or "no message"
    error_class = _classify(_status_of(body, detail, kind) if status < 300 else status, kind, text)
    way_out = _way_out(error_class, host, model)
    if error_class is NotFoundError and base_path is not None and _lacks_version(base_path, text):
        way_out = f". base_url has no version in its path ({base_path or '/'}); Kimi's and most hosts' ends in `/v1`."
    if 300 <= status < 400 and (target := headers.get("location")):
        address = shown_line(shown_url(target[:_LONGEST]))
        way_out = f". It redirects to {address}, which is not followed. Set base_url to the host's final address."
    answered = f"answered {status} with an error" if status < 300 else f"answered {status}"
    error = error_class(
        f"{host} {answered}{f' {kind}' if kind else ''}: {text}{way_out}",
        status=status,
        type=kind or None,
        host=host,
        request_id=headers.get("x-request-id")
        or headers.get("msh-request-id")
        or str(detail.get("request_id") or "")
        or None,
        retry_after=_retry_after(headers, text),
    )
    if isinstance(error, RateLimitError) and _A_DAY.search(text):
        error.is_retryable = False
    if isinstance(error, ContextOverflowError):
        error.limit, error.requested = _overflow_numbers(text)
    return error


def overflow_numbers(error: BaseException) -> tuple[int | None, int | None]:
    """The limit and the requested tokens that an error of any integration names; None where it does not."""
    limit, requested = getattr(error, "limit", None), getattr(error, "requested", None)
    return _overflow_numbers(str(error)) if limit is None else (limit, requested)


def _overflow_numbers(text: str) -> tuple[int | None, int | None]:
    match = _OVERFLOW.search(text)
    if match is None:
        return None, None
    return int(match.group(1)), int(match.group(2)) if match.group(2) else None


def no_answer(status: int, text: str, *, host: str, headers: Mapping[str, str]) -> ServerError:
    """The error for a success status with a body that is not an answer, such as the page of a gateway."""
    label = shown_line(str(headers.get("content-type") or "unknown")[:100])
    return ServerError(
        f"{host} answered {status}, but its body is not an answer (content type {label}): "
        f"{_plain(text) or 'it is empty'}",
        status=status,
        host=host,
        request_id=headers.get("x-request-id") or headers.get("msh-request-id"),
        retry_after=_retry_after(headers, ""),
    )


_STATUS = {
    "invalid_request_error": 400,
    "content_filter": 400,
    "invalid_authentication_error": 401,
    "incorrect_api_key_error": 401,
    "authentication_error": 401,
    "permission_denied_error": 403,
    "access_terminated_error": 403,
    "resource_not_found_error": 404,
    "not_found_error": 404,
    "engine_overloaded_error": 429,
    "rate_limit_reached_error": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "exceeded_current_quota_error": 429,
}
"""The HTTP status that Kimi sends with each type of error; needed where an error comes with another status."""


def _status_of(body: Any, detail: Mapping[str, Any], kind: str) -> int:
    """The HTTP status for an error by the type or code in its body."""
    if kind in _STATUS:
        return _STATUS[kind]
    for code in (detail.get("code"), detail.get("status"), body.get("status") if isinstance(body, Mapping) else None):
        if str(code).isdecimal() and 400 <= int(str(code)[:4]) < 600:
            return int(str(code))
    return 500


def _classify(status: int, kind: str, text: str) -> type[KimiError]:
    if kind == "exceeded_current_quota_error" or (status == 429 and _NO_MONEY.search(text)):
        return QuotaExceededError
    if kind == "engine_overloaded_error" or (status == 429 and "overloaded" in text):
        return OverloadedError
    if _INCIDENT in text:
        return ServerError
    if kind == "content_filter":
        return ContentFilterError
    if status in (400, 413) and (_OVERFLOW.search(text) or any(words in text.lower() for words in _TOO_LONG)):
        return ContextOverflowError
    by_status: dict[int, type[KimiError]] = {
        401: AuthenticationError,
        403: PermissionDeniedError,
        404: NotFoundError,
        408: APITimeoutError,
        429: RateLimitError,
    }
    return by_status.get(status) or (ServerError if status >= 500 else BadRequestError)


def _way_out(error_class: type[KimiError], host: str, model: str) -> str:
    if error_class is AuthenticationError:
        return f". Check MOONSHOT_API_KEY. Keys are bound to their host, which was {host} here. {KEY_REGIONS}"
    if error_class is NotFoundError and model:
        return f". {_why_not_found(model)}"
    if error_class is QuotaExceededError:
        return ". Top up the account; retrying cannot help."
    return ""


def _why_not_found(model: str) -> str:
    """What is known of a model that the host does not serve to this account."""
    row, meant = find(model), suggestion(model)
    lists = "`langchain-kimi doctor` lists the models of your account."
    if row and row.is_retired():
        return f"{row.retirement_text()} {lists}"
    known = [row.retirement_text(), row.access] if row else [f"Did you mean {meant!r}?" if meant else ""]
    return " ".join(filter(None, ["It may be retired, misspelt, or not open to this account.", *known, lists]))


def _lacks_version(base_path: str, text: str) -> bool:
    """Whether a path, and not a model, does not exist, and the base URL has no version such as `/v1`."""
    return not _VERSION.search(base_path) and "model" not in text.lower()


def _plain(body: Any) -> str:
    """The start of a body that is not JSON, such as the HTML page of a gateway, without its tags."""
    text = body[:_LONGEST] if isinstance(body, str) else ""
    return shown_line(" ".join(re.sub(r"<[^<>]*>", " ", redact(text)).split())[:200])


def _retry_after(headers: Mapping[str, str], text: str) -> float | None:
    """The seconds to wait by the host's header, a number or a date, or by its message."""
    value = headers.get("retry-after", "").strip()
    with suppress(ValueError):
        return float(value)
    with suppress(ValueError, OverflowError):
        moment = parsedate_to_datetime(value)
        own = headers.get("date")
        now = parsedate_to_datetime(own).timestamp() if own else time.time()
        return max(moment.timestamp() - now, 0.0)
    match = _WAIT.search(text)
    return float(match.group(1)) if match else None
