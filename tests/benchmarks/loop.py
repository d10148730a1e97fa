"""An agent that calls one tool after another with an instant model: ours beside `create_agent` and the floor.

    python tests/benchmarks/loop.py [steps] [rounds] [--no-peer] [--no-postgres] [--only=WAYS]

Every turn of the model is 2 kB of thinking and 500 B of arguments, every result 3 kB. The server is a process of its
own that sends bytes made beforehand; it judges nothing. The rounds of all runners alternate; a figure is the best
round's wall time. "first" and "last" are the mean step of the first and the last tenth. The peer is `create_agent`
around a ChatOpenAI that keeps the reasoning, which is what a Kimi user must write without this package. "bytes" is what
a checkpointer holds of the thread over the transcript as JSON. Below, 32 calls of one turn that take 100 ms each, and
how late the event loop wakes a task that sleeps for 1 ms while one agent runs with `ainvoke`, garbage collection
included: the 99th percentile and the longest of each round. `--only=invoke,ainvoke,sqlite,asqlite` measures some ways
alone, `--only=stalls` the event loop.
"""

import asyncio
import itertools
import multiprocessing
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import httpx2
import orjson
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, messages_to_dict
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from langchain_kimi import AgentLimits, ChatKimi, create_kimi_agent

POSTGRES = "postgresql://postgres@127.0.0.1:5432/test"
MODEL, PARALLEL, NAP = "kimi-k2.6", 32, 0.1
THINKING, TEXT, RESULT = "thinking " * 222, "x" * 480, "r" * 3000
QUESTION = "Look it all up."


class ReasoningChatOpenAI(ChatOpenAI):
    """ChatOpenAI that takes the reasoning in, and gives it back."""

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> Any:
        result = super()._create_chat_result(response, generation_info)
        said = response if isinstance(response, dict) else response.model_dump()
        for generation, choice in zip(result.generations, said["choices"], strict=True):
            if reasoning := choice["message"].get("reasoning_content"):
                generation.message.additional_kwargs["reasoning_content"] = reasoning
        return result

    def _get_request_payload(self, input_: Any, *, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        payload = super()._get_request_payload(input_, stop=stop, **kwargs)
        messages = self._convert_input(input_).to_messages()
        for encoded, message in zip(payload["messages"], messages, strict=True):
            if isinstance(message, AIMessage) and "reasoning_content" in message.additional_kwargs:
                encoded["reasoning_content"] = message.additional_kwargs["reasoning_content"]
        return payload


# The server.


def answer(calls: list[tuple[str, str]], *, streamed: bool) -> bytes:
    """One answer with its head; calls are ids and arguments, no calls end the turn."""
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    message: dict[str, Any] = {"role": "assistant", "content": "" if calls else "Done.", "reasoning_content": THINKING}
    if calls:
        message["tool_calls"] = [
            {"index": at, "id": key, "type": "function", "function": {"name": "look_up", "arguments": arguments}}
            for at, (key, arguments) in enumerate(calls)
        ]
    finish = "tool_calls" if calls else "stop"
    head = {"id": "chatcmpl-1", "created": 1790000000, "model": MODEL}
    kind = "delta" if streamed else "message"
    body = {**head, "object": "chat.completion", "usage": usage}
    body["choices"] = [{"index": 0, kind: message, "finish_reason": finish}]
    sent = orjson.dumps(body)
    if streamed:
        sent = b"data: " + sent + b"\n\ndata: [DONE]\n\n"
    mime = b"text/event-stream" if streamed else b"application/json"
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (mime, len(sent)) + sent


class Scripted(asyncio.Protocol):
    """Answers by how many results a request holds, which its path says: `/<steps>/<parallel>/v1`."""

    made: dict[tuple[int, int, bool], bytes]

    def connection_made(self, transport: Any) -> None:
        self.transport, self.got, self.left, self.head = transport, bytearray(), 0, b""

    def data_received(self, data: bytes) -> None:
        self.got += data
        if not self.head:
            head, found, _ = bytes(self.got[:8192]).partition(b"\r\n\r\n")
            if not found:
                return
            self.head = head
            length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
            self.left = len(head) + 4 + int(length)
        if len(self.got) >= self.left:
            self.transport.write(self.reply(self.head, self.got))
            self.got, self.head = bytearray(), b""

    def reply(self, head: bytes, request: bytearray) -> bytes:
        """The next turn of the script."""
        steps, parallel = map(int, head.split(b"/", 3)[1:3])
        last = request.rfind(b'"look_up:')
        turn = (int(request[last + 9 : request.index(b'"', last + 9)]) + 1) // parallel if last >= 0 else 0
        key = (turn if turn < steps else -1, parallel, b'"stream":true' in request[:4096] + request[-512:])
        if key not in self.made:
            names = [f"look_up:{turn * parallel + at}" for at in range(parallel)] if key[0] >= 0 else []
            arguments = orjson.dumps({"text": TEXT, "n": turn}).decode()
            self.made[key] = answer([(name, arguments) for name in names], streamed=key[2])
        return self.made[key]


def serve(port: Connection) -> None:
    """Listen until killed."""
    Scripted.made = {}

    async def listen() -> None:
        server = await asyncio.get_running_loop().create_server(Scripted, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(listen())


# The runners.


@tool
def look_up(text: str, n: int) -> str:
    """Look something up."""
    MARKS.append(time.perf_counter())
    return RESULT


@tool("look_up")
def slow(text: str, n: int) -> str:
    """Look something up."""
    time.sleep(NAP)
    return "found"


@tool("look_up")
async def slow_async(text: str, n: int) -> str:
    """Look something up."""
    await asyncio.sleep(NAP)
    return "found"


MARKS: list[float] = []
LOOP = asyncio.new_event_loop()
"""One for all rounds: ChatOpenAI shares its connections between loops."""
DECLARED = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look something up.",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}},
    },
}


def floor(url: str) -> None:
    """The loop without any framework."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": QUESTION}]
    with httpx2.Client() as client:
        while True:
            body = orjson.dumps({"model": MODEL, "tools": [DECLARED], "messages": messages})
            said = orjson.loads(client.post(url + "/chat/completions", content=body).content)["choices"][0]["message"]
            messages.append(said)
            if not said.get("tool_calls"):
                return
            for call in said["tool_calls"]:
                result = look_up.func(**orjson.loads(call["function"]["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})


def ours(url: str, tools: Any = look_up, checkpointer: Any = None) -> Any:
    model = ChatKimi(model=MODEL, base_url=url, api_key="sk-benchmark")
    return create_kimi_agent(model, [tools], limits=AgentLimits(turns=100_000), guard=None, checkpointer=checkpointer)


def theirs(url: str, tools: Any = look_up, checkpointer: Any = None) -> Any:
    model = ReasoningChatOpenAI(model=MODEL, base_url=url, api_key="sk-benchmark", max_retries=0)
    return create_agent(model, [tools], checkpointer=checkpointer)


def config() -> Any:
    return {"recursion_limit": 1_000_000, "configurable": {"thread_id": f"thread-{next(NUMBER)}"}}


NUMBER = itertools.count()
ASKED: Any = {"messages": [("user", QUESTION)]}
Kept = Callable[[], tuple[int, int]]


@contextmanager
def sqlite_file() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield os.path.join(folder, "checkpoints.db")


def transcript_bytes(state: Any) -> int:
    return len(orjson.dumps(messages_to_dict(state["messages"]), default=str))


def file_bytes(path: str) -> int:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("VACUUM")
    connection.close()
    return os.path.getsize(path)


def plain(make: Any, url: str) -> tuple[int, int]:
    make(url).invoke(ASKED, config())
    return 0, 1


def aplain(make: Any, url: str) -> tuple[int, int]:
    LOOP.run_until_complete(make(url).ainvoke(ASKED, config()))
    return 0, 1


def with_sqlite(make: Any, url: str) -> tuple[int, int]:
    with sqlite_file() as path:
        with SqliteSaver.from_conn_string(path) as saver:
            state = make(url, checkpointer=saver).invoke(ASKED, config())
        MARKS.append(time.perf_counter())
        return file_bytes(path), transcript_bytes(state)


def with_asqlite(make: Any, url: str) -> tuple[int, int]:
    async def run(path: str) -> Any:
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            return await make(url, checkpointer=saver).ainvoke(ASKED, config())

    with sqlite_file() as path:
        state = LOOP.run_until_complete(run(path))
        MARKS.append(time.perf_counter())
        return file_bytes(path), transcript_bytes(state)


def with_postgres(make: Any, url: str) -> tuple[int, int]:
    """In a fresh schema, which is dropped afterwards."""
    import psycopg
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg.rows import dict_row

    schema = f"loop_{os.getpid()}_{next(NUMBER)}"
    with psycopg.connect(POSTGRES, autocommit=True, prepare_threshold=0, row_factory=dict_row) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        try:
            connection.execute(f"SET search_path TO {schema}")
            saver = PostgresSaver(connection)  # type: ignore[arg-type]
            saver.setup()
            MARKS[0] = time.perf_counter()
            state = make(url, checkpointer=saver).invoke(ASKED, config())
            MARKS.append(time.perf_counter())
            sized = "SELECT sum(pg_total_relation_size(oid)) AS size FROM pg_class WHERE relkind = 'r' AND relnamespace"
            row: Any = connection.execute(f"{sized} = '{schema}'::regnamespace").fetchone()
            return int(row["size"]), transcript_bytes(state)
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")


def postgres_answers() -> bool:
    with suppress(Exception):
        import psycopg

        psycopg.connect(POSTGRES, connect_timeout=2).close()
        return True
    return False


class Figures:
    """The best round of one runner, and its least CPU time."""

    def __init__(self) -> None:
        self.wall, self.first, self.last, self.bytes = float("inf"), 0.0, 0.0, 0.0
        self.cpu = float("inf")

    def take(self, run: Callable[[], tuple[int, int] | None]) -> None:
        """Run one round. Runners mark the end themselves where they have something to do after it."""
        MARKS[:] = [time.perf_counter()]
        cpu = time.process_time()
        kept, said = run() or (0, 1)
        self.cpu = min(self.cpu, time.process_time() - cpu)
        ended = MARKS[-1] if kept else time.perf_counter()
        steps = MARKS[1:-1] if kept else MARKS[1:]
        if (wall := ended - MARKS[0]) > self.wall:
            return
        tenth = max(len(steps) // 10, 1)
        self.wall, self.bytes = wall, kept / said
        self.first = (steps[tenth] - steps[0]) / tenth * 1000
        self.last = (steps[-1] - steps[-1 - tenth]) / tenth * 1000


WAYS = {
    "invoke": ("invoke", plain),
    "ainvoke": ("ainvoke", aplain),
    "sqlite": ("invoke, SQLite", with_sqlite),
    "asqlite": ("ainvoke, SQLite", with_asqlite),
}


def measure_loops(
    url: str, steps: int, rounds: int, *, peer: bool, postgres: bool, ways: Collection[str] = tuple(WAYS)
) -> None:
    """The table of sequential calls."""
    at = f"{url}/{steps}/1/v1"
    runners: dict[str, Callable[[], tuple[int, int] | None]] = {"floor: httpx2 + orjson": lambda: floor(at)}
    for name, run in (WAYS[way] for way in ways):
        runners[f"create_kimi_agent {name}"] = lambda run=run: run(ours, at)  # type: ignore[misc]
        if peer:
            runners[f"create_agent {name}"] = lambda run=run: run(theirs, at)  # type: ignore[misc]
    if postgres:
        runners["create_kimi_agent invoke, PostgreSQL"] = lambda: with_postgres(ours, at)
    best = {name: Figures() for name in runners}
    for warm in (ours, theirs):
        warm(f"{url}/3/1/v1").invoke(ASKED, config())
    for _ in range(rounds):
        for name, run in runners.items():
            best[name].take(run)
    print(f"{steps} calls one after another, best of {rounds}")
    titles = f"{'wall s':>8} {'× floor':>8} {'of peer':>8} {'first ms':>9} {'last ms':>8} {'ratio':>6} {'bytes':>8}"
    titles += f" {'CPU s':>7} {'of peer':>8}"
    print(f"{'':38} {titles}")
    for name, found in best.items():
        rival = best.get(name.replace("create_kimi_agent", "create_agent"))
        share, cpu = (
            ("", "")
            if rival in (None, found)
            else (f"1/{rival.wall / found.wall:.1f}", f"1/{rival.cpu / found.cpu:.1f}")
        )
        held = f"{found.bytes:.2f}" if found.bytes else ""
        times = found.wall / best["floor: httpx2 + orjson"].wall
        ratio = found.last / found.first
        row = f"{name:38} {found.wall:8.2f} {times:8.1f} {share:>8} {found.first:9.2f} {found.last:8.2f}"
        print(f"{row} {ratio:6.2f} {held:>8} {found.cpu:7.2f} {cpu:>8}")


def measure_parallel(url: str, rounds: int, *, peer: bool) -> None:
    """The table of calls side by side: how long the tools of one turn take, everything around them included."""
    at = f"{url}/1/{PARALLEL}/v1"
    makes = {"create_kimi_agent": ours, **({"create_agent": theirs} if peer else {})}
    print(f"\n{PARALLEL} calls of {NAP * 1000:.0f} ms side by side, best of {rounds}, ms of the whole run")
    for title, tools, asynchronous in (
        ("sync tools, invoke", slow, False),
        ("sync tools, ainvoke", slow, True),
        ("async tools, ainvoke", slow_async, True),
    ):
        for name, make in makes.items():
            agent = make(at, tools)

            async def aonce(agent: Any = agent) -> float:
                begun = time.perf_counter()
                await agent.ainvoke(ASKED, config())
                return time.perf_counter() - begun

            taken = []
            for _ in range(rounds + 1):
                begun = time.perf_counter()
                if asynchronous:
                    taken.append(LOOP.run_until_complete(aonce()))
                else:
                    agent.invoke(ASKED, config())
                    taken.append(time.perf_counter() - begun)
            print(f"{name:20} {title:24} {min(taken) * 1000:8.0f}")


async def lateness(work: Awaitable[Any]) -> list[float]:
    """How many milliseconds too late a task that sleeps for 1 ms woke up, each time until the work was done."""
    late: list[float] = []

    async def watch() -> None:
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            late.append(max(0.0, time.perf_counter() - due) * 1000)

    watching = asyncio.create_task(watch())
    await work
    watching.cancel()
    return late


def measure_stalls(url: str, steps: int, rounds: int) -> None:
    """The table of the event loop's stalls."""
    print(f"\nstalls of the event loop, {steps} calls one after another with ainvoke, {rounds} rounds, ms")
    for _ in range(rounds):
        late = LOOP.run_until_complete(lateness(ours(f"{url}/{steps}/1/v1").ainvoke(ASKED, config())))
        middle, last = statistics.quantiles(late, n=100)[49::49]
        print(f"{'create_kimi_agent':20} median {middle:6.2f}  99 % {last:6.2f}  longest {max(late):7.2f}")


def main(steps: int, rounds: int, *, peer: bool, postgres: bool, only: Collection[str]) -> None:
    """Measure, print three tables."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}"
    try:
        if only == ["stalls"]:
            return measure_stalls(url, steps, rounds)
        if only:
            return measure_loops(url, steps, rounds, peer=peer, postgres=False, ways=only)
        measure_loops(url, steps, rounds, peer=peer, postgres=postgres and postgres_answers())
        measure_parallel(url, rounds, peer=peer)
        measure_stalls(url, steps, rounds)
    finally:
        server.terminate()


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    main(
        *[*numbers, *(300, 2)[len(numbers) :]],
        peer="--no-peer" not in sys.argv,
        postgres="--no-postgres" not in sys.argv,
        only=[way for argument in sys.argv if argument.startswith("--only=") for way in argument[7:].split(",")],
    )
