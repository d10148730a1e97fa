"""Makes the chunks of a streamed response: plain text chunks, or content blocks with `output_version="v1"`.

Chunks of text and reasoning are nearly all of a stream, and pydantic's validation is half of their cost. `PlainChunks`
makes them without validation. The result equals what the constructors make; `_CAN_SKIP_VALIDATION` checks that once,
and the constructors are used where pydantic's internals have changed. The chunks of one response share their empty
lists: LangChain holds every chunk until the stream ends, and the garbage collector walks over them again and again.
"""

from typing import Any, NamedTuple, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

from langchain_kimi._raw_calls import REASONING

ModelT = TypeVar("ModelT", bound=BaseModel)

V1_METADATA = {"output_version": "v1"}

_MESSAGE = AIMessageChunk(content="", additional_kwargs={}, response_metadata={}, id=None)
_GENERATION = ChatGenerationChunk(message=_MESSAGE, generation_info=None)
_set = object.__setattr__


class Delta(NamedTuple):
    """What one event adds to a response."""

    reasoning: str = ""
    text: str = ""
    calls: list[ToolCallChunk] = []  # noqa: RUF012 - never changed


class PlainChunks:
    """Makes the chunks of one response, whose content is text."""

    def __init__(self) -> None:
        lists: dict[str, Any] = {"tool_calls": [], "invalid_tool_calls": [], "tool_call_chunks": []}
        self._fields = {**_MESSAGE.__dict__, **lists}

    def make(self, delta: Delta) -> list[AIMessageChunk]:
        """The chunks of a delta: reasoning, then text, then tool calls."""
        chunks = []
        if delta.reasoning:
            chunks.append(self.reasoning(delta.reasoning))
        if delta.text:
            chunks.append(self.text(delta.text))
        if delta.calls:
            chunks.append(AIMessageChunk(content="", tool_call_chunks=delta.calls))
        return chunks

    def text(self, text: str) -> AIMessageChunk:
        """A chunk of text."""
        return self._unvalidated(text, {}) if _CAN_SKIP_VALIDATION else AIMessageChunk(content=text)

    def reasoning(self, reasoning: str) -> AIMessageChunk:
        """A chunk of reasoning."""
        kwargs = {REASONING: reasoning}
        if _CAN_SKIP_VALIDATION:
            return self._unvalidated("", kwargs)
        return AIMessageChunk(content="", additional_kwargs=kwargs)

    def _unvalidated(self, content: str, kwargs: dict[str, Any]) -> AIMessageChunk:
        own = {"content": content, "additional_kwargs": kwargs, "response_metadata": {}}
        return _construct_like(_MESSAGE, self._fields | own)


class BlockChunks:
    """Makes the chunks of one response with `output_version="v1"`, whose content is a list of content blocks.

    The indices of the blocks are strings, because LangChain would merge call 0 into block 0, the reasoning.
    """

    def make(self, delta: Delta) -> list[AIMessageChunk]:
        """The chunks of a delta: reasoning, then text, then tool calls."""
        chunks = []
        if reasoning := delta.reasoning:
            block = {"type": "reasoning", "reasoning": reasoning, "index": "lc_reasoning"}
            extra = {REASONING: reasoning}
            chunks.append(AIMessageChunk(content=[block], additional_kwargs=extra, response_metadata={**V1_METADATA}))
        if delta.text:
            block = {"type": "text", "text": delta.text, "index": "lc_text"}
            chunks.append(AIMessageChunk(content=[block], response_metadata={**V1_METADATA}))
        if delta.calls:
            blocks: list[str | dict[str, Any]] = [
                {**call, "type": "tool_call_chunk", "index": f"lc_tc_{call['index']}"} for call in delta.calls
            ]
            metadata = {**V1_METADATA}
            chunks.append(AIMessageChunk(content=blocks, tool_call_chunks=delta.calls, response_metadata=metadata))
        return chunks


def generation_chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    """The message chunk as LangChain wants it from `_stream`."""
    if message.chunk_position == "last":
        return ChatGenerationChunk(message=message, generation_info=generation_info(message))
    if _CAN_SKIP_VALIDATION and type(message.content) is str:
        return _unvalidated_generation(message)
    return ChatGenerationChunk(message=message)


def generation_info(message: AIMessage) -> dict[str, Any] | None:
    """The finish reason where the callbacks of some tracers read it."""
    reason = message.response_metadata.get("finish_reason")
    return None if reason is None else {"finish_reason": reason}


def _unvalidated_generation(message: AIMessageChunk) -> ChatGenerationChunk:
    return _construct_like(_GENERATION, _GENERATION.__dict__ | {"message": message, "text": message.content})


def _construct_like(template: ModelT, fields: dict[str, Any]) -> ModelT:
    """A model of the template's class with these fields, without validation."""
    made = object.__new__(type(template))
    _set(made, "__dict__", fields)
    _set(made, "__pydantic_fields_set__", template.__pydantic_fields_set__)
    _set(made, "__pydantic_extra__", None if template.__pydantic_extra__ is None else {})
    _set(made, "__pydantic_private__", None)
    return made


def can_skip_validation() -> bool:
    """Whether models that are made without validation equal those of the constructors."""
    try:
        made = _unvalidated_generation(PlainChunks()._unvalidated("a", {REASONING: "b"}))
        plain = ChatGenerationChunk(message=AIMessageChunk(content="a", additional_kwargs={REASONING: "b"}))
        same_fields = made.__dict__.keys() == plain.__dict__.keys()
        return same_fields and made == plain and made.model_dump() == plain.model_dump()
    except (AttributeError, TypeError, ValueError):
        return False


_CAN_SKIP_VALIDATION = can_skip_validation()
