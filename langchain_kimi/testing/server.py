"""`KimiServer`: a strict local double of Kimi's API over real HTTP, and `KimiDouble`, the same without a socket.

The double refuses what Kimi refuses, in Kimi's words, and answers the rest from a script. Tokens are estimated: four
bytes of the JSON of tools and messages are one. With the rest of the package it shares the catalogue and the rules
only; what it puts on the wire is written anew, so that it can judge.
"""

import hashlib
import re
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from langchain_kimi.catalogue import MODELS, Model, find
from langchain_kimi.rules import check
from langchain_kimi.testing.script import Completion, Refused, Reply, Request, Script, encode, refused, tokens

_BLOCK = 256
"""Tokens in one block of the prefix cache."""
_REMEMBERED = 32
"""Prompts in the prefix cache."""
_LAST_WAIT = 1.0
"""Seconds that `close` waits for threads, all together."""
_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})
_MEDIA = re.compile(rb"data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]*")


class CutOff(Exception):
    """Raised by the body of an answer where the connection is to be closed without an end."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; each piece of the body is sent at once. Without a `content-length` it is a stream."""

    status: int
    headers: dict[str, str]
    body: Iterator[bytes]


class KimiDouble:
    """Kimi's API as a function from an HTTP request to an `Answer`; safe to call from many threads.

    `script` is an iterable of replies (read to its end here) or a function, called by several threads at once.
    `api_key` is the only key taken, any key where it is None. `models` are served besides the live ones.
    """

    def __init__(self, script: Script = (), *, api_key: str | None = None, models: Iterable[str] = ()) -> None:
        self._function = script if callable(script) else None
        self._replies = deque(() if callable(script) else script)
        for reply in self._replies:
            if not isinstance(reply, Reply):
                raise TypeError(f"a script is made of replies such as said('…') or called('…'), not of {reply!r}")
        self._api_key = api_key
        self._models: dict[str, Model | None] = {row.id: row for row in MODELS if row.retired is None}
        self._models |= {name: find(name) for name in models}
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
        """The answer to one HTTP request; iterating its body may raise `CutOff`."""
        sent = {name.lower(): value for name, value in headers.items()}
        route = path.partition("?")[0].removeprefix("/v1")
        if (method, route) == ("POST", "/chat/completions"):
            return self._chat(method, path, sent, body)
        if refusal := self._locked_out(sent):
            return _whole(refusal.status, refusal.body)
        if (method, route) == ("GET", "/models"):
            return _whole(200, encode({"object": "list", "data": self._listed()}))
        return _whole(404, refused(404, "resource_not_found_error", "The requested resource was not found").body)

    def _chat(self, method: str, path: str, sent: dict[str, str], body: bytes) -> Answer:
        shown = {name: _mask(value) if name in _SECRET else value for name, value in sent.items()}
        with self._lock:
            request = Request(method, path, shown, body, len(self.requests) + 1)
            self.requests.append(request)
            self.statuses.append(None)
            prompt = _prompt(request)
            reply = self._locked_out(sent) or self._refusal(request, prompt) or self._next(request)
        answer = self._written(request, prompt, reply or self._asked(request))
        # A long conversation's requests are kept as bytes only: parsed, they are several times as large.
        vars(request).pop("json", None)
        self.statuses[request.number - 1] = answer.status
        return answer

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
        violations = check(parsed)
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
            return _whole(reply.status, reply.body, {"content-type": kind, **reply.headers}, reply.cut)
        with self._lock:
            cached = self._cache.hit(request.model, prompt)
        completion = Completion(request, reply, tokens(len(prompt)), cached)
        if request.stream:
            headers = {"content-type": "text/event-stream", "cache-control": "no-cache", **_ids()}
            return Answer(200, headers, self._streamed(request, _pieces(completion.events(), reply.cut)))
        try:
            return _whole(200, completion.whole(), cut=reply.cut)
        except BaseException as error:  # from the script's own pieces
            failure = self._script_raised(request, error)
            return _whole(failure.status, failure.body)

    def _streamed(self, request: Request, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except (CutOff, GeneratorExit):
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


class KimiServer(KimiDouble):
    """The double on 127.0.0.1, in threads of its own: `with KimiServer([said("Hello")]) as server:`, then `server.url`.

    `port` 0 takes a free one. Answers that are under way when it closes break off. A thread in which a script's own
    code still waits by then is left to end by itself, when that code goes on.
    """

    def __init__(
        self, script: Script = (), *, api_key: str | None = None, models: Iterable[str] = (), port: int = 0
    ) -> None:
        super().__init__(script, api_key=api_key, models=models)
        self._port = port
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL for a client; `RuntimeError` before the server was started."""
        if not self._port:
            raise RuntimeError("the server has no URL yet: use it in `with`, or call start()")
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> "KimiServer":
        """Listens, and returns the server itself."""
        if self._listener is None:
            self._listener = _Listener(self, self._port)
            self._port = self._listener.server_address[1]
            self._thread = threading.Thread(target=self._listener.serve, daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """Breaks off what is under way and ends the threads; a second call does nothing."""
        listener, self._listener = self._listener, None
        if listener is not None and self._thread is not None:
            listener.stop()
            self._thread.join()
            listener.server_close()
            listener.break_off()

    def __enter__(self) -> "KimiServer":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<KimiServer {self.url if self._port else 'not started'}, {len(self.requests)} requests>"


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, double: KimiDouble, port: int) -> None:
        self.double = double
        self._open: dict[threading.Thread, socket.socket] = {}
        self._stopped = False
        super().__init__(("127.0.0.1", port), _Connection)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own would ask DNS for the host's name

    def serve(self) -> None:
        """Takes connections until `stop`; it does not poll, so that stopping takes no time."""
        while not self._stopped:
            self.handle_request()

    def stop(self) -> None:
        """Ends `serve`, which a connection has to wake."""
        self._stopped = True
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.server_address[1])).close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return not self._stopped

    def process_request(self, request: Any, client_address: Any) -> None:
        # ThreadingMixIn keeps no list of daemon threads, and `close` needs one.
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._open[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._open[threading.current_thread()]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that went away is no error
            super().handle_error(request, client_address)

    def break_off(self) -> None:
        """Closes the connections and waits for their threads."""
        connections = list(self._open.items())
        for _, connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        end = time.monotonic() + _LAST_WAIT
        for thread, _ in connections:
            thread.join(max(0.0, end - time.monotonic()))


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def do_POST(self) -> None:
        if "transfer-encoding" in self.headers:
            self.close_connection = True
            self._send(_whole(411, refused(411, "invalid_request_error", "Length Required").body))
            return
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self._send(self.server.double.answer(self.command, self.path, dict(self.headers.items()), body))

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def _send(self, answer: Answer) -> None:
        streamed = "content-length" not in answer.headers
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if streamed:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for piece in answer.body:
                if piece:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if streamed else piece)
            if streamed:
                self.wfile.write(b"0\r\n\r\n")
        except CutOff:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


class _PrefixCache:
    """Kimi's automatic cache: the longest common prefix with an earlier prompt of the same model, in whole blocks."""

    def __init__(self) -> None:
        self._prompts: deque[tuple[str, bytes]] = deque(maxlen=_REMEMBERED)

    def hit(self, model: str, prompt: bytes) -> int:
        """The cached tokens of a prompt, which is remembered."""
        common = max((_common(prompt, earlier) for name, earlier in self._prompts if name == model), default=0)
        self._prompts.append((model, prompt))
        return common // 4 // _BLOCK * _BLOCK


def _pieces(batches: Iterator[list[bytes]], cut: int | None) -> Iterator[bytes]:
    """Each batch of events as one piece, up to the cut."""
    for batch in batches:
        if cut is None:
            yield b"".join(batch)
            continue
        if cut > 0:
            yield b"".join(batch[:cut])
        cut -= len(batch)
        if cut <= 0:
            raise CutOff
    if cut is not None:
        raise CutOff


def _whole(status: int, body: bytes, headers: Mapping[str, str] | None = None, cut: int | None = None) -> Answer:
    fixed = {"content-type": "application/json", "content-length": str(len(body)), **_ids()}
    return Answer(status, fixed | dict(headers or {}), iter([body]) if cut is None else _half(body))


def _half(body: bytes) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    raise CutOff


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
