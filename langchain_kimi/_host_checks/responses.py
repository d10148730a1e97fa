"""A chat request of a check, and the response to it in the parts that checks look at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_kimi import _surrogates as surrogates
from langchain_kimi._error_responses import from_response, no_answer
from langchain_kimi._hosts import KIMI_REASONING_KEY, OTHER_REASONING_KEYS, REASONING_DETAILS_KEY
from langchain_kimi._http import DONE, RawResponse, SSEParser
from langchain_kimi._raw_calls import RawCall, raw_calls
from langchain_kimi._response import ResponseDecoder
from langchain_kimi.errors import KimiError
from langchain_kimi.usage import usage_metadata

CHAT_PATH = "/chat/completions"
REASONING_KEYS = (KIMI_REASONING_KEY, *OTHER_REASONING_KEYS, REASONING_DETAILS_KEY)
"""The keys under which hosts send reasoning."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request under the name by which checks find its response."""

    name: str
    messages: list[dict[str, Any]]
    cap: int
    """The output cap in tokens."""
    fields: Mapping[str, Any]
    """Fields besides `messages`, `model`, `stream` and the cap; a field that is None is left out."""
    stream: bool = True
    leaves: bool = False
    """Whether the connection is dropped in the middle of the response."""
    retries: bool = True
    """Whether it is sent again after a failure that may pass."""

    def body(self, model: str) -> dict[str, Any]:
        """The JSON of the request."""
        fields: dict[str, Any] = {"model": model, "messages": self.messages, "max_completion_tokens": self.cap}
        if self.stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        return {name: value for name, value in (fields | dict(self.fields)).items() if value is not None}


def leave_after_text(body: bytes) -> bool:
    """Whether enough of a stream arrived to drop the connection in its middle: two events."""
    return body.count(b"data:") >= 2


class HostResponse:
    """A request and its response."""

    def __init__(self, request: ChatRequest, response: RawResponse, host: str) -> None:
        self.request = request
        self.status = response.status
        self.headers = response.headers
        self.body = response.body
        self.failure = response.failure
        self._host = host

    @cached_property
    def documents(self) -> list[bytes]:
        """The data of the events of a stream, `[DONE]` included; a body that is no stream as a whole."""
        if not self.is_stream:
            return [self.body] if self.body.strip() else []
        parser = SSEParser()
        try:
            return [*parser.feed(self.body), *parser.end()]
        except KimiError:
            return []

    @property
    def is_stream(self) -> bool:
        """Whether the body is an event stream."""
        return self.body.lstrip().startswith((b"data:", b"event:", b":"))

    @cached_property
    def chunks(self) -> list[dict[str, Any]]:
        """The JSON objects among the documents."""
        return [parsed for document in self.documents if isinstance(parsed := _parsed(document), dict)]

    @property
    def is_answer(self) -> bool:
        """Whether the response is a chat completion, whole or streamed."""
        return self.status == 200 and self.failure is None and bool(self.choices)

    @cached_property
    def choices(self) -> list[dict[str, Any]]:
        """The choices of all chunks, or of the body."""
        listed = [choice for chunk in self.chunks for choice in _list(chunk.get("choices"))]
        return [choice for choice in listed if isinstance(choice, dict)]

    @cached_property
    def deltas(self) -> list[dict[str, Any]]:
        """The deltas of all choices, or the message of the body."""
        parts = [choice.get("delta", choice.get("message")) for choice in self.choices]
        return [part for part in parts if isinstance(part, dict)]

    @cached_property
    def reasoning_keys(self) -> tuple[str, ...]:
        """The keys under which reasoning arrived."""
        return tuple(key for key in REASONING_KEYS if any(delta.get(key) for delta in self.deltas))

    @cached_property
    def finish_reason(self) -> str | None:
        """The last finish reason."""
        reasons = [choice["finish_reason"] for choice in self.choices if choice.get("finish_reason")]
        return str(reasons[-1]) if reasons else None

    @property
    def was_cut(self) -> bool:
        """Whether the answer reached its cap, so that its end is not known."""
        return self.finish_reason == "length"

    @cached_property
    def answer(self) -> AIMessage | None:
        """The message as `ChatKimi` reads it; None where it raises."""
        decoder = ResponseDecoder(host=self._host, headers=self.headers)
        try:
            for document in self.documents:
                decoder.feed(document)
            return decoder.message()
        except KimiError:
            return None

    @property
    def text(self) -> str:
        """The text of the answer; empty where there is none."""
        return self.answer.text if self.answer else ""

    @cached_property
    def calls(self) -> list[RawCall]:
        """The calls of the answer as `ChatKimi` joins them, with the host's argument strings."""
        return raw_calls(self.answer) if self.answer else []

    @cached_property
    def call_ids(self) -> list[str | None]:
        """The id of each call as the host sent it; None for a call without one."""
        parts = [part for delta in self.deltas for part in _list(delta.get("tool_calls")) if isinstance(part, dict)]
        return [part.get("id") for part in parts if part.get("id") or (part.get("function") or {}).get("name")]

    @cached_property
    def wire_usage(self) -> dict[str, Any] | None:
        """The last `usage` object, of a chunk or of a choice."""
        usages = [part.get("usage") for part in (*self.choices, *self.chunks)]
        reports = [usage for usage in usages if isinstance(usage, dict) and usage]
        return reports[-1] if reports else None

    @property
    def usage(self) -> UsageMetadata | None:
        """The usage in LangChain's form; None where the host reported none."""
        return usage_metadata(self.wire_usage)

    @cached_property
    def error(self) -> KimiError | None:
        """The error that the response is; None for an answer."""
        if self.failure is not None:
            return self.failure
        if self.is_answer:
            return None
        parsed, text = _parsed(self.body), self.body.decode("utf-8", "replace")
        if self.status == 200 and not (isinstance(parsed, dict) and parsed.get("error")):
            return no_answer(self.status, text, host=self._host, headers=self.headers)
        body = parsed if isinstance(parsed, dict) else text
        return from_response(self.status, body, host=self._host, headers=self.headers)

    @property
    def outcome(self) -> str:
        """What the host did, in a few words."""
        if self.failure is not None:
            return "no answer: " + str(self.failure)[:160]
        if self.error is None:
            return "answered"
        detail = f" {self.error.type}" if self.error.type else ""
        return f"{self.status}{detail}: {_message(self.body)}"


def user(text: str) -> dict[str, Any]:
    """A user message."""
    return {"role": "user", "content": text}


def function(name: str, description: str, properties: Mapping[str, Any], **schema: Any) -> dict[str, Any]:
    """The declaration of a tool; all its parameters are required unless `schema` says otherwise."""
    parameters = {"type": "object", "properties": dict(properties), "required": list(properties), **schema}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def call_and_result(
    call_id: str, name: str, arguments: str, result: str, reasoning: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """An assistant message with one call, and the result of the call."""
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    message = {"role": "assistant", "content": "", **reasoning, "tool_calls": [call]}
    return [message, {"role": "tool", "tool_call_id": call_id, "content": result}]


def is_done(document: bytes) -> bool:
    """Whether it is the mark at the end of a stream."""
    return document == DONE


def rate(responses: list[HostResponse], holds: Callable[[HostResponse], bool]) -> tuple[int, int]:
    """How many of the answers that were not cut hold, and how many there are."""
    whole = [response for response in responses if response.is_answer and not response.was_cut]
    return sum(map(holds, whole)), len(whole)


def first_refusal(responses: list[HostResponse]) -> str | None:
    """What the host did at the first request that it did not answer; None where it answered all."""
    return next((response.outcome for response in responses if not response.is_answer), None)


def _parsed(document: bytes) -> Any:
    try:
        return surrogates.loads(document)
    except ValueError:
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _message(body: bytes) -> str:
    """The message of an error body, or the start of another body."""
    parsed = _parsed(body)
    detail = parsed.get("error", parsed) if isinstance(parsed, dict) else None
    if isinstance(detail, dict) and detail.get("message"):
        return str(detail["message"])[:160]
    return detail[:160] if isinstance(detail, str) else body[:80].decode("utf-8", "replace")
