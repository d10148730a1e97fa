"""Decodes one chat response, whole or streamed, into a LangChain message.

`feed()` collects the events and `message()` returns the whole message; `chunks()` and `last_chunks()` return its parts
for a stream. The same response makes the same message, whole or streamed, however it is cut into events.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from langchain_kimi import _surrogates as surrogates
from langchain_kimi import errors
from langchain_kimi._error_responses import from_response, no_answer
from langchain_kimi._finish_reasons import COMPLETE, calls_may_run
from langchain_kimi._raw_calls import CALLS, HOST, PROVIDER, RawCall, parse_calls
from langchain_kimi._response.chunks import V1_METADATA, BlockChunks, Delta, PlainChunks
from langchain_kimi._response.metadata import REPORT, ResponseMetadata
from langchain_kimi._response.reasoning import ReasoningAccumulator
from langchain_kimi._response.split_characters import SplitCharacterJoiner
from langchain_kimi._response.tool_calls import ToolCallAccumulator
from langchain_kimi.errors import BrokenStreamError
from langchain_kimi.tokens import count_text
from langchain_kimi.usage import usage_metadata, usage_of_headers

_BROKE_OFF = "the answer broke off"
_ENDED = "the answer ended with the finish reason {!r}, so this call was not run"
_EMPTY = Delta()


class ResponseDecoder:
    """Decodes one response to a chat request while it arrives.

    `names` maps a tool's name on the wire to the user's name where they differ. `schemas` has the JSON schema of a
    tool's arguments by the user's name: an array or object that the model wrote as a string, against its schema, is
    unwrapped. Calls without an id get one of Kimi's form, numbered from `first_call`. `headers` are those of the
    response, `repeated` those of earlier attempts, `waits` the waits between them; they are read at the end. A response
    of more than `max_tool_calls`, or of more than `max_characters` of text, reasoning and arguments, raises
    ResponseTooLargeError. `v1` makes chunks of content blocks instead of text.
    """

    def __init__(
        self,
        *,
        host: str = "",
        names: Mapping[str, str] | None = None,
        schemas: Mapping[str, Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        repeated: Sequence[Mapping[str, str]] = (),
        waits: Sequence[Mapping[str, Any]] = (),
        first_call: int = 0,
        v1: bool = False,
        max_tool_calls: int = 1_000,
        max_characters: int = 16_000_000,
    ) -> None:
        self._host = host
        self._v1 = v1
        self._max_characters = max_characters
        self._characters = 0
        self._text: list[str] = []
        self._reasoning = ReasoningAccumulator()
        self._calls = ToolCallAccumulator(names or {}, schemas or {}, first_call, max_calls=max_tool_calls, host=host)
        self._metadata = ResponseMetadata(headers, repeated, waits)
        self._chunks = BlockChunks() if v1 else PlainChunks()
        self._joiner: SplitCharacterJoiner | None = None
        """Made when the first lone surrogate arrives."""
        self._last_delta = _EMPTY
        """Half characters that no further event continued."""
        self._has_begun = self._is_done = self._has_choice = self._has_provider = False
        self._without_choices: Mapping[str, Any] | None = None
        """The first event that is no chat response."""

    def decode_body(self, body: Mapping[str, Any]) -> AIMessage:
        """The message of a response that came in one piece."""
        self._joiner = SplitCharacterJoiner()
        self._add_event(self._joiner.repair(body))
        self._is_done = True
        return self.message()

    def feed(self, data: bytes) -> None:
        """Collect one event of a stream, or a response in one piece. Raises the KimiError that it holds, if any."""
        if (event := self._parse(data)) is not None:
            self._add_event(event)

    def chunks(self, data: bytes) -> list[AIMessageChunk]:
        """Collect one event of a stream and return what it adds: reasoning, then text, then tool calls. Raises as
        `feed` does.
        """
        event = self._parse(data)
        chunks = [] if event is None else self._chunks.make(self._add_event(event))
        if chunks and not self._has_provider:
            # Joined chunks, complete or not, are read by this provider's block translator.
            chunks[0].response_metadata["model_provider"] = PROVIDER
            self._has_provider = True
        return chunks

    def message(self) -> AIMessage:
        """The whole message. Raises BrokenStreamError where a stream ended before its response did."""
        self._end_stream()
        return self._message(self._raw_calls())

    def partial_message(self) -> AIMessage | None:
        """What arrived of a response that broke off; its tool calls are invalid. None where no response began."""
        if not self._has_begun and self._usage() is None:
            return None
        message = self._message(self._calls.raw_calls(cut=True, not_run=_BROKE_OFF))
        message.response_metadata[REPORT] = ["broken_off"]
        return message

    def last_chunks(self) -> list[AIMessageChunk]:
        """The chunks that end a stream: what its tool calls still lack, then usage, metadata and the raw tool calls.
        Raises as `message` does.

        Joined chunks never have a valid call with arguments that were cut: such arguments get an ending that
        LangChain's lenient parser refuses too.
        """
        self._end_stream()
        calls = self._raw_calls()
        rest, self._last_delta = self._chunks.make(self._last_delta), _EMPTY
        closing = self._chunks.make(Delta(calls=self._calls.closing_chunks(calls)))
        metadata = self._response_metadata()
        last = AIMessageChunk(
            content=[] if self._v1 else "",
            additional_kwargs=self._additional_kwargs(calls, include_text=False),
            usage_metadata=usage_metadata(self._usage()),
            response_metadata=metadata | V1_METADATA if self._v1 else metadata,
            chunk_position="last",
        )
        return [*rest, *closing, last]

    def usage(self) -> UsageMetadata | None:
        """The usage that the response has reported so far; None if it has not."""
        return usage_metadata(self._metadata.usage)

    # Events.

    def _parse(self, data: bytes) -> dict[str, Any] | None:
        if data == b"[DONE]":
            self._is_done = True
            return None
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            event = self._parse_with_surrogates(data)
        return event if isinstance(event, dict) else None

    def _parse_with_surrogates(self, data: bytes) -> Any:
        """An event with lone surrogates. Raises BrokenStreamError for one that is no JSON."""
        try:
            event = surrogates.loads(data)
        except ValueError as error:
            text = data[:200].decode(errors="replace")
            raise BrokenStreamError(f"{self._host} sent an event that is no JSON: {text!r}", host=self._host) from error
        self._joiner = self._joiner or SplitCharacterJoiner()
        return event

    def _add_event(self, event: Mapping[str, Any]) -> Delta:
        """Collect a body or an event and return what it adds."""
        if event.get("error"):
            raise self._error(event)
        choices = event.get("choices")
        if not choices or not self._has_begun or event.get("usage"):
            self._add_metadata(event)
        if not choices or not isinstance(choices, list) or not isinstance(choice := choices[0], dict):
            if self._without_choices is None and "choices" not in event:
                self._without_choices = event
            return _EMPTY
        if choice.get("finish_reason") or choice.get("usage") or choice.get("error"):
            self._finish(event, choice)
        whole, delta = False, choice.get("delta")
        if not isinstance(delta, dict):
            whole, delta = True, choice.get("message")
            if not isinstance(delta, dict):
                return _EMPTY
            self._is_done = True
        self._has_choice = True
        if self._joiner is not None:
            delta = self._joiner.repair(delta) if whole else self._joiner.repair_delta(delta)
        return self._add_delta(delta, whole=whole)

    def _add_delta(self, delta: Mapping[str, Any], *, whole: bool) -> Delta:
        """Collect a delta, or a `whole` message, and return what it adds. Raises ResponseTooLargeError."""
        text = delta.get("content")
        if not isinstance(text, str):
            text = _text_of_parts(text)
        if text:
            self._text.append(text)
        reasoning, calls = self._reasoning.add(delta, joins=not whole), delta.get("tool_calls")
        chunks = self._calls.add(calls, whole=whole) if calls else []
        self._characters += len(text) + len(reasoning)
        if chunks:
            self._characters += sum(len(chunk["args"] or "") for chunk in chunks)
        if self._characters + self._reasoning.details_size > self._max_characters:
            raise errors.ResponseTooLargeError.of("characters", self._max_characters, "characters", self._host)
        return Delta(reasoning, text, chunks)

    def _add_metadata(self, event: Mapping[str, Any]) -> None:
        self._has_begun = True
        if self._joiner is not None:
            event = {key: self._joiner.repair(value) for key, value in event.items() if key != "choices"}
        self._metadata.add_event(event)

    def _finish(self, event: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
        """Collect the finish reason and usage of a choice. Raises the KimiError that it holds, if any."""
        if choice.get("error"):
            raise self._error(choice)
        self._metadata.add_usage(choice.get("usage"))
        if choice.get("finish_reason"):
            self._metadata.finish_reason = str(choice["finish_reason"])
        self._add_metadata(event)

    def _error(self, event: Mapping[str, Any]) -> errors.KimiError:
        return from_response(200, event, host=self._host, headers=self._metadata.headers)

    def _end_stream(self) -> None:
        """Collect what is held back. Raises BrokenStreamError where the response is not complete."""
        finished = self._metadata.finish_reason is not None
        if not self._is_done and not finished:
            if not self._has_choice and self._without_choices is not None:
                text = surrogates.dumps(self._without_choices)[:10_000].decode(errors="replace")
                raise no_answer(200, text, host=self._host, headers=self._metadata.headers)
            raise BrokenStreamError(
                f"{self._host} ended its answer before the finish; nothing of it is used. Ask again.", host=self._host
            )
        if self._joiner is not None and (rest := self._joiner.last_delta()):
            self._last_delta = self._add_delta(rest, whole=False)
        if not self._has_choice:
            raise BrokenStreamError(f"{self._host} sent an answer without a choice in it. Ask again.", host=self._host)
        if not finished and not self._calls and not self._joined_text().strip():
            raise BrokenStreamError(
                f"{self._host} sent an answer without text, tool calls or a finish reason. Ask again.", host=self._host
            )

    # The message.

    def _message(self, calls: list[RawCall]) -> AIMessage:
        valid, invalid = parse_calls(calls)
        return AIMessage(
            content=self._joined_text(),
            additional_kwargs=self._additional_kwargs(calls, include_text=True),
            tool_calls=valid,
            invalid_tool_calls=invalid,
            usage_metadata=usage_metadata(self._usage()),
            response_metadata=self._response_metadata(),
        )

    def _joined_text(self) -> str:
        if len(self._text) > 1:
            self._text = ["".join(self._text)]
        return self._text[0] if self._text else ""

    def _raw_calls(self) -> list[RawCall]:
        reason = self._metadata.finish_reason
        not_run = None if calls_may_run(reason) else _ENDED.format(reason)
        return self._calls.raw_calls(cut=reason not in COMPLETE, not_run=not_run)

    def _additional_kwargs(self, calls: list[RawCall], *, include_text: bool) -> dict[str, Any]:
        """What goes back to the host as it came: the reasoning and the raw tool calls."""
        kwargs = self._reasoning.additional_kwargs(include_text=include_text)
        if calls:
            kwargs[CALLS] = calls
        if kwargs and self._host:
            kwargs[HOST] = self._host
        return kwargs

    def _usage(self) -> Mapping[str, Any] | None:
        """The usage that the response reports, else that of its headers with an estimate of the output that arrived."""
        if self._metadata.usage:
            return self._metadata.usage
        arguments = "".join(call["arguments"] for call in self._calls.raw_calls(cut=False))
        output = count_text(self._joined_text()) + count_text(self._reasoning.text) + count_text(arguments)
        return usage_of_headers(self._metadata.headers, output)

    def _response_metadata(self) -> dict[str, Any]:
        report = self._metadata.report(
            self._joined_text(),
            self._reasoning.text,
            has_calls=bool(self._calls),
            replaced_surrogates=self._joiner is not None and self._joiner.has_replaced,
        )
        return self._metadata.as_dict(report, has_calls=bool(self._calls))


def _text_of_parts(content: object) -> str:
    """The text of content in parts, as some hosts send it."""
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))
