"""`FakeKimiAPI`: a strict local fake of Kimi's API, as a function from an HTTP request to a response.

It refuses what Kimi refuses, with Kimi's texts, and answers everything else from a script. The tokens of prompts are
counted by the frames of Kimi's template, with estimates for texts; four bytes of an answer are one token. With the rest
of the package it shares only the catalogue, the rules, the token estimates, the errors and the masking of secrets. It
has its own code for the wire format, so that it can check theirs.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypedDict, Unpack

from langchain_kimi._rules import check
from langchain_kimi.catalogue import MAX_REQUEST_BYTES, MODELS, Model, find
from langchain_kimi.testing.api.completion import Completion
from langchain_kimi.testing.api.endpoints import Endpoints
from langchain_kimi.testing.api.formula_endpoints import Formula, FormulaResult
from langchain_kimi.testing.api.http_request import BASE_PATH, HttpRequest, mask_headers
from langchain_kimi.testing.api.http_response import (
    ConnectionCut,
    ConnectionStalled,
    HttpResponse,
    cut_after_bytes,
    full_response,
    interrupt_events,
    request_id_headers,
    split_pieces,
)
from langchain_kimi.testing.api.prompt_tokens import (
    PrefixCache,
    builtin_results,
    output_cap,
    prompt_bytes,
    prompt_tokens,
)
from langchain_kimi.testing.api.script_runner import ScriptFailure, ScriptRunner
from langchain_kimi.testing.dialects import ServedDialect, from_host_request
from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import ErrorReply, Reply, Script, refused, too_many

_CHAT_PATH = f"{BASE_PATH}/chat/completions"
_DONE = b"data: [DONE]\n\n"


class FakeApiSettings(TypedDict, total=False):
    """The settings of a fake API besides its script."""

    api_key: str | None
    """The only accepted key; None accepts any key."""
    models: Iterable[str]
    """Models to serve besides the live ones."""
    concurrency: int | None
    """How many responses may be in progress; Kimi's error refuses a request beyond that."""
    dialect: ServedDialect
    """Imitates a host that serves Kimi models under other field names."""
    formulas: Mapping[str, FormulaResult | Formula]
    """Results of the official formulas' runs, or custom formulas, by uri."""
    balance: float
    files: Mapping[str, str]
    """Purposes of files that exist from the start, by id: `{"file-1": "image"}`."""
    extracts: Mapping[str, str]
    """The text of uploads that are not plain text, by file name."""
    clock: Callable[[], float]
    """The time in seconds, by which the prefix cache forgets prompts (default: `time.monotonic`)."""


class FakeKimiAPI:
    """Kimi's API as a function from an HTTP request to an `HttpResponse`. Many threads may call it.

    `script` is an iterable of replies (read to its end here), a function that several threads may call at once, or the
    path of a script in YAML. `FakeApiSettings` documents the settings.
    """

    def __init__(self, script: Script = (), **settings: Unpack[FakeApiSettings]) -> None:
        if unknown := settings.keys() - FakeApiSettings.__annotations__.keys():
            known = ", ".join(FakeApiSettings.__annotations__)
            raise TypeError(f"there is no setting {', '.join(sorted(unknown))}; the settings are {known}")
        self._script = ScriptRunner(script)
        self._dialect = settings.get("dialect", "kimi")
        self._api_key = settings.get("api_key")
        self._models: dict[str, Model | None] = {row.id: row for row in MODELS if not row.is_retired()}
        self._models |= {name: find(name) for name in settings.get("models", ())}
        self._concurrency = settings.get("concurrency")
        self._in_progress: set[int] = set()
        self._cache = PrefixCache(settings.get("clock", time.monotonic))
        self._lock = threading.Lock()
        self._endpoints = Endpoints(
            self._respond_to_batch_line,
            self._script.fail,
            models=self._model_rows(),
            formulas=settings.get("formulas", {}),
            balance=settings.get("balance", 50.0),
            files=settings.get("files", {}),
            extracts=settings.get("extracts", {}),
        )
        self.requests: list[Request] = []
        """Every chat request that was received, also refused ones, in order of arrival."""
        self.statuses: list[int | None] = []
        """The HTTP status of the response to each of `requests`; None until there is one."""
        self._usages: dict[int, dict[str, Any]] = {}
        self._prompt_tokens: dict[int, int] = {}
        """The tokens of the prompts of requests without a response yet."""

    @property
    def usages(self) -> list[dict[str, Any] | None]:
        """The `usage` in the response to each of `requests`; None if it has none, was refused or was interrupted."""
        return [self._usages.get(request.number) for request in self.requests]

    @property
    def calls(self) -> list[HttpRequest]:
        """Every request to an endpoint other than chat, also refused ones, in order of arrival."""
        return self._endpoints.calls

    @property
    def script_errors(self) -> list[str]:
        """The failures of the script: no reply left, another request expected, or the function raised."""
        return self._script.errors

    @property
    def script_left(self) -> int:
        """How many replies of the script were not used; 0 for a function."""
        return self._script.left

    @property
    def may_block(self) -> bool:
        """Whether `respond` calls functions of the script, which may wait for something."""
        return self._script.may_block or self._endpoints.may_block

    def verify(self) -> None:
        """Raises ScriptError, an AssertionError, if the script failed or has replies left."""
        self._script.verify(self.requests[-1].summary if self.requests else "nothing")

    def refuse(self, route: str, *errors: ErrorReply) -> None:
        """Refuses the next requests to an endpoint other than chat, one error each.

        An example is `refuse("GET /users/me/balance", overloaded(times=3))`. The path may contain `*`. The script
        refuses chat requests.
        """
        self._endpoints.refuse(route, tuple(single for error in errors for single in error.repeated()))

    def respond(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """The response to one HTTP request.

        Iterating its body may raise `ConnectionCut`, `ConnectionStalled` or `ScriptError`.
        """
        headers = {name.lower(): value for name, value in headers.items()}
        if (method, path.partition("?")[0]) == ("POST", _CHAT_PATH):
            return self._respond_to_chat(method, path, headers, body)
        return self._endpoints.respond(HttpRequest.parse(method, path, headers, body), self._key_error(headers))

    def _respond_to_batch_line(self, body: bytes) -> HttpResponse:
        headers = {"authorization": f"Bearer {self._api_key or 'batch'}", "content-type": "application/json"}
        return self._respond_to_chat("POST", _CHAT_PATH, headers, body)

    def _respond_to_chat(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        with self._lock:
            request = Request(method, path, mask_headers(headers), body, len(self.requests) + 1)
            self.requests.append(request)
            self.statuses.append(None)
            prompt = _prompt(request)
            error = self._key_error(headers) or self._concurrency_error(request) or self._request_error(request)
            reply = error or self._script.next_reply(request)
        reply = reply or self._script.call_function(request)
        response = self._response(request, prompt, reply)
        release = partial(self._in_progress.discard, request.number)
        if "content-length" in response.headers and reply.cut_events is None:
            release()
        pieces = response.body if reply.cut_bytes is None else cut_after_bytes(response.body, reply.cut_bytes)
        pieces = pieces if reply.piece_bytes is None else split_pieces(pieces, reply.piece_bytes)
        # The parsed body is several times as large as its bytes, which is too much for the requests of a long thread.
        vars(request).pop("json", None)
        self.statuses[request.number - 1] = response.status
        return replace(response, body=pieces, close=release, may_block=reply.may_block)

    def _concurrency_error(self, request: Request) -> ErrorReply | None:
        if self._concurrency is None:
            return None
        if len(self._in_progress) >= self._concurrency:
            return too_many(self._concurrency)
        self._in_progress.add(request.number)
        return None

    def _key_error(self, headers: Mapping[str, str]) -> ErrorReply | None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            return refused(401, "incorrect_api_key_error", "Incorrect API key provided")
        if self._api_key is not None and key.strip() != self._api_key:
            return refused(401, "invalid_authentication_error", "Invalid Authentication")
        return None

    def _request_error(self, request: Request) -> ErrorReply | None:
        if len(request.body) > MAX_REQUEST_BYTES:
            return refused(413, "invalid_request_error", "Request exceeds the maximum size")
        try:
            body = request.json
        except (ValueError, RecursionError) as error:
            return _invalid_request(f"Invalid request: the body is not a JSON object ({error})")
        if request.model not in self._models:
            text = f"Not found the model {request.model} or Permission denied"
            return refused(404, "resource_not_found_error", text)
        row = self._models[request.model]
        try:
            in_kimi_form = from_host_request(body, self._dialect)
        except ValueError as error:
            return _invalid_request(f"Invalid request: {error}")
        violations = check(in_kimi_form, elsewhere=self._dialect != "kimi")
        if violations:
            return refused(violations[0].status, violations[0].type, violations[0].message)
        read = self._prompt_tokens[request.number] = prompt_tokens(in_kimi_form)
        requested = read + output_cap(body)
        if row and requested > row.context:
            text = f"Your request exceeded model token limit: {row.context} (requested: {requested})"
            return _invalid_request(f"Invalid request: {text}")
        message = (self._endpoints.files.reference_error(body) if row else None) or _builtin_error(body)
        return _invalid_request(message) if message else None

    def _response(self, request: Request, prompt: bytes, reply: Reply) -> HttpResponse:
        try:
            reply = reply.completed_for(request)
        except Exception as error:
            reply = self._script.fail_with(error, request)
        if isinstance(reply, ScriptFailure):
            return reply.response()
        if isinstance(reply, ErrorReply):
            return full_response(reply.status, reply.body, reply.response_headers, reply)
        read = self._prompt_tokens.pop(request.number)
        with self._lock:
            cached = self._cache.cached_tokens(request.json, prompt, read)
        on_usage = partial(self._usages.__setitem__, request.number)
        completion = Completion(request, reply, read, cached, self._dialect, on_usage)
        if request.stream:
            headers = {
                "content-type": "text/event-stream",
                "cache-control": "no-cache",
                **completion.headers,
                **request_id_headers(),
            }
            return HttpResponse(200, headers, self._stream(request, interrupt_events(completion.events(), reply)))
        try:
            return full_response(200, completion.whole(), completion.headers, fault=reply)
        except BaseException as error:  # from the script's own pieces
            return self._script.fail_with(error, request).response()

    def _stream(self, request: Request, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for piece in pieces:
                if piece.endswith(_DONE):  # a client may continue before it reads the end of the body
                    self._in_progress.discard(request.number)
                yield piece
        except (ConnectionCut, ConnectionStalled, GeneratorExit):
            raise
        except BaseException as error:  # from the script's own pieces
            raise self._script.fail_with(error, request).error from error

    def _model_rows(self) -> list[dict[str, Any]]:
        """The rows of GET /models."""
        rows: list[dict[str, Any]] = []
        for name, model in self._models.items():
            row = {"id": name, "object": "model", "created": 1_790_000_000, "owned_by": "moonshot"}
            if model:
                inputs = {f"supports_{kind}_in": kind in model.inputs for kind in ("image", "video")}
                row |= {"context_length": model.context, "supports_reasoning": model.thinking != "never", **inputs}
            rows.append(row)
        return rows


def _invalid_request(message: str) -> ErrorReply:
    return refused(400, "invalid_request_error", message)


def _builtin_error(body: Mapping[str, Any]) -> str | None:
    """The error if the result of a builtin function is not its unchanged arguments. Kimi's own text is not known."""
    for name, arguments, content in builtin_results(body):
        if content != arguments:
            return f"Invalid request: the result of builtin function {name} must be its arguments, unchanged"
    return None


def _prompt(request: Request) -> bytes:
    try:
        return prompt_bytes(request.json)
    except (ValueError, RecursionError):
        return b""
