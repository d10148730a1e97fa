"""Sends requests to a host and reads their responses, whole or streamed, synchronously or asynchronously."""

import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any, Unpack

from langchain_kimi._clock import CLOCK, Clock
from langchain_kimi._http.call import ApiCall, CallOptions, parsed_url
from langchain_kimi._http.connections import Connections
from langchain_kimi._http.credentials import check_headers
from langchain_kimi._http.multipart import UploadForm
from langchain_kimi._http.response_limits import ResponseLimits
from langchain_kimi._http.retries import MAX_RETRY_WAIT
from langchain_kimi._redaction import LogFilter
from langchain_kimi.rate_limits import RateLimits

_PARTS = ("connection", "http11", "http2", "proxy", "socks")

_LIBRARIES = ("httpx2", "httpx", *(f"{core}.{part}" for core in ("httpcore2", "httpcore") for part in _PARTS))
for _name in _LIBRARIES:  # at DEBUG they log the headers of responses, in which a host may repeat the key
    logging.getLogger(_name).addFilter(LogFilter())


@dataclass(frozen=True, slots=True)
class Transport:
    """Sends requests to one host. `headers` hold the key, so `repr` does not show them."""

    base_url: str
    connections: Connections = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: Any = None
    """A value that `Timeouts.of` accepts; None is the timeout of the user's client, or else the default."""
    max_retries: int | None = None
    """The most retries of one call; None is the default of `RetryPolicy` for each kind of failure."""
    rate_limits: RateLimits | None = None
    clock: Clock = field(default=CLOCK, repr=False)
    max_retry_wait: float = MAX_RETRY_WAIT
    """The longest wait before a retry, in seconds."""
    response_limits: ResponseLimits = field(default_factory=ResponseLimits)

    def __post_init__(self) -> None:
        check_headers(self.headers)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return parsed_url(self.base_url).netloc.decode()

    def post(self, path: str, body: bytes, **options: Unpack[CallOptions]) -> Any:
        """The parsed response to a POST. Raises a KimiError."""
        return self.request("POST", path, body, **options)

    async def apost(self, path: str, body: bytes, **options: Unpack[CallOptions]) -> Any:
        """`post` for asynchronous use."""
        return await self.arequest("POST", path, body, **options)

    def request(self, method: str, path: str, body: bytes | UploadForm = b"", **options: Unpack[CallOptions]) -> Any:
        """The parsed response to a request. Raises a KimiError."""
        call = ApiCall(self, path, body, options, method)
        with closing(self._documents(call)) as documents:
            return call.result(list(documents))

    async def arequest(
        self, method: str, path: str, body: bytes | UploadForm = b"", **options: Unpack[CallOptions]
    ) -> Any:
        """`request` for asynchronous use."""
        call = ApiCall(self, path, body, options, method)
        async with aclosing(self._adocuments(call)) as documents:
            return call.result([document async for document in documents])

    def stream(self, path: str, body: bytes, **options: Unpack[CallOptions]) -> Generator[bytes, None, None]:
        """The JSON documents of a response to a POST: the data of each event, or the body if it is one document.

        A failed request is retried only until the first document.
        """
        return self._documents(ApiCall(self, path, body, options))

    def astream(self, path: str, body: bytes, **options: Unpack[CallOptions]) -> AsyncGenerator[bytes, None]:
        """`stream` for asynchronous use."""
        return self._adocuments(ApiCall(self, path, body, options))

    def _documents(self, call: ApiCall) -> Generator[bytes, None, None]:
        while True:
            try:
                with (
                    call.rate_limit_slot(),
                    self.connections.client(self.host, call.pool_timeout) as client,
                    closing(client.send(call.new_request(client, call.trace), stream=True)) as response,
                ):
                    for piece in call.begin_response(response, response.iter_raw, response.iter_bytes):
                        yield from call.documents(piece)
                        if call.response_body.enough:
                            break
                    yield from call.last_documents()
                    return
            except Exception as exception:
                error = call.as_kimi_error(exception)
            if (seconds := call.retry_delay(error)) is None:
                return
            self.clock.sleep(seconds)

    async def _adocuments(self, call: ApiCall) -> AsyncGenerator[bytes, None]:
        while True:
            try:
                async with (
                    call.rate_limit_slot(),
                    self.connections.async_client(self.host, call.pool_timeout) as client,
                    aclosing(await client.send(call.new_request(client, call.atrace), stream=True)) as response,
                ):
                    async for piece in call.begin_response(response, response.aiter_raw, response.aiter_bytes):
                        for document in call.documents(piece):
                            yield document
                        if call.response_body.enough:
                            break
                    for document in call.last_documents():
                        yield document
                    return
            except Exception as exception:
                error = call.as_kimi_error(exception)
            if (seconds := call.retry_delay(error)) is None:
                return
            await self.clock.asleep(seconds)
