"""Reads the body of a response while it arrives, by its content and not by its content type."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from langchain_kimi import _surrogates as surrogates
from langchain_kimi import errors
from langchain_kimi._error_responses import from_response, no_answer
from langchain_kimi._http.decompression import Decompressor
from langchain_kimi._http.response_limits import BYTES_PER_EVENT, ResponseLimits
from langchain_kimi._http.sse import BOM, SSEParser

_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""The ways in which an event stream starts."""


class ResponseBody:
    """Splits a body into its JSON documents: the events of a stream, or the body itself.

    With `raw` the body is returned as bytes. A body that is an error raises it: an error status, an error with a
    success status, the page of a gateway, or JSON that ends too early. `tokens` is the prompt and the output cap of
    the request, which raise the limits. `decompressed` says that the HTTP client has decompressed the body. `mask`
    removes the secrets of the request from the texts of errors.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        limits: ResponseLimits,
        host: str,
        *,
        raw: bool = False,
        tokens: int = 0,
        decompressed: bool = False,
        model: str = "",
        mask: Callable[[bytes], bytes] = bytes,
        base_path: str | None = None,
    ) -> None:
        self._status = status
        self._headers = headers
        self._limits = limits
        self._host = host
        self._raw = raw
        self._mask = mask
        self._error_context: dict[str, Any] = {"model": model, "base_path": base_path}
        self.is_refusal = not 200 <= status < 300
        """Whether the status is not 2xx."""
        encoding = "" if decompressed else headers.get("content-encoding", "").strip().lower()
        self._decompressor = Decompressor(encoding, host)
        self._events: SSEParser | None = None
        self._content = bytearray()
        self._is_recognised = raw or self.is_refusal
        self._labelled_events = headers.get("content-type", "").lower().startswith("text/event-stream")
        self._received = self._size = 0
        self._largest = limits.streamed(tokens)
        self.enough = False
        """Whether the rest of the body is not needed."""

    @property
    def events(self) -> int:
        """The number of events so far."""
        return self._events.count if self._events else 0

    @property
    def done(self) -> bool:
        """Whether the stream ended with `[DONE]`."""
        return self._events is not None and self._events.done

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The documents that a piece of the body completes. Raises ResponseTooLargeError beyond the limits."""
        if self._decompressor.is_identity:
            return self._split(piece)
        return self._decompressed(piece)

    def end(self) -> Iterator[bytes]:
        """The last document. Raises the error of an error status, and of a body that is not a JSON object."""
        if self.is_refusal:
            raise self._refusal()
        if self._raw:
            yield bytes(self._content)
        elif self._events is not None:
            yield from self._events.end()
        elif self._content:
            yield self._document(self._mask(bytes(self._content)))

    def error_in(self, document: bytes) -> errors.KimiError | None:
        """The error for a document that is one; None for a part of a response."""
        if b'"error"' not in document:
            return None
        try:
            parsed = surrogates.loads(document)
        except ValueError:
            return None
        is_event = self._events is not None
        return self._error(parsed) if isinstance(parsed, dict) and _is_error(parsed, is_event=is_event) else None

    def _decompressed(self, piece: bytes) -> Iterator[bytes]:
        self._received += len(piece)
        if self._received > self._largest:
            raise self._limits.exceeded("response", self._host, self._largest)
        for part in self._decompressor.feed(piece):
            yield from self._split(part)
            if self.enough:
                return

    def _split(self, piece: bytes) -> Iterator[bytes]:
        self._size += len(piece)
        if self._events is None:
            if not self._is_recognised:
                self._content += piece
                self._recognise()
                if self._events is None:
                    return iter(())
                piece = bytes(self._content)
                self._content.clear()
            else:
                self._collect(piece)
                return iter(())
        if self._events.done:
            self.enough = True
            return iter(())
        if self._size + BYTES_PER_EVENT * self._events.count > self._largest:
            raise self._limits.exceeded("response", self._host, self._largest)
        return self._events.feed(piece)

    def _recognise(self) -> None:
        """Recognise an event stream or another body by its first characters."""
        start = self._content
        if start.startswith(BOM):
            del start[: len(BOM)]
        blank = len(start) - len(start.lstrip())
        del start[:blank]
        if not start or BOM.startswith(start):
            if self._size > self._largest:
                raise self._limits.exceeded("response", self._host, self._largest)
            return
        if start[:1] not in b"{[":
            if self._labelled_events or start.startswith(_FIELDS):
                self._events = SSEParser(self._limits, self._host)
                return
            if any(field.startswith(start) for field in _FIELDS):
                return
        self._is_recognised = True
        self._collect(b"")

    def _collect(self, piece: bytes) -> None:
        self._content += piece
        limit = "file" if self._raw and not self.is_refusal else "error" if self.is_refusal else "document"
        if len(self._content) > getattr(self._limits, limit):
            if not self.is_refusal:
                raise self._limits.exceeded(limit, self._host)
            del self._content[self._limits.error :]
            self.enough = True

    def _document(self, data: bytes) -> bytes:
        """The body as one document. Raises an error if it is not a JSON object."""
        self._limits.check_document(data, self._host)
        try:
            parsed = surrogates.loads(data)
        except ValueError as error:
            if data[:1] not in (b"{", b"["):
                raise self._no_answer(data) from error
            text = f"{self._host} sent broken or incomplete JSON; nothing of it is used. Send the request again."
            raise errors.BrokenStreamError(text, host=self._host) from error
        if not isinstance(parsed, dict):
            raise self._no_answer(data)
        return data

    def _refusal(self) -> errors.KimiError:
        """The error for a status that is not 2xx."""
        data = self._mask(bytes(self._content)).removeprefix(BOM)
        if data.lstrip().startswith(_FIELDS):
            data = next(SSEParser(self._limits, self._host).feed(data + b"\n\n"), data)
        try:
            self._limits.check_document(data, self._host)
            parsed = surrogates.loads(data)
        except (ValueError, errors.ResponseTooLargeError):
            parsed = data.decode("utf-8", "replace")
        error = self._error(parsed)
        if self.enough:
            error.add_note(f"The error's body has more than {self._limits.error:,} bytes; only those were read.")
        return error

    def _error(self, parsed: Any) -> errors.KimiError:
        return from_response(self._status, parsed, host=self._host, headers=self._headers, **self._error_context)

    def _no_answer(self, data: bytes) -> errors.KimiError:
        text = data[:10_000].decode("utf-8", "replace")
        return no_answer(self._status, text, host=self._host, headers=self._headers)


def _is_error(document: Mapping[str, Any], *, is_event: bool) -> bool:
    """Whether a document is an error and not a response.

    An object that reports its own status, such as the run of a Formula tool or a batch, is a response although its
    field `error` is set; a chat completion never is.
    """
    if document.get("object") == "error":
        return True
    status = document.get("status")
    reports_status = status is not None and not (isinstance(status, int) and status >= 400)
    return bool(document.get("error")) and (is_event or "choices" in document or not reports_status)
