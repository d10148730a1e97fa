"""A log of the reasoning, text and tool calls of models: one line of JSON for each answer and each failed request."""

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, Self, TextIO
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import LLMResult

from langchain_kimi._raw_calls import REASONING, raw_calls
from langchain_kimi._redaction import redact
from langchain_kimi.usage import answers_by_prompt, cost_of, is_from_cache

MAX_CHARS = 50_000
"""The default length in characters beyond which a text is cut."""
_METADATA = {"thread_id": "thread_id", "agent": "lc_agent_name", "node": "langgraph_node"}


class TextFile(Protocol):
    """An open text file."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


Target = str | os.PathLike[str] | TextFile | Callable[[str], object]


class _OpenRequest(NamedTuple):
    """A request that has no response yet."""

    started: float
    """In seconds of the monotonic clock."""
    metadata: dict[str, Any]
    model: str


class ReasoningLog(BaseCallbackHandler):
    """A callback handler that logs the answers of all chat models below it: `config={"callbacks": [log]}`.

    A line has `time` (ISO, UTC), `run_id`, `parent_run_id`, `thread_id`, `agent`, `node`, `model`, `reasoning`,
    `content`, `tool_calls` (arguments as the model wrote them), `finish_reason`, `usage`, `cost_usd` (None where it is
    not known), `seconds` and `request_id`. The line of a failed request has `error` (type, message, status) and the
    part of the answer that had arrived.

    - `to`: a path, an open text file, which the log never closes, or a function that gets each line, such as a logger's
      `info`. A file at a path is appended to in UTF-8, a whole line at a time, so that tools that rotate logs by
      copying may truncate it. A new file is readable by its owner only, because it contains prompts.
    - `redact`: a function applied to every text before it is cut. Keys and account ids are always masked.
    - `max_chars`: longer texts are cut to so many characters, and `cut` has the number of those left out; None cuts
      nothing.
    - `flush`: whether each line is flushed; without it, lines may stay in the file's buffer until `close`.

    Threads, event loops and models may share one log.
    """

    run_inline = True

    def __init__(
        self,
        to: Target,
        *,
        redact: Callable[[str], str] | None = None,
        max_chars: int | None = MAX_CHARS,
        flush: bool = True,
    ) -> None:
        if max_chars is not None and max_chars < 0:
            raise ValueError(f"max_chars={max_chars} must be 0 or more, or None for no limit.")
        self._redact = redact
        self._max_chars = max_chars
        self._flush = flush
        self._lock = threading.Lock()
        self._open_requests: dict[UUID, _OpenRequest] = {}
        self._own_file: TextFile | None = None
        self._write: Callable[[str], object] | None
        if isinstance(to, (str, os.PathLike)):
            self._own_file = to = open_private(to)
        self._file = None if callable(to) else to
        self._write = to if callable(to) else self._append

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Flush the buffer, and close the file if the log opened it; later answers are not logged."""
        with self._lock:
            self._write = None
            if self._own_file is not None:
                self._own_file.close()  # type: ignore[attr-defined]
            elif self._file is not None:
                self._file.flush()
            self._own_file = self._file = None

    # LangChain's callbacks.

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A request to a model begins."""
        metadata = kwargs.get("metadata") or {}
        parent = kwargs.get("parent_run_id")
        line = {"run_id": str(run_id), "parent_run_id": str(parent) if parent else None}
        line |= {name: metadata.get(key) for name, key in _METADATA.items()}
        with self._lock:
            self._open_requests[run_id] = _OpenRequest(
                time.monotonic(), line, str(metadata.get("ls_model_name") or "unknown")
            )

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A model responded."""
        head, model = self._head(run_id)
        for answer in _answers(response):
            self._log(head | _answer_fields(answer, model))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A request failed or was cancelled."""
        head, model = self._head(run_id)
        carried = getattr(error, "message", None)
        arrived = [carried] if isinstance(carried, AIMessage) else _answers(kwargs.get("response"))
        line = head | (_answer_fields(arrived[0], model) if arrived else {"model": model})
        failure = {"type": type(error).__name__, "message": str(error), "status": getattr(error, "status", None)}
        request_id = line.get("request_id") or getattr(error, "request_id", None)
        self._log(line | {"request_id": request_id, "error": failure})

    def _head(self, run_id: UUID) -> tuple[dict[str, Any], str]:
        with self._lock:
            request = self._open_requests.pop(run_id, None)
        now = {"time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        if request is None:
            return now | {"run_id": str(run_id)}, "unknown"
        return now | request.metadata | {"seconds": round(time.monotonic() - request.started, 3)}, request.model

    def _log(self, record: Mapping[str, Any]) -> None:
        cut: dict[str, int] = {}
        fields = {name: self._redacted(name, value, cut) for name, value in record.items()}
        line = json.dumps(fields | ({"cut": cut} if cut else {}), ensure_ascii=False, default=str)
        line = line.encode("utf-8", "replace").decode()  # a lone surrogate cannot be encoded
        with self._lock:
            if self._write is not None:
                self._write(line)

    def _redacted(self, path: str, value: Any, cut: dict[str, int]) -> Any:
        """The value with every text in it redacted, then cut; `cut` gets the characters left out, by path."""
        if isinstance(value, Mapping):
            return {key: self._redacted(f"{path}.{key}", inner, cut) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._redacted(f"{path}[{index}]", inner, cut) for index, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        text = redact(self._redact(value) if self._redact else value)
        if self._max_chars is None or len(text) <= self._max_chars:
            return text
        cut[path] = len(text) - self._max_chars
        return text[: self._max_chars]

    def _append(self, line: str) -> None:
        assert self._file is not None
        self._file.write(f"{line}\n")
        if self._flush:
            self._file.flush()


def open_private(path: str | os.PathLike[str]) -> TextIO:
    """A text file to append to; a new one has mode 0600."""
    return open(path, "a", encoding="utf-8", newline="\n", opener=lambda name, flags: os.open(name, flags, 0o600))


def _answers(result: LLMResult | None) -> list[AIMessage]:
    return [answer for answers in answers_by_prompt(result) for answer in answers]


def _answer_fields(answer: AIMessage, requested_model: str) -> dict[str, Any]:
    """The fields of a line that an answer fills."""
    metadata, usage = answer.response_metadata, answer.usage_metadata
    model = str(metadata.get("model_name") or requested_model)
    return {
        "model": model,
        "reasoning": _reasoning(answer),
        "content": str(answer.text),
        "tool_calls": [{key: call.get(key) for key in ("id", "name", "arguments")} for call in raw_calls(answer)],
        "finish_reason": metadata.get("finish_reason") or metadata.get("stop_reason"),
        "usage": dict(usage) if usage else None,
        "cost_usd": 0.0 if is_from_cache(answer) else cost_of(usage, model),
        "request_id": metadata.get("request_id"),
    }


def _reasoning(answer: AIMessage) -> str | None:
    """The reasoning of a message of any provider, in LangChain's standard blocks; None where there is none."""
    reasoning = answer.additional_kwargs.get(REASONING)
    if isinstance(reasoning, str):
        return reasoning
    blocks = [block for block in answer.content_blocks if block["type"] == "reasoning"]
    return "".join(str(block.get("reasoning") or "") for block in blocks) if blocks else None
