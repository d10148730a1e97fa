"""`Completion`: a reply as a chat completion on the wire, whole or streamed."""

import re
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from langchain_kimi._rules import thinks
from langchain_kimi.testing.api.prompt_tokens import byte_length, token_estimate
from langchain_kimi.testing.api.token_details import token_ids, token_logprobs
from langchain_kimi.testing.dialects import (
    ServedDialect,
    call_id,
    follows_stream_specification,
    from_host_request,
    to_host_message,
)
from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import Reply, ReplyText
from langchain_kimi.testing.serialization import dicts_in, encode_json

_WORD = re.compile(r"\s*\S{1,8}|\s+")
_FRAGMENT = re.compile(r"(?s).{1,12}")


class Completion:
    """One reply as Kimi's response to a request, in each of the choices that the request asks for."""

    def __init__(
        self,
        request: Request,
        reply: Reply,
        prompt_tokens: int,
        cached_tokens: int,
        dialect: ServedDialect,
        on_usage: Callable[[dict[str, Any]], None],
    ) -> None:
        """`on_usage` is called with the usage when the response is complete."""
        body = request.json
        options = body.get("stream_options")
        options = options if isinstance(options, dict) else {}
        self._reply = reply
        self._dialect = dialect
        self._reasoning = None if thinks(from_host_request(body, dialect)) is False else reply.reasoning
        self._text = reply.text
        self._choices = _count(body.get("n"), 1) if reply.has_choices else 0
        if self._choices > 1:  # pieces of a generator come once
            self._text, self._reasoning = _again(self._text), self._reasoning and _again(self._reasoning)
        self._calls = _tool_calls(reply, request, dialect)
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = cached_tokens
        self._bytes = {"reasoning_content": 0, "content": 0}
        """The bytes that one choice has so far."""
        self._finish = reply.finish_reason or ("tool_calls" if reply.calls else "stop")
        self._on_usage = on_usage
        self._usage_at_end = options.get("include_usage") is True
        self._shows_token_ids = options.get("include_internal_content") is True
        self._top_logprobs = _count(body.get("top_logprobs"), 0) if body.get("logprobs") is True else None
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk" if request.stream else "chat.completion",
            "created": int(time.time()),
            "model": request.model,
        }

    @property
    def headers(self) -> dict[str, str]:
        """The headers in which Kimi reports the prompt tokens; some hosts have none."""
        if not follows_stream_specification(self._dialect):
            return {}
        return {
            "x-msh-usage-prompt-tokens": str(self._prompt_tokens),
            "x-msh-usage-cached-tokens": str(self._cached_tokens),
        }

    def whole(self) -> bytes:
        """The body of a whole response."""
        choices = [self._whole_choice(index) for index in range(self._choices)]
        return encode_json({**self._head, "choices": choices, "usage": self._total_usage()})

    def _whole_choice(self, index: int) -> dict[str, Any]:
        text = self._joined("content", self._text)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self._reasoning is not None:
            message["reasoning_content"] = self._joined("reasoning_content", self._reasoning)
        if self._calls:
            message["tool_calls"] = self._calls
        choice = {"index": index, "message": to_host_message(message, self._dialect), "finish_reason": self._finish}
        if self._top_logprobs is not None and text:
            choice["logprobs"] = token_logprobs(_WORD.findall(text), self._top_logprobs)
        return choice

    def events(self) -> Iterator[list[bytes]]:
        """The server-sent events, `[DONE]` included, in lists of those that are ready at once.

        An event has one choice; several choices come one after the other.
        """
        last: list[bytes] = []
        for index in range(self._choices):
            for batch in self._choice_events(index):
                yield [*last, *batch]
                last = []
            choice = {"index": index, "delta": {}, "finish_reason": self._finish, "usage": self._usage()}
            last = [_event({**self._head, "choices": [choice]})]
        usage = self._total_usage()
        if self._usage_at_end:
            last.append(_event({**self._head, "choices": [], "usage": usage}))
        yield [*last, b"data: [DONE]\n\n"]

    def _choice_events(self, index: int) -> Iterator[list[bytes]]:
        """The events of one choice before the last."""
        null = {"usage": None} if self._usage_at_end else {}
        before, after = encode_json({**self._head, "choices": ["<choice>"], **null}).split(b'"<choice>"')
        before = b'data: %b{"index":%d,"delta":' % (before, index)
        after = b"%b\n\n" % after

        def chunk(delta: dict[str, Any], text: str | None = None, *, is_answer: bool = False) -> bytes:
            """An event; `text` is what was added, None where nothing was."""
            if self._shows_token_ids and text is not None:
                delta["internal_content"] = {"token_ids": token_ids(text)}
            details = b',"finish_reason":null}'
            if self._top_logprobs is not None and text and is_answer:
                details = b',"logprobs":%b%b' % (encode_json(token_logprobs([text], self._top_logprobs)), details)
            return before + encode_json(delta) + details + after

        yield [chunk({"role": "assistant", "content": ""})]
        if self._reasoning is not None:
            for pieces in self._pieces("reasoning_content", self._reasoning):
                yield [chunk(self._reasoning_delta(piece), piece) for piece in pieces]
            if self._bytes["reasoning_content"] and follows_stream_specification(self._dialect):
                yield [chunk({"reasoning_content": ""}, "")]  # the end of thinking
        if self._text:
            for pieces in self._pieces("content", self._text):
                yield [chunk({"content": piece}, piece, is_answer=True) for piece in pieces]
        for call in self._calls:
            yield [chunk({"tool_calls": [delta]}, delta["function"]["arguments"]) for delta in _call_deltas(call)]

    def _reasoning_delta(self, piece: str) -> dict[str, Any]:
        return to_host_message({"reasoning_content": piece}, self._dialect)

    def _joined(self, key: str, text: ReplyText) -> str:
        return "".join(piece for pieces in self._pieces(key, text) for piece in pieces)

    def _pieces(self, key: str, text: ReplyText) -> Iterator[list[str]]:
        """The pieces of a text in lists of those that are ready at once; their bytes are counted."""
        self._bytes[key] = 0
        for pieces in [_WORD.findall(text) or [text]] if isinstance(text, str) else ([piece] for piece in text):
            self._bytes[key] += sum(byte_length(piece) for piece in pieces)
            yield pieces

    def _total_usage(self) -> dict[str, Any]:
        usage = self._usage(self._choices)
        self._on_usage(usage)
        return usage

    def _usage(self, choices: int = 1) -> dict[str, Any]:
        reasoning = choices * token_estimate(self._bytes["reasoning_content"])
        arguments = sum(byte_length(call["function"]["arguments"]) for call in self._calls)
        completion = reasoning + choices * token_estimate(self._bytes["content"] + arguments)
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self._prompt_tokens + completion,
            "cached_tokens": self._cached_tokens,
            "completion_tokens_details": {"reasoning_tokens": reasoning},
            "prompt_tokens_details": {"cached_tokens": self._cached_tokens},
        }


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % encode_json(chunk)


def _count(value: object, default: int) -> int:
    return value if type(value) is int and value > 0 else default


def _again(text: ReplyText) -> ReplyText:
    return text if isinstance(text, str) else list(text)


def _tool_calls(reply: Reply, request: Request, dialect: ServedDialect) -> list[dict[str, Any]]:
    """The tool calls on the wire. The number in their ids counts over the conversation."""
    earlier = [call for message in request.messages for call in dicts_in(message.get("tool_calls"))]
    used_ids = {call.get("id") for call in earlier}
    calls: list[dict[str, Any]] = []
    number = len(earlier)
    for index, call in enumerate(reply.calls):
        # A shortened conversation holds fewer calls than their numbers say.
        while call_id(call.name, number, dialect) in used_ids:
            number += 1
        wire_id = call_id(call.name, number, dialect) if call.id is None else call.id
        calls.append(
            {
                "index": index,
                **({"id": wire_id} if wire_id else {}),
                "type": "builtin_function" if call.name.startswith("$") else "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
        )
        number += 1
    return calls


def _call_deltas(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {**call, "function": {"name": call["function"]["name"], "arguments": ""}}
    for fragment in _FRAGMENT.findall(call["function"]["arguments"]):
        yield {"index": call["index"], "function": {"arguments": fragment}}
