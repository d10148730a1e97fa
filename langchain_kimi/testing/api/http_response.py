"""`HttpResponse`: status, headers and the pieces of a body, interrupted if the reply has a fault."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from langchain_kimi.testing.script.reply import Reply, refused
from langchain_kimi.testing.serialization import encode_json


class ConnectionCut(Exception):
    """Raised by the body of a response when the connection is to be closed before its end."""


class ConnectionStalled(Exception):
    """Raised by the body of a response when nothing more is to be sent until the client closes the connection."""


@dataclass(frozen=True)
class HttpResponse:
    """An HTTP response; each piece of the body is sent at once. Without a `content-length` it is a stream.

    The caller has to call `close`, even if it did not read the body to its end.
    """

    status: int
    headers: dict[str, str]
    body: Iterator[bytes]
    close: Callable[[], object] = lambda: None
    may_block: bool = False
    """Whether producing the pieces may take time: they come from the script's own iterables, or follow a pause."""
    script_error: AssertionError | None = None
    """The ScriptError if the script failed at this request."""


def full_response(
    status: int, body: bytes, headers: Mapping[str, str] | None = None, fault: Reply | None = None
) -> HttpResponse:
    """A response in one piece, interrupted if `fault` says so."""
    if fault and isinstance(fault.ending, bytes):
        body = fault.ending
    pieces = iter([body])
    if fault and fault.cut_events is not None and not isinstance(fault.ending, bytes):
        pieces = _interrupted_in_half(body, fault)
    fixed = {"content-type": "application/json", "content-length": str(len(body)), **request_id_headers()}
    return HttpResponse(status, fixed | dict(headers or {}), pieces)


def json_response(value: object, status: int = 200) -> HttpResponse:
    """A response whose body is the value as JSON."""
    return full_response(status, encode_json(value))


def error_response(status: int, type: str, message: str) -> HttpResponse:
    """A response with Kimi's error object."""
    return full_response(status, refused(status, type, message).body)


def invalid_request(message: str) -> HttpResponse:
    """The error for a request with invalid content."""
    return error_response(400, "invalid_request_error", message)


def not_found(message: str) -> HttpResponse:
    """The error for a request for something that does not exist."""
    return error_response(404, "resource_not_found_error", message)


def url_not_found(method: str, path: str, user_agent: str) -> HttpResponse:
    """The error for a path that the API does not have.

    Recorded of api.moonshot.cn in December 2024 (MoonshotAI/moonpalace#5) and on 2026-09-24. The host sends it before
    it checks the key. The Kimi Code host sends another error.
    """
    error = {"code": 5, "error": "url.not_found", "message": "没找到对象", "method": method, "scode": "0x5"}
    return json_response({**error, "status": False, "ua": user_agent, "url": path}, 404)


def interrupt_events(batches: Iterator[list[bytes]], reply: Reply) -> Iterator[bytes]:
    """Each batch of events as one piece, interrupted as the reply says."""
    left = reply.cut_events
    for batch in batches:
        if left is None:
            yield b"".join(batch)
            continue
        if left > 0:
            yield b"".join(batch[:left])
        left -= len(batch)
        if left <= 0:
            if reply.pause is None:
                break
            time.sleep(reply.pause)
            yield b"".join(batch[len(batch) + left :])
            left = None
    if isinstance(reply.ending, bytes):
        yield b"data: %b\n\n" % reply.ending
    elif left is not None and reply.pause is None:
        raise _interruption(reply)


def cut_after_bytes(body: Iterator[bytes], length: int) -> Iterator[bytes]:
    """The first `length` bytes; then the connection closes."""
    for piece in body:
        yield piece[:length]
        length -= len(piece)
        if length <= 0:
            break
    raise ConnectionCut


def split_pieces(body: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of at most `size` bytes."""
    for piece in body:
        for start in range(0, len(piece), size):
            yield piece[start : start + size]


def request_id_headers() -> dict[str, str]:
    """The headers that identify a response."""
    request_id = secrets.token_hex(16)
    return {"x-request-id": request_id, "msh-request-id": request_id}


def _interrupted_in_half(body: bytes, fault: Reply) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    if fault.pause is None:
        raise _interruption(fault)
    time.sleep(fault.pause)
    yield body[len(body) // 2 :]


def _interruption(fault: Reply) -> Exception:
    return ConnectionStalled() if fault.ending == "stall" else ConnectionCut()
