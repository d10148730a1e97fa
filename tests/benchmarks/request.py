"""What building a request costs, and which share of it repair and schemas have: 128 tools, 600 messages.

    python tests/benchmarks/request.py [rounds]

Best of all rounds, wall time of one process. "first" is a tool that was never seen; every later request finds it worked
out.
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
from langchain_kimi._request.repair import repair
from langchain_kimi._request.tools import declare

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
        said = [{"id": call["id"], "name": call["name"], "arguments": arguments}]
        kept = {REASONING: "thinking " * 230, CALLS: said}
        messages.append(AIMessage("", tool_calls=[call], additional_kwargs=kept))
        messages.append(ToolMessage("r" * 3000, tool_call_id=call["id"]))
    return messages


def best(work: Callable[[int], object], rounds: int) -> float:
    """Milliseconds of the fastest round."""
    taken = []
    for n in range(rounds):
        begun = time.perf_counter()
        work(n)
        taken.append(time.perf_counter() - begun)
    return min(taken) * 1000


def main(rounds: int) -> None:
    """Measure, print a table."""
    declared, messages = Tools(tools(0)), transcript()
    chosen = {"model": "kimi-k2.6", "tools": declared}

    def build(_: int) -> bytes:
        body = encode_request(chosen, messages, stream=True).body
        rules.check(body)
        return orjson.dumps(body)

    whole = best(build, rounds)
    body = encode_request(chosen, messages, stream=True).body
    parts = {
        "whole request": whole,
        "of that, repair of the transcript": best(lambda _: repair(messages), rounds),
        "of that, schemas and names of bound tools": best(lambda _: declared.declared, rounds),
        "schemas and names of tools not bound": best(lambda _: [declare(tool) for tool in declared], rounds),
        "of that, the rules": best(lambda _: rules.check(body), rounds),
        "of that, JSON": best(lambda _: orjson.dumps(body), rounds),
        "128 tools seen for the first time": best(
            lambda n: [declare(tool) for tool in tools(1000 * (n + 1))], min(rounds, 5)
        ),
    }
    for name, cost in parts.items():
        print(f"{name:42} {cost:8.2f} ms  {cost / whole:6.1%}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
