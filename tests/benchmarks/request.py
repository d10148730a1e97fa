"""What building a request costs, and which share of it repair and schemas have: 128 tools, 600 messages.

    python tests/benchmarks/request.py [rounds]

Best of all rounds, CPU time of one process. "first request" finds an empty cache, "one more round" the request before
it. Tools that were never seen are rewritten first; every later request uses the result.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import orjson
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_kimi import _rules as rules
from langchain_kimi._raw_calls import CALLS, REASONING
from langchain_kimi._request import Tools, encode_request
from langchain_kimi._request import transcript as transcript_module
from langchain_kimi._request.encode_cache import EncodeCache
from langchain_kimi._request.repair import repair
from langchain_kimi._request.tools import declare

MODEL = "kimi-k3"
PROPERTIES = {
    f"field_{n}": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "description": "A field."}
    for n in range(20)
}


def tools(first: int) -> list[dict[str, Any]]:
    """128 tools of 20 properties each, none of which is legal as it stands."""
    parameters = {"type": "object", "properties": PROPERTIES, "required": ["field_0"]}
    return [
        {"type": "function", "function": {"name": f"tool_{n}", "description": "A tool.", "parameters": parameters}}
        for n in range(first, first + 128)
    ]


def transcript() -> list[BaseMessage]:
    """300 tool rounds as Kimi answers them: 2 kB of thinking, 500 B of arguments, 3 kB of result."""
    messages: list[BaseMessage] = [HumanMessage("go")]
    for n in range(300):
        arguments = orjson.dumps({"text": "x" * 480, "n": n}).decode()
        call = {"id": f"tool_0:{n}", "name": "tool_0", "args": orjson.loads(arguments)}
        recorded = [{"id": call["id"], "name": call["name"], "arguments": arguments}]
        kwargs = {REASONING: "thinking " * 230, CALLS: recorded}
        messages.append(AIMessage("", tool_calls=[call], additional_kwargs=kwargs))
        messages.append(ToolMessage("r" * 3000, tool_call_id=call["id"]))
    return messages


def best(work: Callable[[int], object], rounds: int, prepare: Callable[[], object] = lambda: None) -> float:
    """Milliseconds of the fastest round, without what prepares it."""
    seconds = []
    for n in range(rounds):
        prepare()
        start = time.thread_time()
        work(n)
        seconds.append(time.thread_time() - start)
    return min(seconds) * 1000


def empty_cache() -> None:
    """Forget all transcripts."""
    transcript_module.CACHE = EncodeCache()


def measure(name: str, settings: dict[str, Any], messages: list[BaseMessage], rounds: int) -> None:
    """Print what the requests of one conversation cost."""

    def build(messages: list[BaseMessage]) -> int:
        request = encode_request(settings, messages, stream=True)
        assert not request.violations
        return len(request.json)

    def build_before() -> None:
        empty_cache()
        build(messages[:-2])

    first = best(lambda _: build(messages), rounds, empty_cache)
    more = best(lambda _: build(messages), rounds, build_before)
    print(f"{name + ': first request':42} {first:8.2f} ms")
    print(f"{name + ': one more round':42} {more:8.2f} ms")


def main(rounds: int) -> None:
    """Measure, print a table."""
    declared, messages = Tools(tools(0)), transcript()
    measure("128 tools", {"model": MODEL, "tools": declared}, messages, rounds)
    measure("no tools", {"model": MODEL}, messages, rounds)
    body = encode_request({"model": MODEL, "tools": declared}, messages, stream=True).body
    parts = {
        "repair of the whole transcript": best(lambda _: repair(messages), rounds),
        "schemas and names of bound tools": best(lambda _: declared.declared, rounds),
        "schemas and names of tools not bound": best(lambda _: [declare(tool) for tool in declared], rounds),
        "the rules, whole request": best(lambda _: rules.check(body), rounds),
        "JSON, whole request": best(lambda _: orjson.dumps(body), rounds),
        "128 tools seen for the first time": best(
            lambda n: [declare(tool) for tool in tools(1000 * (n + 1))], min(rounds, 5)
        ),
    }
    for name, cost in parts.items():
        print(f"{name:42} {cost:8.2f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
