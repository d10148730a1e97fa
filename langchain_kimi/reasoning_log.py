"""A log of what models thought, said and called: one line of JSON for each answer, and for each failure."""

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
from langchain_core.outputs import ChatGeneration, LLMResult

from langchain_kimi._raw_calls import REASONING, calls_of
from langchain_kimi._redaction import redact
from langchain_kimi.usage import cost_of

MAX_CHARS = 50_000
_ABOUT = {"thread_id": "thread_id", "agent": "lc_agent_name", "node": "langgraph_node"}


class Text(Protocol):
    """An open text file."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


Target = str | os.PathLike[str] | Text | Callable[[str], object]


class _Asked(NamedTuple):
    """A question on its way."""

    since: float
    about: dict[str, Any]
    model: str


class ReasoningLog(BaseCallbackHandler):
    """A callback handler that writes what every chat model below it answered: `config={"callbacks": [log]}`.

    A line holds `time` (ISO, UTC), `run_id`, `parent_run_id`, `thread_id`, `agent`, `node`, `model`, `reasoning`,
    `content`, `tool_calls` (arguments as the model wrote them), `finish_reason`, `usage`, `cost_usd` (None where it is
    not known), `seconds` and `request_id`; a failed turn has `error` (type, message, status) and what had arrived.

    `to` is a path (appended to as UTF-8, a whole line at a time, so that tools that rotate logs by copying may cut
    it), an open text file, which is never closed here, or a function that is given each line, such as a logger's
    `info`. A file that is made anew can be read by its owner only, because prompts are in it. `redact` is applied to
    every text before anything is cut; keys and account ids are always taken out. Texts longer than `max_chars`
    characters are cut, and `cut` says by how many; None cuts nothing. Without `flush` lines may wait in the file's
    buffer until `close`. Threads, event loops and models may share one log.
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
        self._asked: dict[UUID, _Asked] = {}
        self._own: Text | None = None
        self._write: Callable[[str], object] | None
        if isinstance(to, (str, os.PathLike)):
            self._own = to = open_private(to)
        self._file = None if callable(to) else to
        self._write = to if callable(to) else self._append

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits in the buffer, and close the file if it was opened here; later answers are not logged."""
        with self._lock:
            self._write = None
            if self._own is not None:
                self._own.close()  # type: ignore[attr-defined]
            elif self._file is not None:
                self._file.flush()
            self._own = self._file = None

    # What LangChain tells.

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **told: Any) -> None:
        """A model was asked."""
        metadata = told.get("metadata") or {}
        parent = told.get("parent_run_id")
        about = {"run_id": str(run_id), "parent_run_id": str(parent) if parent else None}
        about |= {name: metadata.get(key) for name, key in _ABOUT.items()}
        with self._lock:
            self._asked[run_id] = _Asked(time.monotonic(), about, str(metadata.get("ls_model_name") or "unknown"))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **told: Any) -> None:
        """A model answered."""
        head, model = self._head(run_id)
        for answer in _answers(response):
            self._log(head | _said(answer, model))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """A model failed, or was cancelled."""
        head, model = self._head(run_id)
        carried = getattr(error, "message", None)
        arrived = [carried] if isinstance(carried, AIMessage) else _answers(told.get("response"))
        line = head | (_said(arrived[0], model) if arrived else {"model": model})
        failure = {"type": type(error).__name__, "message": str(error), "status": getattr(error, "status", None)}
        request_id = line.get("request_id") or getattr(error, "request_id", None)
        self._log(line | {"request_id": request_id, "error": failure})

    def _head(self, run_id: UUID) -> tuple[dict[str, Any], str]:
        with self._lock:
            asked = self._asked.pop(run_id, None)
        now = {"time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        if asked is None:
            return now | {"run_id": str(run_id)}, "unknown"
        return now | asked.about | {"seconds": round(time.monotonic() - asked.since, 3)}, asked.model

    def _log(self, record: Mapping[str, Any]) -> None:
        cut: dict[str, int] = {}
        shown = {name: self._shown(name, value, cut) for name, value in record.items()}
        line = json.dumps(shown | ({"cut": cut} if cut else {}), ensure_ascii=False, default=str)
        line = line.encode("utf-8", "replace").decode()  # half a surrogate pair has no place in a file
        with self._lock:
            if self._write is not None:
                self._write(line)

    def _shown(self, path: str, value: Any, cut: dict[str, int]) -> Any:
        """A value as it is written: every text in it redacted, then cut."""
        if isinstance(value, Mapping):
            return {key: self._shown(f"{path}.{key}", inner, cut) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._shown(f"{path}[{index}]", inner, cut) for index, inner in enumerate(value)]
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
    generations = [one for many in (result.generations if result else []) for one in many]
    messages = [one.message for one in generations if isinstance(one, ChatGeneration)]
    return [message for message in messages if isinstance(message, AIMessage)]


def _said(answer: AIMessage, asked: str) -> dict[str, Any]:
    """An answer as part of a line."""
    metadata, usage = answer.response_metadata, answer.usage_metadata
    model = str(metadata.get("model_name") or asked)
    from_cache = bool(usage) and dict(usage or {}).get("total_cost") == 0
    return {
        "model": model,
        "reasoning": _reasoning(answer),
        "content": str(answer.text),
        "tool_calls": [{key: call.get(key) for key in ("id", "name", "arguments")} for call in calls_of(answer)],
        "finish_reason": metadata.get("finish_reason") or metadata.get("stop_reason"),
        "usage": dict(usage) if usage else None,
        "cost_usd": 0.0 if from_cache else cost_of(usage, model),
        "request_id": metadata.get("request_id"),
    }


def _reasoning(answer: AIMessage) -> str | None:
    """The thinking of any provider's message; None where there is none."""
    kept = answer.additional_kwargs.get(REASONING)
    if isinstance(kept, str):
        return kept
    thoughts = [str(block.get("reasoning") or "") for block in answer.content_blocks if block["type"] == "reasoning"]
    return "".join(thoughts) if thoughts else None
