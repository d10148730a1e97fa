"""The exceptions of this package, based on LangChain's model errors.

    KimiError
    ├── BadRequestError            (ModelInvalidRequestError)   the request is invalid
    │   ├── IllegalRequestError                                 found before sending; has `violations`
    │   │   └── ToolChoiceError                                 a `tool_choice` that the model does not accept
    │   └── ContentFilterError                                  moderation refused the input or the output
    ├── ContextOverflowError       (ContextOverflowError)       prompt and cap do not fit the window
    ├── AuthenticationError        (ModelAuthenticationError)   no key, a wrong key, a key of another host
    ├── PermissionDeniedError      (ModelPermissionDeniedError)
    ├── NotFoundError              (ModelNotFoundError)         unknown or retired model, wrong path
    ├── RateLimitError             (ModelRateLimitError)        retryable: too many requests or tokens
    │   ├── OverloadedError                                     retryable: the engine is full
    │   └── QuotaExceededError                                  never retryable: the account has no money
    ├── ServerError                (ModelAPIError)              retryable: 5xx, HTML instead of JSON
    ├── APIConnectionError         (ModelConnectionError)       retryable: the host cannot be reached
    │   └── BrokenStreamError                                   retryable: an answer ended before its finish
    ├── APITimeoutError            (ModelTimeoutError)          retryable
    ├── IncompleteAnswerError      (ModelAPIError)              the host gave up on an answer; has `finish_reason`
    ├── ResponseTooLargeError      (ModelAPIError)              a response beyond the limits; has `limit`, `maximum`
    ├── AnswerCutShort                                          the output cap went into thinking; has `max_tokens`
    ├── StructuredOutputError      (OutputParserException)      no valid object came back
    └── AsyncOnlyToolError         (NotImplementedError)        an asynchronous tool in a synchronous run

An error in the middle of an answer has the part that arrived, with its usage, as `message`.

`KimiWarning` is the category of every warning of this package.
"""

import re
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core import exceptions as core
from langchain_core.exceptions import OutputParserException

from langchain_kimi._api_keys import KEY_REGIONS
from langchain_kimi._finish_reasons import ABNORMAL, CONTENT_FILTER, RETRYABLE
from langchain_kimi._redaction import escape_controls, mask_known, redact, shown_url
from langchain_kimi._warning_location import users_line
from langchain_kimi.catalogue import find, suggestion

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.messages.ai import UsageMetadata

__all__ = [
    "APIConnectionError",
    "APITimeoutError",
    "AnswerCutShort",
    "AsyncOnlyToolError",
    "AuthenticationError",
    "BadRequestError",
    "BrokenStreamError",
    "ContentFilterError",
    "ContextOverflowError",
    "IllegalRequestError",
    "IncompleteAnswerError",
    "KimiError",
    "KimiWarning",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "QuotaExceededError",
    "RateLimitError",
    "ResponseTooLargeError",
    "ServerError",
    "StructuredOutputError",
    "ToolChoiceError",
]


class KimiWarning(UserWarning):
    """A setting of the user was changed so that Kimi accepts the request."""


def warn(message: str) -> None:
    """Issue a `KimiWarning` at the user's line, without known secrets and control characters."""
    line = users_line()
    text = escape_controls(mask_known(message))
    warnings.warn_explicit(text, KimiWarning, line.filename, line.number, line.module, line.registry)


class KimiError(Exception):
    """Base of every error of this package.

    `status` is the HTTP status (None if nothing was sent or received), `type` Kimi's `error.type`, `host` the host of
    the request, `request_id` Kimi's id of the request, `retry_after` the seconds that Kimi asks to wait. Known secrets
    are masked in the message, and control characters are escaped.
    """

    is_retryable = False
    message: "AIMessage | None" = None
    """The part of an answer that arrived before the error; None if no answer had started."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,
        host: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(escape_controls(mask_known(message), keep="\n\t"))
        self.status = status
        self.type = type and _one_line(type)
        self.host = host
        self.request_id = request_id and _one_line(request_id)
        self.retry_after = retry_after

    @property
    def usage_metadata(self) -> "UsageMetadata | None":
        """The usage of the failed answer, as far as it is known."""
        return self.message.usage_metadata if self.message is not None else None

    @property
    def broke_off(self) -> bool:
        """Whether an answer ended incomplete for a temporary reason, so that the request can be sent again."""
        return self.is_retryable and self.message is not None


class BadRequestError(KimiError, core.ModelInvalidRequestError):
    """Kimi refused the request as invalid (HTTP 400)."""


class Refusal(Protocol):
    """One reason for which a request is refused; `rules.Violation` is one."""

    @property
    def path(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def way_out(self) -> str: ...


class IllegalRequestError(BadRequestError):
    """The request breaks a rule of Kimi and was not sent. `violations` lists every reason."""

    def __init__(self, message: str, violations: Sequence[Refusal] = ()) -> None:
        super().__init__(message)
        self.violations = tuple(violations)

    @classmethod
    def of(cls, violations: Sequence[Refusal]) -> "IllegalRequestError":
        """The error for these violations, with Kimi's text and a way out for each."""
        lines = [escape_controls(f"- at `{v.path}`: {v.message}. {v.way_out}") for v in violations]
        return cls("\n".join(["Kimi would refuse this request, so it was not sent:", *lines]), violations)


class ToolChoiceError(IllegalRequestError):
    """A `tool_choice` that the model does not accept, with `illegal_tool_choice="raise"`."""


def check_unique_tools(names: Sequence[str]) -> None:
    """Raise IllegalRequestError if several tools have the same name, with Kimi's text for it."""
    for name, count in Counter(names).items():
        if count > 1:
            raise IllegalRequestError(f"function name {name} is duplicated. Give every function its own name.")


class ContentFilterError(BadRequestError):
    """Moderation refused the input or the output."""


class ContextOverflowError(KimiError, core.ContextOverflowError):
    """Prompt and output cap together exceed the model's window. `limit` and `requested` are in tokens."""

    limit: int | None = None
    requested: int | None = None


class AuthenticationError(KimiError, core.ModelAuthenticationError):
    """The key is missing, wrong, or belongs to another host (HTTP 401)."""


class PermissionDeniedError(KimiError, core.ModelPermissionDeniedError):
    """The key may not do this (HTTP 403)."""


class NotFoundError(KimiError, core.ModelNotFoundError):
    """The model or the path does not exist, or the account may not use it (HTTP 404)."""


class RateLimitError(KimiError, core.ModelRateLimitError):
    """Too many requests or tokens in a window, or too many at once (HTTP 429)."""

    is_retryable = True


class OverloadedError(RateLimitError):
    """Kimi's engine is full (HTTP 429 `engine_overloaded_error`)."""


class QuotaExceededError(RateLimitError):
    """The account has no balance left (HTTP 429 or 403 `exceeded_current_quota_error`); retrying cannot help."""

    is_retryable = False


class ServerError(KimiError, core.ModelAPIError):
    """Kimi failed (HTTP 5xx), or a gateway in front of it did not answer with JSON."""

    is_retryable = True


class APIConnectionError(KimiError, core.ModelConnectionError):
    """The host could not be reached, or the connection broke."""

    is_retryable = True


class BrokenStreamError(APIConnectionError):
    """An answer ended before its finish; the part that arrived is incomplete."""

    broke_off = True


class APITimeoutError(KimiError, core.ModelTimeoutError):
    """Kimi did not answer in time. `timeout` is the field of `Timeouts` that expired; None if Kimi reported it."""

    is_retryable = True
    timeout: str | None = None

    @property
    def broke_off(self) -> bool:
        """As for every error, except that no time is left for another request after the timeout `total`."""
        return super().broke_off and self.timeout != "total"


class IncompleteAnswerError(KimiError, core.ModelAPIError):
    """The host ended an answer with a `finish_reason` that says it is not whole, or moderation withheld all of it, or
    it has no text and a reason that is not known.

    `message` is the part that arrived; its tool calls are in `invalid_tool_calls` and must not run. The error is
    retryable where the reason has nothing to do with the request: `engine_overloaded`, `server_interrupted`, `abort`
    and `error`.
    """

    message: "AIMessage"
    finish_reason: str = ""

    @classmethod
    def of(cls, finish_reason: str, message: "AIMessage", host: str) -> "IncompleteAnswerError":
        """The error for an answer with this finish reason."""
        withheld = "moderation withheld the answer"
        unknown = "the reason is unknown, and the answer has no text"
        why = ABNORMAL.get(finish_reason, withheld if finish_reason == CONTENT_FILTER else unknown)
        retryable = finish_reason in RETRYABLE
        advice = "Send the request again" if retryable else "Change the request before sending it again"
        error = cls(
            f"{host} ended its answer with the finish reason {finish_reason!r}: {why}. `message` on this error has the "
            f"part that arrived; none of its tool calls should run. {advice}.",
            host=host,
            request_id=message.response_metadata.get("request_id"),
        )
        error.message, error.finish_reason, error.is_retryable = message, finish_reason, retryable
        return error


class ResponseTooLargeError(KimiError, core.ModelAPIError):
    """The response exceeds one of `ResponseLimits`, so reading stopped. `limit` names it, `maximum` is its value."""

    limit: str = ""
    maximum: int = 0

    @classmethod
    def of(cls, limit: str, maximum: int, unit: str, host: str) -> "ResponseTooLargeError":
        """The error for a response beyond the limit of this name."""
        error = cls(
            f"{host or 'The host'} sent a response of more than {maximum:,} {unit}, the limit `{limit}`; nothing of it "
            f"is used. If such a response is right, raise the limit: response_limits=ResponseLimits({limit}=...).",
            host=host or None,
        )
        error.limit, error.maximum = limit, maximum
        return error


class AnswerCutShort(KimiError):
    """The answer spent its output cap on thinking: neither text nor calls. `message` is all of it, and `max_tokens` the
    cap that was sent; None where it is not known.
    """

    message: "AIMessage"
    max_tokens: int | None = None


class StructuredOutputError(KimiError, OutputParserException):
    """The model's answer is not an object of the schema. `llm_output` is the raw text."""

    def __init__(self, message: str, llm_output: str = "") -> None:
        KimiError.__init__(self, message)
        self.llm_output = llm_output
        self.observation = None
        self.send_to_llm = False


class AsyncOnlyToolError(KimiError, NotImplementedError):
    """An agent with a tool that can only run asynchronously was run by `invoke` or `stream`."""

    def __init__(self, tools: Sequence[str]) -> None:
        names = ", ".join(tools)
        super().__init__(
            f"These tools can only run asynchronously: {names}. Run the agent with `ainvoke` or `astream`, or give the "
            "tools a synchronous function."
        )


_OVERFLOW = re.compile(r"(?:token limit\s*:\s*|maximum context length is )(\d+)(?:.*?requested:?\s*(\d+))?", re.DOTALL)
"""The numbers in Kimi's refusal of a request as too long, and in that of other hosts."""
_TOO_LONG = ("input token length too long", "exceeds the model specification")
_WAIT = re.compile(r"try again after (\d+(?:\.\d+)?) ?s")
_PYDANTIC_LINK = re.compile(r"\n *For further information visit https://errors\.pydantic\.dev/\S*")
_LONGEST = 4_000
"""The most characters of a host's text that are read."""
_A_DAY = re.compile(r"\bTPD\b")
_INCIDENT = "missing required header Kimi-Api-Version"
"""Kimi's gateway refused good requests with this 400 for a while; no client sends such a header."""
_VERSION = re.compile(r"/v\d")
_NO_MONEY = re.compile(r"exceeded (?:your )?current (?:token )?quota|insufficient balance|please recharge|in arrears")


def without_links(error: BaseException) -> str:
    """The text of an exception for a model: without the links that pydantic adds to each of its errors."""
    return _PYDANTIC_LINK.sub("", str(error))


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
    kind = _one_line(str(detail.get("type") or detail.get("code") or ""))
    text = _one_line(str(detail.get("message") or "")[:_LONGEST]) or _plain(body) or "no message"
    error_class = _classify(_status_of(body, detail, kind) if status < 300 else status, kind, text)
    way_out = _way_out(error_class, host, model)
    if error_class is NotFoundError and base_path is not None and _lacks_version(base_path, text):
        way_out = f". base_url has no version in its path ({base_path or '/'}); Kimi's and most hosts' ends in `/v1`."
    if 300 <= status < 400 and (target := headers.get("location")):
        address = _one_line(shown_url(target[:_LONGEST]))
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
    label = _one_line(str(headers.get("content-type") or "unknown")[:100])
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
    if error_class is NotFoundError and (row := find(model)) and row.retired:
        return f". {row.retirement}"
    if error_class is NotFoundError and model:
        meant = suggestion(model)
        hint = f" Did you mean {meant!r}?" if meant and meant != model else ""
        ways = "`langchain_kimi.catalogue.MODELS` lists the models known here; GET /v1/models lists your account's."
        return f".{hint} {ways}"
    if error_class is QuotaExceededError:
        return ". Top up the account; retrying cannot help."
    return ""


def _lacks_version(base_path: str, text: str) -> bool:
    """Whether a path, and not a model, does not exist, and the base URL has no version such as `/v1`."""
    return not _VERSION.search(base_path) and "model" not in text.lower()


def _plain(body: Any) -> str:
    """The start of a body that is not JSON, such as the HTML page of a gateway, without its tags."""
    text = body[:_LONGEST] if isinstance(body, str) else ""
    return _one_line(" ".join(re.sub(r"<[^<>]*>", " ", redact(text)).split())[:200])


def _one_line(text: str) -> str:
    """Text of a host on one line, without secrets."""
    return escape_controls(redact(text))


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
