"""The batches of the fake API: the script answers a file of chat requests, a third at every poll.

A poll advances a batch by one state: validating, in_progress (three times), finalizing, completed. The states and the
shapes are those of Kimi's documentation; Kimi's own error texts are not known.
"""

import json
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from langchain_kimi.catalogue import BATCH_MODELS
from langchain_kimi.testing.api.file_endpoints import FileEndpoints, StoredFile
from langchain_kimi.testing.api.http_request import HttpRequest
from langchain_kimi.testing.api.http_response import (
    ConnectionCut,
    ConnectionStalled,
    HttpResponse,
    invalid_request,
    json_response,
    not_found,
)
from langchain_kimi.testing.serialization import encode_json

ChatHandler = Callable[[bytes], HttpResponse]
"""Answers a chat request, given its body."""

BATCH_ENDPOINT = "/v1/chat/completions"
"""Its own copy of the path, since it checks what the package sends."""
_WINDOW = re.compile(r"(\d{1,4})(h|d)")
_FIELDS = ("custom_id", "method", "url", "body")
_POLLS = 3
"""Polls over which the lines are answered."""
_PAGE = 20


@dataclass(eq=False)
class _Batch:
    file: StoredFile
    window: str
    seconds: int
    metadata: Any
    id: str = field(default_factory=lambda: f"batch_{secrets.token_hex(12)}")
    status: str = "validating"
    times: dict[str, int] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    todo: deque[dict[str, Any]] = field(default_factory=deque)
    total: int = 0
    done: list[bytes] = field(default_factory=list)
    failed: list[bytes] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def set_status(self, status: str) -> None:
        """Changes the state and records its time."""
        self.status = status
        self.times[status] = int(time.time())

    @property
    def as_json(self) -> dict[str, Any]:
        """The batch as the API describes it."""
        created = self.times["validating"]
        at = {
            f"{status}_at": self.times.get(status)
            for status in ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        }
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": BATCH_ENDPOINT,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.file.id,
            "completion_window": self.window,
            "status": self.status,
            "output_file_id": self.files.get("output"),
            "error_file_id": self.files.get("error"),
            "created_at": created,
            "expires_at": created + self.seconds,
            **at,
            "request_counts": {"total": self.total, "completed": len(self.done), "failed": len(self.failed)},
            "metadata": self.metadata,
        }


class BatchEndpoints:
    """The endpoints below `/batches`, with all batches by id."""

    def __init__(self, files: FileEndpoints, chat: ChatHandler) -> None:
        self._files = files
        self._chat = chat
        self._batches: dict[str, _Batch] = {}
        self._polling = threading.Lock()

    def create(self, request: HttpRequest) -> HttpResponse:
        """POST /batches."""
        try:
            body = request.json
        except ValueError as error:
            return invalid_request(f"Invalid request: {error}")
        file = self._files.get(body.get("input_file_id"))
        if file is None:
            return invalid_request(f"Invalid request: input_file_id {body.get('input_file_id')} not found")
        if file.purpose != "batch":
            return invalid_request(
                f"Invalid request: the purpose of file {file.id} is {file.purpose}, it must be batch"
            )
        if body.get("endpoint") != BATCH_ENDPOINT:
            return invalid_request(f"Invalid request: endpoint must be {BATCH_ENDPOINT}")
        window = body.get("completion_window")
        seconds = _seconds(window)
        if not 12 * 3600 <= seconds <= 7 * 86400:
            return invalid_request("Invalid request: completion_window must be between 12h and 7d")
        batch = _Batch(file, str(window), seconds, body.get("metadata"))
        batch.set_status("validating")
        self._batches[batch.id] = batch
        return json_response(batch.as_json)

    def list(self, request: HttpRequest) -> HttpResponse:
        """GET /batches, newest first, in pages of `limit` after the id `after`."""
        batches = [batch.as_json for batch in reversed(self._batches.values())]
        ids = [batch["id"] for batch in batches]
        after, limit = request.query.get("after"), request.query.get("limit", str(_PAGE))
        if (after and after not in ids) or not limit.isdecimal():
            return invalid_request("Invalid request: no such page of batches")
        start = ids.index(after) + 1 if after else 0
        page = batches[start : start + int(limit)]
        return json_response({"object": "list", "data": page, "has_more": start + len(page) < len(batches)})

    def poll(self, request: HttpRequest, batch_id: str) -> HttpResponse:
        """GET /batches/{id}, which advances the batch by one state."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return not_found(f"batch {batch_id} not found")
        with self._polling:
            self._advance(batch)
        return json_response(batch.as_json)

    def cancel(self, request: HttpRequest, batch_id: str) -> HttpResponse:
        """POST /batches/{id}/cancel."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return not_found(f"batch {batch_id} not found")
        if batch.status not in ("validating", "in_progress"):
            return invalid_request(f"Invalid request: a batch that is {batch.status} cannot be cancelled")
        batch.set_status("cancelling")
        return json_response(batch.as_json)

    def _advance(self, batch: _Batch) -> None:
        if batch.status == "validating":
            lines, batch.errors = _parse_lines(batch.file.data)
            batch.set_status("failed" if batch.errors else "in_progress")
            batch.todo, batch.total = deque(lines), len(lines)
        elif batch.status == "in_progress":
            for _ in range(min(len(batch.todo), -(-batch.total // _POLLS))):
                self._answer_line(batch, batch.todo.popleft())
            if not batch.todo:
                batch.set_status("finalizing")
        elif batch.status in ("finalizing", "cancelling"):
            for kind, output in (("output", batch.done), ("error", batch.failed)):
                if output:
                    file = StoredFile(f"{batch.id}_{kind}.jsonl", "batch_output", b"".join(output))
                    batch.files[kind] = self._files.add(file).id
            batch.set_status("completed" if batch.status == "finalizing" else "cancelled")

    def _answer_line(self, batch: _Batch, line: dict[str, Any]) -> None:
        body = encode_json(
            {key: value for key, value in line["body"].items() if key not in ("stream", "stream_options")}
        )
        response, error = None, None
        chat = self._chat(body)
        try:
            content = b"".join(chat.body)
            response = {
                "status_code": chat.status,
                "request_id": chat.headers["x-request-id"],
                "body": json.loads(content) if content else None,
            }
        except (ConnectionCut, ConnectionStalled, ValueError) as failure:
            error = {"code": "server_error", "message": f"the request was not answered: {type(failure).__name__}"}
        finally:
            chat.close()
        row = {"id": f"batch_req_{secrets.token_hex(8)}", "custom_id": line["custom_id"], "response": response}
        output = encode_json({**row, "error": error}) + b"\n"
        (batch.done if response and chat.status == 200 else batch.failed).append(output)


def _seconds(window: object) -> int:
    """The seconds of a window such as `12h` or `7d`; 0 for any other value."""
    match = _WINDOW.fullmatch(window) if isinstance(window, str) else None
    return int(match.group(1)) * (3600 if match.group(2) == "h" else 86400) if match else 0


def _parse_lines(data: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of an input file, or their errors."""
    lines: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    used_ids: set[str] = set()
    for number, text in enumerate(data.splitlines(), 1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if message := _line_error(line, lines[0] if lines else None, used_ids):
            errors.append({"code": "invalid_request", "message": message, "param": None, "line": number})
        else:
            used_ids.add(line["custom_id"])
            lines.append(line)
    return ([], errors) if errors else (lines, [])


def _line_error(line: Any, first: dict[str, Any] | None, used_ids: set[str]) -> str | None:
    if not isinstance(line, dict):
        return "the line is not a JSON object"
    if missing := [name for name in _FIELDS if name not in line]:
        return f"the line lacks {', '.join(missing)}"
    if not isinstance(line["custom_id"], str) or line["custom_id"] in used_ids:
        return f"custom_id {line['custom_id']} is not a unique string"
    if line["method"] != "POST" or line["url"] != BATCH_ENDPOINT or not isinstance(line["body"], dict):
        return f"the line is not a POST to {BATCH_ENDPOINT}"
    model = line["body"].get("model")
    if model not in BATCH_MODELS:
        return f"the model {model} does not support batches"
    if first and first["body"]["model"] != model:
        return "all lines must have the same model"
    return None
