"""Many live streams at once in one process: ChatKimi beside ChatOpenAI and beside aiohttp alone.

    python tests/benchmarks/live_streams.py [streams] [seconds] [--no-peer]

A server process sends 100 chunks a second on each stream, four fifths thinking and one fifth text. "of ideal" is the
wall time until all streams have ended over the time that they last; CPU is this process's, for each chunk. A reader
that cannot keep up takes longer than the streams last.
"""

import argparse
import asyncio
import gc
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import orjson
from langchain_openai import ChatOpenAI
from stream import events

from langchain_kimi import ChatKimi

RATE = 100
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Paced(asyncio.Protocol):
    """Answers each request with the stream, one event after the other in time."""

    parts: list[bytes]

    def connection_made(self, transport: Any) -> None:
        self.transport, self.request = transport, b""

    def data_received(self, data: bytes) -> None:
        self.request += data
        head, found, body = self.request.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]):
            return
        self.request = b""
        self.transport.write(HEAD)
        self.send(0, asyncio.get_running_loop().time())

    def send(self, place: int, due: float) -> None:
        if place == len(self.parts):
            self.transport.write(b"0\r\n\r\n")
            return
        self.transport.write(self.parts[place])
        due += 1 / RATE
        asyncio.get_running_loop().call_at(due, self.send, place + 1, due)


def serve(chunks: int, port: Connection) -> None:
    """Listen until killed."""
    parts = events(chunks).split(b"\n\n")[:-1]
    Paced.parts = [b"%x\r\n%s\n\n\r\n" % (len(part) + 2, part) for part in parts]

    async def listen() -> None:
        server = await asyncio.get_running_loop().create_server(Paced, "127.0.0.1", 0, backlog=1024)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(listen())


async def read_model(model: Any) -> None:
    """One stream through a chat model."""
    async for _ in model.astream("x"):
        pass


async def main(streams: int, seconds: float, *, peer: bool) -> None:
    """Measure, print a table."""
    chunks = int(RATE * seconds)
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(chunks, there), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}/v1"
    kimi = ChatKimi(model="kimi-k2.6", base_url=url, api_key="sk-benchmark")
    openai = ChatOpenAI(model="kimi-k2.6", base_url=url, api_key="sk-benchmark", stream_usage=True)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def read_aiohttp() -> None:
        async with session.post(url + "/chat/completions", data=b"{}") as response:
            rest = b""
            async for piece in response.content.iter_any():
                *whole, rest = (rest + piece).split(b"\n\n")
                for event in whole:
                    if event != b"data: [DONE]":
                        orjson.loads(event[6:])

    readers: dict[str, Callable[[], Awaitable[None]]] = {
        "aiohttp and orjson": read_aiohttp,
        "ChatKimi.astream": lambda: read_model(kimi),
    }
    if peer:
        readers["ChatOpenAI.astream"] = lambda: read_model(openai)
    lasting = len(events(chunks).split(b"\n\n")[:-1]) / RATE
    print(f"{streams} streams of {RATE} chunks a second, {lasting:.2f} s")
    for name, read in readers.items():
        await read()
        gc.collect()
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(read() for _ in range(streams)))
        took, used = time.perf_counter() - began, time.process_time() - cpu
        print(f"{name:20} {took / lasting:6.2f} of ideal {used / streams / chunks * 1e6:7.1f} µs/chunk", flush=True)
    await session.close()
    await kimi.aclose()
    server.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("streams", nargs="?", type=int, default=200)
    parser.add_argument("seconds", nargs="?", type=float, default=5)
    parser.add_argument("--no-peer", action="store_true")
    chosen = parser.parse_args()
    asyncio.run(main(chosen.streams, chosen.seconds, peer=not chosen.no_peer))
