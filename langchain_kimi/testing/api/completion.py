"""`Completion`: a reply as a chat completion on the wire, whole or streamed."""

import re
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from langchain_kimi._rules import thinks
from langchain_kimi.testing.api.prompt_tokens import byte_length, token_estimate
from langchain_kimi.testing.dialects import ServedDialect, from_host_request, to_host_message
from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import Reply, ReplyText
from langchain_kimi.testing.serialization import dicts_in, encode_json

_WORD = re.compile(r"\s*\S{1,8}|\s+")
_FRAGMENT = re.compile(r"(?s).{1,12}")


class Completion:
    """One reply as Kimi's response to a request."""

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
        self._reply = reply
        self._dialect = dialect
        self._reasoning = None if thinks(from_host_request(request.json, dialect)) is False else reply.reasoning
        self._calls = _tool_calls(reply, request)
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = cached_tokens
        self._bytes = {"reasoning_content": 0, "content": 0}
        self._finish = reply.finish_reason or ("tool_calls" if reply.calls else "stop")
        options = request.json.get("stream_options")
        self._on_usage = on_usage
        self._usage_at_end = isinstance(options, dict) and options.get("include_usage") is True
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "object": "chat.completion.chunk" if request.stream else "chat.completion",
            "created": int(time.time()),
            "model": request.model,
        }

    @property
    def headers(self) -> dict[str, str]:
        """The headers in which Kimi reports the prompt tokens; other hosts have none."""
        if self._dialect != "kimi":
            return {}
        return {
            "x-msh-usage-prompt-tokens": str(self._prompt_tokens),
            "x-msh-usage-cached-tokens": str(self._cached_tokens),
        }

    def whole(self) -> bytes:
        """The body of a whole response."""
        message: dict[str, Any] = {"role": "assistant", "content": self._joined("content", self._reply.text)}
        if self._reasoning is not None:
            message["reasoning_content"] = self._joined("reasoning_content", self._reasoning)
        if self._calls:
            message["tool_calls"] = self._calls
        message = to_host_message(message, self._dialect)
        choice = {"index": 0, "message": message, "finish_reason": self._finish}
        choices = [choice] if self._reply.has_choices else []
        return encode_json({**self._head, "choices": choices, "usage": self._usage()})

    def events(self) -> Iterator[list[bytes]]:
        """The server-sent events, `[DONE]` included, in lists of those that are ready at once."""
        if not self._reply.has_choices:
            yield self._end()
            return
        before, after = encode_json({**self._head, "choices": ["<delta>"]}).split(b'"<delta>"')
        before = b'data: %b{"index":0,"delta":' % before
        after = b',"finish_reason":null}%b\n\n' % after

        def chunk(delta: object) -> bytes:
            return before + encode_json(delta) + after

        yield [chunk({"role": "assistant", "content": ""})]
        if self._reasoning is not None:
            for pieces in self._pieces("reasoning_content", self._reasoning):
                yield [chunk(to_host_message({"reasoning_content": piece}, self._dialect)) for piece in pieces]
        if self._reply.text:
            for pieces in self._pieces("content", self._reply.text):
                yield [chunk({"content": piece}) for piece in pieces]
        for call in self._calls:
            yield [chunk({"tool_calls": [delta]}) for delta in _call_deltas(call)]
        yield self._end()

    def _end(self) -> list[bytes]:
        usage = self._usage()
        choice = {"index": 0, "delta": {}, "finish_reason": self._finish, "usage": usage}
        last: list[dict[str, Any]] = [{**self._head, "choices": [choice]}] if self._reply.has_choices else []
        if self._usage_at_end:
            last.append({**self._head, "choices": [], "usage": usage})
        return [*(b"data: %b\n\n" % encode_json(event) for event in last), b"data: [DONE]\n\n"]

    def _joined(self, key: str, text: ReplyText) -> str:
        return "".join(piece for pieces in self._pieces(key, text) for piece in pieces)

    def _pieces(self, key: str, text: ReplyText) -> Iterator[list[str]]:
        """The pieces of a text in lists of those that are ready at once; their bytes are counted."""
        for pieces in [_WORD.findall(text) or [text]] if isinstance(text, str) else ([piece] for piece in text):
            self._bytes[key] += sum(byte_length(piece) for piece in pieces)
            yield pieces

    def _usage(self) -> dict[str, Any]:
        reasoning = token_estimate(self._bytes["reasoning_content"])
        arguments = sum(byte_length(call["function"]["arguments"]) for call in self._calls)
        completion = reasoning + token_estimate(self._bytes["content"] + arguments)
        usage = {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self._prompt_tokens + completion,
            "cached_tokens": self._cached_tokens,
            "completion_tokens_details": {"reasoning_tokens": reasoning},
            "prompt_tokens_details": {"cached_tokens": self._cached_tokens},
        }
        self._on_usage(usage)
        return usage


def _tool_calls(reply: Reply, request: Request) -> list[dict[str, Any]]:
    """The tool calls on the wire. Their ids have Kimi's form `name:idx`, where idx counts over the conversation."""
    earlier = [call for message in request.messages for call in dicts_in(message.get("tool_calls"))]
    used_ids = {call.get("id") for call in earlier}
    calls: list[dict[str, Any]] = []
    number = len(earlier)
    for index, call in enumerate(reply.calls):
        # A shortened conversation holds fewer calls than their numbers say.
        while f"{call.name}:{number}" in used_ids:
            number += 1
        call_id = f"{call.name}:{number}" if call.id is None else call.id
        calls.append(
            {
                "index": index,
                **({"id": call_id} if call_id else {}),
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
