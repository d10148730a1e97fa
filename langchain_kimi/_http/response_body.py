"""The body of one response while it arrives, read as what it is, whatever its content type says."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from langchain_kimi import _surrogates as surrogates
from langchain_kimi import errors
from langchain_kimi._http.decompression import Decompressor
from langchain_kimi._http.response_limits import BYTES_PER_EVENT, ResponseLimits
from langchain_kimi._http.sse import BOM, SSEParser

_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""How an event stream begins."""


class ResponseBody:
    """Splits a body into its JSON documents: the events of a stream, or the one that it is.

    `raw` hands the whole body out as its bytes. A body that is neither raises the error that it is: a refusal, an error
    sent with a status of success, a gateway's page, or an answer that ended too early. `tokens` are those of the
    request, prompt and cap; they make room in the limits. `decompressed`: the HTTP client has done that already. `mask`
    takes the secrets of the request out of what errors show.
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
        self._about: dict[str, Any] = {"model": model, "base_path": base_path}
        self.is_refusal = not 200 <= status < 300
        """Whether the status is none of success."""
        encoding = "" if decompressed else headers.get("content-encoding", "").strip().lower()
        self._decompressor = Decompressor(encoding, host)
        self._events: SSEParser | None = None
        self._content = bytearray()
        self._known = raw or self.is_refusal
        self._labelled_events = headers.get("content-type", "").lower().startswith("text/event-stream")
        self._received = self._size = 0
        self._largest = limits.streamed(tokens)
        self.enough = False
        """Whether nothing that follows is needed."""

    @property
    def events(self) -> int:
        """How many events there were."""
        return self._events.count if self._events else 0

    @property
    def done(self) -> bool:
        """Whether a stream said that it is complete."""
        return self._events is not None and self._events.done

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The documents that a piece completes. Raises ResponseTooLargeError beyond the limits."""
        if self._decompressor.passes:
            return self._take(piece)
        return self._decompressed(piece)

    def end(self) -> Iterator[bytes]:
        """The last document. Raises the error of a refusal, and of a body that is no JSON object."""
        if self.is_refusal:
            raise self._refusal()
        if self._raw:
            yield bytes(self._content)
        elif self._events is not None:
            yield from self._events.end()
        elif self._content:
            yield self._document(self._mask(bytes(self._content)))

    def error_in(self, document: bytes) -> errors.KimiError | None:
        """The error that a document is, where it is one and no part of an answer."""
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
            yield from self._take(part)
            if self.enough:
                return

    def _take(self, piece: bytes) -> Iterator[bytes]:
        self._size += len(piece)
        if self._events is None:
            if not self._known:
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
        """Find out what the body is, by its first characters."""
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
        self._known = True
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
        """The body that is one document, where it is an object. Raises the error that it is otherwise."""
        self._limits.check_document(data, self._host)
        try:
            parsed = surrogates.loads(data)
        except ValueError as error:
            if data[:1] not in (b"{", b"["):
                raise self._no_answer(data) from error
            text = f"{self._host} sent JSON that is broken or ends too early; nothing of it is used. Ask again."
            raise errors.BrokenStreamError(text, host=self._host) from error
        if not isinstance(parsed, dict):
            raise self._no_answer(data)
        return data

    def _refusal(self) -> errors.KimiError:
        """The error of a status that is none of success."""
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
        return errors.from_response(self._status, parsed, host=self._host, headers=self._headers, **self._about)

    def _no_answer(self, data: bytes) -> errors.KimiError:
        text = data[:10_000].decode("utf-8", "replace")
        return errors.no_answer(self._status, text, host=self._host, headers=self._headers)


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
