"""Kimi's endpoints beside chat, each as a value: method, path, body, and how to read the answer.

`run` and `arun` of an `HttpRequest` send it; a generator for `langchain_kimi._steps` sends it by `yield from`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from langchain_kimi import _surrogates as surrogates
from langchain_kimi import errors
from langchain_kimi._http import HttpRequest, UploadForm
from langchain_kimi._redaction import redact
from langchain_kimi.errors import BadRequestError, KimiError

CHAT = "/v1/chat/completions"
"""The path that the lines of a batch name, whatever the base URL."""


# Account.


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that the account may ask."""

    id: str
    context: int | None
    """Window in tokens."""
    inputs: tuple[str, ...]
    wire: Mapping[str, Any] = field(repr=False)
    """All that the host says of it."""


@dataclass(frozen=True, slots=True)
class Balance:
    """The account's money, in US dollars on the international host and in yuan on the Chinese one."""

    available: float
    """Cash and vouchers together; with 0 or less no request is answered."""
    voucher: float
    cash: float
    """Negative where the account is in debt."""


def list_models() -> HttpRequest[list[ModelInfo]]:
    """The models of the account."""
    return HttpRequest("GET", "/models", lambda answer: [_model(row) for row in answer["data"]])


def get_balance() -> HttpRequest[Balance]:
    """The account's money."""
    return HttpRequest("GET", "/users/me/balance", _balance)


def estimate_tokens(model: str, messages: Sequence[Mapping[str, Any]]) -> HttpRequest[int]:
    """How many tokens Kimi counts in messages on the wire; the endpoint takes no tools."""
    body = surrogates.dumps({"model": model, "messages": messages})
    path = "/tokenizers/estimate-token-count"
    return HttpRequest("POST", path, lambda answer: int(_data(answer)["total_tokens"]), body, model=model)


def _model(row: Mapping[str, Any]) -> ModelInfo:
    inputs = [kind for kind in ("image", "video") if row.get(f"supports_{kind}_in")]
    return ModelInfo(row["id"], row.get("context_length"), ("text", *inputs), row)


def _balance(answer: Mapping[str, Any]) -> Balance:
    data = _data(answer)
    return Balance(
        float(data["available_balance"]), float(data.get("voucher_balance") or 0), float(data.get("cash_balance") or 0)
    )


def _data(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data of an answer in the form that these endpoints have; its own refusal, which may come with 200."""
    if answer.get("code") or answer.get("status") is False:
        said = redact(str(answer.get("error") or answer.get("message") or "no reason"))
        raise BadRequestError(f"Kimi refused: {said}", type=str(answer.get("scode") or "") or None)
    data: Mapping[str, Any] = answer["data"]
    return data


# Files.


@dataclass(frozen=True, slots=True)
class KimiFile:
    """A file in the account."""

    id: str
    name: str
    size: int
    """Bytes."""
    purpose: str
    status: str
    """`ok` or `ready` where it can be used, `error` where it cannot."""
    created: int
    """Seconds since 1970."""
    problem: str = ""
    """Why it cannot be used."""

    @property
    def reference(self) -> str:
        """What a message refers to an uploaded image or video by."""
        return f"ms://{self.id}"

    @property
    def block(self) -> dict[str, Any]:
        """The content block of a message that shows an uploaded image or video."""
        kind = "video" if self.purpose == "video" else "image"
        return {"type": kind, "url": self.reference}


def upload_file(form: UploadForm) -> HttpRequest[KimiFile]:
    """Upload the form's file; its `fields` hold the purpose."""
    return HttpRequest("POST", "/files", _file, form, once=True)


def list_files() -> HttpRequest[list[KimiFile]]:
    """All files of the account."""
    return HttpRequest("GET", "/files", lambda answer: [_file(row) for row in answer["data"]])


def get_file(file_id: str) -> HttpRequest[KimiFile]:
    """What is known of a file."""
    return HttpRequest("GET", f"/files/{_part(file_id)}", _file)


def get_content(file_id: str) -> HttpRequest[bytes]:
    """A file's content; of an extract, its text."""
    return HttpRequest("GET", f"/files/{_part(file_id)}/content", bytes, raw=True)


def delete_file(file_id: str) -> HttpRequest[None]:
    """Delete a file."""
    return HttpRequest("DELETE", f"/files/{_part(file_id)}", lambda answer: None)


def extracted_text(content: bytes) -> str:
    """The text of an extract's content, which some hosts put into a JSON object with the file's name and type."""
    text = content.decode("utf-8-sig", "replace")
    if text.startswith("{"):
        try:
            told = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        if isinstance(told, dict) and {"content", "file_type"} <= told.keys():
            return str(told["content"])
    return text


def _file(row: Mapping[str, Any]) -> KimiFile:
    return KimiFile(
        id=row["id"],
        name=str(row.get("filename") or ""),
        size=int(row.get("bytes") or 0),
        purpose=str(row.get("purpose") or ""),
        status=str(row.get("status") or ""),
        created=int(row.get("created_at") or 0),
        problem=str(row.get("status_details") or ""),
    )


# Batches.

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True)
class Batch:
    """Many requests on their way together."""

    id: str
    status: str
    """`validating`, `in_progress`, `finalizing`, `cancelling`, or one of those that end it: `completed`, `failed`,
    `expired`, `cancelled`."""
    total: int
    completed: int
    failed: int
    input_file: str
    output_file: str | None
    error_file: str | None
    created: int
    """Seconds since 1970."""
    problems: tuple[str, ...]
    """Why it failed as a whole."""
    metadata: Mapping[str, Any]

    @property
    def ended(self) -> bool:
        """Whether nothing more will be answered."""
        return self.status in ENDED


def create_batch(file_id: str, *, window: str, metadata: Mapping[str, str] | None) -> HttpRequest[Batch]:
    """Have the requests of an uploaded JSONL file answered within `window`, such as `24h` or `7d`."""
    body: dict[str, Any] = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": window}
    if metadata:
        body["metadata"] = dict(metadata)
    return HttpRequest("POST", "/batches", _batch, orjson.dumps(body), once=True)


def get_batch(batch_id: str) -> HttpRequest[Batch]:
    """How far a batch is."""
    return HttpRequest("GET", f"/batches/{_part(batch_id)}", _batch)


def cancel_batch(batch_id: str) -> HttpRequest[Batch]:
    """Stop a batch; what was answered by then is kept."""
    return HttpRequest("POST", f"/batches/{_part(batch_id)}/cancel", _batch)


def list_batches(after: str | None = None, limit: int = 100) -> HttpRequest[tuple[list[Batch], bool]]:
    """A page of batches, newest first, and whether there are more."""
    query = urlencode({"limit": limit} | ({"after": after} if after else {}))
    return HttpRequest(
        "GET",
        f"/batches?{query}",
        lambda answer: ([_batch(row) for row in answer["data"]], bool(answer.get("has_more"))),
    )


def batch_lines(bodies: Iterable[Mapping[str, Any]]) -> bytes:
    """The JSONL of a batch: one chat request a line, named by its place."""
    return b"".join(
        surrogates.dumps({"custom_id": custom_id(place), "method": "POST", "url": CHAT, "body": body}) + b"\n"
        for place, body in enumerate(bodies)
    )


def custom_id(place: int) -> str:
    """The name of a batch's request by its place, from 0."""
    return f"request-{place}"


def outcome_of(line: Mapping[str, Any], *, host: str, model: str = "") -> Mapping[str, Any] | KimiError:
    """The chat answer of one line of a batch's output, or the error that stands in its place."""
    response = line.get("response") or {}
    status, body = response.get("status_code"), response.get("body")
    if status == 200 and isinstance(body, Mapping) and not line.get("error"):
        return body
    told = line.get("error") or body
    refusal = body if isinstance(body, Mapping) and "error" in body else {"error": told}
    return errors.from_response(int(status or 500), refusal, host=host, headers={}, model=model)


def _batch(row: Mapping[str, Any]) -> Batch:
    counts, problems = row.get("request_counts") or {}, (row.get("errors") or {}).get("data") or ()
    return Batch(
        id=row["id"],
        status=row["status"],
        total=int(counts.get("total") or 0),
        completed=int(counts.get("completed") or 0),
        failed=int(counts.get("failed") or 0),
        input_file=str(row.get("input_file_id") or ""),
        output_file=row.get("output_file_id") or None,
        error_file=row.get("error_file_id") or None,
        created=int(row.get("created_at") or 0),
        problems=tuple(_problem(problem) for problem in problems),
        metadata=row.get("metadata") or {},
    )


def _problem(problem: Mapping[str, Any]) -> str:
    place = f"line {problem['line']}: " if problem.get("line") else ""
    return f"{place}{problem.get('message') or problem.get('code')}"


# Formulas: tools that Kimi's side runs.


def formula_definitions(uri: str) -> HttpRequest[list[dict[str, Any]]]:
    """The tools of a formula in OpenAI's format."""
    return HttpRequest("GET", f"/formulas/{quote(uri, safe='/:')}/tools", _definitions)


def run_fiber(uri: str, name: str, arguments: str) -> HttpRequest[str]:
    """Run a formula's tool; its output for the model, to be passed on as it is. Raises a KimiError where it failed."""
    body = surrogates.dumps({"name": name, "arguments": arguments})
    return HttpRequest(
        "POST", f"/formulas/{quote(uri, safe='/:')}/fibers", lambda answer: _output(uri, answer), body, once=True
    )


def _definitions(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    tools = [tool for tool in answer["tools"] if tool["function"]["name"]]
    if not tools:
        raise errors.NotFoundError("the formula has no tools")
    return tools


def _output(uri: str, answer: Mapping[str, Any]) -> str:
    context = answer.get("context") or {}
    said, status = answer.get("error") or context.get("error"), answer.get("status")
    if status != "succeeded" or said:
        why = redact(str(said or f"its status is {status!r}, and nothing is said of why"))
        raise KimiError(f"{uri} failed: {why}", type=str(status))
    for key in ("output", "encrypted_output"):
        output = context.get(key)
        if output is not None:
            return output if isinstance(output, str) else orjson.dumps(output).decode()
    return ""


def _part(name: str) -> str:
    """An id as a part of a path."""
    if not name:
        raise errors.IllegalRequestError("An empty id names nothing.")
    return quote(name, safe="")
