"""A host that counts: when each request arrived, with how many tokens, and how many were in progress at a time."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

CHARACTERS_PER_TOKEN = 5
"""Fewer tokens than the models estimate, so that usage corrects the estimate downwards."""


@dataclass
class CountingServer:
    """Answers each chat request after `seconds`, with a usage of its prompt and of `output_tokens`.

    With `refuse`, it answers requests as this function of their number says: an HTTP status, headers and a body.
    """

    seconds: float = 0.1
    output_tokens: int = 10
    refuse: Any = None
    url: str = ""
    arrivals: list[tuple[float, int, str]] = field(default_factory=list)
    """Time, tokens and key of each request, by which tests tell workers apart."""
    in_progress: int = 0
    most_in_progress: int = 0
    answered: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, requests: int, seconds: float = 60) -> None:
        """Wait until so many requests have arrived."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.arrivals) >= requests, seconds), len(self.arrivals)

    def most_requests(self, window: float) -> int:
        """The most requests that arrived in any window of so many seconds."""
        return most_in_a_window([(at, 1) for at, _, _ in self.arrivals], window)

    def most_tokens(self, window: float) -> int:
        """The most tokens of the requests of any window."""
        return most_in_a_window([(at, tokens) for at, tokens, _ in self.arrivals], window)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
                prompt = len(body) // CHARACTERS_PER_TOKEN
                number = self.arrive(prompt + self.output_tokens, headers["authorization"])
                try:
                    if self.refuse and (refusal := self.refuse(number)):
                        writer.write(_refused(*refusal))
                        continue
                    closed = asyncio.ensure_future(reader.read(1))
                    await asyncio.wait([closed], timeout=self.seconds)
                    if closed.done():
                        return
                    closed.cancel()
                    await asyncio.wait([closed])
                finally:
                    with self.changed:
                        self.in_progress -= 1
                self.answered += 1
                writer.write(_answer(prompt, self.output_tokens))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def arrive(self, tokens: int, key: str) -> int:
        with self.changed:
            self.arrivals.append((time.monotonic(), tokens, key))
            self.in_progress += 1
            self.most_in_progress = max(self.most_in_progress, self.in_progress)
            self.changed.notify_all()
            return len(self.arrivals)


@contextmanager
def counting_server(**settings: Any) -> Iterator[CountingServer]:
    """A `CountingServer` in a thread of its own."""
    server, loop = CountingServer(**settings), asyncio.new_event_loop()
    listening = loop.run_until_complete(asyncio.start_server(server.answer, "127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        listening.close()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


def most_in_a_window(arrivals: list[tuple[float, int]], window: float) -> int:
    """The largest sum of the sizes that arrived within so many seconds; the end of a window is not in it."""
    most, sum_of_sizes, first = 0, 0, 0
    arrivals = sorted(arrivals)
    for at, size in arrivals:
        sum_of_sizes += size
        while arrivals[first][0] <= at - window:
            sum_of_sizes -= arrivals[first][1]
            first += 1
        most = max(most, sum_of_sizes)
    return most


def _answer(prompt: int, output: int) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    choice = {"index": 0, "delta": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    event = {"id": "1", "object": "chat.completion.chunk", "model": "kimi-k3", "choices": [choice], "usage": usage}
    return _response("200 OK", "text/event-stream", f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())


def _refused(status: str, headers: dict[str, str], body: dict[str, Any]) -> bytes:
    return _response(status, "application/json", json.dumps(body).encode(), headers)


def _response(status: str, kind: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    named = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {status}", *itertools.starmap("{}: {}".format, named.items()), "", ""]
    return "\r\n".join(lines).encode() + body
