"""The class itself, which only wires the rooms below together."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils import from_env, secret_from_env
from pydantic import (
    AliasChoices,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    SkipValidation,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from langchain_kimi import tokens
from langchain_kimi._endpoints import HOSTS, NO_KEY, USER_AGENT, authorization_header
from langchain_kimi._hosts import DialectName, host_dialect
from langchain_kimi._http import (
    CLOCK,
    MAX_RETRY_WAIT,
    Clock,
    Connections,
    RateLimits,
    ResponseLimits,
    Transport,
    checked_key,
    checked_url,
    shared_connections,
)
from langchain_kimi._raw_calls import PROVIDER, reparse_calls
from langchain_kimi._redaction import MASK, is_secret_header
from langchain_kimi._request import (
    Declared,
    EncodedRequest,
    Tools,
    encode_request,
    encode_thinking,
)
from langchain_kimi._response import REPORT, ResponseDecoder, check_complete, check_output_cap, generation_chunk
from langchain_kimi._warning_location import calling
from langchain_kimi.catalogue import SAMPLING, find
from langchain_kimi.chat_model.call_settings import check_call_settings
from langchain_kimi.chat_model.from_chat_openai import settings_of
from langchain_kimi.chat_model.media import check_size
from langchain_kimi.chat_model.partial_mode import Continuation, beginning_in, beginning_of
from langchain_kimi.chat_model.profile import profile_of
from langchain_kimi.chat_model.response_format import response_format
from langchain_kimi.chat_model.retry_events import teller
from langchain_kimi.chat_model.structured_output import Method, Rung, structured_output
from langchain_kimi.chat_model.validation import without_inputs
from langchain_kimi.errors import (
    AnswerCutShort,
    AuthenticationError,
    IllegalRequestError,
    KimiError,
    NotFoundError,
    warn,
)

logger = logging.getLogger("langchain_kimi")

_CHAT_PATH = "/chat/completions"
_BYTES_A_TOKEN = 4

_MOST_TOLD = 10_000
"""After so many different warnings and repairs a long-lived model begins to repeat itself."""

_SETTINGS = (
    *("model", "thinking", "reasoning_effort", "keep_thinking", "max_tokens", "stop", *SAMPLING),
    *("prompt_cache_key", "prompt_cache_options", "safety_identifier", "extra_body"),
    *("illegal_tool_choice", "strict_tools", "missing_reasoning", "max_tokens_over_window", "on_cut_short"),
)


class CacheOptions(TypedDict, total=False):
    """How Kimi's prefix cache is to treat a request."""

    mode: Literal["implicit"]
    ttl: Literal["5m", "1h"]


class ChatKimi(BaseChatModel):
    """A Moonshot Kimi model. Thinking is kept on the messages and goes back to the model byte for byte.

    Every setting can be given anew for one call (`model.invoke(…, thinking=False)`, `.bind(max_tokens=…)`). A request
    that Kimi would refuse raises `IllegalRequestError` before anything is sent; sampling parameters that the model pins
    and a `tool_choice` that it does not take while it thinks are changed to what it takes, with one `KimiWarning`.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)

    model: str = Field(validation_alias=AliasChoices("model", "model_name"))
    """The model's id, for instance `kimi-k2.6`; `langchain_kimi.catalogue.MODELS` lists those known here."""
    api_key: SecretStr | None = Field(
        default_factory=secret_from_env("MOONSHOT_API_KEY", default=None), validate_default=True
    )
    """The key, by default from MOONSHOT_API_KEY. Kimi's hosts need one; keys are bound to their host. White space
    around it is dropped; what no HTTP header can carry raises AuthenticationError, which does not show it.
    A server on this machine gets the placeholder `not-needed` where there is none."""
    base_url: str | None = Field(default_factory=from_env("MOONSHOT_BASE_URL", default=None))
    """The host's URL up to and with `/v1`: given here, else by `region`, else MOONSHOT_BASE_URL, else international."""
    region: Literal["intl", "cn"] | None = None
    """Kimi's international (`api.moonshot.ai`) or Chinese (`api.moonshot.cn`) host."""
    dialect: DialectName | None = None
    """How the host speaks, where it is not Kimi's own: `openrouter`, `together`, `vllm`, `sglang`; None goes by the
    host's name. Reasoning is read under every host's key and goes back under the one that the host used."""
    thinking: bool | Literal["low", "high", "max"] | None = None
    """Whether, or how hard, to think; None leaves the model its default. What each model takes is in the catalogue."""
    reasoning_effort: Literal["low", "high", "max"] | None = None
    """The effort under ChatOpenAI's name; it must not contradict `thinking`."""
    keep_thinking: bool | None = None
    """Whether the model reads its reasoning of earlier user turns; on request with `kimi-k2.6`, always with newer."""
    max_tokens: int | None = Field(
        default=None, gt=0, validation_alias=AliasChoices("max_tokens", "max_completion_tokens")
    )
    """Output cap in tokens, thinking included; by default the catalogue's."""
    stop: str | list[str] | None = Field(default=None, validation_alias=AliasChoices("stop", "stop_sequences"))
    """Texts at which the answer ends; they are not part of it."""
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    timeout: Any = Field(default=None, validation_alias=AliasChoices("timeout", "request_timeout"))
    """Seconds to wait for the answer to begin and between two pieces of it, or `Timeouts`, or an httpx2 `Timeout`; by
    default 10 to connect, 600 to the first byte, 300 of silence, no end in total."""
    max_retries: int | None = Field(default=None, ge=0)
    """How often a request is sent again at most after a retryable failure, while nothing of its answer has arrived. By
    default a host that is overloaded or at its rate limit is waited for up to 300 seconds in all, and other failures
    are retried twice."""
    max_retry_wait: float = Field(default=MAX_RETRY_WAIT, ge=0)
    """Seconds that a single wait before a retry takes at most. Where the host asks to wait longer, its error is raised
    at once; `retry_after` on it has the seconds."""
    response_limits: SkipValidation[ResponseLimits] = Field(default_factory=ResponseLimits, repr=False)
    """How much of a response is read: bytes of an answer, an event and an error, characters, tool calls."""
    rate_limits: RateLimits | None = Field(default=None, exclude=True, repr=False)
    """Concurrency, requests and tokens a minute that several models of one process share."""
    default_headers: dict[str, str] | None = Field(default=None, repr=False)
    """Further headers of every request. Dumps hold no value of a header whose name tells of a secret."""
    http_client: Any = Field(default=None, exclude=True, repr=False)
    """An httpx2 (or httpx) `Client` to use instead of our own; it is never closed here."""
    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """An httpx2 (or httpx) `AsyncClient` to use instead of our own; it is never closed here."""
    extra_body: dict[str, Any] | None = None
    """Further fields of the request, sent as they are."""
    prompt_cache_key: str | None = None
    """A stable id of the conversation, which helps Kimi's prefix cache."""
    prompt_cache_options: CacheOptions | None = None
    """How long Kimi's prefix cache keeps what it wrote: `{"mode": "implicit", "ttl": "5m"}` (Kimi's default) or
    `"1h"`. The K3 family bills writes, an hour at twice the price."""
    safety_identifier: str | None = None
    """A stable, hashed id of your end user, by which Kimi tells who broke its rules."""
    streaming: bool | None = None
    """None: answers always stream on the wire, so that a long thought meets no gateway's limit; `invoke` collects them.
    True: `invoke` reports each token to callbacks too. False: every answer is asked for in one piece."""
    illegal_tool_choice: Literal["resolve", "raise"] = "resolve"
    """What happens to a `tool_choice` that the model does not take: the nearest legal value and a warning, or
    ToolChoiceError."""

    strict_tools: bool = False
    """Whether a tool whose schema cannot be made legal raises, instead of being left out with a warning."""
    missing_reasoning: Literal["pad", "raise", "thinking_off"] = "pad"
    """What happens to an assistant message with tool calls but no known reasoning while the model thinks: a single
    space stands for it, or IllegalRequestError, or thinking is switched off for the request; a model that always thinks
    gets the space then."""
    max_tokens_over_window: Literal["send", "raise"] = "send"
    """What happens where `max_tokens`, as you set it, does not fit into the window behind the prompt by estimate: it is
    sent as it is, or ContextOverflowError. A default cap is lowered to what fits, with a warning; with `raise`, not to
    less than an answer needs."""
    on_cut_short: Literal["raise", "return"] = "raise"
    """What happens to an answer that spent its whole output cap on thinking: AnswerCutShort, or the message, which has
    no text and the finish reason `length`, for frameworks that expect a message from every call."""

    _clock: Clock = PrivateAttr(default_factory=lambda: CLOCK)
    """Measures time and waits before retries; tests replace it."""
    _connections: Connections = PrivateAttr(default_factory=shared_connections)
    _told: set[tuple[str, str]] = PrivateAttr(default_factory=set)

    @field_validator("api_key", mode="before")
    @classmethod
    def _check_key(cls, key: Any) -> SecretStr | None:
        checked = checked_key(key)
        return SecretStr(checked) if checked else None

    @model_validator(mode="wrap")
    @classmethod
    def _hide_inputs(cls, settings: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(settings)
        except ValidationError as error:
            hidden = without_inputs(error)
        raise hidden

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        chosen_url = self._url
        if "base_url" in self.model_fields_set and self.base_url and self.region and chosen_url != HOSTS[self.region]:
            raise IllegalRequestError(
                f"base_url={self.base_url!r} and region={self.region!r} contradict each other. Give one of them."
            )
        self._thinks()
        if not self._key and chosen_url in HOSTS.values():
            raise AuthenticationError(NO_KEY)
        self._transport()  # checks the headers
        if self.http_client is not None or self.http_async_client is not None:
            self._connections = Connections(self.http_client, self.http_async_client)
        return self

    # What LangChain asks of a model.

    @property
    def _llm_type(self) -> str:
        return "kimi-chat"

    @property
    def lc_secrets(self) -> dict[str, str]:
        return {"api_key": "MOONSHOT_API_KEY"}

    @field_serializer("default_headers")
    def _mask_headers(self, headers: dict[str, str] | None) -> dict[str, str] | None:
        return headers and {name: MASK if is_secret_header(name) else value for name, value in headers.items()}

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        chosen = {name: getattr(self, name) for name in _SETTINGS}
        return {key: value for key, value in chosen.items() if value is not None} | {"base_url": self._url}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self._stop(), **kwargs)
        params["ls_provider"] = PROVIDER
        return params

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
        asked = self._ask(messages, stop, kwargs, run_manager, stream=self._streams(kwargs))
        with asked.carrying_what_arrived():
            with closing(asked.transport.stream(**asked.call)) as events:
                for data in events:
                    asked.answer.feed(data)
            return self._result(asked, asked.answer.message())

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        asked = self._ask(messages, stop, kwargs, run_manager, stream=self._streams(kwargs))
        with asked.carrying_what_arrived():
            async with aclosing(asked.transport.astream(**asked.call)) as events:
                async for data in events:
                    asked.answer.feed(data)
            return self._result(asked, asked.answer.message())

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        asked = self._ask(messages, stop, kwargs, run_manager, stream=True)
        with asked.carrying_what_arrived():
            with closing(asked.transport.stream(**asked.call)) as events:
                for data in events:
                    for chunk in asked.answer.chunks(data):
                        generation = generation_chunk(chunk)
                        if run_manager:
                            run_manager.on_llm_new_token(generation.text, chunk=generation)
                        yield generation
            message = self._complete(asked, asked.answer.message())
            for chunk in asked.answer.last_chunks():
                yield generation_chunk(chunk)
            asked.check_cut(message)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        asked = self._ask(messages, stop, kwargs, run_manager, stream=True)
        with asked.carrying_what_arrived():
            async with aclosing(asked.transport.astream(**asked.call)) as events:
                async for data in events:
                    for chunk in asked.answer.chunks(data):
                        generation = generation_chunk(chunk)
                        if run_manager:
                            await run_manager.on_llm_new_token(generation.text, chunk=generation)
                        yield generation
            message = self._complete(asked, asked.answer.message())
            for chunk in asked.answer.last_chunks():
                yield generation_chunk(chunk)
            asked.check_cut(message)

    # LangChain joins streamed chunks with a parser that completes arguments that were cut short. What `invoke` and
    # every agent gets is settled here to a strict reading.

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """LangChain's `generate`; calls whose arguments are no JSON object are `invalid_tool_calls`."""
        return _settled(super().generate(messages, stop, callbacks, **kwargs))

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """LangChain's `agenerate`; calls whose arguments are no JSON object are `invalid_tool_calls`."""
        with calling():
            return _settled(await super().agenerate(messages, stop, callbacks, **kwargs))

    # What users call.

    def bind_tools(
        self,
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | Mapping[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools: functions, pydantic classes, TypedDicts, BaseTools or OpenAI-format dicts.

        `tool_choice` is `"auto"`, `"none"`, `"required"` (or `"any"`, True), a tool's name or OpenAI's dict. It is kept
        as given and resolved by each request against its model and thinking: K2 models that think take only `auto` and
        `none`, the K3 family also `required`. Thinking is never switched off for it.
        """
        chosen = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(tools=Tools.of(tools, strict=strict), **chosen, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Method | None = None,
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
        otherwise the model is only given the tool. After an answer that is no valid object, the model is asked again,
        with the answer and the errors, at most `max_validation_retries` times: by default once, or twice where no call
        can be forced. Each request counts in `UsageMeter`. `include_raw` returns a dict of `raw`, `parsed` and
        `parsing_error`. `keep_tools`, the tools of the conversation so far, stay in a request for a JSON Schema,
        uncalled, so that its prefix stays in Kimi's cache. Raises StructuredOutputError with the raw text where no
        valid object came back.
        """
        return structured_output(
            self,
            schema,
            method=method,
            rung=self._rung(),
            include_raw=include_raw,
            strict=strict,
            keep_tools=keep_tools,
            max_validation_retries=max_validation_retries,
            bound=kwargs,
        )

    def continue_from(
        self, beginning: str, *, reasoning: str | None = None, join: bool = True
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """A runnable whose answer goes on from `beginning` (Kimi's partial mode), and holds it where `join` is set.

        `reasoning` is the thinking that led to it; what a model does that thinks and is given none is not known, so
        switch thinking off where the model can. Not together with `response_format` json_object. Bind tools and other
        settings to what this returns. A last AIMessage with `additional_kwargs={"partial": True}` in the input of any
        call does the same, not joined.
        """
        return Continuation(self, beginning_of(beginning, reasoning), join=join)

    def continue_cut_answer(
        self, cut: AIMessage | AnswerCutShort, *, join: bool = True
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """A runnable that goes on with an answer that ended at its output cap; its input is what was asked before.

        `cut` is the message, or the AnswerCutShort that was raised: its text and reasoning go back as the beginning.
        Raises IllegalRequestError for an answer that was not cut, or was cut in its tool calls.
        """
        return Continuation(self, beginning_in(cut), join=join)

    @classmethod
    def from_chat_openai(cls, model: Any, **changes: Any) -> Self:
        """The model that a configured `ChatOpenAI` means, under the same host, key and settings; `changes` win.

        Nothing of langchain-openai is imported. Settings that have no place here are named in one `KimiWarning`.
        """
        return cls(**{**settings_of(model), **changes})

    def get_num_tokens(self, text: str) -> int:
        """An estimate of the text's tokens, made here: nothing is sent, loaded or downloaded."""
        return tokens.count_text(text)

    def get_num_tokens_from_messages(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
    ) -> int:
        """An estimate of the tokens of messages, their reasoning and the declarations of `tools`, made here: nothing is
        sent, loaded or downloaded, so that `trim_messages(token_counter=model)` may call it often.
        """
        return tokens.count(messages, [tool.wire for tool in Tools.of(tools or ()).declared])

    def get_token_ids(self, text: str) -> list[int]:
        """Not to be had: Kimi's tokeniser is not at hand. Raises NotImplementedError."""
        raise NotImplementedError("Kimi's tokeniser is not at hand; get_num_tokens(text) estimates the number.")

    def check_tools(
        self, tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool], *, strict: bool | None = None
    ) -> list[Declared]:
        """What `bind_tools` would declare to Kimi for each tool: its name and schema on the wire, what was changed in
        the schema (JSON path, rule, why), and the problems for which it would be left out. Nothing is sent.
        """
        return Tools.of(tools, strict=strict).declared

    def close(self) -> None:
        """Close the connections for synchronous use that this process's models share; the next call opens new ones."""
        self._connections.close()

    async def aclose(self) -> None:
        """Close the running event loop's connections; the next call opens new ones."""
        await self._connections.aclose()

    # Requests.

    def _ask(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: dict[str, Any],
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
        *,
        stream: bool,
    ) -> "_Asked":
        """The request, checked by every rule of Kimi's, and what reads its answer. Raises IllegalRequestError."""
        encoded = self._encode(messages, stop, kwargs, stream=stream)
        fields, sent, transport = encoded.fields, encoded.json, self._transport()
        check_size(fields["model"], sent)
        response_headers: dict[str, str] = {}
        retried_headers: list[dict[str, str]] = []
        answer = ResponseDecoder(
            host=transport.host,
            names=encoded.names,
            schemas=encoded.schemas,
            headers=response_headers,
            repeated=retried_headers,
            first_call=encoded.calls_made,
            v1=self.output_version == "v1",
            max_tool_calls=self.response_limits.tool_calls,
            max_characters=self.response_limits.characters,
        )
        call = {
            "path": _CHAT_PATH,
            "body": sent,
            "model": fields["model"],
            "tokens": len(sent) // _BYTES_A_TOKEN + fields["max_completion_tokens"],
            "on_wait": teller(run_manager),
            "response_headers": response_headers,
            "retried_headers": retried_headers,
        }
        cut_short: str = kwargs.get("on_cut_short", self.on_cut_short)
        if cut_short not in ("raise", "return"):
            raise IllegalRequestError(f"on_cut_short={cut_short!r} is neither 'raise' nor 'return'.")
        asked = _Asked(transport, call, answer, encoded, cut_short)
        call["shrink"] = partial(self._refit, asked)
        return asked

    def _refit(self, asked: "_Asked", error: KimiError) -> bytes | None:
        """The body of the request with the output cap that fits by what the host's refusal says."""
        refitted = asked.encoded.refitted(error)
        if refitted is None:
            return None
        asked.encoded = refitted
        self._tell(refitted)
        return refitted.json

    def _result(self, asked: "_Asked", message: AIMessage) -> ChatResult:
        """The answer as LangChain wants it. Raises where it is not whole."""
        asked.check_cut(self._complete(asked, message))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _complete(self, asked: "_Asked", message: AIMessage) -> AIMessage:
        """The message, unless the host gave up on it. A finish reason that nobody knows is warned of."""
        host = asked.transport.host
        if "finish_unknown" in message.response_metadata.get(REPORT, ()):
            reason = str(message.response_metadata["finish_reason"])
            text = f"{host} ended an answer with the finish reason {reason!r}, which is not known here."
            logger.warning("%s", text)
            if self._first_time("finish_reason", reason):
                warn(f"{text} Tool calls of such an answer do not run.")
        check_complete(message, host)
        return message

    def _encode(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any], *, stream: bool
    ) -> EncodedRequest:
        chosen = self._chosen(stop, kwargs)
        model = chosen["model"]
        row = find(model)
        if row and row.retired and self._url in HOSTS.values():
            raise NotFoundError(
                f"Kimi's platform retired {row.id} on {row.retired}; its successor is {row.successor!r}. Nothing was "
                "sent."
            )
        chosen["k2_ids"] = row is not None and row.family == "k2" and self._elsewhere
        chosen |= {"elsewhere": self._elsewhere, "host": self._transport().host}
        encoded = encode_request(chosen, messages, stream=stream, dialect=host_dialect(self._url, self.dialect))
        if encoded.violations:
            raise IllegalRequestError.of(encoded.violations)
        if encoded.overflow:
            raise encoded.overflow
        self._tell(encoded)
        for repair in encoded.repairs:
            if self._first_time(repair.rule, repair.detail):
                logger.info("transcript repaired: message %d: %s: %s", repair.index, repair.rule, repair.detail)
        return encoded

    def _tell(self, encoded: EncodedRequest) -> None:
        """Warn of changes to what the user chose, once for each model."""
        for note in encoded.notes:
            if self._first_time(encoded.fields["model"], note.topic):
                warn(note.text)

    def _first_time(self, kind: str, what: str) -> bool:
        """Whether this is told for the first time."""
        if (kind, what) in self._told:
            return False
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told.add((kind, what))
        return True

    def _chosen(self, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The constructor's settings under this call's. Naming one of the two thinking knobs replaces both.

        Raises IllegalRequestError for a keyword that is no setting.
        """
        check_call_settings(kwargs, _SETTINGS, type(self).model_fields)
        chosen = {name: getattr(self, name) for name in _SETTINGS}
        if kwargs.keys() & {"thinking", "reasoning_effort"}:
            chosen |= {"thinking": None, "reasoning_effort": None}
        if "max_completion_tokens" in kwargs:
            chosen["max_tokens"] = None
        extra_body = {**(self.extra_body or {}), **(kwargs.get("extra_body") or {})}
        chosen |= {key: value for key, value in kwargs.items() if key != "stream"}
        if chosen.get("response_format") is not None:
            chosen["response_format"] = response_format(chosen["response_format"])
        return chosen | {"extra_body": extra_body, "stop": stop or kwargs.get("stop") or self._stop()}

    def _streams(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether an answer that is wanted whole is streamed on the wire."""
        if self.disable_streaming == "tool_calling":
            return self.streaming is not False and not kwargs.get("tools")
        return self.streaming is not False and not self.disable_streaming

    def _stop(self) -> list[str] | None:
        return [self.stop] if isinstance(self.stop, str) else self.stop or None

    def _thinks(self) -> bool | None:
        """Whether the model thinks by its own settings. Raises IllegalRequestError where they do not fit together."""
        knobs = (self.thinking, self.reasoning_effort, self.keep_thinking)
        return encode_thinking(find(self.model), self.model, *knobs, elsewhere=self._elsewhere).thinks

    @property
    def _elsewhere(self) -> bool:
        """Whether another host than Kimi's own serves the model."""
        return self._url not in HOSTS.values()

    def _rung(self) -> Rung:
        """How a schema can be asked for from this model, by the catalogue."""
        row = find(self.model)
        if row is None:
            return Rung(json_schema=False, choice="named")
        thinks = self._thinks()
        choices = row.choices(bool(thinks))
        if not thinks or "required" in choices:
            return Rung(row.json_schema, "named" if "named" in choices else "required")
        if row.thinking == "optional" and self.thinking is None and not self.keep_thinking:
            return Rung(row.json_schema, "named", {"thinking": False})
        return Rung(row.json_schema, "auto")

    @property
    def _url(self) -> str:
        given = self.base_url if "base_url" in self.model_fields_set or not self.region else None
        return checked_url(given or HOSTS[self.region or "intl"])

    @property
    def _key(self) -> str:
        return checked_key(self.api_key) or ""

    def _transport(self) -> Transport:
        own_client = self.http_client is not None or self.http_async_client is not None
        authorization = authorization_header(self._url, self._key, self.default_headers, own_client=own_client)
        headers = {"user-agent": USER_AGENT, **authorization, **(self.default_headers or {})}
        return Transport(
            self._url,
            self._connections,
            headers,
            self.timeout,
            self.max_retries,
            self.rate_limits,
            self._clock,
            self.max_retry_wait,
            self.response_limits,
        )


@dataclass(slots=True)
class _Asked:
    """A request on its way: what sends it, and what reads its answer."""

    transport: Transport
    call: dict[str, Any]
    answer: ResponseDecoder
    encoded: EncodedRequest
    cut_short: str
    """`on_cut_short` of this call."""

    def check_cut(self, message: AIMessage) -> None:
        """Raise AnswerCutShort where the cap went into thinking, unless such an answer is wanted."""
        if self.cut_short == "raise":
            check_output_cap(message, self.encoded.fields.get("max_completion_tokens"))

    @contextmanager
    def carrying_what_arrived(self) -> Iterator[None]:
        """Errors that end an answer carry what arrived of it, with its usage."""
        try:
            yield
        except KimiError as error:
            if error.message is None:
                error.message = self.answer.partial_message()
            raise


def _settled(result: LLMResult) -> LLMResult:
    for generations in result.generations:
        for generation in generations:
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                reparse_calls(generation.message)
    return result
