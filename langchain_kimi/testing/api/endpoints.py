"""The endpoints beside chat: models, balance, token estimate, files, batches, formulas."""

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from langchain_kimi._rules import check
from langchain_kimi._rules.messages import MESSAGES
from langchain_kimi.catalogue import MAX_REQUEST_BYTES
from langchain_kimi.testing.api.batches import Batches, Chat
from langchain_kimi.testing.api.files import File, Files
from langchain_kimi.testing.api.formulas import Formula, Formulas, Result, waiting
from langchain_kimi.testing.api.http_request import BASE, HttpRequest
from langchain_kimi.testing.api.prefix_cache import prompt_of
from langchain_kimi.testing.api.response import Answer, json_answer, refusal, url_not_found, whole
from langchain_kimi.testing.api.script_runner import ScriptFailure
from langchain_kimi.testing.script.reply import Refused
from langchain_kimi.testing.script.wire_json import tokens

_INDEX = re.compile(r"messages\[\d+\]")


@dataclass
class World:
    """What a double holds besides its script."""

    models: list[dict[str, Any]] = field(default_factory=list)
    """The rows of GET /models."""
    formulas: Mapping[str, Result | Formula] = field(default_factory=dict)
    balance: float = 50.0
    files: Mapping[str, str] = field(default_factory=dict)
    """Purposes of files that are there from the start, by id."""
    extracts: Mapping[str, str] = field(default_factory=dict)
    """The text of uploads that are no plain text, by file name."""


class Endpoints:
    """Answers requests to everything but chat, from many threads; `calls` keeps them."""

    def __init__(self, world: World, chat: Chat, failed: Callable[[str, BaseException], ScriptFailure]) -> None:
        self._world = world
        self._failed = failed
        self._refusals: list[tuple[str, deque[Refused]]] = []
        self.calls: list[HttpRequest] = []
        self.files = Files(world.extracts)
        for file_id, purpose in world.files.items():
            self.files.keep(File(file_id, purpose, b"", id=file_id))
        batches = Batches(self.files, chat)
        formulas = Formulas(world.formulas)
        self.waits = any(map(waiting, world.formulas.values()))
        """Whether functions are asked, which may wait for something."""
        self._routes: list[tuple[str, Callable[..., Answer]]] = [
            (r"GET /models", self._models),
            (r"GET /users/me/balance", self._balance),
            (r"POST /tokenizers/estimate-token-count", self._estimate),
            (r"POST /files", self.files.upload),
            (r"GET /files", self.files.list),
            (r"GET /files/([^/]+)/content", self.files.content),
            (r"GET /files/([^/]+)", self.files.info),
            (r"DELETE /files/([^/]+)", self.files.delete),
            (r"POST /batches", batches.create),
            (r"GET /batches", batches.list),
            (r"POST /batches/([^/]+)/cancel", batches.cancel),
            (r"GET /batches/([^/]+)", batches.poll),
            (r"GET /formulas/([^/]+/[^/]+)/tools", formulas.tools),
            (r"POST /formulas/([^/]+/[^/]+)/fibers", formulas.run),
        ]

    def refuse(self, route: str, refusals: tuple[Refused, ...]) -> None:
        """Refuses the next requests to a route, such as `GET /users/me/balance` or `POST /files*`, one each."""
        method, _, path = route.partition(" ")
        if path.removeprefix("/v1") == "/chat/completions":
            raise ValueError("what chat answers stands in the script")
        self._refusals.append((f"{method} {path.removeprefix('/v1')}", deque(refusals)))

    def answer(self, request: HttpRequest, locked_out: Refused | None) -> Answer:
        """The answer to a request, which is kept with its status."""
        self.calls.append(request)
        route = self._route(request)
        refused = (locked_out if route else None) or self._refusal(request)
        if refused:
            answer = whole(refused.status, refused.body, refused.answer_headers)
        elif route is None:
            answer = url_not_found(request.method, request.path, request.headers.get("user-agent", ""))
        else:
            answer = self._handled(request, *route)
        request.status = answer.status
        return answer

    def _refusal(self, request: HttpRequest) -> Refused | None:
        for pattern, refusals in self._refusals:
            if refusals and fnmatchcase(f"{request.method} {request.route}", pattern):
                return refusals.popleft()
        return None

    def _route(self, request: HttpRequest) -> "tuple[Callable[..., Answer], tuple[str, ...]] | None":
        """What answers a request, with the names in its path; None where the API has no such path."""
        if request.path.startswith(f"{BASE}/"):
            for pattern, handle in self._routes:
                if match := re.fullmatch(pattern, f"{request.method} {request.route}"):
                    return handle, match.groups()
        return None

    def _handled(self, request: HttpRequest, handle: Callable[..., Answer], names: tuple[str, ...]) -> Answer:
        if len(request.body) > MAX_REQUEST_BYTES and request.route != "/files":
            return refusal(413, "invalid_request_error", "Request exceeds the maximum size")
        try:
            return handle(request, *names)
        except BaseException as error:  # from a formula's own function; pytest.fail() is no Exception
            asked = f"{request.method} {request.path}"
            return self._failed(f"the script raised at {asked}: {type(error).__name__}: {error}", error).answer()

    def _models(self, request: HttpRequest) -> Answer:
        return json_answer({"object": "list", "data": self._world.models})

    def _balance(self, request: HttpRequest) -> Answer:
        cash = self._world.balance
        data = {"available_balance": cash, "voucher_balance": 0, "cash_balance": cash}
        return json_answer({"code": 0, "data": data, "scode": "0x0", "status": True})

    def _estimate(self, request: HttpRequest) -> Answer:
        """Counts the messages; tools are not part of this endpoint."""
        try:
            asked = request.json
        except ValueError as error:
            return _estimate_refused(400, 3, str(error))
        model = asked.get("model")
        if model not in {row["id"] for row in self._world.models}:
            return _estimate_refused(404, 5, f"Not found the model {model} or Permission denied")
        for violation in check(asked, rules=MESSAGES):
            place, words = _INDEX.match(violation.path), violation.message.removeprefix("Invalid request: ")
            return _estimate_refused(400, 3, f"{place.group()}: {words}" if place else words)
        total = tokens(len(prompt_of({"messages": asked["messages"]})))
        return json_answer({"code": 0, "data": {"total_tokens": total}, "scode": "0x0", "status": True})


def _estimate_refused(status: int, code: int, error: str) -> Answer:
    """A refusal in the shape of this endpoint; the message is Kimi's word for illegal input."""
    body = {"code": code, "error": error, "message": "非法输入", "scode": f"0x{code:x}", "status": False}
    return json_answer(body, status)
