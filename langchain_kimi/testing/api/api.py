"""`FakeKimiAPI`: a strict local double of Kimi's API, as a function from an HTTP request to an answer.

The double refuses what Kimi refuses, in Kimi's words, and answers the rest from a script. Tokens are estimated: four
bytes of the JSON of tools and messages are one. With the rest of the package it shares the catalogue and the rules
only; what it puts on the wire is written anew, so that it can judge.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypedDict, Unpack

from langchain_kimi._rules import check
from langchain_kimi.catalogue import MAX_REQUEST_BYTES, MODELS, Model, find
from langchain_kimi.testing.api.completion import Completion
from langchain_kimi.testing.api.endpoints import Endpoints, World
from langchain_kimi.testing.api.formulas import Formula, Result
from langchain_kimi.testing.api.http_request import BASE, HttpRequest, masked
from langchain_kimi.testing.api.prefix_cache import PrefixCache, builtin_answers, output_cap, prompt_of, searched_tokens
from langchain_kimi.testing.api.response import Answer, CutOff, Stalled, answer_ids, cut_at, cut_pieces, cut_up, whole
from langchain_kimi.testing.api.script_runner import Play, ScriptFailure
from langchain_kimi.testing.dialects import Dialect, read_request
from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import Refused, Reply, Script, refused, too_many
from langchain_kimi.testing.script.wire_json import tokens

_DONE = b"data: [DONE]\n\n"


class Settings(TypedDict, total=False):
    """What a double is told besides its script."""

    api_key: str | None
    """The only key taken; any key where it is None."""
    models: Iterable[str]
    """Models served besides the live ones."""
    concurrency: int | None
    """How many answers may be under way; a request beyond is refused as Kimi does it."""
    dialect: Dialect
    """Plays a host that serves Kimi models under other field names."""
    formulas: Mapping[str, Result | Formula]
    """Results of official formulas' runs, or formulas of one's own, by uri."""
    balance: float
    files: Mapping[str, str]
    """Files that were uploaded before, by id, with their purposes: `{"file-1": "image"}`."""
    extracts: Mapping[str, str]
    """The text of uploads that are no plain text, by file name."""


class FakeKimiAPI:
    """Kimi's API as a function from an HTTP request to an `Answer`; safe to call from many threads.

    `script` is an iterable of replies (read to its end here), a function, called by several threads at once, or the
    path of a conversation in YAML. `Settings` documents the others.
    """

    def __init__(self, script: Script = (), **settings: Unpack[Settings]) -> None:
        if unknown := settings.keys() - Settings.__annotations__.keys():
            raise TypeError(
                f"{', '.join(sorted(unknown))} is no setting; those are {', '.join(Settings.__annotations__)}"
            )
        self._play = Play(script)
        self._dialect = settings.get("dialect", "kimi")
        self._api_key = settings.get("api_key")
        self._models: dict[str, Model | None] = {row.id: row for row in MODELS if row.retired is None}
        self._models |= {name: find(name) for name in settings.get("models", ())}
        self._concurrency = settings.get("concurrency")
        self._under_way: set[int] = set()
        self._cache = PrefixCache()
        self._lock = threading.Lock()
        self._endpoints = Endpoints(
            World(
                models=self._listed(),
                formulas=settings.get("formulas", {}),
                balance=settings.get("balance", 50.0),
                files=settings.get("files", {}),
                extracts=settings.get("extracts", {}),
            ),
            self._batched,
            self._play.failed,
        )
        self.requests: list[Request] = []
        """Every chat request that was received, also those refused, in order of arrival."""
        self.statuses: list[int | None] = []
        """The HTTP status of the answer to each of `requests`; None while there is none yet."""
        self._usages: dict[int, dict[str, Any]] = {}

    @property
    def usages(self) -> list[dict[str, Any] | None]:
        """The `usage` that the answer to each of `requests` told; None where it told none, refused or broken off."""
        return [self._usages.get(request.number) for request in self.requests]

    @property
    def calls(self) -> list[HttpRequest]:
        """Every request to another endpoint than chat, also those refused, in order of arrival."""
        return self._endpoints.calls

    @property
    def script_errors(self) -> list[str]:
        """What went wrong with the script itself: no reply left, another request expected, or the function raised."""
        return self._play.errors

    @property
    def script_left(self) -> int:
        """How many replies of the script were not used; 0 for a function."""
        return self._play.left

    @property
    def waits(self) -> bool:
        """Whether `answer` asks functions of the script, which may wait for something."""
        return self._play.waits or self._endpoints.waits

    def verify(self) -> None:
        """Raises ScriptError, an AssertionError, unless the script was played to its end and fitted what was asked."""
        last = self.requests[-1].asked if self.requests else "nothing"
        self._play.verify(f"asked last was {last}")

    def refuse(self, route: str, *refusals: Refused) -> None:
        """Refuses the next requests to an endpoint beside chat, one each.

        `refuse("GET /users/me/balance", overloaded(times=3))`; the path may hold `*`. Chat is refused by the script.
        """
        self._endpoints.refuse(route, tuple(single for refusal in refusals for single in refusal.repeated()))

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to one HTTP request; iterating its body may raise `CutOff`, `Stalled` or `ScriptError`."""
        sent = {name.lower(): value for name, value in headers.items()}
        if (method, path.partition("?")[0]) == ("POST", f"{BASE}/chat/completions"):
            return self._chat(method, path, sent, body)
        return self._endpoints.answer(HttpRequest.read(method, path, sent, body), self._locked_out(sent))

    def _batched(self, body: bytes) -> Answer:
        """The answer to a line of a batch."""
        sent = {"authorization": f"Bearer {self._api_key or 'batch'}", "content-type": "application/json"}
        return self._chat("POST", "/v1/chat/completions", sent, body)

    def _chat(self, method: str, path: str, sent: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            request = Request(method, path, masked(sent), body, len(self.requests) + 1)
            self.requests.append(request)
            self.statuses.append(None)
            prompt = _prompt(request)
            refusal = self._locked_out(sent) or self._crowded_out(request) or self._refusal(request, prompt)
            reply = refusal or self._play.next(request)
        reply = reply or self._play.asked(request)
        answer = self._written(request, prompt, reply)
        release = partial(self._under_way.discard, request.number)
        if "content-length" in answer.headers and reply.cut is None:
            release()
        pieces = answer.body if reply.length is None else cut_at(answer.body, reply.length)
        pieces = pieces if reply.piece is None else cut_up(pieces, reply.piece)
        # A long conversation's requests are kept as bytes only: parsed, they are several times as large.
        vars(request).pop("json", None)
        self.statuses[request.number - 1] = answer.status
        return replace(answer, body=pieces, close=release, waits=reply.waits)

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
        if len(request.body) > MAX_REQUEST_BYTES:
            return refused(413, "invalid_request_error", "Request exceeds the maximum size")
        try:
            parsed = request.json
        except (ValueError, RecursionError) as error:
            return _invalid(f"Invalid request: the body is not a JSON object ({error})")
        if request.model not in self._models:
            text = f"Not found the model {request.model} or Permission denied"
            return refused(404, "resource_not_found_error", text)
        row = self._models[request.model]
        requested = tokens(len(prompt)) + output_cap(parsed)
        if row and requested > row.context:
            text = f"Your request exceeded model token limit: {row.context} (requested: {requested})"
            return _invalid(f"Invalid request: {text}")
        try:
            violations = check(read_request(parsed, self._dialect))
        except ValueError as error:
            return _invalid(f"Invalid request: {error}")
        if violations:
            return refused(violations[0].status, violations[0].type, violations[0].message)
        problem = (self._endpoints.files.problem(parsed) if row else None) or _echo_problem(parsed)
        return _invalid(problem) if problem else None

    def _written(self, request: Request, prompt: bytes, reply: Reply) -> Answer:
        try:
            reply = reply.fitted(request)
        except Exception as error:
            reply = self._play.raised(request, error)
        if isinstance(reply, ScriptFailure):
            return reply.answer()
        if isinstance(reply, Refused):
            return whole(reply.status, reply.body, reply.answer_headers, reply)
        with self._lock:
            cached = self._cache.hit(request.model, prompt)
        read = tokens(len(prompt)) + searched_tokens(request.json)
        tell = partial(self._usages.__setitem__, request.number)
        completion = Completion(request, reply, read, cached, self._dialect, tell)
        if request.stream:
            headers = {
                "content-type": "text/event-stream",
                "cache-control": "no-cache",
                **completion.headers,
                **answer_ids(),
            }
            return Answer(200, headers, self._streamed(request, cut_pieces(completion.events(), reply)))
        try:
            return whole(200, completion.whole(), completion.headers, fault=reply)
        except BaseException as error:  # from the script's own pieces
            return self._play.raised(request, error).answer()

    def _streamed(self, request: Request, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for piece in pieces:
                if piece.endswith(_DONE):  # the client may go on before it reads the end of the body
                    self._under_way.discard(request.number)
                yield piece
        except (CutOff, Stalled, GeneratorExit):
            raise
        except BaseException as error:  # from the script's own pieces
            raise self._play.raised(request, error).error from error

    def _listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = []
        for name, row in self._models.items():
            entry = {"id": name, "object": "model", "created": 1_790_000_000, "owned_by": "moonshot"}
            if row:
                reads = {f"supports_{kind}_in": kind in row.inputs for kind in ("image", "video")}
                entry |= {"context_length": row.context, "supports_reasoning": row.thinking != "never", **reads}
            listed.append(entry)
        return listed


def _invalid(message: str) -> Refused:
    return refused(400, "invalid_request_error", message)


def _echo_problem(parsed: Mapping[str, Any]) -> str | None:
    """Why the answer to a builtin function is not what it must be: the arguments, unchanged. The text is ours."""
    for name, arguments, content in builtin_answers(parsed):
        if content != arguments:
            return f"Invalid request: the result of builtin function {name} must be its arguments, unchanged"
    return None


def _prompt(request: Request) -> bytes:
    try:
        return prompt_of(request.json)
    except (ValueError, RecursionError):
        return b""
