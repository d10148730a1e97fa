"""`ChatKimi`, the LangChain chat model. Its fields are in `model_settings`, one call of it in `chat_call`."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun, Callbacks
from langchain_core.language_models import LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from langchain_kimi import tokens
from langchain_kimi._hosts import host_dialect
from langchain_kimi._pacing import pace
from langchain_kimi._raw_calls import PROVIDER, reparse_calls
from langchain_kimi._request import Declared, EncodedRequest, Tools, encode_request
from langchain_kimi._response import generation_chunk
from langchain_kimi._warning_location import calling
from langchain_kimi.catalogue import find
from langchain_kimi.chat_model.chat_call import ChatCall, RunManager
from langchain_kimi.chat_model.from_chat_openai import chat_openai_settings
from langchain_kimi.chat_model.model_settings import ChatKimiSettings
from langchain_kimi.chat_model.partial_mode import PartialModeRunnable, prefix_message, prefix_of_cut_answer
from langchain_kimi.chat_model.profile import profile_of
from langchain_kimi.chat_model.structured_output import (
    StructuredOutputMethod,
    StructuredOutputStrategy,
    structured_output,
)
from langchain_kimi.errors import AnswerCutShort, IllegalRequestError


class ChatKimi(ChatKimiSettings):
    """A Moonshot Kimi model. Reasoning stays on the messages and goes back to the model byte for byte.

    Every setting can be changed for one call (`model.invoke(…, thinking=False)`, `.bind(max_tokens=…)`). A request that
    Kimi would refuse raises `IllegalRequestError` before anything is sent; sampling parameters that the model pins and
    a `tool_choice` that it does not take while it thinks are changed to what it takes, with one `KimiWarning`.
    """

    # The contract of LangChain's chat models.

    @property
    def _llm_type(self) -> str:
        return "kimi-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"api_key": "MOONSHOT_API_KEY"}

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return self._call_settings() | {"base_url": self._url}

    @property
    def _serialized(self) -> dict[str, Any]:
        """What callbacks get of the model: its class, and its settings, from which some tracers read the model's id."""
        return {**super()._serialized, "kwargs": self._call_settings()}

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        return super()._get_invocation_params(stop=stop or self._stop(), **kwargs)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        if "max_completion_tokens" in kwargs:
            kwargs["max_tokens"] = kwargs["max_completion_tokens"]
        params = super()._get_ls_params(stop=stop or self._stop(), **kwargs)
        params["ls_provider"] = PROVIDER
        return params

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return next((output for output in llm_outputs if output), {})

    def _resolve_model_profile(self) -> ModelProfile | None:
        row = find(self.model)
        return profile_of(row) if row else None

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._chat_call(messages, stop, kwargs, run_manager, stream=self._streams_on_the_wire(kwargs))
        with call.attach_partial_message():
            with closing(call.events()) as events:
                for data in events:
                    call.decoder.feed(data)
            return call.result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        await pace()
        call = self._chat_call(messages, stop, kwargs, run_manager, stream=self._streams_on_the_wire(kwargs))
        with call.attach_partial_message():
            async with aclosing(call.aevents()) as events:
                async for data in events:
                    call.decoder.feed(data)
            return call.result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._chat_call(messages, stop, kwargs, run_manager, stream=True)
        with call.attach_partial_message():
            with closing(call.events()) as events:
                for data in events:
                    for chunk in call.decoder.chunks(data):
                        generation = generation_chunk(chunk)
                        if run_manager:
                            run_manager.on_llm_new_token(generation.text, chunk=generation)
                        yield generation
            message = call.message()
            for chunk in call.decoder.last_chunks():
                yield generation_chunk(chunk)
            call.check_output_cap(message)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        await pace()
        call = self._chat_call(messages, stop, kwargs, run_manager, stream=True)
        with call.attach_partial_message():
            async with aclosing(call.aevents()) as events:
                async for data in events:
                    for chunk in call.decoder.chunks(data):
                        generation = generation_chunk(chunk)
                        if run_manager:
                            await run_manager.on_llm_new_token(generation.text, chunk=generation)
                        yield generation
            message = call.message()
            for chunk in call.decoder.last_chunks():
                yield generation_chunk(chunk)
            call.check_output_cap(message)

    # LangChain joins streamed chunks with a parser that completes arguments that were cut short. The messages of
    # `invoke`, and so those of every agent, are parsed strictly here.

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """LangChain's `generate`; tool calls whose arguments are no JSON object are `invalid_tool_calls`."""
        return _with_strict_calls(super().generate(messages, stop, callbacks, **kwargs))

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """LangChain's `agenerate`; tool calls whose arguments are no JSON object are `invalid_tool_calls`."""
        with calling():
            return _with_strict_calls(await super().agenerate(messages, stop, callbacks, **kwargs))

    def bind_tools(
        self,
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | Mapping[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools: functions, pydantic classes, TypedDicts, BaseTools or OpenAI-format dicts.

        `tool_choice` is `"auto"`, `"none"`, `"required"` (or `"any"`, True), a tool's name or OpenAI's dict. It is
        resolved by each request against its model and thinking: K2 models that think take only `auto` and `none`, the
        K3 family also `required`. Thinking is never switched off for it.
        """
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(tools=Tools.of(tools, strict=strict), **choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: StructuredOutputMethod | None = None,
        include_raw: bool = False,
        strict: bool | None = None,
        keep_tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool] = (),
        max_validation_retries: int | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """A runnable that returns an object of `schema` (pydantic class, TypedDict or JSON Schema dict).

        It works while the model thinks. `method` is `"json_schema"` (default where the model follows one),
        `"function_calling"` (default elsewhere) or `"json_mode"`. With function calling, the call is forced where the
        model takes that, with thinking switched off for this request if the model can and you did not ask for thinking;
        otherwise the model is only offered the tool. After a response without a valid object, the model gets another
        request with the response and the errors, at most `max_validation_retries` times: by default once, or twice
        where no call can be forced. Each request counts in `UsageMeter`. `stream` yields the object while it grows, and
        the validated one last. `include_raw` returns a dict of `raw`, `parsed` and `parsing_error`. `keep_tools`, the
        tools of the conversation so far, stay in a request for a JSON Schema, uncalled, so that its prefix stays in
        Kimi's cache. Raises StructuredOutputError with the raw text where no response had a valid object.
        """
        strategy = StructuredOutputStrategy.of(
            find(self.model),
            thinks=bool(self._thinks()),
            can_switch_off=self.thinking is None and not self.keep_thinking,
        )
        return structured_output(
            self,
            schema,
            method=method,
            strategy=strategy,
            include_raw=include_raw,
            strict=strict,
            keep_tools=keep_tools,
            max_validation_retries=max_validation_retries,
            bound=kwargs,
        )

    def get_num_tokens(self, text: str) -> int:
        """An estimate of the text's tokens, made locally: nothing is sent, loaded or downloaded."""
        return tokens.count_text(text)

    def get_num_tokens_from_messages(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
    ) -> int:
        """An estimate of the tokens of messages, their reasoning and the declarations of `tools`, made locally: nothing
        is sent, loaded or downloaded, so that `trim_messages(token_counter=model)` may call it often.
        """
        frames = tokens.frames_of(find(self.model))
        declared = [tool.wire for tool in Tools.of(tools or ()).declared]
        return tokens.count(messages, declared, frames=frames, thinks=self._thinks() is not False)

    def get_token_ids(self, text: str) -> list[int]:
        """Not available, because Kimi's tokeniser is not. Raises NotImplementedError."""
        raise NotImplementedError("Kimi's tokeniser is not available; get_num_tokens(text) estimates the number.")

    # Beyond LangChain's contract.

    def continue_from(
        self, prefix: str, *, reasoning: str | None = None, join: bool = True
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """A runnable whose answer continues `prefix` (Kimi's partial mode); with `join` the answer holds the prefix
        too.

        `reasoning` is the reasoning that led to the prefix. How a thinking model continues without it is not known, so
        switch thinking off where the model can. It does not work with `response_format` json_object. Bind tools and
        other settings to the runnable that this returns. A last AIMessage with `additional_kwargs={"partial": True}` in
        the input of any call does the same, not joined.
        """
        return PartialModeRunnable(self, prefix_message(prefix, reasoning), join=join)

    def continue_cut_answer(
        self, cut: AIMessage | AnswerCutShort, *, join: bool = True
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """A runnable that continues an answer that ended at its output cap; its input is that of the call before.

        `cut` is the message, or the AnswerCutShort that was raised: its text and reasoning go back as the prefix.
        Raises IllegalRequestError for an answer that was not cut, or was cut in its tool calls.
        """
        return PartialModeRunnable(self, prefix_of_cut_answer(cut), join=join)

    @classmethod
    def from_chat_openai(cls, model: Any, **changes: Any) -> Self:
        """A model with the host, key and settings of a configured `ChatOpenAI`; `changes` override them.

        Nothing of langchain-openai is imported. Settings that ChatKimi does not have are named in one `KimiWarning`.
        """
        return cls(**{**chat_openai_settings(model), **changes})

    def check_tools(
        self, tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool], *, strict: bool | None = None
    ) -> list[Declared]:
        """What `bind_tools` would declare to Kimi for each tool: its name and schema on the wire, the changes to the
        schema (JSON path, rule, why), and the problems for which it would be left out. Nothing is sent.
        """
        return Tools.of(tools, strict=strict).declared

    def close(self) -> None:
        """Close the connections for synchronous use that this process's models share; the next call opens new ones."""
        self._connections.close()

    async def aclose(self) -> None:
        """Close the running event loop's connections; the next call opens new ones."""
        await self._connections.aclose()

    # Requests.

    def _chat_call(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: dict[str, Any],
        run_manager: RunManager | None,
        *,
        stream: bool,
    ) -> ChatCall:
        """A call with the request for the messages. Raises IllegalRequestError where Kimi would refuse it."""
        return ChatCall.of(
            self._encode(messages, stop, kwargs, stream=stream),
            self._transport(),
            self._reports,
            run_manager,
            v1=self.output_version == "v1",
            limits=self.response_limits,
            on_cut_short=kwargs.get("on_cut_short", self.on_cut_short),
        )

    def _encode(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool
    ) -> EncodedRequest:
        """The request for the messages. Raises IllegalRequestError where Kimi would refuse it."""
        settings = self._settings_of_call(stop, kwargs)
        row = find(settings["model"])
        settings["k2_ids"] = row is not None and row.family == "k2" and self._elsewhere
        settings |= {"elsewhere": self._elsewhere, "host": self._transport().host}
        settings["platform_day"] = None if self._elsewhere else self._clock.today()
        encoded = encode_request(settings, messages, stream=stream, dialect=host_dialect(self._url, self.dialect))
        if encoded.violations:
            raise IllegalRequestError.of(encoded.violations)
        if encoded.overflow:
            raise encoded.overflow
        self._reports.warn_of_changes(encoded)
        self._reports.log_repairs(encoded)
        return encoded


def _with_strict_calls(result: LLMResult) -> LLMResult:
    for generations in result.generations:
        for generation in generations:
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                reparse_calls(generation.message)
    return result
