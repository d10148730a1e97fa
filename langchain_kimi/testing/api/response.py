"""`Answer`: status, headers and the pieces of a body, broken by a reply's fault where it has one."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from langchain_kimi.testing.script.reply import Reply, refused
from langchain_kimi.testing.script.wire_json import encode


class CutOff(Exception):
    """Raised by the body of an answer where the connection is to be closed without an end."""


class Stalled(Exception):
    """Raised by the body of an answer where nothing more is to be sent, until the client closes the connection."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; each piece of the body is sent at once. Without a `content-length` it is a stream.

    Whoever takes it calls `close`, also where the body was not read to its end.
    """

    status: int
    headers: dict[str, str]
    body: Iterator[bytes]
    close: Callable[[], object] = lambda: None
    waits: bool = False
    """Whether the pieces are waited for: they come from the script's own iterables, or after a pause."""
    script_error: AssertionError | None = None
    """The ScriptError behind an answer to a request for which the test's script failed."""


def whole(status: int, body: bytes, headers: Mapping[str, str] | None = None, fault: Reply | None = None) -> Answer:
    """An answer in one piece, or broken by the reply's fault."""
    if fault and isinstance(fault.ending, bytes):
        body = fault.ending
    pieces = iter([body])
    if fault and fault.cut is not None and not isinstance(fault.ending, bytes):
        pieces = _half(body, fault)
    fixed = {"content-type": "application/json", "content-length": str(len(body)), **answer_ids()}
    return Answer(status, fixed | dict(headers or {}), pieces)


def json_answer(value: object, status: int = 200) -> Answer:
    """An answer whose body is the value as JSON."""
    return whole(status, encode(value))


def refusal(status: int, type: str, message: str) -> Answer:
    """An answer with Kimi's error object."""
    return whole(status, refused(status, type, message).body)


def invalid(message: str) -> Answer:
    """The refusal of a request for what it says."""
    return refusal(400, "invalid_request_error", message)


def not_found(message: str) -> Answer:
    """The refusal of a request for something that does not exist."""
    return refusal(404, "resource_not_found_error", message)


def url_not_found(method: str, path: str, user_agent: str) -> Answer:
    """The refusal of a request to a path that the API does not have.

    Recorded of api.moonshot.cn in December 2024 (MoonshotAI/moonpalace#5) and on 2026-09-24. It comes before the key is
    looked at. The Kimi Code host answers another way.
    """
    error = {"code": 5, "error": "url.not_found", "message": "没找到对象", "method": method, "scode": "0x5"}
    return json_answer({**error, "status": False, "ua": user_agent, "url": path}, 404)


def cut_pieces(batches: Iterator[list[bytes]], reply: Reply) -> Iterator[bytes]:
    """Each batch of events as one piece, up to the reply's cut."""
    left = reply.cut
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
        raise _failure(reply)


def cut_at(body: Iterator[bytes], length: int) -> Iterator[bytes]:
    """The first so many bytes, then the connection breaks."""
    for piece in body:
        yield piece[:length]
        length -= len(piece)
        if length <= 0:
            break
    raise CutOff


def cut_up(body: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of at most so many."""
    for piece in body:
        for start in range(0, len(piece), size):
            yield piece[start : start + size]


def answer_ids() -> dict[str, str]:
    """The headers that name an answer."""
    request_id = secrets.token_hex(16)
    return {"x-request-id": request_id, "msh-request-id": request_id}


def _half(body: bytes, fault: Reply) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    if fault.pause is None:
        raise _failure(fault)
    time.sleep(fault.pause)
    yield body[len(body) // 2 :]


def _failure(fault: Reply) -> Exception:
    return Stalled() if fault.ending == "stall" else CutOff()
