"""Memory and time of reading what a hostile host sends, each kind and way in a process of its own.

    python tests/benchmarks/hostile.py [kind ...]

The peak is that of the process, less what it had before the request, over the limit of 64 MiB that a streamed answer
has by default. Each kind is read with a quarter of all limits, too: where time is linear, that takes about a quarter.
Exits with 1 where a peak is more than five times the limit.
"""

import asyncio
import itertools
import multiprocessing
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from langchain_kimi import ChatKimi, KimiError, ResponseLimits
from tests.http.helpers import EVENTS, GZIP, SSE, bomb, chunk, sse, without_end
from tests.raw_server import Body, RawServer, Sent

WAYS = ["invoke", "ainvoke", "stream", "astream"]
MOST = 5.0


def emoji_then(text: bytes) -> Iterator[bytes]:
    """Text of which each character takes four bytes in memory."""
    yield sse(chunk({"content": "\U0001f600"}))
    yield from itertools.repeat(text)


KINDS: dict[str, tuple[Body, str, dict[str, str]]] = {
    "an event without an end": (without_end(b"x" * 65_536, b"data: "), SSE, {}),
    "an event of endless lines": (without_end(b"data: xx\n" * 5_000), SSE, {}),
    "a whole answer without an end": (without_end(b"x" * 65_536, b'{"choices": "'), "application/json", {}),
    "tiny events": (without_end(b"data: {}\n\n" * 5_000), SSE, {}),
    "small deltas": (without_end(sse(b'{"choices":[{"delta":{"content":"a"}}]}') * 500), SSE, {}),
    "large deltas": (lambda: emoji_then(sse(chunk({"content": "x" * 500_000}))), SSE, {}),
    "empty lists": (without_end(b"[]," * 20_000, b'data: {"choices": ['), SSE, {}),
    "details": (without_end(sse(chunk({"reasoning_details": [{}] * 5_000}))), SSE, {}),
    "comments": (without_end(b": ping\n\n" * 5_000), SSE, {}),
    "a bomb": (lambda: [bomb(600_000_000, b"data: ")], SSE, GZIP),
    "a bomb of events": (lambda: [bomb(600_000_000, sse(EVENTS[0]), sse(EVENTS[1]) * 5_000)], SSE, GZIP),
}


def serve(kind: str, port: Any) -> None:
    """Answers every request with the body of this kind."""
    body, content_type, headers = KINDS[kind]
    port.send(RawServer(Sent(body, content_type, headers=headers)).url)
    port.recv()


def peak() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read(url: str, way: str, share: int, results: Any) -> None:
    """Reads one answer; sends the growth of the peak, CPU seconds and the limit that ended it."""
    warnings.simplefilter("ignore")
    default = ResponseLimits()
    limits = ResponseLimits(**{one.name: getattr(default, one.name) // share for one in fields(default)})
    model = ChatKimi(
        model="kimi-k2.6", base_url=url, api_key="sk-benchmark", response_limits=limits, max_retries=0, max_tokens=1_000
    )

    async def drain() -> None:
        async for _ in model.astream("hi"):
            pass

    before, begun = peak(), time.process_time()
    try:
        if way == "invoke":
            model.invoke("hi")
        elif way == "ainvoke":
            asyncio.run(model.ainvoke("hi"))
        elif way == "stream":
            sum(1 for _ in model.stream("hi"))
        else:
            asyncio.run(drain())
        ended = "an answer"
    except KimiError as error:
        ended = getattr(error, "limit", type(error).__name__)
    results.send((peak() - before, time.process_time() - begun, ended))


def measure(url: str, way: str, share: int) -> tuple[int, float, str]:
    """What `read` sends."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=read, args=(url, way, share, theirs))
    process.start()
    result: tuple[int, float, str] = ours.recv()
    process.join()
    return result


def main(kinds: list[str]) -> int:
    """Measure, print a table."""
    limit, worst = ResponseLimits().response, 0.0
    for kind in kinds or KINDS:
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("fork").Process(target=serve, args=(kind, theirs), daemon=True)
        server.start()
        url = ours.recv()
        for way in WAYS:
            _, quarter, _ = measure(url, way, 4)
            memory, seconds, ended = measure(url, way, 1)
            worst = max(worst, memory / limit)
            times = f"{quarter:6.2f} s at a quarter {seconds:6.2f} s"
            print(f"{kind:30} {way:8} {memory / limit:5.2f} × limit {times}  {ended}", flush=True)
        server.terminate()
    print(f"worst: {worst:.2f} × the limit of {limit:,} bytes")
    return worst > MOST


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
