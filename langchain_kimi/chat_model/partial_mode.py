"""Kimi's partial mode as a runnable: the model continues a message whose beginning is given."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing, contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_kimi._raw_calls import PROVIDER, REASONING
from langchain_kimi._request.messages import PARTIAL, reasoning_of
from langchain_kimi.errors import AnswerCutShort, IllegalRequestError


class PartialModeRunnable(Runnable[LanguageModelInput, AIMessage]):
    """Calls `model` with `prefix`, the beginning of its answer; with `join` the result holds the prefix too.

    Usage and metadata are those of this request alone. An answer that is cut again in its thinking raises
    AnswerCutShort, whose `message` then holds all of the reasoning, so that it can be continued again.
    """

    def __init__(self, model: BaseChatModel, prefix: AIMessage, *, join: bool = True) -> None:
        self.model = model
        self.prefix = prefix
        self.join = join

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """The whole answer."""
        with self._join_cut_answer():
            return self._join(self.model.invoke(self._messages(input), config, **kwargs))

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """The whole answer."""
        with self._join_cut_answer():
            return self._join(await self.model.ainvoke(self._messages(input), config, **kwargs))

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> Iterator[AIMessage]:
        """The answer in chunks; with `join` the prefix comes first, when the first chunk arrives."""
        prefix = self._prefix_chunks()
        chunks: Any = self.model.stream(self._messages(input), config, **kwargs)
        with self._join_cut_answer(), closing(chunks):
            for chunk in chunks:
                yield from (*prefix, chunk)
                prefix = []

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> AsyncIterator[AIMessage]:
        """The answer in chunks; with `join` the prefix comes first, when the first chunk arrives."""
        prefix = self._prefix_chunks()
        chunks: Any = self.model.astream(self._messages(input), config, **kwargs)
        with self._join_cut_answer():
            async with aclosing(chunks):
                async for chunk in chunks:
                    for piece in (*prefix, chunk):
                        yield piece
                    prefix = []

    def _messages(self, model_input: LanguageModelInput) -> list[BaseMessage]:
        return [*self.model._convert_input(model_input).to_messages(), self.prefix]

    def _join(self, answer: AIMessage) -> AIMessage:
        return join_messages(self.prefix, answer) if self.join else answer

    def _prefix_chunks(self) -> list[AIMessageChunk]:
        if not self.join:
            return []
        reasoning, text = reasoning_of(self.prefix), str(self.prefix.text)
        kwargs = {} if reasoning is None else {REASONING: reasoning}
        metadata: dict[str, Any] = {"model_provider": PROVIDER}
        if self.model.output_version != "v1":
            return [AIMessageChunk(content=text, additional_kwargs=kwargs, response_metadata=metadata)]
        blocks: list[str | dict[str, Any]] = []
        if reasoning:
            blocks.append({"type": "reasoning", "reasoning": reasoning, "index": "lc_reasoning"})
        blocks.append({"type": "text", "text": text, "index": "lc_text"})
        metadata["output_version"] = "v1"
        return [AIMessageChunk(content=blocks, additional_kwargs=kwargs, response_metadata=metadata)]

    @contextmanager
    def _join_cut_answer(self) -> Iterator[None]:
        try:
            yield
        except AnswerCutShort as error:
            error.message = join_messages(self.prefix, error.message)
            raise


def prefix_message(text: str, reasoning: str | None = None) -> AIMessage:
    """The message with the beginning of an answer, which the model continues."""
    kwargs: dict[str, Any] = {PARTIAL: True}
    if reasoning is not None:
        kwargs[REASONING] = reasoning
    return AIMessage(text, additional_kwargs=kwargs)


def prefix_of_cut_answer(cut: AIMessage | AnswerCutShort) -> AIMessage:
    """The text and reasoning of a cut answer. Raises IllegalRequestError where it cannot be continued."""
    message = cut.message if isinstance(cut, AnswerCutShort) else cut
    if message.tool_calls or message.invalid_tool_calls:
        raise IllegalRequestError(
            "The answer was cut in its tool calls, and Kimi continues text only. Call the model again with a higher "
            "max_tokens."
        )
    finished = message.response_metadata.get("finish_reason")
    if finished not in (None, "length"):
        raise IllegalRequestError(
            f"The answer was not cut: its finish_reason is {finished!r}. Only an answer that ended at its output cap "
            "('length') can be continued."
        )
    return prefix_message(str(message.text), reasoning_of(message))


def join_messages(first: AIMessage, rest: AIMessage) -> AIMessage:
    """The second message with the text and reasoning of both."""
    reasoning = [part for message in (first, rest) if (part := reasoning_of(message)) is not None]
    kwargs = dict(rest.additional_kwargs)
    if reasoning:
        kwargs[REASONING] = "".join(reasoning)
    text = str(first.text) + str(rest.text)
    content: str | list[str | dict[str, Any]] = text
    if isinstance(rest.content, list):
        others = [block for block in rest.content if not _is_text_or_reasoning(block)]
        blocks = [{"type": "reasoning", "reasoning": "".join(reasoning)}] if any(reasoning) else []
        content = [*blocks, {"type": "text", "text": text}, *others]
    return rest.model_copy(update={"content": content, "additional_kwargs": kwargs})


def _is_text_or_reasoning(block: str | dict[str, Any]) -> bool:
    return isinstance(block, str) or block.get("type") in ("text", "reasoning")
