"""The exact strings that Kimi said, kept on the LangChain message so that they can go back as they came.

LangChain parses tool-call arguments into dicts and, in streams, completes arguments that were cut short. Both lose what
was said. So every message of ours carries, in `additional_kwargs`:

- `reasoning_content`: the thinking as one string; the key is absent where Kimi sent none or null
- `kimi_calls`: `[{"id", "name", "arguments"}]` in the order of the answer, `arguments` being Kimi's own string
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeGuard

from langchain_core.messages import AIMessage, InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call

REASONING = "reasoning_content"
CALLS = "kimi_calls"
PROVIDER = "moonshot"


class Call(TypedDict):
    """One tool call as Kimi sent it."""

    id: str | None
    name: str
    arguments: str


def parse_arguments(arguments: str) -> dict[str, Any]:
    """The arguments as a dict. Raises ValueError where they are no JSON object; empty arguments mean none."""
    parsed = json.loads(arguments, strict=False) if arguments.strip() else {}
    if not isinstance(parsed, dict):
        raise ValueError(f"arguments must be a JSON object, not {type(parsed).__name__}")
    return parsed


def parse_calls(calls: Sequence[Call]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """The calls that can be run, and those whose arguments are no JSON object with the parser's message."""
    valid: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in calls:
        try:
            valid.append(tool_call(name=call["name"], args=parse_arguments(call["arguments"]), id=call["id"]))
        except ValueError as error:
            invalid.append(
                invalid_tool_call(name=call["name"], args=call["arguments"], id=call["id"], error=str(error))
            )
    return valid, invalid


def settle(message: AIMessage) -> None:
    """Replace calls that LangChain parsed leniently out of a stream by a strict reading of what Kimi sent."""
    calls = message.additional_kwargs.get(CALLS)
    if not calls:
        return
    message.tool_calls, message.invalid_tool_calls = parse_calls(calls)
    if isinstance(message.content, list):
        blocks = {block["id"]: block for block in (*message.tool_calls, *message.invalid_tool_calls)}
        for position, block in enumerate(message.content):
            if isinstance(block, dict) and str(block.get("type", "")).endswith(("tool_call", "tool_call_chunk")):
                kept = {key: block[key] for key in ("index",) if key in block}
                message.content[position] = {**blocks.get(block.get("id"), block), **kept}


def calls_of(message: AIMessage) -> list[Call]:
    """The message's calls, valid and not, in their order: Kimi's own argument strings wherever they still hold.

    A call that was edited since (other arguments under its id) or that another model made is written as compact JSON.
    """
    said = message.additional_kwargs.get(CALLS)
    recorded: dict[str | None, Call] = {call["id"]: call for call in said if _is_call(call)} if said else {}
    order = {key: position for position, key in enumerate(recorded)}
    calls: list[Call] = [
        Call(id=call["id"], name=call["name"], arguments=_arguments(call["args"], recorded.get(call["id"])))
        for call in message.tool_calls
    ]
    calls += [
        Call(id=call["id"], name=call["name"] or "", arguments=call["args"] or "")
        for call in message.invalid_tool_calls
    ]
    return sorted(calls, key=lambda call: order.get(call["id"], len(order)))


def _arguments(args: Mapping[str, Any], said: Call | None) -> str:
    if said is not None:
        try:
            if parse_arguments(said["arguments"]) == args:
                return said["arguments"]
        except ValueError:
            pass
    return json.dumps(args, ensure_ascii=False, separators=(",", ":"))


def _is_call(value: object) -> TypeGuard[Call]:
    return isinstance(value, dict) and isinstance(value.get("arguments"), str) and "id" in value
