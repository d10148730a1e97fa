"""Wire to LangChain: one decoder for whole and streamed answers, without I/O.

An `Answer` is fed with what arrives and collects it; `message()` is the whole of it, `chunks()` and `last_chunk()` are
its parts for a stream. Whole or streamed, in any cutting, the same answer makes the same message.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk
from langchain_core.messages.tool import tool_call_chunk

from langchain_kimi import errors
from langchain_kimi.errors import BrokenStreamError
from langchain_kimi.usage import usage_metadata
from langchain_kimi.verbatim import CALLS, PROVIDER, REASONING, Call, parse_calls

_METADATA = ("id", "created", "service_tier", "system_fingerprint")


class _Slot:
    """A tool call while its pieces arrive."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.id: str | None = None
        self.name = ""
        self.arguments: list[str] = []


class Answer:
    """One answer to a chat request while it arrives.

    `names` has the user's name of each tool that is called otherwise on the wire. `v1` puts content blocks instead of
    text into chunks.
    """

    def __init__(self, *, host: str = "", names: Mapping[str, str] | None = None, v1: bool = False) -> None:
        self._host = host
        self._names = names or {}
        self._v1 = v1
        self._done = False
        self._text: list[str] = []
        self._reasoning: list[str] | None = None
        self._slots: list[_Slot] = []
        self._by_index: dict[int, _Slot] = {}
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] | None = None
        self._metadata: dict[str, Any] = {}

    def whole(self, body: Mapping[str, Any]) -> AIMessage:
        """The message of an answer that came in one piece."""
        self._absorb(body, "message")
        self._done = True
        return self.message()

    def take(self, data: bytes) -> None:
        """Collect one event of a stream. Raises the KimiError that the event carries, if it is one."""
        self.chunks(data, wanted=False)

    def chunks(self, data: bytes, *, wanted: bool = True) -> list[AIMessageChunk]:
        """Collect one event of a stream; what it adds, as chunks: thinking, then text, then tool calls."""
        if data == b"[DONE]":
            self._done = True
            return []
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            text = data[:200].decode(errors="replace")
            raise BrokenStreamError(f"{self._host} sent an event that is no JSON: {text!r}", host=self._host) from error
        if not isinstance(event, dict):
            return []
        delta, calls = self._absorb(event, "delta")
        return self._to_chunks(delta, calls) if wanted else []

    def message(self) -> AIMessage:
        """The whole message. Raises BrokenStreamError where a stream ended before its answer did."""
        self._require_end()
        calls = self._calls()
        valid, invalid = parse_calls(calls)
        return AIMessage(
            content="".join(self._text),
            additional_kwargs=self._verbatim(calls, reasoning="".join(self._reasoning or ())),
            tool_calls=valid,
            invalid_tool_calls=invalid,
            usage_metadata=usage_metadata(self._usage),
            response_metadata=self._response_metadata(),
        )

    def last_chunk(self) -> AIMessageChunk:
        """The chunk that ends a stream: usage, metadata and the calls verbatim. Raises as `message` does."""
        self._require_end()
        metadata = self._response_metadata()
        if self._v1:
            metadata["output_version"] = "v1"
        return AIMessageChunk(
            content=[] if self._v1 else "",
            additional_kwargs=self._verbatim(self._calls(), reasoning=""),
            usage_metadata=usage_metadata(self._usage),
            response_metadata=metadata,
            chunk_position="last",
        )

    def _absorb(self, event: Mapping[str, Any], part: str) -> tuple[Mapping[str, Any], list[ToolCallChunk]]:
        """Collect a body or an event; its message or delta, and what it adds to tool calls."""
        if event.get("error"):
            status = event.get("status")
            raise errors.from_response(status if isinstance(status, int) else 500, event, host=self._host, headers={})
        if event.get("usage"):
            self._usage = event["usage"]
        if not self._metadata and event.get("model"):
            self._metadata = {"model_name": event["model"]} | {key: event[key] for key in _METADATA if event.get(key)}
        choices = event.get("choices")
        if not choices:
            return {}, []
        choice = choices[0]
        if choice.get("usage"):
            self._usage = choice["usage"]
        if choice.get("finish_reason"):
            self._finish_reason = choice["finish_reason"]
        delta: Mapping[str, Any] = choice.get(part) or {}
        if isinstance(text := delta.get("content"), str) and text:
            self._text.append(text)
        if isinstance(reasoning := delta.get(REASONING), str):
            self._reasoning = self._reasoning or []
            self._reasoning.append(reasoning)
        return delta, self._absorb_calls(delta["tool_calls"]) if delta.get("tool_calls") else []

    def _absorb_calls(self, deltas: list[Mapping[str, Any]]) -> list[ToolCallChunk]:
        added = []
        for position, delta in enumerate(deltas):
            slot = self._slot(position, delta)
            function = delta.get("function") or {}
            arguments = function.get("arguments") or ""
            if not isinstance(arguments, str):
                arguments = orjson.dumps(arguments).decode()
            new_id = delta.get("id") if slot.id is None else None
            new_name = function.get("name") if not slot.name else None
            new_name = self._names.get(new_name, new_name) if new_name else new_name
            slot.id, slot.name = slot.id or new_id, slot.name or new_name or ""
            slot.arguments.append(arguments)
            added.append(tool_call_chunk(name=new_name, args=arguments, id=new_id, index=slot.index))
        return added

    def _slot(self, position: int, delta: Mapping[str, Any]) -> _Slot:
        """The call that a delta continues: by `index`, else by its place in the event; a new id begins a new call."""
        index = delta.get("index")
        key = position if index is None else index
        slot = self._by_index.get(key)
        if slot is None or (delta.get("id") and slot.id and delta["id"] != slot.id):
            slot = self._by_index[key] = _Slot(len(self._slots))
            self._slots.append(slot)
        return slot

    def _to_chunks(self, delta: Mapping[str, Any], calls: list[ToolCallChunk]) -> list[AIMessageChunk]:
        chunks = []
        if reasoning := delta.get(REASONING):
            verbatim = {REASONING: reasoning}
            chunks.append(
                self._block({"type": "reasoning", "reasoning": reasoning, "index": "lc_reasoning"}, verbatim)
                if self._v1
                else AIMessageChunk(content="", additional_kwargs=verbatim)
            )
        if text := delta.get("content"):
            chunks.append(
                self._block({"type": "text", "text": text, "index": "lc_text"})
                if self._v1
                else AIMessageChunk(content=text)
            )
        if calls:
            # Indices of blocks are strings: LangChain would merge call 0 into block 0, which is the thinking.
            blocks: list[str | dict[str, Any]] = [
                {**call, "type": "tool_call_chunk", "index": f"lc_tc_{call['index']}"} for call in calls
            ]
            chunks.append(
                AIMessageChunk(content=blocks, tool_call_chunks=calls, response_metadata={"output_version": "v1"})
                if self._v1
                else AIMessageChunk(content="", tool_call_chunks=calls)
            )
        return chunks

    @staticmethod
    def _block(block: dict[str, Any], verbatim: dict[str, str] | None = None) -> AIMessageChunk:
        return AIMessageChunk(
            content=[block], additional_kwargs=verbatim or {}, response_metadata={"output_version": "v1"}
        )

    def _require_end(self) -> None:
        if not self._done and self._finish_reason is None:
            raise BrokenStreamError(
                f"{self._host} ended its answer before the finish; nothing of it is used. Ask again.", host=self._host
            )

    def _calls(self) -> list[Call]:
        return [Call(id=slot.id, name=slot.name, arguments="".join(slot.arguments)) for slot in self._slots]

    def _verbatim(self, calls: list[Call], *, reasoning: str) -> dict[str, Any]:
        """What goes back to Kimi as it came. `reasoning` is empty on a last chunk: earlier ones carried it."""
        kept: dict[str, Any] = {}
        if self._reasoning is not None:
            kept[REASONING] = reasoning
        if calls:
            kept[CALLS] = calls
        return kept

    def _response_metadata(self) -> dict[str, Any]:
        return {**self._metadata, "model_provider": PROVIDER, "finish_reason": self._finish_reason}
