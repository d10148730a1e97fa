"""Downloads a file from the web, without Kimi's key and within a size limit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from langchain_kimi._http.connections import ssl_context
from langchain_kimi._http.decompression import ACCEPTED, Decompressor
from langchain_kimi._http.library_errors import cause_text, cut_causes
from langchain_kimi._redaction import shown_url
from langchain_kimi.errors import APIConnectionError, APITimeoutError, IllegalRequestError, KimiError

_SECONDS = 60.0
"""The timeout for connecting and between two pieces of the body."""
_OPTIONS: dict[str, Any] = {"follow_redirects": True, "timeout": _SECONDS, "headers": {"accept-encoding": ACCEPTED}}


def fetch(url: str, *, largest: int) -> tuple[bytes, str | None]:
    """The bytes and the content type of a file. Raises a KimiError, also for more than `largest` bytes."""
    with (
        _failures(url),
        httpx2.Client(verify=ssl_context(), **_OPTIONS) as client,
        client.stream("GET", url) as response,
    ):
        file = _File(url, response, largest)
        for piece in response.iter_bytes() if file.decompressed else response.iter_raw():
            file.add(piece)
        return bytes(file.data), file.content_type


async def afetch(url: str, *, largest: int) -> tuple[bytes, str | None]:
    """`fetch` for asynchronous use."""
    with _failures(url):
        async with (
            httpx2.AsyncClient(verify=ssl_context(), **_OPTIONS) as client,
            client.stream("GET", url) as response,
        ):
            file = _File(url, response, largest)
            async for piece in response.aiter_bytes() if file.decompressed else response.aiter_raw():
                file.add(piece)
            return bytes(file.data), file.content_type


class _File:
    """A file while it is downloaded."""

    def __init__(self, url: str, response: Any, largest: int) -> None:
        if response.status_code != 200:
            raise KimiError(
                f"{shown_url(url)} answered {response.status_code}, so there is no file to send.",
                status=response.status_code,
            )
        self.data = bytearray()
        self.decompressed = bool(response.is_stream_consumed)
        encoding = "" if self.decompressed else response.headers.get("content-encoding", "").strip().lower()
        self._decompressor = Decompressor(encoding, url)
        self._received = 0
        self.content_type: str | None = response.headers.get("content-type")
        self._url = shown_url(url)
        self._largest = largest

    def add(self, piece: bytes) -> None:
        self._received += len(piece)
        for part in [piece] if self._decompressor.is_identity else self._decompressor.feed(piece):
            self.data += part
            self._check_size()

    def _check_size(self) -> None:
        if max(len(self.data), self._received) > self._largest:
            raise IllegalRequestError(f"The file at {self._url} has more than {self._largest:,} bytes.")


@contextmanager
def _failures(url: str) -> Iterator[None]:
    try:
        with _translated(shown_url(url)):
            yield
    except KimiError as error:
        cut_causes(error)
        raise


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.TimeoutException as error:
        raise APITimeoutError(f"{url} did not answer within {_SECONDS:g} seconds.") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise APIConnectionError(f"{url} could not be fetched: {cause_text(error)}.") from error
