"""The runnable of structured output: calls the model, reads its object, and asks again after a response without one."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    convert_to_messages,
    message_chunk_to_message,
)
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from typing_extensions import override

from langchain_kimi._raw_calls import raw_calls
from langchain_kimi.chat_model.schema_reader import SchemaReader
from langchain_kimi.errors import StructuredOutputError

_RETRY_PROMPT = "Answer again with one JSON object that fits the schema, and nothing else."
_CALL_RETRY_PROMPT = "Call the tool with arguments that fit its schema."
_PARSED_SHARE = 64
"""A growing object is parsed again after each growth by this part of its text: parsing costs time for all of it."""


class StructuredOutputRunnable(Runnable[LanguageModelInput, Any]):
    """A model's input in, an object of a schema out. `stream` yields the object while it grows, then the valid one.

    After a response without a valid object the model gets another request with the response and the errors, as long as
    there are `attempts`; the objects of the new response follow those of the one before. With `include_raw` the output
    is one dict of `raw`, `parsed` and `parsing_error`, also of `stream`.
    """

    def __init__(
        self,
        model: Runnable[LanguageModelInput, AIMessage],
        reader: SchemaReader,
        *,
        include_raw: bool,
        attempts: int,
    ) -> None:
        self.name = "structured_output"
        self._model = model
        self._reader = reader
        self._include_raw = include_raw
        self._attempts = attempts

    @override
    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        call: Any = self._invoke  # takes the config by name
        return self._call_with_config(call, input, config, run_type="chain", **kwargs)

    @override
    async def ainvoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        call: Any = self._ainvoke
        return await self._acall_with_config(call, input, config, run_type="chain", **kwargs)

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> Iterator[Any]:
        yield from self.transform(iter([input]), config, **kwargs)

    @override
    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> AsyncIterator[Any]:
        async def inputs() -> AsyncIterator[LanguageModelInput]:
            yield input

        async for output in self.atransform(inputs(), config, **kwargs):
            yield output

    @override
    def transform(
        self, input: Iterator[LanguageModelInput], config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> Iterator[Any]:
        stream: Any = self._stream
        yield from self._transform_stream_with_config(input, stream, config, run_type="chain", **kwargs)

    @override
    async def atransform(
        self, input: AsyncIterator[LanguageModelInput], config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> AsyncIterator[Any]:
        stream: Any = self._astream
        outputs = self._atransform_stream_with_config(input, stream, config, run_type="chain", **kwargs)
        async for output in outputs:
            yield output

    def _invoke(self, model_input: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        attempts = _Attempts(self._reader, self._attempts, model_input)
        while attempts.left:
            attempts.read(self._model.invoke(attempts.messages, config, **kwargs))
        return self._output(attempts.outcome)

    async def _ainvoke(self, model_input: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        attempts = _Attempts(self._reader, self._attempts, model_input)
        while attempts.left:
            attempts.read(await self._model.ainvoke(attempts.messages, config, **kwargs))
        return self._output(attempts.outcome)

    def _stream(self, inputs: Iterator[Any], config: RunnableConfig, **kwargs: Any) -> Iterator[Any]:
        attempts = _Attempts(self._reader, self._attempts, _joined([*inputs]))
        while attempts.left:
            growing = _GrowingObject(self._reader)
            chunks = cast(Generator[AIMessage, None, None], self._model.stream(attempts.messages, config, **kwargs))
            with closing(chunks):
                for chunk in chunks:
                    if growing.add(chunk) and not self._include_raw:
                        yield growing.value
            attempts.read(growing.message())
        output = self._output(attempts.outcome)
        if self._include_raw or output != growing.value:
            yield output

    async def _astream(self, inputs: AsyncIterator[Any], config: RunnableConfig, **kwargs: Any) -> AsyncIterator[Any]:
        attempts = _Attempts(self._reader, self._attempts, _joined([part async for part in inputs]))
        while attempts.left:
            growing = _GrowingObject(self._reader)
            chunks = cast(AsyncGenerator[AIMessage, None], self._model.astream(attempts.messages, config, **kwargs))
            async with aclosing(chunks):
                async for chunk in chunks:
                    if growing.add(chunk) and not self._include_raw:
                        yield growing.value
            attempts.read(growing.message())
        output = self._output(attempts.outcome)
        if self._include_raw or output != growing.value:
            yield output

    def _output(self, outcome: Mapping[str, Any]) -> Any:
        if self._include_raw:
            return outcome
        if outcome["parsing_error"] is not None:
            raise outcome["parsing_error"]
        return outcome["parsed"]


class _Attempts:
    """The requests for one object: the messages of the next one, and the outcome of the last."""

    def __init__(self, reader: SchemaReader, count: int, model_input: Any) -> None:
        self._reader = reader
        self.left = count
        """How many requests may follow; 0 after a response with a valid object."""
        self.messages = _input_messages(model_input)
        self.outcome: dict[str, Any] = {}
        """`raw`, `parsed` and `parsing_error` of the last response."""

    def read(self, message: AIMessage) -> None:
        """Read a response; after one without a valid object, the next request has it and its errors."""
        try:
            self.outcome = {"raw": message, "parsed": self._reader.read(message), "parsing_error": None}
            self.left = 0
        except StructuredOutputError as error:
            self.outcome = {"raw": message, "parsed": None, "parsing_error": error}
            self.left -= 1
            self.messages = [*self.messages, message, *self._correction(message, error)]

    def _correction(self, message: AIMessage, error: StructuredOutputError) -> list[BaseMessage]:
        prompt = f"{error.args[0]}\n{_CALL_RETRY_PROMPT if self._reader.by_call else _RETRY_PROMPT}"
        results: list[BaseMessage] = [
            ToolMessage(prompt, tool_call_id=call["id"] or "", status="error") for call in raw_calls(message)
        ]
        return results or [HumanMessage(prompt)]


class _GrowingObject:
    """The object in a response that is streamed, as far as it has arrived."""

    def __init__(self, reader: SchemaReader) -> None:
        self._reader = reader
        self._chunks: list[AIMessage] = []
        self._call: Any = None
        """The index of the call of the schema's tool; None before it, and where the object is in the text."""
        self._pieces: list[str] = []
        """The text, or the arguments of the call."""
        self._length = self._parsed_length = 0
        self.value: Any = None
        """The object as it was parsed last; None before there is one."""

    def add(self, chunk: AIMessage) -> bool:
        """Add a chunk; whether the object has changed."""
        self._chunks.append(chunk)
        if not (piece := self._piece(chunk)):
            return False
        self._pieces.append(piece)
        self._length += len(piece)
        if self._length - self._parsed_length <= self._parsed_length // _PARSED_SHARE:
            return False
        self._parsed_length = self._length
        value = self._reader.read_partial("".join(self._pieces))
        if value is None or value == self.value:
            return False
        self.value = value
        return True

    def message(self) -> AIMessage:
        """The whole message."""
        first, *rest = self._chunks
        if not isinstance(first, AIMessageChunk):  # a model that does not stream
            return first
        whole = add_ai_message_chunks(first, *cast(list[AIMessageChunk], rest))
        return cast(AIMessage, message_chunk_to_message(whole))

    def _piece(self, chunk: AIMessage) -> str:
        """What a chunk adds to the text, or to the arguments of the call as soon as there is one."""
        for call in getattr(chunk, "tool_call_chunks", ()):
            if self._call is None and call["name"] == self._reader.name:
                self._call = call["index"]
                self._pieces, self._length, self._parsed_length = [], 0, 0
            if self._call is not None and call["index"] == self._call:
                return call["args"] or ""
        return "" if self._call is not None else str(chunk.text)


def _input_messages(model_input: Any) -> list[BaseMessage]:
    if isinstance(model_input, PromptValue):
        return model_input.to_messages()
    return [HumanMessage(model_input)] if isinstance(model_input, str) else convert_to_messages(model_input)


def _joined(parts: Sequence[Any]) -> Any:
    """The input of which another runnable streams the parts."""
    whole, *rest = parts
    for part in rest:
        try:
            whole = whole + part
        except TypeError:
            whole = part
    return whole
