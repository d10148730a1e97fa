"""`KimiDouble`: a strict local double of Kimi's API, as a function from an HTTP request to an answer.

The double refuses what Kimi refuses, in Kimi's words, and answers the rest from a script. Tokens are estimated: four
bytes of the JSON of tools and messages are one. With the rest of the package it shares the catalogue and the rules
only; what it puts on the wire is written anew, so that it can judge.
"""

import hashlib
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from langchain_kimi.catalogue import MODELS, Model, find
from langchain_kimi.rules import check
from langchain_kimi.testing.dialects import Dialect, read_request
from langchain_kimi.testing.script import (
    Completion,
    Refused,
    Reply,
    Request,
    Script,
    encode,
    refused,
    tokens,
    too_many,
)

_BLOCK = 256
"""Tokens in one block of the prefix cache."""
_DONE = b"data: [DONE]\n\n"
_REMEMBERED = 32
"""Prompts in the prefix cache."""
_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})
_MEDIA = re.compile(rb"data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]*")


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


class KimiDouble:
    """Kimi's API as a function from an HTTP request to an `Answer`; safe to call from many threads.

    `script` is an iterable of replies (read to its end here) or a function, called by several threads at once.
    `api_key` is the only key taken, any key where it is None. `models` are served besides the live ones. `concurrency`
    is how many answers may be under way; a request beyond is refused as Kimi does it. `dialect` plays a host that
    serves Kimi models under other field names.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        api_key: str | None = None,
        models: Iterable[str] = (),
        concurrency: int | None = None,
        dialect: Dialect = "kimi",
    ) -> None:
        self._dialect = dialect
        self._function = script if callable(script) else None
        self._replies = deque(() if callable(script) else script)
        for reply in self._replies:
            if not isinstance(reply, Reply):
                raise TypeError(f"a script is made of replies such as said('…') or called('…'), not of {reply!r}")
        self._api_key = api_key
        self._models: dict[str, Model | None] = {row.id: row for row in MODELS if row.retired is None}
        self._models |= {name: find(name) for name in models}
        self._concurrency = concurrency
        self._under_way: set[int] = set()
        self._cache = _PrefixCache()
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        """Every chat request that was received, also those refused, in order of arrival."""
        self.statuses: list[int | None] = []
        """The HTTP status of the answer to each of `requests`; None while there is none yet."""
        self.script_errors: list[str] = []
        """What went wrong with the script itself: no reply left, or the function raised."""

    @property
    def script_left(self) -> int:
        """How many replies of the script were not used; 0 for a function."""
        return len(self._replies)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to one HTTP request; iterating its body may raise `CutOff` or `Stalled`."""
        sent = {name.lower(): value for name, value in headers.items()}
        route = path.partition("?")[0].removeprefix("/v1")
        if (method, route) == ("POST", "/chat/completions"):
            return self._chat(method, path, sent, body)
        if refusal := self._locked_out(sent):
            return whole(refusal.status, refusal.body)
        if (method, route) == ("GET", "/models"):
            return whole(200, encode({"object": "list", "data": self._listed()}))
        return whole(404, refused(404, "resource_not_found_error", "The requested resource was not found").body)

    def _chat(self, method: str, path: str, sent: dict[str, str], body: bytes) -> Answer:
        shown = {name: _mask(value) if name in _SECRET else value for name, value in sent.items()}
        with self._lock:
            request = Request(method, path, shown, body, len(self.requests) + 1)
            self.requests.append(request)
            self.statuses.append(None)
            prompt = _prompt(request)
            refusal = self._locked_out(sent) or self._crowded_out(request) or self._refusal(request, prompt)
            reply = refusal or self._next(request)
        reply = reply or self._asked(request)
        answer = self._written(request, prompt, reply)
        release = partial(self._under_way.discard, request.number)
        if "content-length" in answer.headers and reply.cut is None:
            release()
        pieces = answer.body if reply.piece is None else _cut_up(answer.body, reply.piece)
        # A long conversation's requests are kept as bytes only: parsed, they are several times as large.
        vars(request).pop("json", None)
        self.statuses[request.number - 1] = answer.status
        return replace(answer, body=pieces, close=release)

    def _crowded_out(self, request: Request) -> Refused | None:
        if self._concurrency is None:
            return None
        if len(self._under_way) >= self._concurrency:
            return too_many(self._concurrency)
        self._under_way.add(request.number)
        return None

    def _locked_out(self, sent: Mapping[str, str]) -> Refused | None:
        scheme, _, key = sent.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            return refused(401, "incorrect_api_key_error", "Incorrect API key provided")
        if self._api_key is not None and key.strip() != self._api_key:
            return refused(401, "invalid_authentication_error", "Invalid Authentication")
        return None

    def _refusal(self, request: Request, prompt: bytes) -> Refused | None:
        try:
            parsed = request.json
        except (ValueError, RecursionError) as error:
            return _invalid(f"Invalid request: the body is not a JSON object ({error})")
        if request.model not in self._models:
            text = f"Not found the model {request.model} or Permission denied"
            return refused(404, "resource_not_found_error", text)
        row = self._models[request.model]
        requested = tokens(len(prompt)) + _output_cap(parsed)
        if row and requested > row.context:
            text = f"Your request exceeded model token limit: {row.context} (requested: {requested})"
            return _invalid(f"Invalid request: {text}")
        try:
            violations = check(read_request(parsed, self._dialect))
        except ValueError as error:
            return _invalid(f"Invalid request: {error}")
        return refused(violations[0].status, violations[0].type, violations[0].message) if violations else None

    def _next(self, request: Request) -> Reply | None:
        """The next reply of a listed script; None where a function is to be asked."""
        if self._function is not None:
            return None
        if self._replies:
            return self._replies.popleft()
        asked = [str(message.get("content")) for message in request.messages if message.get("role") == "user"]
        text = f"{asked[-1][:200]!r}" if asked else "no user message"
        return self._script_failed(f"the script has no reply left for request {request.number}: {text}")

    def _asked(self, request: Request) -> Reply:
        assert self._function is not None
        try:
            reply = self._function(request)
            if isinstance(reply, Reply):
                return reply
            return self._script_failed(f"the script gave {reply!r} for request {request.number}, which is no Reply")
        except BaseException as error:  # pytest.fail() is no Exception
            return self._script_raised(request, error)

    def _written(self, request: Request, prompt: bytes, reply: Reply) -> Answer:
        if isinstance(reply, Refused):
            kind = "application/json" if reply.page is None else "text/html"
            return whole(reply.status, reply.body, {"content-type": kind, **reply.headers}, reply)
        with self._lock:
            cached = self._cache.hit(request.model, prompt)
        completion = Completion(request, reply, tokens(len(prompt)), cached, self._dialect)
        if request.stream:
            headers = {"content-type": "text/event-stream", "cache-control": "no-cache", **_ids()}
            return Answer(200, headers, self._streamed(request, _pieces(completion.events(), reply)))
        try:
            return whole(200, completion.whole(), fault=reply)
        except BaseException as error:  # from the script's own pieces
            failure = self._script_raised(request, error)
            return whole(failure.status, failure.body)

    def _streamed(self, request: Request, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for piece in pieces:
                if piece.endswith(_DONE):  # the client may go on before it reads the end of the body
                    self._under_way.discard(request.number)
                yield piece
        except (CutOff, Stalled, GeneratorExit):
            raise
        except BaseException as error:  # from the script's own pieces
            self._script_raised(request, error)
            raise CutOff from error

    def _script_raised(self, request: Request, error: BaseException) -> Refused:
        return self._script_failed(f"the script raised at request {request.number}: {type(error).__name__}: {error}")

    def _script_failed(self, message: str) -> Refused:
        self.script_errors.append(message)
        return refused(500, "script_error", message)

    def _listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = []
        for name, row in self._models.items():
            entry = {"id": name, "object": "model", "created": 1_790_000_000, "owned_by": "moonshot"}
            listed.append(entry | ({"context_length": row.context} if row else {}))
        return listed


class _PrefixCache:
    """Kimi's automatic cache: the longest common prefix with an earlier prompt of the same model, in whole blocks."""

    def __init__(self) -> None:
        self._prompts: deque[tuple[str, bytes]] = deque(maxlen=_REMEMBERED)

    def hit(self, model: str, prompt: bytes) -> int:
        """The cached tokens of a prompt, which is remembered."""
        common = max((_common(prompt, earlier) for name, earlier in self._prompts if name == model), default=0)
        self._prompts.append((model, prompt))
        return common // 4 // _BLOCK * _BLOCK


def _pieces(batches: Iterator[list[bytes]], reply: Reply) -> Iterator[bytes]:
    """Each batch of events as one piece, up to the cut."""
    left = reply.cut
    for batch in batches:
        if left is None:
            yield b"".join(batch)
            continue
        if left > 0:
            yield b"".join(batch[:left])
        left -= len(batch)
        if left <= 0:
            break
    if isinstance(reply.ending, bytes):
        yield b"data: %b\n\n" % reply.ending
    elif left is not None:
        raise _failure(reply)


def whole(status: int, body: bytes, headers: Mapping[str, str] | None = None, fault: Reply | None = None) -> Answer:
    """An answer in one piece, or broken by the reply's fault."""
    if fault and isinstance(fault.ending, bytes):
        body = fault.ending
    pieces = iter([body])
    if fault and fault.cut is not None and not isinstance(fault.ending, bytes):
        pieces = _half(body, fault)
    fixed = {"content-type": "application/json", "content-length": str(len(body)), **_ids()}
    return Answer(status, fixed | dict(headers or {}), pieces)


def _half(body: bytes, fault: Reply) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    raise _failure(fault)


def _failure(fault: Reply) -> Exception:
    return Stalled() if fault.ending == "stall" else CutOff()


def _cut_up(body: Iterator[bytes], size: int) -> Iterator[bytes]:
    for piece in body:
        for start in range(0, len(piece), size):
            yield piece[start : start + size]


def _ids() -> dict[str, str]:
    request_id = secrets.token_hex(16)
    return {"x-request-id": request_id, "msh-request-id": request_id}


def _invalid(message: str) -> Refused:
    return refused(400, "invalid_request_error", message)


def _mask(value: str) -> str:
    return "Bearer ***" if value.lower().startswith("bearer ") else "***"


def _output_cap(parsed: Mapping[str, Any]) -> int:
    cap = parsed.get("max_completion_tokens") or parsed.get("max_tokens")
    return cap if type(cap) is int else 0


def _prompt(request: Request) -> bytes:
    """What the model reads, as the bytes that tokens are counted by; a picture is one of 1,024 tokens."""
    try:
        text = encode([request.json.get("tools") or [], request.json.get("messages")])
    except (ValueError, RecursionError):
        return b""
    return _MEDIA.sub(lambda media: hashlib.sha256(media.group()).hexdigest().encode() * 64, text)


def _common(one: bytes, other: bytes) -> int:
    """The length of the common prefix, found by bisection."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
