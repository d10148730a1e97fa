"""CPU per streamed chunk: ChatKimi beside ChatOpenAI and beside the floor, in one run.

    python tests/benchmarks/stream.py [chunks] [rounds]

A server process answers with one stream, as fast as the reader takes it: four fifths thinking, one fifth text. The
rounds of all readers alternate; a figure is the best round's CPU time of this process over the number of chunks.
"agent" is `create_kimi_agent` around ChatKimi beside `create_agent` around ChatOpenAI, with `stream_mode="messages"`.
"""

import asyncio
import gc
import multiprocessing
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

import httpx2
import orjson
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_kimi import ChatKimi, create_kimi_agent

PEERS = {
    "sync": "ChatOpenAI.stream",
    "async": "ChatOpenAI.astream",
    "agent, sync": "ChatOpenAI, agent, sync",
    "agent, async": "ChatOpenAI, agent, async",
}


def events(count: int) -> bytes:
    """A stream of `count` deltas with everything around them that Kimi sends."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1790000000, "model": "kimi-k2.6"}
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content" if n < count * 4 // 5 else "content": f" word{n}"} for n in range(count)]
    sent = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    usage = {"prompt_tokens": 100, "completion_tokens": count, "total_tokens": 100 + count, "cached_tokens": 0}
    sent.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}]})
    sent.append({**head, "choices": [], "usage": usage})
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in sent) + b"data: [DONE]\n\n"


def serve(count: int, port: "Connection") -> None:
    """Answers every request with the stream, one HTTP chunk an event."""
    parts = events(count).split(b"\n\n")[:-1]
    framed = b"".join(b"%x\r\n%s\n\n\r\n" % (len(part) + 2, part) for part in parts) + b"0\r\n\r\n"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(framed)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


def main(count: int, rounds: int) -> None:
    """Measure, print a table."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(count, theirs), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    kimi = ChatKimi(model="kimi-k2.6", base_url=url, api_key=SecretStr("sk-benchmark"))
    openai = ChatOpenAI(model="kimi-k2.6", base_url=url, api_key=SecretStr("sk-benchmark"), stream_usage=True)
    client = httpx2.Client()

    def floor() -> None:
        with client.stream("POST", url + "/chat/completions", content=b"{}") as answer:
            rest = b""
            for piece in answer.iter_bytes():
                *whole, rest = (rest + piece).split(b"\n\n")
                for event in whole:
                    if event != b"data: [DONE]":
                        orjson.loads(event[6:])

    async def drain(model: ChatKimi | ChatOpenAI) -> None:
        async for _ in model.astream("x"):
            pass

    asked: Any = {"messages": [("user", "x")]}
    ours_agent: Any = create_kimi_agent(kimi)
    theirs_agent: Any = create_agent(openai)

    async def follow(agent: Any) -> None:
        async for _ in agent.astream(asked, stream_mode="messages"):
            pass

    loop = asyncio.new_event_loop()
    readers: dict[str, Callable[[], object]] = {
        "floor: httpx2 + orjson": floor,
        "ChatKimi.stream": lambda: sum(1 for _ in kimi.stream("x")),
        "ChatKimi.astream": lambda: loop.run_until_complete(drain(kimi)),
        "ChatKimi.invoke": lambda: kimi.invoke("x"),
        "ChatKimi, agent, sync": lambda: sum(1 for _ in ours_agent.stream(asked, stream_mode="messages")),
        "ChatKimi, agent, async": lambda: loop.run_until_complete(follow(ours_agent)),
        "ChatOpenAI.stream": lambda: sum(1 for _ in openai.stream("x")),
        "ChatOpenAI.astream": lambda: loop.run_until_complete(drain(openai)),
        "ChatOpenAI, agent, sync": lambda: sum(1 for _ in theirs_agent.stream(asked, stream_mode="messages")),
        "ChatOpenAI, agent, async": lambda: loop.run_until_complete(follow(theirs_agent)),
    }
    best = dict.fromkeys(readers, float("inf"))
    for _ in range(rounds + 1):
        for name, read in readers.items():
            gc.collect()
            begun = time.process_time()
            read()
            best[name] = min(best[name], (time.process_time() - begun) / count * 1e6)
    loop.run_until_complete(kimi.aclose())
    loop.close()
    server.terminate()
    print(f"{count} chunks, best of {rounds + 1} rounds, CPU")
    for name, cost in best.items():
        colour = ("agent, " if "agent" in name else "") + ("async" if "async" in name or "astream" in name else "sync")
        peer = best[PEERS[colour]]
        print(f"{name:24} {cost:7.1f} µs/chunk  {cost / peer:5.2f} × ChatOpenAI")


if __name__ == "__main__":
    main(*(int(argument) for argument in (sys.argv[1:] + ["5000", "5"][len(sys.argv) - 1 :])))
