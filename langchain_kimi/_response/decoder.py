"""Decodes one chat response, whole or streamed, into a LangChain message.

`feed()` collects the events and `message()` returns the whole message; `chunks()` and `last_chunks()` return its parts
for a stream. The same response makes the same message, whole or streamed, however it is cut into events.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk

from langchain_kimi import _surrogates as surrogates
from langchain_kimi import errors
from langchain_kimi._finish_reasons import COMPLETE, CONTENT_FILTER, KNOWN, LENGTH, calls_may_run
from langchain_kimi._raw_calls import CALLS, HOST, PROVIDER, REASONING, RawCall, parse_calls
from langchain_kimi._response.fast_chunks import Pieces
from langchain_kimi._response.reasoning import Thinking
from langchain_kimi._response.split_characters import Mender
from langchain_kimi._response.tool_calls import Calls
from langchain_kimi.errors import BrokenStreamError
from langchain_kimi.tokens import count_text
from langchain_kimi.usage import REPEATED, is_inconsistent, usage_metadata, usage_of_headers

REPORT = "kimi_report"
"""The key in `response_metadata` of what is odd about an answer; absent where nothing is."""

_METADATA = {"model": "model_name"} | {key: key for key in ("id", "created", "service_tier", "system_fingerprint")}
_HEADERS = {"request_id": ("x-request-id", "msh-request-id"), "trace_id": ("x-trace-id", "x-msh-trace-id")}
_BROKE_OFF = "the answer broke off"
_ENDED = "the answer ended with the finish reason {!r}, so this call was not run"
_MARKUP = re.compile(r"<\|tool_calls_section_begin\|>|<\|tool_call_begin\|>|<\|open\|>\s*tools?_?call")
_V1 = {"output_version": "v1"}


class _Added(NamedTuple):
    """What an event adds to an answer."""

    reasoning: str = ""
    text: str = ""
    calls: list[ToolCallChunk] = []  # noqa: RUF012 - never changed


class ResponseDecoder:
    """One answer to a chat request while it arrives.

    `names` has the user's name of each tool that is called otherwise on the wire, `schemas` the JSON schema of a tool's
    arguments by the user's name: an array or object that the model wrote as a string, against its schema, is unwrapped.
    Calls without an id get one of Kimi's form, numbered from `first_call`. `headers` are those of the response,
    `repeated` those of earlier attempts; they are read at the end. An answer of more than `max_tool_calls` or of more
    than `max_characters` of text, reasoning and arguments raises ResponseTooLargeError. `v1` puts content blocks
    instead of text into chunks.
    """

    def __init__(
        self,
        *,
        host: str = "",
        names: Mapping[str, str] | None = None,
        schemas: Mapping[str, Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        repeated: Sequence[Mapping[str, str]] = (),
        first_call: int = 0,
        v1: bool = False,
        max_tool_calls: int = 1_000,
        max_characters: int = 16_000_000,
    ) -> None:
        self._host = host
        self._size = 0
        self._max_characters = max_characters
        self._headers = headers
        self._repeated = repeated
        self._v1 = v1
        self._begun = self._signed = False
        self._done = False
        self._has_choice = False
        self._no_answer: Mapping[str, Any] | None = None
        self._mender: Mender | None = None
        self._rest = _Added()
        self._text: list[str] = []
        self._thinking = Thinking()
        self._pieces = Pieces()
        self._calls = Calls(names or {}, schemas or {}, first_call, most=max_tool_calls, host=host)
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self._metadata: dict[str, Any] = {}

    def decode_body(self, body: Mapping[str, Any]) -> AIMessage:
        """The message of an answer that came in one piece."""
        self._mender = Mender()
        self._absorb(self._mender.plain(body))
        self._done = True
        return self.message()

    def feed(self, data: bytes) -> None:
        """Collect one event of a stream, or an answer in one piece. Raises the KimiError that it carries, if any."""
        if (event := self._event(data)) is not None:
            self._absorb(event)

    def chunks(self, data: bytes) -> list[AIMessageChunk]:
        """Collect one event of a stream; what it adds, as chunks: thinking, then text, then tool calls. Raises as
        `feed` does.
        """
        event = self._event(data)
        chunks = [] if event is None else self._to_chunks(self._absorb(event))
        if chunks and not self._signed:
            # Joined chunks, complete or not, are read by this provider's block translator.
            chunks[0].response_metadata["model_provider"] = PROVIDER
            self._signed = True
        return chunks

    def message(self) -> AIMessage:
        """The whole message. Raises BrokenStreamError where a stream ended before its answer did."""
        self._complete()
        return self._message(self._record())

    def partial_message(self) -> AIMessage | None:
        """What arrived of an answer that broke off; its calls are invalid. None where nothing is known of an answer."""
        if not self._begun and self._usage_known() is None:
            return None
        message = self._message(self._calls.record(cut=True, not_run=_BROKE_OFF))
        message.response_metadata[REPORT] = ["broken_off"]
        return message

    def _message(self, calls: list[RawCall]) -> AIMessage:
        valid, invalid = parse_calls(calls)
        return AIMessage(
            content=self._whole_text(),
            additional_kwargs=self._verbatim(calls, whole=True),
            tool_calls=valid,
            invalid_tool_calls=invalid,
            usage_metadata=usage_metadata(self._usage_known()),
            response_metadata=self._response_metadata(),
        )

    def last_chunks(self) -> list[AIMessageChunk]:
        """The chunks that end a stream: what its tool calls still lack, then usage, metadata and the calls verbatim.
        Raises as `message` does.

        Joined chunks never have a call with arguments that were cut: the text of such arguments gets an ending that
        LangChain's lenient parser refuses too.
        """
        self._complete()
        record = self._record()
        rest, self._rest = self._to_chunks(self._rest), _Added()
        amended = [*rest, *self._to_chunks(_Added(calls=self._calls.amendments(record)))]
        metadata = self._response_metadata()
        last = AIMessageChunk(
            content=[] if self._v1 else "",
            additional_kwargs=self._verbatim(record, whole=False),
            usage_metadata=usage_metadata(self._usage_known()),
            response_metadata=metadata | _V1 if self._v1 else metadata,
            chunk_position="last",
        )
        return [*amended, last]

    def _event(self, data: bytes) -> dict[str, Any] | None:
        if data == b"[DONE]":
            self._done = True
            return None
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            event = self._odd_event(data)
        return event if isinstance(event, dict) else None

    def _odd_event(self, data: bytes) -> Any:
        """An event with lone surrogates. Raises BrokenStreamError for one that is no JSON."""
        try:
            event = surrogates.loads(data)
        except ValueError as error:
            text = data[:200].decode(errors="replace")
            raise BrokenStreamError(f"{self._host} sent an event that is no JSON: {text!r}", host=self._host) from error
        self._mender = self._mender or Mender()
        return event

    def _absorb(self, event: Mapping[str, Any]) -> _Added:
        """Collect a body or an event; what it adds."""
        if event.get("error"):
            raise self._failure(event)
        choices = event.get("choices")
        if not choices or not self._begun or event.get("usage"):
            self._note(event)
        if not choices or not isinstance(choices, list) or not isinstance(choice := choices[0], dict):
            if self._no_answer is None and "choices" not in event:
                self._no_answer = event
            return _Added()
        if choice.get("finish_reason") or choice.get("usage") or choice.get("error"):
            self._finish(event, choice)
        part, delta = "delta", choice.get("delta")
        if not isinstance(delta, dict):
            part, delta = "message", choice.get("message")
            if not isinstance(delta, dict):
                return _Added()
            self._done = True
        self._has_choice = True
        if self._mender is not None:
            delta = self._mender.delta(delta) if part == "delta" else self._mender.plain(delta)
        return self._add(delta, part)

    def _add(self, delta: Mapping[str, Any], part: str) -> _Added:
        """Collect a message or a delta; what it adds."""
        text = delta.get("content")
        if not isinstance(text, str):
            text = _text_of(text)
        if text:
            self._text.append(text)
        reasoning, calls = self._thinking.take(delta, joins=part == "delta"), delta.get("tool_calls")
        added = self._calls.take(calls, whole=part == "message") if calls else []
        self._size += len(text) + len(reasoning)
        if added:
            self._size += sum(len(call["args"] or "") for call in added)
        if self._size + self._thinking.size > self._max_characters:
            raise errors.ResponseTooLargeError.of("characters", self._max_characters, "characters", self._host)
        return _Added(reasoning, text, added)

    def _whole_text(self) -> str:
        if len(self._text) > 1:
            self._text = ["".join(self._text)]
        return self._text[0] if self._text else ""

    def _note(self, event: Mapping[str, Any]) -> None:
        """Keep what an event says besides its delta: each fact once, usage as it was said last."""
        self._begun = True
        if self._mender is not None:
            event = {key: self._mender.plain(value) for key, value in event.items() if key != "choices"}
        for key, name in _METADATA.items():
            if event.get(key):
                self._metadata.setdefault(name, event[key])
        if isinstance(usage := event.get("usage"), dict) and usage:
            self._usage = usage

    def _finish(self, event: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
        if choice.get("error"):
            raise self._failure(choice)
        if isinstance(usage := choice.get("usage"), dict) and usage:
            self._usage = usage
        if choice.get("finish_reason"):
            self._finish_reason = str(choice["finish_reason"])
        self._note(event)

    def _failure(self, event: Mapping[str, Any]) -> errors.KimiError:
        return errors.from_response(200, event, host=self._host, headers=self._headers or {})

    def _complete(self) -> None:
        """The end of the stream. Raises BrokenStreamError where it is none of an answer."""
        if not self._done and self._finish_reason is None:
            if not self._has_choice and self._no_answer is not None:
                text = surrogates.dumps(self._no_answer)[:10_000].decode(errors="replace")
                raise errors.no_answer(200, text, host=self._host, headers=self._headers or {})
            raise BrokenStreamError(
                f"{self._host} ended its answer before the finish; nothing of it is used. Ask again.", host=self._host
            )
        if self._mender is not None and (rest := self._mender.rest()):
            self._rest = self._add(rest, "delta")
        if not self._has_choice:
            raise BrokenStreamError(f"{self._host} sent an answer without a choice in it. Ask again.", host=self._host)
        if self._finish_reason is None and not self._calls and not self._whole_text().strip():
            raise BrokenStreamError(
                f"{self._host} sent an answer without text, tool calls or a finish reason. Ask again.", host=self._host
            )

    def _usage_known(self) -> Mapping[str, Any] | None:
        """The usage as the answer told it, else as the headers tell it, with an estimate of what arrived."""
        if self._usage:
            return self._usage
        arguments = "".join(call["arguments"] for call in self._calls.record(cut=False))
        arrived = count_text(self._whole_text()) + count_text(self._thinking.text) + count_text(arguments)
        return usage_of_headers(self._headers or {}, arrived)

    # Handing out.

    def _to_chunks(self, added: _Added) -> list[AIMessageChunk]:
        if self._v1:
            return _to_v1_chunks(added)
        chunks = []
        if added.reasoning:
            chunks.append(self._pieces.reasoning(added.reasoning))
        if added.text:
            chunks.append(self._pieces.text(added.text))
        if added.calls:
            chunks.append(AIMessageChunk(content="", tool_call_chunks=added.calls))
        return chunks

    def _record(self) -> list[RawCall]:
        reason = self._finish_reason
        not_run = None if calls_may_run(reason) else _ENDED.format(reason)
        return self._calls.record(cut=reason not in COMPLETE, not_run=not_run)

    def _verbatim(self, calls: list[RawCall], *, whole: bool) -> dict[str, Any]:
        """What goes back to Kimi as it came."""
        kept = self._thinking.kept(text=whole)
        if calls:
            kept[CALLS] = calls
        if kept and self._host:
            kept[HOST] = self._host
        return kept

    def _response_metadata(self) -> dict[str, Any]:
        headers = self._headers or {}
        traced = {
            name: next((headers[key] for key in keys if headers.get(key)), None) for name, keys in _HEADERS.items()
        }
        metadata = {**self._metadata, "model_provider": PROVIDER, "finish_reason": self._finish_reason}
        metadata |= {name: value for name, value in traced.items() if value}
        attempts = [usage_metadata(usage_of_headers(headers, 0)) for headers in self._repeated]
        if known := [usage for usage in attempts if usage is not None]:
            metadata[REPEATED] = known
        report = self._report()
        return metadata | {REPORT: report} if report else metadata

    def _report(self) -> list[str]:
        """What is odd about the answer, in short words."""
        text, thought = self._whole_text(), self._thinking.text
        cut = self._finish_reason in LENGTH or self._finish_reason == CONTENT_FILTER
        silent = not text.strip() and not self._calls and not cut
        found = {
            "finish_missing": self._finish_reason is None,
            "finish_unknown": self._finish_reason is not None and self._finish_reason not in KNOWN,
            "content_filter": self._finish_reason == CONTENT_FILTER,
            "think_only": silent and bool(thought),
            "empty": silent and not thought,
            "leaked_tool_markup": bool(_MARKUP.search(text) or _MARKUP.search(thought)),
            "usage_inconsistent": is_inconsistent(self._usage),
            "lone_surrogates": self._mender is not None and self._mender.found,
        }
        return [word for word, is_so in found.items() if is_so]


def _to_v1_chunks(added: _Added) -> list[AIMessageChunk]:
    # Indices of blocks are strings: LangChain would merge call 0 into block 0, which is the thinking.
    chunks = []
    if reasoning := added.reasoning:
        block = {"type": "reasoning", "reasoning": reasoning, "index": "lc_reasoning"}
        chunks.append(
            AIMessageChunk(content=[block], additional_kwargs={REASONING: reasoning}, response_metadata={**_V1})
        )
    if added.text:
        block = {"type": "text", "text": added.text, "index": "lc_text"}
        chunks.append(AIMessageChunk(content=[block], response_metadata={**_V1}))
    if added.calls:
        chunks.append(_v1_calls(added.calls))
    return chunks


def _v1_calls(calls: list[ToolCallChunk]) -> AIMessageChunk:
    pieces: list[str | dict[str, Any]] = [
        {**call, "type": "tool_call_chunk", "index": f"lc_tc_{call['index']}"} for call in calls
    ]
    return AIMessageChunk(content=pieces, tool_call_chunks=calls, response_metadata={**_V1})


def _text_of(content: object) -> str:
    """The text of content in parts, as some hosts send it."""
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))
