"""The double's batches: a file of chat requests, answered by the script a third at every poll.

A poll takes a batch one step further: validating, in_progress (three times), finalizing, completed. The states and the
shapes are those of Kimi's documents; the texts of the errors are ours.
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
from langchain_kimi.testing.api.files import File, Files
from langchain_kimi.testing.api.http_request import HttpRequest
from langchain_kimi.testing.api.response import Answer, CutOff, Stalled, invalid, json_answer, not_found
from langchain_kimi.testing.script.wire_json import encode

Chat = Callable[[bytes], Answer]
"""Answers a chat request by its body."""

ENDPOINT = "/v1/chat/completions"
_WINDOW = re.compile(r"(\d{1,4})(h|d)")
_FIELDS = ("custom_id", "method", "url", "body")
_POLLS = 3
"""Polls in which the lines are answered."""
_PAGE = 20


@dataclass(eq=False)
class _Batch:
    file: File
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

    def turn(self, status: str) -> None:
        """Into another state, whose time is noted."""
        self.status = status
        self.times[status] = int(time.time())

    @property
    def shown(self) -> dict[str, Any]:
        """The batch as the API tells of it."""
        created = self.times["validating"]
        at = {
            f"{status}_at": self.times.get(status)
            for status in ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        }
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": ENDPOINT,
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


class Batches:
    """All batches of one double, by id."""

    def __init__(self, files: Files, chat: Chat) -> None:
        self._files = files
        self._chat = chat
        self._batches: dict[str, _Batch] = {}
        self._polling = threading.Lock()

    def create(self, request: HttpRequest) -> Answer:
        """POST /batches."""
        try:
            asked = request.json
        except ValueError as error:
            return invalid(f"Invalid request: {error}")
        file = self._files.get(asked.get("input_file_id"))
        if file is None:
            return invalid(f"Invalid request: input_file_id {asked.get('input_file_id')} not found")
        if file.purpose != "batch":
            return invalid(f"Invalid request: the purpose of file {file.id} is {file.purpose}, it must be batch")
        if asked.get("endpoint") != ENDPOINT:
            return invalid(f"Invalid request: endpoint must be {ENDPOINT}")
        window = asked.get("completion_window")
        seconds = _seconds(window)
        if not 12 * 3600 <= seconds <= 7 * 86400:
            return invalid("Invalid request: completion_window must be between 12h and 7d")
        batch = _Batch(file, str(window), seconds, asked.get("metadata"))
        batch.turn("validating")
        self._batches[batch.id] = batch
        return json_answer(batch.shown)

    def list(self, request: HttpRequest) -> Answer:
        """GET /batches, newest first, in pages of `limit` after the id `after`."""
        batches = [batch.shown for batch in reversed(self._batches.values())]
        ids = [batch["id"] for batch in batches]
        after, limit = request.query.get("after"), request.query.get("limit", str(_PAGE))
        if (after and after not in ids) or not limit.isdecimal():
            return invalid("Invalid request: no such page of batches")
        start = ids.index(after) + 1 if after else 0
        page = batches[start : start + int(limit)]
        return json_answer({"object": "list", "data": page, "has_more": start + len(page) < len(batches)})

    def poll(self, request: HttpRequest, batch_id: str) -> Answer:
        """GET /batches/{id}: one step further."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return not_found(f"batch {batch_id} not found")
        with self._polling:
            self._advance(batch)
        return json_answer(batch.shown)

    def cancel(self, request: HttpRequest, batch_id: str) -> Answer:
        """POST /batches/{id}/cancel."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return not_found(f"batch {batch_id} not found")
        if batch.status not in ("validating", "in_progress"):
            return invalid(f"Invalid request: a batch that is {batch.status} cannot be cancelled")
        batch.turn("cancelling")
        return json_answer(batch.shown)

    def _advance(self, batch: _Batch) -> None:
        if batch.status == "validating":
            lines, batch.errors = _read(batch.file.data)
            batch.turn("failed" if batch.errors else "in_progress")
            batch.todo, batch.total = deque(lines), len(lines)
        elif batch.status == "in_progress":
            for _ in range(min(len(batch.todo), -(-batch.total // _POLLS))):
                self._run(batch, batch.todo.popleft())
            if not batch.todo:
                batch.turn("finalizing")
        elif batch.status in ("finalizing", "cancelling"):
            for kind, written in (("output", batch.done), ("error", batch.failed)):
                if written:
                    file = File(f"{batch.id}_{kind}.jsonl", "batch_output", b"".join(written))
                    batch.files[kind] = self._files.keep(file).id
            batch.turn("completed" if batch.status == "finalizing" else "cancelled")

    def _run(self, batch: _Batch, line: dict[str, Any]) -> None:
        body = encode({key: value for key, value in line["body"].items() if key not in ("stream", "stream_options")})
        response, error = None, None
        answer = self._chat(body)
        try:
            content = b"".join(answer.body)
            response = {
                "status_code": answer.status,
                "request_id": answer.headers["x-request-id"],
                "body": json.loads(content) if content else None,
            }
        except (CutOff, Stalled, ValueError) as failure:
            error = {"code": "server_error", "message": f"the request was not answered: {type(failure).__name__}"}
        finally:
            answer.close()
        row = {"id": f"batch_req_{secrets.token_hex(8)}", "custom_id": line["custom_id"], "response": response}
        written = encode({**row, "error": error}) + b"\n"
        (batch.done if response and answer.status == 200 else batch.failed).append(written)


def _seconds(window: object) -> int:
    """The length of a window such as `12h` or `7d`; 0 for anything else."""
    found = _WINDOW.fullmatch(window) if isinstance(window, str) else None
    return int(found.group(1)) * (3600 if found.group(2) == "h" else 86400) if found else 0


def _read(data: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of an input file, or what is wrong with them."""
    lines: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    taken: set[str] = set()
    for number, text in enumerate(data.splitlines(), 1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if message := _line_problem(line, lines[0] if lines else None, taken):
            errors.append({"code": "invalid_request", "message": message, "param": None, "line": number})
        else:
            taken.add(line["custom_id"])
            lines.append(line)
    return ([], errors) if errors else (lines, [])


def _line_problem(line: Any, first: dict[str, Any] | None, taken: set[str]) -> str | None:
    if not isinstance(line, dict):
        return "the line is not a JSON object"
    if missing := [name for name in _FIELDS if name not in line]:
        return f"the line lacks {', '.join(missing)}"
    if not isinstance(line["custom_id"], str) or line["custom_id"] in taken:
        return f"custom_id {line['custom_id']} is no string of its own"
    if line["method"] != "POST" or line["url"] != ENDPOINT or not isinstance(line["body"], dict):
        return f"the line is no POST to {ENDPOINT}"
    model = line["body"].get("model")
    if model not in BATCH_MODELS:
        return f"the model {model} does not support batches"
    if first and first["body"]["model"] != model:
        return "all lines must ask the same model"
    return None
