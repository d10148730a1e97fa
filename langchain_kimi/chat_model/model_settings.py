"""The settings of `ChatKimi`: its fields, their validation, and the URL, key and transport that follow from them."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from langchain_core.language_models import BaseChatModel
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

from langchain_kimi._api_keys import HOSTS, NO_KEY, USER_AGENT, authorization_header
from langchain_kimi._hosts import DialectName
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
from langchain_kimi._redaction import MASK, is_secret_header
from langchain_kimi._request import encode_thinking
from langchain_kimi.catalogue import SAMPLING, find
from langchain_kimi.chat_model.call_settings import check_call_settings
from langchain_kimi.chat_model.reports import Reports
from langchain_kimi.chat_model.response_format import response_format
from langchain_kimi.chat_model.validation import constructor_error
from langchain_kimi.errors import AuthenticationError, IllegalRequestError

CALL_SETTINGS = (
    *("model", "thinking", "reasoning_effort", "keep_thinking", "max_tokens", "stop", *SAMPLING),
    *("prompt_cache_key", "prompt_cache_options", "safety_identifier", "extra_body"),
    *("illegal_tool_choice", "strict_tools", "missing_reasoning", "max_tokens_over_window", "on_cut_short"),
)
"""The fields that a single call may set too."""


class CacheOptions(TypedDict, total=False):
    """Options of Kimi's prefix cache for a request."""

    mode: Literal["implicit"]
    ttl: Literal["5m", "1h"]


class ChatKimiSettings(BaseChatModel):
    """The fields of `ChatKimi`, and what is derived from them."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)

    model: str = Field(validation_alias=AliasChoices("model", "model_name"))
    """The model's id, for instance `kimi-k3`; `langchain_kimi.catalogue.MODELS` lists those known here."""
    api_key: SecretStr | None = Field(
        default_factory=secret_from_env("MOONSHOT_API_KEY", default=None), validate_default=True
    )
    """The key, by default from MOONSHOT_API_KEY. Kimi's hosts need one; keys are bound to their host. White space
    around it is dropped; a key that no HTTP header can carry raises AuthenticationError, which does not show it.
    Requests to a server on this machine carry the placeholder `not-needed` where there is no key."""
    base_url: str | None = Field(default_factory=from_env("MOONSHOT_BASE_URL", default=None))
    """The host's URL up to and with `/v1`; by default that of `region`, else MOONSHOT_BASE_URL, else international."""
    region: Literal["intl", "cn"] | None = None
    """Kimi's international (`api.moonshot.ai`) or Chinese (`api.moonshot.cn`) host."""
    dialect: DialectName | None = None
    """The field names of a host that is not Kimi's own: `openrouter`, `together`, `vllm` or `sglang`; by default those
    of the host's domain. Reasoning is read under every host's key and goes back under the one that the host used."""
    thinking: bool | Literal["low", "high", "max"] | None = None
    """Whether, or how hard, to think; None means the model's default. The catalogue has the values of each model."""
    reasoning_effort: Literal["low", "high", "max"] | None = None
    """The effort under ChatOpenAI's name; it must not contradict `thinking`."""
    keep_thinking: bool | None = None
    """Whether the model reads its reasoning of earlier user turns; on request with `kimi-k2.6`, always with newer."""
    max_tokens: int | None = Field(
        default=None, gt=0, validation_alias=AliasChoices("max_tokens", "max_completion_tokens")
    )
    """Output cap in tokens, thinking included; by default the catalogue's."""
    stop: str | list[str] | None = Field(default=None, validation_alias=AliasChoices("stop", "stop_sequences"))
    """Texts at which the answer ends; the answer does not hold them."""
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    timeout: Any = Field(default=None, validation_alias=AliasChoices("timeout", "request_timeout"))
    """Seconds until the response begins and between two pieces of it, or `Timeouts`, or an httpx2 `Timeout`; by default
    10 to connect, 600 to the first byte, 300 of silence, and no limit in total."""
    max_retries: int | None = Field(default=None, ge=0)
    """The largest number of retries of a request after a retryable failure, as long as nothing of its response has
    arrived. By default an overloaded host or a rate limit is retried for up to 300 seconds in all, and other failures
    twice."""
    max_retry_wait: float = Field(default=MAX_RETRY_WAIT, ge=0)
    """The longest wait before a retry in seconds. If the host's Retry-After is longer, its error is raised at once;
    `retry_after` on it has the seconds."""
    response_limits: SkipValidation[ResponseLimits] = Field(default_factory=ResponseLimits, repr=False)
    """Limits on what is read of a response: bytes of a response, an event and an error, characters, tool calls."""
    rate_limits: RateLimits | None = Field(default=None, exclude=True, repr=False)
    """Concurrency, requests and tokens a minute that several models of one process, or of many, share."""
    default_headers: dict[str, str] | None = Field(default=None, repr=False)
    """Further headers of every request. Dumps mask the value of a header whose name shows that it is secret."""
    http_client: Any = Field(default=None, exclude=True, repr=False)
    """An httpx2 (or httpx) `Client` to use instead of the shared one; ChatKimi never closes it."""
    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """An httpx2 (or httpx) `AsyncClient` to use instead of the shared one; ChatKimi never closes it."""
    extra_body: dict[str, Any] | None = None
    """Further fields of the request, sent unchanged."""
    prompt_cache_key: str | None = None
    """A stable id of the conversation, which helps Kimi's prefix cache."""
    prompt_cache_options: CacheOptions | None = None
    """How long Kimi's prefix cache stores a prompt: `{"mode": "implicit", "ttl": "5m"}` (Kimi's default) or `"1h"`.
    The K3 family bills writes, an hour at twice the price."""
    safety_identifier: str | None = None
    """A stable, hashed id of your end user, by which Kimi identifies who broke its rules."""
    streaming: bool | None = None
    """None: responses always stream on the wire, so that long thinking meets no gateway's timeout; `invoke` collects
    them. True: `invoke` also reports each token to callbacks. False: every response is requested in one piece."""
    illegal_tool_choice: Literal["resolve", "raise"] = "resolve"
    """`resolve` replaces a `tool_choice` that the model does not take by the nearest legal value, with a warning;
    `raise` raises ToolChoiceError."""
    strict_tools: bool = False
    """Whether a tool whose schema cannot be normalised raises, instead of being left out with a warning."""
    missing_reasoning: Literal["pad", "raise", "thinking_off"] = "pad"
    """What happens to an assistant message with tool calls but no known reasoning while the model thinks: `pad` sends a
    single space as reasoning, `raise` raises IllegalRequestError, and `thinking_off` switches thinking off for the
    request, or pads where the model always thinks."""
    max_tokens_over_window: Literal["send", "raise"] = "send"
    """What happens where your `max_tokens` and the estimated prompt exceed the window: `send` sends the request
    unchanged, `raise` raises ContextOverflowError. A default cap is lowered until it fits, with a warning; with `raise`
    not below what an answer needs."""
    on_cut_short: Literal["raise", "return"] = "raise"
    """What happens to an answer that spent its whole output cap on thinking: `raise` raises AnswerCutShort; `return`
    returns the message, which has no text and the finish reason `length`, for frameworks that expect a message from
    every call."""

    _clock: Clock = PrivateAttr(default_factory=lambda: CLOCK)
    """Measures time and waits before retries; tests replace it."""
    _connections: Connections = PrivateAttr(default_factory=shared_connections)
    _reports: Reports = PrivateAttr(default_factory=Reports)

    @field_validator("api_key", mode="before")
    @classmethod
    def _check_key(cls, key: Any) -> SecretStr | None:
        checked = checked_key(key)
        return SecretStr(checked) if checked else None

    @model_validator(mode="wrap")
    @classmethod
    def _rewrite_errors(cls, settings: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(settings)
        except ValidationError as error:
            readable = constructor_error(error, cls)
        raise readable

    @model_validator(mode="after")
    def _check_settings(self) -> Self:
        url = self._url
        if "base_url" in self.model_fields_set and self.base_url and self.region and url != HOSTS[self.region]:
            raise IllegalRequestError(
                f"base_url={self.base_url!r} and region={self.region!r} contradict each other. Give one of them."
            )
        self._thinks()
        if not self._key and not self._elsewhere:
            raise AuthenticationError(NO_KEY)
        self._transport()  # checks the headers
        if self.http_client is not None or self.http_async_client is not None:
            self._connections = Connections(self.http_client, self.http_async_client)
        return self

    @field_serializer("default_headers")
    def _mask_headers(self, headers: dict[str, str] | None) -> dict[str, str] | None:
        return headers and {name: MASK if is_secret_header(name) else value for name, value in headers.items()}

    def _call_settings(self) -> dict[str, Any]:
        """The settings that a call may change, as far as they are set."""
        settings = {name: getattr(self, name) for name in CALL_SETTINGS}
        return {name: value for name, value in settings.items() if value is not None}

    def _settings_of_call(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a call: the constructor's, changed by the call's keywords. A keyword for thinking replaces
        both `thinking` and `reasoning_effort`.

        Raises IllegalRequestError for a keyword that is no setting.
        """
        check_call_settings(kwargs, CALL_SETTINGS, type(self).model_fields)
        settings = {name: getattr(self, name) for name in CALL_SETTINGS}
        if kwargs.keys() & {"thinking", "reasoning_effort"}:
            settings |= {"thinking": None, "reasoning_effort": None}
        if "max_completion_tokens" in kwargs:
            settings["max_tokens"] = None
        extra_body = {**(self.extra_body or {}), **(kwargs.get("extra_body") or {})}
        settings |= {name: value for name, value in kwargs.items() if name != "stream"}
        if settings.get("response_format") is not None:
            settings["response_format"] = response_format(settings["response_format"])
        return settings | {"extra_body": extra_body, "stop": stop or kwargs.get("stop") or self._stop()}

    def _streams_on_the_wire(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether a response that `invoke` returns whole is streamed on the wire."""
        if self.disable_streaming == "tool_calling":
            return self.streaming is not False and not kwargs.get("tools")
        return self.streaming is not False and not self.disable_streaming

    def _stop(self) -> list[str] | None:
        return [self.stop] if isinstance(self.stop, str) else self.stop or None

    def _thinks(self) -> bool | None:
        """Whether the model thinks by its own settings. Raises IllegalRequestError where they do not fit together."""
        settings = (self.thinking, self.reasoning_effort, self.keep_thinking)
        return encode_thinking(find(self.model), self.model, *settings, elsewhere=self._elsewhere).thinks

    @property
    def _elsewhere(self) -> bool:
        """Whether another host than Kimi's own serves the model."""
        return self._url not in HOSTS.values()

    @property
    def _url(self) -> str:
        base_url = self.base_url if "base_url" in self.model_fields_set or not self.region else None
        return checked_url(base_url or HOSTS[self.region or "intl"])

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
