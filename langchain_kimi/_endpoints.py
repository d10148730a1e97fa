"""Kimi's endpoints other than chat, each as a value: method, path, body, and how to read the response.

`run` and `arun` of an `ApiRequest` send it; a generator for `langchain_kimi._steps` sends it by `yield from`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from langchain_kimi import _surrogates as surrogates
from langchain_kimi import errors
from langchain_kimi._error_responses import from_response
from langchain_kimi._http import ApiRequest, UploadForm
from langchain_kimi._redaction import redact
from langchain_kimi.errors import BadRequestError, KimiError

CHAT = "/v1/chat/completions"
"""The path that the lines of a batch name, whatever the base URL."""


# Account.


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that the account can use."""

    id: str
    context: int | None
    """Window in tokens."""
    inputs: tuple[str, ...]
    wire: Mapping[str, Any] = field(repr=False)
    """The host's JSON object for the model."""


@dataclass(frozen=True, slots=True)
class Balance:
    """The account's money, in US dollars on the international host and in yuan on the Chinese one."""

    available: float
    """Cash and vouchers together; with 0 or less no request is answered."""
    voucher: float
    cash: float
    """Negative where the account is in debt."""


def list_models() -> ApiRequest[list[ModelInfo]]:
    """The models of the account."""
    return ApiRequest("GET", "/models", lambda response: [_model(row) for row in response["data"]])


def get_balance() -> ApiRequest[Balance]:
    """The account's money."""
    return ApiRequest("GET", "/users/me/balance", _balance)


def estimate_tokens(model: str, messages: Sequence[Mapping[str, Any]]) -> ApiRequest[int]:
    """How many tokens Kimi counts in messages on the wire; the endpoint takes no tools."""
    body = surrogates.dumps({"model": model, "messages": messages})
    path = "/tokenizers/estimate-token-count"
    return ApiRequest("POST", path, lambda response: int(_data(response)["total_tokens"]), body, model=model)


def _model(row: Mapping[str, Any]) -> ModelInfo:
    inputs = [kind for kind in ("image", "video") if row.get(f"supports_{kind}_in")]
    return ModelInfo(row["id"], row.get("context_length"), ("text", *inputs), row)


def _balance(response: Mapping[str, Any]) -> Balance:
    data = _data(response)
    return Balance(
        float(data["available_balance"]), float(data.get("voucher_balance") or 0), float(data.get("cash_balance") or 0)
    )


def _data(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data of a response of these endpoints. Raises BadRequestError for an error, which may have status 200."""
    if response.get("code") or response.get("status") is False:
        reason = redact(str(response.get("error") or response.get("message") or "no reason"))
        raise BadRequestError(f"Kimi refused the request: {reason}", type=str(response.get("scode") or "") or None)
    data: Mapping[str, Any] = response["data"]
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
    """`ok` or `ready` if it can be used, `error` if it cannot."""
    created: int
    """Seconds since 1970."""
    problem: str = ""
    """Why the file cannot be used."""

    @property
    def reference(self) -> str:
        """The reference to an uploaded image or video in a message."""
        return f"ms://{self.id}"

    @property
    def block(self) -> dict[str, Any]:
        """The content block for an uploaded image or video in a message."""
        kind = "video" if self.purpose == "video" else "image"
        return {"type": kind, "url": self.reference}


def upload_file(form: UploadForm) -> ApiRequest[KimiFile]:
    """Upload the form's file; its `fields` hold the purpose."""
    return ApiRequest("POST", "/files", _file, form, once=True)


def list_files() -> ApiRequest[list[KimiFile]]:
    """All files of the account."""
    return ApiRequest("GET", "/files", lambda response: [_file(row) for row in response["data"]])


def get_file(file_id: str) -> ApiRequest[KimiFile]:
    """The metadata of a file."""
    return ApiRequest("GET", f"/files/{_part(file_id)}", _file)


def get_content(file_id: str) -> ApiRequest[bytes]:
    """The content of a file; the text of one that was uploaded for its text."""
    return ApiRequest("GET", f"/files/{_part(file_id)}/content", bytes, raw=True)


def delete_file(file_id: str) -> ApiRequest[None]:
    """Delete a file."""
    return ApiRequest("DELETE", f"/files/{_part(file_id)}", lambda response: None)


def extracted_text(content: bytes) -> str:
    """The text of an extract's content, which some hosts put into a JSON object with the file's name and type."""
    text = content.decode("utf-8-sig", "replace")
    if text.startswith("{"):
        try:
            parsed = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        if isinstance(parsed, dict) and {"content", "file_type"} <= parsed.keys():
            return str(parsed["content"])
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
    """A batch of chat requests."""

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
    """Why the batch failed as a whole."""
    metadata: Mapping[str, Any]

    @property
    def ended(self) -> bool:
        """Whether the batch has ended."""
        return self.status in ENDED


def create_batch(file_id: str, *, window: str, metadata: Mapping[str, str] | None) -> ApiRequest[Batch]:
    """Create a batch of the requests in an uploaded JSONL file. `window` is its deadline, such as `24h` or `7d`."""
    body: dict[str, Any] = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": window}
    if metadata:
        body["metadata"] = dict(metadata)
    return ApiRequest("POST", "/batches", _batch, orjson.dumps(body), once=True)


def get_batch(batch_id: str) -> ApiRequest[Batch]:
    """The state of a batch."""
    return ApiRequest("GET", f"/batches/{_part(batch_id)}", _batch)


def cancel_batch(batch_id: str) -> ApiRequest[Batch]:
    """Stop a batch. The responses so far can be read when it has ended."""
    return ApiRequest("POST", f"/batches/{_part(batch_id)}/cancel", _batch)


def list_batches(after: str | None = None, limit: int = 100) -> ApiRequest[tuple[list[Batch], bool]]:
    """A page of batches, newest first, and whether there are more."""
    query = urlencode({"limit": limit} | ({"after": after} if after else {}))
    return ApiRequest(
        "GET",
        f"/batches?{query}",
        lambda response: ([_batch(row) for row in response["data"]], bool(response.get("has_more"))),
    )


def batch_lines(bodies: Iterable[Mapping[str, Any]]) -> bytes:
    """The JSONL of a batch: one chat request per line, with an id from its index."""
    return b"".join(
        surrogates.dumps({"custom_id": custom_id(index), "method": "POST", "url": CHAT, "body": body}) + b"\n"
        for index, body in enumerate(bodies)
    )


def custom_id(index: int) -> str:
    """The `custom_id` of a request of a batch by its index, from 0."""
    return f"request-{index}"


def outcome_of(line: Mapping[str, Any], *, host: str, model: str = "") -> Mapping[str, Any] | KimiError:
    """The chat response in one line of a batch's output, or the error instead of it."""
    response = line.get("response") or {}
    status, body = response.get("status_code"), response.get("body")
    if status == 200 and isinstance(body, Mapping) and not line.get("error"):
        return body
    error = line.get("error") or body
    refusal = body if isinstance(body, Mapping) and "error" in body else {"error": error}
    return from_response(int(status or 500), refusal, host=host, headers={}, model=model)


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
    line = f"line {problem['line']}: " if problem.get("line") else ""
    return f"{line}{problem.get('message') or problem.get('code')}"


# Formulas: tools that Kimi's side runs.


def formula_definitions(uri: str) -> ApiRequest[list[dict[str, Any]]]:
    """The tools of a formula in OpenAI's format."""
    return ApiRequest("GET", f"/formulas/{quote(uri, safe='/:')}/tools", _definitions)


def run_fiber(uri: str, name: str, arguments: str) -> ApiRequest[str]:
    """Run a formula's tool and return its output for the model, unchanged. Raises a KimiError if it fails."""
    body = surrogates.dumps({"name": name, "arguments": arguments})
    return ApiRequest(
        "POST", f"/formulas/{quote(uri, safe='/:')}/fibers", lambda response: _output(uri, response), body, once=True
    )


def _definitions(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    tools = [tool for tool in response["tools"] if tool["function"]["name"]]
    if not tools:
        raise errors.NotFoundError("the formula has no tools")
    return tools


def _output(uri: str, response: Mapping[str, Any]) -> str:
    context = response.get("context") or {}
    error, status = response.get("error") or context.get("error"), response.get("status")
    if status != "succeeded" or error:
        why = redact(str(error or f"its status is {status!r}, without a reason"))
        raise KimiError(f"{uri} failed: {why}", type=str(status))
    for key in ("output", "encrypted_output"):
        output = context.get(key)
        if output is not None:
            return output if isinstance(output, str) else orjson.dumps(output).decode()
    return ""


def _part(name: str) -> str:
    """An id as a part of a path."""
    if not name:
        raise errors.IllegalRequestError("The id is empty.")
    return quote(name, safe="")
