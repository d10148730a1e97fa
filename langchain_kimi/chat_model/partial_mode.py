"""Answers that go on from a given beginning: Kimi's partial mode, as a runnable."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing, contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_kimi._raw_calls import PROVIDER, REASONING
from langchain_kimi._request.messages import PARTIAL, reasoning_of
from langchain_kimi.errors import AnswerCutShort, IllegalRequestError


class Continuation(Runnable[LanguageModelInput, AIMessage]):
    """Asks `model` to go on from `beginning`; the answer holds the beginning too where `join` is set.

    Usage and metadata are those of this request alone. An answer that is cut again in its thinking raises
    AnswerCutShort, whose `message` then holds all that was thought, so that it can be continued in its turn.
    """

    def __init__(self, model: BaseChatModel, beginning: AIMessage, *, join: bool = True) -> None:
        self.model = model
        self.beginning = beginning
        self.join = join

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """The answer, whole."""
        with self._joining_what_is_cut():
            return self._joined(self.model.invoke(self._asked(input), config, **kwargs))

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """The answer, whole."""
        with self._joining_what_is_cut():
            return self._joined(await self.model.ainvoke(self._asked(input), config, **kwargs))

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> Iterator[AIMessage]:
        """The answer in chunks; where it is joined, the beginning comes first, once the answer has begun."""
        first = self._first()
        chunks: Any = self.model.stream(self._asked(input), config, **kwargs)
        with self._joining_what_is_cut(), closing(chunks):
            for chunk in chunks:
                yield from (*first, chunk)
                first = []

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> AsyncIterator[AIMessage]:
        """The answer in chunks; where it is joined, the beginning comes first, once the answer has begun."""
        first = self._first()
        chunks: Any = self.model.astream(self._asked(input), config, **kwargs)
        with self._joining_what_is_cut():
            async with aclosing(chunks):
                async for chunk in chunks:
                    for piece in (*first, chunk):
                        yield piece
                    first = []

    def _asked(self, given: LanguageModelInput) -> list[BaseMessage]:
        return [*self.model._convert_input(given).to_messages(), self.beginning]

    def _joined(self, answer: AIMessage) -> AIMessage:
        return joined(self.beginning, answer) if self.join else answer

    def _first(self) -> list[AIMessageChunk]:
        if not self.join:
            return []
        thought, text = reasoning_of(self.beginning), str(self.beginning.text)
        kept = {} if thought is None else {REASONING: thought}
        metadata: dict[str, Any] = {"model_provider": PROVIDER}
        if self.model.output_version != "v1":
            return [AIMessageChunk(content=text, additional_kwargs=kept, response_metadata=metadata)]
        blocks: list[str | dict[str, Any]] = []
        if thought:
            blocks.append({"type": "reasoning", "reasoning": thought, "index": "lc_reasoning"})
        blocks.append({"type": "text", "text": text, "index": "lc_text"})
        metadata["output_version"] = "v1"
        return [AIMessageChunk(content=blocks, additional_kwargs=kept, response_metadata=metadata)]

    @contextmanager
    def _joining_what_is_cut(self) -> Iterator[None]:
        try:
            yield
        except AnswerCutShort as error:
            error.message = joined(self.beginning, error.message)
            raise


def beginning_of(text: str, reasoning: str | None = None) -> AIMessage:
    """A beginning of an answer to go on with."""
    kept: dict[str, Any] = {PARTIAL: True}
    if reasoning is not None:
        kept[REASONING] = reasoning
    return AIMessage(text, additional_kwargs=kept)


def beginning_in(cut: AIMessage | AnswerCutShort) -> AIMessage:
    """What a cut answer said and thought. Raises IllegalRequestError where that cannot be gone on with."""
    message = cut.message if isinstance(cut, AnswerCutShort) else cut
    if message.tool_calls or message.invalid_tool_calls:
        raise IllegalRequestError(
            "The answer was cut in its tool calls, and Kimi goes on with text only. Ask again with a higher max_tokens."
        )
    finished = message.response_metadata.get("finish_reason")
    if finished not in (None, "length"):
        raise IllegalRequestError(
            f"The answer was not cut: its finish_reason is {finished!r}. Only an answer that ended at its output cap "
            "('length') can be continued."
        )
    return beginning_of(str(message.text), reasoning_of(message))


def joined(first: AIMessage, rest: AIMessage) -> AIMessage:
    """The message that says and thinks what both do; all else is the second's."""
    thoughts = [thought for message in (first, rest) if (thought := reasoning_of(message)) is not None]
    kept = dict(rest.additional_kwargs)
    if thoughts:
        kept[REASONING] = "".join(thoughts)
    text = str(first.text) + str(rest.text)
    content: str | list[str | dict[str, Any]] = text
    if isinstance(rest.content, list):
        others = [block for block in rest.content if not _is_said(block)]
        thinking = [{"type": "reasoning", "reasoning": "".join(thoughts)}] if any(thoughts) else []
        content = [*thinking, {"type": "text", "text": text}, *others]
    return rest.model_copy(update={"content": content, "additional_kwargs": kept})


def _is_said(block: str | dict[str, Any]) -> bool:
    return isinstance(block, str) or block.get("type") in ("text", "reasoning")
