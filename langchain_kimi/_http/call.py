"""One call of the API with all its attempts: what to send, how long to wait, which error to raise. It does no I/O."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import httpx2

from langchain_kimi import _surrogates as surrogates
from langchain_kimi import errors
from langchain_kimi._http.credentials import check_client_headers
from langchain_kimi._http.decompression import ACCEPTED
from langchain_kimi._http.library_errors import cause_text, cut_causes
from langchain_kimi._http.multipart import UploadForm
from langchain_kimi._http.response_body import ResponseBody
from langchain_kimi._http.retries import RetryPolicy, RetryWait
from langchain_kimi._http.sse import DONE
from langchain_kimi._http.timeouts import Timeouts
from langchain_kimi._redaction import mask_bytes, mask_values, secret_values
from langchain_kimi._shared_limits import SharedSlot
from langchain_kimi.errors import KimiError
from langchain_kimi.rate_limits import RateLimitSlot

if TYPE_CHECKING:
    from langchain_kimi._http.transport import Transport

T = TypeVar("T")

logger = logging.getLogger("langchain_kimi")

_HTTPX_DEFAULT_TIMEOUT = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
"""The timeout of an httpx client that was made without one. Models that think take longer, so it is not used."""
_TIMEOUT_OF = {"ConnectTimeout": "connect", "WriteTimeout": "write", "PoolTimeout": "pool"}
"""The field of `Timeouts` for httpx's exceptions; `ReadTimeout` is `first_byte` or `silence`."""


class CallOptions(TypedDict, total=False):
    """Options of one call."""

    model: str
    """The requested model, for error messages."""
    tokens: int
    """The tokens of the prompt and the output cap, which count against `RateLimits` and the size of the response."""
    charged_tokens: Callable[[], int | None]
    """The tokens for which the host counts the request, by its response; None if that is not known."""
    raw: bool
    """Whether the result is the bytes of the response, whatever they are."""
    once: bool
    """Whether the request must not take effect twice."""
    on_wait: Callable[[RetryWait], None] | None
    """A function that is called before each wait, in the thread or event loop of the call."""
    shrink: Callable[[KimiError], bytes | None]
    """Makes a body that fits from the host's error that the request is too long, once; None if it cannot."""
    response_headers: dict[str, str]
    """A dict to fill with the headers of the response."""
    retried_headers: list[dict[str, str]]
    """A list to fill with the headers of each response that began, broke off and was retried."""


@lru_cache(maxsize=256)
def parsed_url(url: str) -> httpx2.URL:
    """The URL, parsed once."""
    return httpx2.URL(url)


class ApiCall:
    """One call and the state of its current attempt."""

    def __init__(
        self, transport: "Transport", path: str, body: bytes | UploadForm, options: CallOptions, method: str = "POST"
    ) -> None:
        self._transport = transport
        self._method = method
        self._host = transport.host
        self._path = path
        self._request_body = body
        self._options = options
        self._retries = RetryPolicy(transport.max_retries, transport.max_retry_wait, once=options.get("once", False))
        self._started = transport.clock.now()
        self._set_timeouts(transport.timeout)
        self._httpx_timeouts: dict[str, float | None] = {}
        self._read_timeout = "first_byte"
        self._is_own_client = True
        self._secrets: tuple[str, ...] = ()
        self._events = 0
        self._last_event = self._started
        self._event_timeout: float | None = None
        self._has_output = False
        self._slot: RateLimitSlot | SharedSlot | None = None
        self.response_body: ResponseBody

    def rate_limit_slot(self) -> RateLimitSlot | SharedSlot | nullcontext[None]:
        """The slot among the requests that may be in progress together."""
        if (limits := self._transport.rate_limits) is None:
            return nullcontext()
        self._slot = limits.slot(self._options.get("tokens", 0), self._options.get("charged_tokens"))
        return self._slot

    def trace(self, step: str, details: dict[str, Any]) -> None:
        """The HTTP library calls this for each step of sending a request.

        It records the secrets of the request when it is sent, including those of the client's `auth` and event hooks: a
        host may repeat them in the head of its response, which the library logs before it is returned.
        """
        if step.endswith(".send_request_headers.started"):
            headers = details["request"].headers
            secret_values((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        elif self._slot is not None and step.endswith(".send_request_body.complete"):
            self._slot.sent()

    async def atrace(self, step: str, details: dict[str, Any]) -> None:
        """`trace` for asynchronous use."""
        self.trace(step, details)

    @property
    def pool_timeout(self) -> float | None:
        """Seconds to wait for a connection that is free."""
        return self._remaining(self._timeouts.pool)

    def new_request(self, client: Any, trace: Callable[[str, dict[str, Any]], Any]) -> Any:
        """The HTTP request of the next attempt. The HTTP library calls `trace` for each step of sending it."""
        self._is_own_client = getattr(client, "has_single_connection", False)
        if self._transport.timeout is None and not self._is_own_client:
            self._take_timeout_of(client)
        timeouts = self._timeouts
        if self._ends is not None and self._transport.clock.now() >= self._ends:
            raise self._timed_out("total")
        self._read_timeout = "first_byte"
        self._options.get("response_headers", {}).clear()
        self._httpx_timeouts = {
            "connect": self._remaining(timeouts.connect),
            "write": timeouts.write,
            "pool": timeouts.pool,
            "read": self._remaining(timeouts.first_byte),
        }
        extensions: dict[str, Any] = {"timeout": self._httpx_timeouts}
        headers = {**self._content_type(), **self._transport.headers, "accept-encoding": ACCEPTED}
        url = self._transport.base_url + self._path
        if self._is_own_client:
            self._secrets = secret_values(headers.items())
            if self._slot is not None and self._slot.reports_sending:
                extensions["trace"] = trace
            return client.build_request(self._method, parsed_url(url), headers, extensions, **self._content())
        request = client.build_request(
            self._method,
            parsed_url(url) if isinstance(client, httpx2.Client | httpx2.AsyncClient) else url,
            headers=headers,
            extensions={**extensions, "trace": trace},
            **self._content(),
        )
        check_client_headers(request.headers.items())
        self._secrets = secret_values(request.headers.items())
        return request

    def begin_response(self, response: Any, raw: Callable[[], T], decompressed: Callable[[], T]) -> T:
        """Read the head of a response, and return the iterator over its body: `raw()` or `decompressed()`.

        A client that has already read the body, as test clients and recorders do, has decompressed it too. Otherwise
        it is decompressed here, within limits. From here on the timeout `silence` replaces `first_byte`.
        """
        if self._slot is not None:
            self._slot.sent()  # at the latest now: not every client reports it
        if not self._is_own_client:
            self._secrets = secret_values(response.request.headers.items())  # including those of the client's `auth`
        headers = dict(response.headers.items())
        if (wanted := self._options.get("response_headers")) is not None:
            wanted.update({name: mask_values(value, self._secrets) for name, value in headers.items()})
        # Clients read this dict once before the head of a response and once before its body.
        self._read_timeout = "silence"
        self._httpx_timeouts["read"] = self._remaining(self._timeouts.silence)
        self._events, self._last_event = 0, self._transport.clock.now()
        self._event_timeout = None if self._options.get("raw") else self._timeouts.event
        was_read = bool(response.is_stream_consumed)
        self.response_body = ResponseBody(
            response.status_code,
            headers,
            self._transport.response_limits,
            self._host,
            raw=self._options.get("raw", False),
            tokens=self._options.get("tokens", 0),
            decompressed=was_read,
            model=self._options.get("model", ""),
            mask=self._mask,
            base_path=parsed_url(self._transport.base_url).path,
        )
        return decompressed() if was_read else raw()

    def documents(self, piece: bytes) -> Iterator[bytes]:
        """The JSON documents that a piece of the body completes. Raises APITimeoutError, and an error in place of the
        first document.
        """
        documents = map(self._mask, self._feed(piece))
        return documents if self._has_output else self._from_first(documents)

    def last_documents(self) -> Iterator[bytes]:
        """The documents at the end of the body. Raises the error that the body is, also if it is empty."""
        last = self.response_body.end()
        if self._options.get("raw"):
            for document in last:
                self._has_output = True
                yield document
        else:
            yield from self._from_first(map(self._mask, last))
        if not self._has_output:
            raise errors.BrokenStreamError(f"{self._host} sent an empty response.", host=self._host)

    def result(self, documents: list[bytes]) -> Any:
        """The result of a request whose response is one document."""
        return documents[0] if self._options.get("raw") else surrogates.loads(documents[0])

    def as_kimi_error(self, exception: Exception) -> KimiError:
        """The KimiError for an exception of httpx2 or httpx, by name: the two libraries share no base class.

        Raises other exceptions as they are.
        """
        if isinstance(exception, KimiError):
            return exception
        names = {base.__name__ for base in type(exception).__mro__ if base.__module__.startswith("httpx")}
        if "TimeoutException" in names:
            error: KimiError = self._timed_out(_TIMEOUT_OF.get(type(exception).__name__, self._read_timeout))
        elif names & {"TransportError", "StreamError", "DecodingError"}:
            error = errors.APIConnectionError(
                f"The connection to {self._host} failed: {cause_text(exception)}. Check `base_url`, the network and "
                "HTTPS_PROXY.",
                host=self._host,
            )
        else:
            raise exception
        error.__cause__ = exception
        return error

    def retry_delay(self, error: KimiError) -> float | None:
        """Seconds to wait before the next attempt; None if the response is complete despite the error.

        Raises the error if there is no other attempt: after a part of the response was handed out, a second one would
        repeat it. Call it outside of `except`, so that Python does not attach the HTTP library's exception again.
        """
        if self._has_output and self.response_body.done:
            return None
        cut_causes(error)
        if self._has_output and type(error) is errors.APIConnectionError:
            text = f"The response of {self._host} broke off; nothing of it is used. Send the request again."
            raise errors.BrokenStreamError(text, host=self._host) from error
        if self._shrinks(error):
            return 0.0
        seconds = None if self._has_output else self._retries.delay(error)
        if seconds is None or (self._ends is not None and self._transport.clock.now() + seconds >= self._ends):
            raise error
        if (headers := self._options.get("response_headers")) and not self.response_body.is_refusal:
            self._options.get("retried_headers", []).append(dict(headers))
        wait = RetryWait(seconds, self._retries.attempts, error)
        logger.info("attempt %d failed, the next one follows in %.1f s: %s", wait.attempt, seconds, error)
        if on_wait := self._options.get("on_wait"):
            on_wait(wait)
        return seconds

    def _from_first(self, documents: Iterator[bytes]) -> Iterator[bytes]:
        """The documents, without a `[DONE]` before the first. Raises the error that the first one is."""
        for document in documents:
            if not self._has_output:
                if document == DONE:
                    continue
                if error := self.response_body.error_in(document):
                    raise error
                self._has_output = True
            yield document

    def _feed(self, piece: bytes) -> Iterator[bytes]:
        now = self._transport.clock.now()
        if self._ends is not None and now >= self._ends:
            raise self._timed_out("total")
        if self.response_body.events != self._events:
            self._events, self._last_event = self.response_body.events, now
        elif self._event_timeout is not None and now - self._last_event > self._event_timeout:
            raise self._timed_out("event")
        return self.response_body.feed(piece)

    def _mask(self, data: bytes) -> bytes:
        """Bytes of the host, without the secrets of the request."""
        return mask_bytes(data, self._secrets)

    def _content(self) -> dict[str, Any]:
        """The body of the request as httpx accepts it."""
        if isinstance(self._request_body, UploadForm):
            return self._request_body.content()
        return {"content": self._request_body} if self._request_body else {}

    def _content_type(self) -> Mapping[str, str]:
        is_json = isinstance(self._request_body, bytes) and self._request_body
        return {"content-type": "application/json"} if is_json else {}

    def _shrinks(self, error: KimiError) -> bool:
        """Whether the body was made to fit after the host refused it as too long."""
        if self._has_output or not isinstance(error, errors.ContextOverflowError):
            return False
        shrink = self._options.pop("shrink", None)
        if shrink is None or not self._retries.allow_one_more() or (body := shrink(error)) is None:
            return False
        self._request_body = body
        logger.info("the request is sent again with a smaller output cap: %s", error)
        return True

    def _take_timeout_of(self, client: Any) -> None:
        if client.timeout.as_dict() != _HTTPX_DEFAULT_TIMEOUT:
            self._set_timeouts(client.timeout)

    def _set_timeouts(self, timeout: Any) -> None:
        self._timeouts = Timeouts.of(timeout)
        self._ends = None if self._timeouts.total is None else self._started + self._timeouts.total

    def _remaining(self, seconds: float | None) -> float | None:
        """A timeout, or what remains of the timeout `total` if that is less."""
        if self._ends is None:
            return seconds
        remaining = max(self._ends - self._transport.clock.now(), 0.001)
        return remaining if seconds is None else min(seconds, remaining)

    def _timed_out(self, timeout: str) -> errors.APITimeoutError:
        if self._ends is not None and self._transport.clock.now() >= self._ends:
            timeout = "total"
        error = errors.APITimeoutError(
            f"{self._host} did not answer in time: the timeout `{timeout}` of {getattr(self._timeouts, timeout)} s "
            "expired. The setting `timeout` changes it.",
            host=self._host,
        )
        error.timeout = timeout
        return error
