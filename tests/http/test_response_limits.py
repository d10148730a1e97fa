"""Input without bounds: what a host or a path sends without end is read up to a limit, which the error names."""

import asyncio
import gzip
import itertools
import json
import os
import time
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from langchain_kimi import ChatKimi, KimiPlatform, ResponseLimits, Timeouts, create_kimi_agent, errors
from langchain_kimi._http.web_file import afetch, fetch
from langchain_kimi._response import ResponseDecoder
from langchain_kimi.chat_model import amedia_block, media_block
from tests.clock import VirtualClock, with_clock
from tests.conftest import PAIRED
from tests.http.helpers import EVENTS, GZIP, SSE, WAYS, ask, bomb, chunk, error_body, sse, whole, without_end
from tests.raw_server import RawServer, Sent, raw_server

LIMITS = ResponseLimits(response=400_000, document=100_000, characters=50_000, json_values=2_000, error=10_000)


"""Small, so that a test that reaches them is quick. A request's own room, by its cap, is small too."""


SMALL: dict[str, Any] = {"response_limits": LIMITS, "max_tokens": 100}


HOSTILE = {
    "an event without an end": (Sent(without_end(b"x" * 5_000, b"data: "), SSE), "document"),
    "a comment without an end": (Sent(without_end(b"x" * 5_000, b": "), SSE), "document"),
    "an event of endless lines": (Sent(without_end(b"data: " + b"x" * 500 + b"\n"), SSE), "document"),
    "a whole answer without an end": (Sent(without_end(b" x" * 2_500, b'{"choices": "')), "document"),
    "an endless stream": (Sent(without_end(sse(EVENTS[1]) * 20), SSE), "response"),
    "an endless stream of empty deltas": (Sent(without_end(sse(chunk({})) * 20), SSE), "response"),
    "endless tiny events": (Sent(without_end(b"data: {}\n\n" * 500), SSE), "response"),
    "endless comments": (Sent(without_end(b": ping\n\n" * 500), SSE), "response"),
    "much text": (Sent(sse(*[chunk({"content": "x" * 20_000})] * 3), SSE), "characters"),
    "much thinking": (Sent(sse(*[chunk({"reasoning_content": "x" * 20_000})] * 3), SSE), "characters"),
    "many details": (Sent(sse(*[chunk({"reasoning_details": [{}] * 400})] * 4), SSE), "characters"),
    "many values": (Sent(b'{"choices": [' + b"[]," * 5_000 + b"[]]}"), "json_values"),
    "a bomb in one event": (Sent(bomb(6_000_000, b"data: "), SSE, headers=GZIP), "document"),
    "a bomb in a whole answer": (Sent(bomb(6_000_000, b'{"choices": "'), headers=GZIP), "document"),
    "a bomb of events": (
        Sent(bomb(6_000_000, sse(EVENTS[0]), sse(EVENTS[1]) * 5_000), SSE, headers=GZIP),
        "response",
    ),
    "a bomb of blanks": (Sent(bomb(6_000_000, b"", b"\n" * 1_000_000), SSE, headers=GZIP), "response"),
    "many calls": (
        Sent(whole(tool_calls=[{"function": {"name": "f", "arguments": "{}"}}] * 300)),
        "tool_calls",
    ),
    "many calls in a stream": (
        Sent(
            sse(*[chunk({"tool_calls": [{"function": {"name": f"f{one}", "arguments": "{}"}}]}) for one in range(300)])
        ),
        "tool_calls",
    ),
}


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", HOSTILE)
async def test_reading_stops_at_a_limit_that_the_error_names(kind: str, way: str) -> None:
    sent, limit = HOSTILE[kind]
    limits = ResponseLimits(**{**dict(_fields(LIMITS)), "tool_calls": 200})
    with raw_server(sent) as server:
        with pytest.raises(errors.ResponseTooLargeError, match=f"limit `{limit}`") as raised:
            await ask(way, server, response_limits=limits, max_tokens=100, max_retries=2)
        assert len(server.requests) == 1  # it would not be smaller the next time
    assert raised.value.limit == limit
    assert raised.value.maximum >= getattr(limits, limit)
    assert not raised.value.is_retryable
    assert f"ResponseLimits({limit}=" in str(raised.value)


def _fields(limits: ResponseLimits) -> Iterator[tuple[str, int]]:
    for name in ("response", "document", "characters", "json_values", "error"):
        yield name, getattr(limits, name)


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "sent",
    [
        Sent(without_end(b"x" * 5_000, b"no "), "text/html", status=500),
        Sent(bomb(6_000_000, b"<html>no "), "text/html", status=500, headers=GZIP),
        Sent(b'{"error": {"type": "server_error", "message": "no ' + b"x" * 9_000 + b'"}}', status=500),
        Sent(b"no " + b"<" * 9_000, "text/html", status=500),
    ],
)
async def test_an_error_s_body_is_read_up_to_a_limit_and_stays_that_error(way: str, sent: Sent) -> None:
    with raw_server(sent) as server, pytest.raises(errors.ServerError, match="answered 500") as raised:
        await ask(way, server, **SMALL)
    assert "no" in str(raised.value)
    assert len(str(raised.value)) < 5_000


class Timed(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Answers every request with these pieces; 20 seconds pass before each is read."""

    def __init__(self, clock: VirtualClock, pieces: Iterable[bytes]) -> None:
        self._clock = clock
        self._pieces = pieces

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=TimedBody(self._clock, self._pieces))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=TimedBody(self._clock, self._pieces))


class TimedBody(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, clock: VirtualClock, pieces: Iterable[bytes]) -> None:
        self._clock = clock
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._clock.sleep(20)
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


async def timed(way: str, pieces: Iterable[bytes]) -> Any:
    clock = VirtualClock()
    answers = Timed(clock, pieces)
    clients: dict[str, Any] = {
        "http_client": httpx2.Client(transport=answers),
        "http_async_client": httpx2.AsyncClient(transport=answers),
    }
    with raw_server(Sent()) as server:
        return await ask(way, server, clock=clock, timeout=Timeouts(event=600), **clients)


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("begun", [b"", sse(EVENTS[0])])
async def test_comments_keep_a_stream_alive_only_so_long(way: str, begun: bytes) -> None:
    with pytest.raises(errors.APITimeoutError, match="`event`") as raised:
        await timed(way, itertools.chain([begun], itertools.repeat(b": ping\n\n", 1_000)))
    assert raised.value.timeout == "event"


@pytest.mark.parametrize("way", WAYS)
async def test_comments_between_events_do_no_harm(way: str) -> None:
    pieces = [piece for event in EVENTS for piece in (*[b": ping\n\n"] * 20, sse(event))]
    assert (await timed(way, pieces)).text == "Good day"


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate"])
@pytest.mark.parametrize("at_once", [pytest.param(1, marks=pytest.mark.slow), 7, 10_000])
async def test_compressed_answers_are_read(way: str, encoding: str, at_once: int) -> None:
    bits = {"gzip": 31, "deflate": 15, "raw deflate": -15}[encoding]
    packer = zlib.compressobj(wbits=bits)
    packed = packer.compress(sse(*EVENTS)) + packer.flush()
    pieces = [packed[place : place + at_once] for place in range(0, len(packed), at_once)]
    headers = {"content-encoding": encoding.split()[-1]}
    with raw_server(Sent(lambda: pieces, SSE, headers=headers)) as server:
        assert (await ask(way, server)).text == "Good day"
        assert b"accept-encoding: gzip, deflate\r\n" in server.requests[0]


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("encoding", "words"), [("br", "compressed its response as 'br'"), ("gzip", "cannot be decompressed")]
)
async def test_what_cannot_be_decompressed_is_named(way: str, encoding: str, words: str) -> None:
    sent = Sent(sse(*EVENTS), SSE, headers={"content-encoding": encoding})
    with raw_server(sent) as server, pytest.raises(errors.APIConnectionError, match=words):
        await ask(way, server)


@pytest.mark.parametrize("way", [*WAYS[::3], *(pytest.param(way, marks=pytest.mark.slow) for way in WAYS[1:3])])
async def test_large_answers_within_the_limits_are_read_at_the_defaults(way: str) -> None:
    events = [EVENTS[0], *[chunk({"content": "x" * 1_000_000})] * 8, *EVENTS[3:]]
    packed = gzip.compress(sse(*events), 1)
    with raw_server(Sent(packed, SSE, headers=GZIP)) as server:
        assert len((await ask(way, server)).text) == 8_000_000


def test_a_request_with_a_large_cap_has_more_room() -> None:
    limits = ResponseLimits()
    assert limits.streamed(1_000) == limits.response == 64 * 1024 * 1024
    assert limits.streamed(1_048_576) == 1024 * 1_048_576
    with pytest.raises(ValueError, match="document=0"):
        ResponseLimits(document=0)


# Calls.


@pytest.mark.parametrize("identified", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_thousand_calls_are_read_in_linear_time(identified: bool) -> None:
    def seconds(count: int) -> float:
        calls = [
            {"function": {"name": "f", "arguments": "{}"}, **({"id": "same", "index": one} if identified else {})}
            for one in range(count)
        ]
        body = json.loads(whole(tool_calls=calls))
        best = float("inf")
        for _ in range(3):
            begun = time.thread_time()
            message = ResponseDecoder(max_tool_calls=count).decode_body(body)
            best = min(best, time.thread_time() - begun)
        ids = {call["id"] for call in message.tool_calls}
        assert len(ids) == count
        return best

    assert seconds(4_000) < 24 * seconds(500)  # quadratic time would be 64 times as much


async def test_a_thousand_calls_do_not_hold_up_the_event_loop() -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}} for _ in range(1_000)]
    for body in (whole(tool_calls=calls), sse(chunk({"tool_calls": calls}), *EVENTS[3:])):
        for way in ("ainvoke", "astream"):
            longest = 0.0

            async def watch() -> None:
                nonlocal longest
                last = time.thread_time()
                while True:
                    await asyncio.sleep(0.001)
                    longest, last = max(longest, time.thread_time() - last), time.thread_time()

            watching = asyncio.ensure_future(watch())
            with raw_server(Sent(body)) as server:
                assert len((await ask(way, server)).tool_calls) == 1_000
            watching.cancel()
            assert longest < 5  # of which LangChain's joining of a thousand calls takes most


# Files, batches, formulas and media.


def platform(server: RawServer, **limits: int) -> KimiPlatform:
    return KimiPlatform(
        base_url=server.url,
        api_key="sk-x",
        max_retries=0,
        response_limits=ResponseLimits(**limits),
        clock=VirtualClock(),
    )


@pytest.mark.parametrize("sent", [Sent(without_end(b"x" * 5_000)), Sent(bomb(6_000_000), headers=GZIP)])
async def test_a_file_s_content_has_a_limit(sent: Sent) -> None:
    with raw_server(sent) as server:
        files = platform(server, file=100_000).files
        with pytest.raises(errors.ResponseTooLargeError, match="`file`"):
            await asyncio.to_thread(files.content, "f-1")
        with pytest.raises(errors.ResponseTooLargeError, match="`file`"):
            await files.acontent("f-1")


async def test_what_the_platform_answers_has_a_limit() -> None:
    with raw_server(Sent(bomb(60_000_000, b'{"data": "'), headers=GZIP)) as server:
        own = platform(server)
        for ask_host in (own.balance, own.models, own.files.list, own.batches.list):
            with pytest.raises(errors.ResponseTooLargeError, match="`document`"):
                await asyncio.to_thread(ask_host)
        with pytest.raises(errors.ResponseTooLargeError, match="`document`"):
            await own.amodels()


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"custom_id": 1}', b"\xff"])
async def test_a_line_of_a_batch_that_is_none_is_a_typed_error(line: bytes) -> None:
    batch = json.dumps({"id": "b-1", "status": "completed", "output_file_id": "f-1"}).encode()
    with raw_server(Sent(batch), Sent(line + b"\n")) as server:
        results = platform(server).batches.aresults("b-1")
        with pytest.raises(errors.ServerError, match="does not belong to a batch"):
            await results


@pytest.mark.parametrize("sent", [Sent(without_end(b"x" * 5_000)), Sent(bomb(6_000_000), headers=GZIP)])
async def test_a_fetched_file_has_a_limit(sent: Sent) -> None:
    with raw_server(sent) as server:
        url = server.url + "/chart.png"
        with pytest.raises(errors.IllegalRequestError, match="more than 100,000 bytes"):
            await asyncio.to_thread(fetch, url, largest=100_000)
        with pytest.raises(errors.IllegalRequestError, match="more than 100,000 bytes"):
            await afetch(url, largest=100_000)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path / "pipe.png"


async def test_what_is_no_regular_file_is_not_read(pipe: Path) -> None:
    with raw_server(Sent(b"{}")) as server:
        files = platform(server).files
        for path in ("/dev/zero", pipe, pipe.as_uri()):
            with pytest.raises(errors.IllegalRequestError, match="not a regular file"):
                media_block(path)
            with pytest.raises(errors.IllegalRequestError, match="not a regular file"):
                await amedia_block(path)
        for path in ("/dev/zero", pipe):
            with pytest.raises(errors.IllegalRequestError, match="not a regular file"):
                files.upload(path)
            with pytest.raises(errors.IllegalRequestError, match="not a regular file"):
                await files.aload(path)
        with pytest.raises(IsADirectoryError):
            media_block(pipe.parent)
        assert server.requests == []


def test_the_agent_s_thread_goes_on_after_a_response_that_was_too_large() -> None:
    with raw_server(HOSTILE["much text"][0], Sent(sse(*EVENTS))) as server:
        model = ChatKimi(model="kimi-k2.6", base_url=server.url, api_key="sk-x", **SMALL)
        agent = create_kimi_agent(with_clock(model, VirtualClock()))
        with pytest.raises(errors.ResponseTooLargeError):
            agent.invoke({"messages": [("user", "hi")]})
        assert agent.invoke({"messages": [("user", "hi")]})["messages"][-1].text == "Good day"


def test_an_error_with_a_body_beyond_the_limit_says_that_it_was_not_read_on() -> None:
    with raw_server(Sent(error_body("server_error", "x" * 20_000), status=500)) as server:
        model = ChatKimi(model="kimi-k2.6", base_url=server.url, api_key="sk-x", max_retries=0, **SMALL)
        with pytest.raises(errors.ServerError) as raised:
            model.invoke("hi")
    assert "more than 10,000 bytes" in raised.value.__notes__[0]
