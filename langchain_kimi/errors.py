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
    ├── RateLimitsUnavailableError                              retryable: Redis does not answer, nothing was sent
    ├── AnswerCutShort                                          the output cap went into thinking; has `max_tokens`
    ├── StructuredOutputError      (OutputParserException)      no valid object came back
    ├── DurabilityError            (ValueError)                 a tool in `once` in a run that leaves no trace of it
    ├── ThreadBusyError                                         another run has the thread; nothing was run
    ├── ThreadReplacedError                                     another run on the thread replaced this one
    └── ThreadLockLostError                                     the run lost its thread and stopped writing

An error in the middle of an answer has the part that arrived, with its usage, as `message`.

`KimiWarning` is the category of every warning of this package.
"""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from langchain_core import exceptions as core
from langchain_core.exceptions import OutputParserException

from langchain_kimi._finish_reasons import ABNORMAL, CONTENT_FILTER, RETRYABLE
from langchain_kimi._redaction import escape_controls, mask_known, shown_line
from langchain_kimi._warning_location import users_line

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.messages.ai import UsageMetadata

__all__ = [
    "APIConnectionError",
    "APITimeoutError",
    "AnswerCutShort",
    "AuthenticationError",
    "BadRequestError",
    "BrokenStreamError",
    "ContentFilterError",
    "ContextOverflowError",
    "DurabilityError",
    "IllegalRequestError",
    "IncompleteAnswerError",
    "KimiError",
    "KimiWarning",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "QuotaExceededError",
    "RateLimitError",
    "RateLimitsUnavailableError",
    "ResponseTooLargeError",
    "ServerError",
    "StructuredOutputError",
    "ThreadBusyError",
    "ThreadLockLostError",
    "ThreadReplacedError",
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
        self.type = type and shown_line(type)
        self.host = host
        self.request_id = request_id and shown_line(request_id)
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


class RateLimitsUnavailableError(KimiError):
    """The Redis server by which processes share their `RateLimits` does not answer, so the request was not sent."""

    is_retryable = True


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


class DurabilityError(KimiError, ValueError):
    """A run cannot record that a call of a tool in `once` starts: it has no checkpointer, or writes only at its end."""


class ThreadBusyError(KimiError):
    """Another run has the thread (`exclusive=`), and this one did not wait or has waited for its timeout."""


class ThreadReplacedError(KimiError):
    """Another run on the thread replaced this one, which stopped at its last checkpoint."""


class ThreadLockLostError(KimiError):
    """The run no longer has its thread, so it stopped and writes nothing more. Another run may have the thread."""

    @classmethod
    def of(cls, reason: str) -> "ThreadLockLostError":
        """The error for a lock that was lost for this reason."""
        return cls(
            f"{reason}, so this run no longer has its thread, and stopped. What it had recorded is in the thread; "
            "resume it with `invoke(None, config)`, or send a new message."
        )


_PYDANTIC_LINK = re.compile(r"\n *For further information visit https://errors\.pydantic\.dev/\S*")


def without_links(error: BaseException) -> str:
    """The text of an exception for a model: without the links that pydantic adds to each of its errors."""
    return _PYDANTIC_LINK.sub("", str(error))
