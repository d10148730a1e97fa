"""`KimiPlatform`: the endpoints of an account other than chat."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import SecretStr

from langchain_kimi import _endpoints as endpoints
from langchain_kimi._api_keys import HOSTS, NO_KEY, USER_AGENT, authorization_header
from langchain_kimi._endpoints import Balance, ModelInfo
from langchain_kimi._http import (
    CLOCK,
    MAX_RETRY_WAIT,
    ApiRequest,
    Clock,
    Connections,
    ResponseLimits,
    Transport,
    TransportProvider,
    checked_key,
    checked_url,
    shared_connections,
    transport_of,
)
from langchain_kimi._request import Tools, encode_request
from langchain_kimi.errors import AuthenticationError, IllegalRequestError
from langchain_kimi.platform.batches import KimiBatches, RequestEncoder
from langchain_kimi.platform.files import KimiFiles
from langchain_kimi.platform.inputs import messages_of

if TYPE_CHECKING:  # mypy checks that ChatKimi has what the platform needs of it
    from langchain_kimi.chat_model import ChatKimi

    _provider: type[TransportProvider] = ChatKimi
    _encoder: type[RequestEncoder] = ChatKimi


@dataclass(frozen=True, slots=True)
class TokenCount:
    """A prompt's size in tokens. Kimi counts messages only, so the tools' part is estimated here."""

    messages: int
    """Tokens of the messages, counted by Kimi."""
    tools: int = 0
    """Tokens of the tools, estimated here."""

    @property
    def total(self) -> int:
        """Tokens of the messages and the tools."""
        return self.messages + self.tools

    def __int__(self) -> int:
        return self.total


class KimiPlatform:
    """Kimi's platform other than chat: files, batches, balance, models and token counts.

    Every method has a twin for asynchronous use, whose name begins with `a`. Failures raise a KimiError, and are
    retried as a ChatKimi's are.
    """

    files: KimiFiles
    batches: KimiBatches

    def __init__(
        self,
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        region: Literal["intl", "cn"] | None = None,
        timeout: Any = None,
        max_retries: int | None = None,
        max_retry_wait: float = MAX_RETRY_WAIT,
        response_limits: ResponseLimits | None = None,
        default_headers: Mapping[str, str] | None = None,
        http_client: Any = None,
        http_async_client: Any = None,
        clock: Clock = CLOCK,
    ) -> None:
        """The arguments are ChatKimi's, with its defaults from MOONSHOT_API_KEY and MOONSHOT_BASE_URL."""
        url = checked_url(
            base_url or (HOSTS[region] if region else os.environ.get("MOONSHOT_BASE_URL")) or HOSTS["intl"]
        )
        if base_url and region:
            raise IllegalRequestError(f"base_url={base_url!r} and region={region!r}: pass only one of them.")
        key = checked_key(api_key) or checked_key(os.environ.get("MOONSHOT_API_KEY"))
        if not key and url in HOSTS.values():
            raise AuthenticationError(NO_KEY)
        own = http_client is not None or http_async_client is not None
        connections = Connections(http_client, http_async_client) if own else shared_connections()
        authorization = authorization_header(url, key, default_headers, own_client=own)
        headers = {"user-agent": USER_AGENT, **authorization, **(default_headers or {})}
        self._set_up(
            Transport(
                url,
                connections,
                headers,
                timeout,
                max_retries,
                None,
                clock,
                max_retry_wait,
                response_limits or ResponseLimits(),
            ),
            None,
        )

    @classmethod
    def from_model(cls, model: Runnable[Any, Any]) -> Self:
        """The platform behind a ChatKimi: its host, key, connections, timeouts and retries."""
        platform = cls.__new__(cls)
        platform._set_up(transport_of(model), model)
        return platform

    def _set_up(self, transport: Transport, model: Any) -> None:
        self._own_transport = transport
        self._model = getattr(model, "model", None)
        self.files = KimiFiles(transport)
        self.batches = KimiBatches(transport)

    @property
    def base_url(self) -> str:
        """The host's URL up to and with `/v1`."""
        return self._own_transport.base_url

    def _transport(self) -> Transport:
        return self._own_transport

    def __repr__(self) -> str:
        return f"KimiPlatform(base_url={self._own_transport.base_url!r})"

    def balance(self) -> Balance:
        """The account's money."""
        return endpoints.get_balance().run(self._own_transport)

    async def abalance(self) -> Balance:
        """`balance` for asynchronous use."""
        return await endpoints.get_balance().arun(self._own_transport)

    def models(self) -> list[ModelInfo]:
        """The models that the account can use."""
        return endpoints.list_models().run(self._own_transport)

    async def amodels(self) -> list[ModelInfo]:
        """`models` for asynchronous use."""
        return await endpoints.list_models().arun(self._own_transport)

    def count_tokens(
        self,
        messages: LanguageModelInput,
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool] = (),
        *,
        model: str | None = None,
    ) -> TokenCount:
        """How many tokens Kimi counts in messages, encoded as a ChatKimi sends them, by the estimate endpoint.

        The endpoint does not count tools, so their tokens are estimated here and returned separately. `model` is
        the model's id; a platform made by `from_model` knows it.
        """
        request, tool_tokens = self._counting(messages, tools, model)
        return TokenCount(request.run(self._own_transport), tool_tokens)

    async def acount_tokens(
        self,
        messages: LanguageModelInput,
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool] = (),
        *,
        model: str | None = None,
    ) -> TokenCount:
        """`count_tokens` for asynchronous use."""
        request, tool_tokens = self._counting(messages, tools, model)
        return TokenCount(await request.arun(self._own_transport), tool_tokens)

    def _counting(
        self, messages: LanguageModelInput, tools: Sequence[Any], model: str | None
    ) -> tuple[ApiRequest[int], int]:
        """The request that counts, and the tokens of the tools."""
        model = model or self._model
        if not model:
            raise IllegalRequestError("count_tokens needs model=…: each model counts by itself.")
        encoded = encode_request({"model": model, "thinking": None}, messages_of(messages), stream=False)
        own = 0
        if tools:
            from langchain_kimi import tokens  # read when first used

            own = tokens.count_tools([tool.wire for tool in Tools.of(tools).declared])
        return endpoints.estimate_tokens(model, encoded.body["messages"]), own
