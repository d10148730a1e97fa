"""`Endpoints`: routes the requests to all endpoints other than chat."""

import re
from collections import deque
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from langchain_kimi._rules import check
from langchain_kimi._rules.messages import MESSAGES
from langchain_kimi.catalogue import MAX_REQUEST_BYTES
from langchain_kimi.testing.api.batch_endpoints import BatchEndpoints, ChatHandler
from langchain_kimi.testing.api.file_endpoints import FileEndpoints, StoredFile
from langchain_kimi.testing.api.formula_endpoints import Formula, FormulaEndpoints, FormulaResult, is_function
from langchain_kimi.testing.api.http_request import BASE_PATH, HttpRequest
from langchain_kimi.testing.api.http_response import (
    HttpResponse,
    error_response,
    full_response,
    json_response,
    url_not_found,
)
from langchain_kimi.testing.api.prompt_tokens import prompt_tokens
from langchain_kimi.testing.api.script_runner import ScriptFailure
from langchain_kimi.testing.script.reply import ErrorReply

_MESSAGE_INDEX = re.compile(r"messages\[\d+\]")

Handler = Callable[..., HttpResponse]


class Endpoints:
    """Answers requests to all endpoints other than chat, from many threads; `calls` records them.

    `fail` records a failure of the test's own code. `models` are the rows of GET /models. FakeApiSettings documents the
    others.
    """

    def __init__(
        self,
        chat: ChatHandler,
        fail: Callable[[str, BaseException], ScriptFailure],
        *,
        models: list[dict[str, Any]],
        formulas: Mapping[str, FormulaResult | Formula],
        balance: float,
        files: Mapping[str, str],
        extracts: Mapping[str, str],
    ) -> None:
        self._fail = fail
        self._models = models
        self._balance = balance
        self._refusals: list[tuple[str, deque[ErrorReply]]] = []
        self.calls: list[HttpRequest] = []
        self.files = FileEndpoints(extracts)
        for file_id, purpose in files.items():
            self.files.add(StoredFile(file_id, purpose, b"", id=file_id))
        batches = BatchEndpoints(self.files, chat)
        formula_endpoints = FormulaEndpoints(formulas)
        self.may_block = any(map(is_function, formulas.values()))
        """Whether a function returns results, which may wait for something."""
        self._routes: list[tuple[str, Handler]] = [
            (r"GET /models", self._list_models),
            (r"GET /users/me/balance", self._get_balance),
            (r"POST /tokenizers/estimate-token-count", self._estimate_tokens),
            (r"POST /files", self.files.upload),
            (r"GET /files", self.files.list),
            (r"GET /files/([^/]+)/content", self.files.content),
            (r"GET /files/([^/]+)", self.files.info),
            (r"DELETE /files/([^/]+)", self.files.delete),
            (r"POST /batches", batches.create),
            (r"GET /batches", batches.list),
            (r"POST /batches/([^/]+)/cancel", batches.cancel),
            (r"GET /batches/([^/]+)", batches.poll),
            (r"GET /formulas/([^/]+/[^/]+)/tools", formula_endpoints.tools),
            (r"POST /formulas/([^/]+/[^/]+)/fibers", formula_endpoints.run),
        ]

    def refuse(self, route: str, errors: tuple[ErrorReply, ...]) -> None:
        """Refuses the next requests to a route, such as `GET /users/me/balance` or `POST /files*`, one error each."""
        method, _, path = route.partition(" ")
        if path.removeprefix(BASE_PATH) == "/chat/completions":
            raise ValueError("refuse() is for endpoints other than chat. Put the error into the script instead.")
        self._refusals.append((f"{method} {path.removeprefix(BASE_PATH)}", deque(errors)))

    def respond(self, request: HttpRequest, key_error: ErrorReply | None) -> HttpResponse:
        """The response to a request, which is recorded with its status. `key_error` refuses its API key."""
        self.calls.append(request)
        route = self._route(request)
        error = (key_error if route else None) or self._next_refusal(request)
        if error:
            response = full_response(error.status, error.body, error.response_headers)
        elif route is None:
            response = url_not_found(request.method, request.path, request.headers.get("user-agent", ""))
        else:
            response = self._handle(request, *route)
        request.status = response.status
        return response

    def _next_refusal(self, request: HttpRequest) -> ErrorReply | None:
        for pattern, errors in self._refusals:
            if errors and fnmatchcase(f"{request.method} {request.route}", pattern):
                return errors.popleft()
        return None

    def _route(self, request: HttpRequest) -> tuple[Handler, tuple[str, ...]] | None:
        """The handler of a request, with the names in its path; None if the API has no such path."""
        if request.path.startswith(f"{BASE_PATH}/"):
            for pattern, handler in self._routes:
                if match := re.fullmatch(pattern, f"{request.method} {request.route}"):
                    return handler, match.groups()
        return None

    def _handle(self, request: HttpRequest, handler: Handler, names: tuple[str, ...]) -> HttpResponse:
        if len(request.body) > MAX_REQUEST_BYTES and request.route != "/files":
            return error_response(413, "invalid_request_error", "Request exceeds the maximum size")
        try:
            return handler(request, *names)
        except BaseException as error:  # from a formula's own function; pytest.fail() is no Exception
            route = f"{request.method} {request.path}"
            return self._fail(f"the script raised at {route}: {type(error).__name__}: {error}", error).response()

    def _list_models(self, request: HttpRequest) -> HttpResponse:
        return json_response({"object": "list", "data": self._models})

    def _get_balance(self, request: HttpRequest) -> HttpResponse:
        data = {"available_balance": self._balance, "voucher_balance": 0, "cash_balance": self._balance}
        return json_response({"code": 0, "data": data, "scode": "0x0", "status": True})

    def _estimate_tokens(self, request: HttpRequest) -> HttpResponse:
        """Counts the messages. This endpoint has no tools."""
        try:
            body = request.json
        except ValueError as error:
            return _estimate_error(400, 3, str(error))
        model = body.get("model")
        if model not in {row["id"] for row in self._models}:
            return _estimate_error(404, 5, f"Not found the model {model} or Permission denied")
        for violation in check(body, rules=MESSAGES):
            index = _MESSAGE_INDEX.match(violation.path)
            text = violation.message.removeprefix("Invalid request: ")
            return _estimate_error(400, 3, f"{index.group()}: {text}" if index else text)
        total = prompt_tokens({"model": body.get("model"), "messages": body["messages"]})
        return json_response({"code": 0, "data": {"total_tokens": total}, "scode": "0x0", "status": True})


def _estimate_error(status: int, code: int, error: str) -> HttpResponse:
    """An error in the shape of the token-count endpoint; the message is Kimi's, which means "invalid input"."""
    body = {"code": code, "error": error, "message": "非法输入", "scode": f"0x{code:x}", "status": False}
    return json_response(body, status)
