"""Chunks of plain text and thinking, made without validation: nearly all of a stream, and half of its cost.

What is made here equals what the constructors make; `_WORKS` tries that once, and falls back to the constructors where
pydantic's inside has changed. The chunks of one answer share their empty lists: LangChain keeps every chunk until the
stream ends, and the garbage collector walks over them again and again.
"""

from typing import Any, TypeVar

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

from langchain_kimi._raw_calls import REASONING

T = TypeVar("T", bound=BaseModel)

_MESSAGE = AIMessageChunk(content="", additional_kwargs={}, response_metadata={}, id=None)
_GENERATION = ChatGenerationChunk(message=_MESSAGE, generation_info=None)
_set = object.__setattr__


def _like(template: T, fields: dict[str, Any]) -> T:
    """A model of the template's class with these fields; nothing is validated."""
    made = object.__new__(type(template))
    _set(made, "__dict__", fields)
    _set(made, "__pydantic_fields_set__", template.__pydantic_fields_set__)
    _set(made, "__pydantic_extra__", None if template.__pydantic_extra__ is None else {})
    _set(made, "__pydantic_private__", None)
    return made


class Pieces:
    """Makes the plain chunks of one answer."""

    def __init__(self) -> None:
        lists: dict[str, Any] = {"tool_calls": [], "invalid_tool_calls": [], "tool_call_chunks": []}
        self._fields = {**_MESSAGE.__dict__, **lists}

    def text(self, text: str) -> AIMessageChunk:
        """A chunk of text."""
        return self._chunk(text, {}) if _WORKS else AIMessageChunk(content=text)

    def reasoning(self, reasoning: str) -> AIMessageChunk:
        """A chunk of thinking."""
        kwargs = {REASONING: reasoning}
        return self._chunk("", kwargs) if _WORKS else AIMessageChunk(content="", additional_kwargs=kwargs)

    def _chunk(self, content: str, kwargs: dict[str, Any]) -> AIMessageChunk:
        own = {"content": content, "additional_kwargs": kwargs, "response_metadata": {}}
        return _like(_MESSAGE, self._fields | own)


def generation_of(message: AIMessageChunk) -> ChatGenerationChunk:
    """The chunk as LangChain wants it from `_stream`."""
    if _WORKS and type(message.content) is str:
        return _generation(message)
    return ChatGenerationChunk(message=message)


def _generation(message: AIMessageChunk) -> ChatGenerationChunk:
    return _like(_GENERATION, _GENERATION.__dict__ | {"message": message, "text": message.content})


def _works() -> bool:
    """Whether what is made here is what the constructors make."""
    try:
        made = _generation(Pieces()._chunk("a", {REASONING: "b"}))
        plain = ChatGenerationChunk(message=AIMessageChunk(content="a", additional_kwargs={REASONING: "b"}))
        same_fields = made.__dict__.keys() == plain.__dict__.keys()
        return same_fields and made == plain and made.model_dump() == plain.model_dump()
    except (AttributeError, TypeError, ValueError):
        return False


_WORKS = _works()
