"""The raw tool calls and reasoning of a response, stored on the LangChain message so that they go back unchanged.

LangChain parses tool-call arguments into dicts and, in streams, completes arguments that were cut short. Both lose the
original string. So the messages of `ChatKimi` hold, in `additional_kwargs`:

- `reasoning_content`: the reasoning as one string; absent where the host sent none or null
- `kimi_calls`: `[{"id", "name", "arguments"}]` in the order of the response, with `arguments` as the host's string;
  `"unwrapped"` lists the arguments that are JSON in a string there and the array or object itself in `tool_calls`,
  `"cut"` marks a call of a response that was cut before its arguments began, `"not_run"` says why a call must not run
  although its arguments may be whole
- `kimi_host`: host and port of the response; its call ids and its reasoning key go back to that host unchanged
- `kimi_reasoning_key`: the host's reasoning key, where it is not `reasoning_content`; `both` where the host sent the
  reasoning under `reasoning_content` and another key at once
- `kimi_reasoning_details`: the list that some hosts send beside or instead of the text, and want back
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Never, NotRequired, TypedDict, TypeGuard

import orjson
from langchain_core.messages import AIMessage, InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call

from langchain_kimi._hosts import KIMI_REASONING_KEY
from langchain_kimi._surrogates import replaced, replaced_in

REASONING = KIMI_REASONING_KEY
CALLS = "kimi_calls"
REASONING_KEY = "kimi_reasoning_key"
REASONING_DETAILS = "kimi_reasoning_details"
BOTH_KEYS = "both"
HOST = "kimi_host"
NO_REASONING = " "
"""The reasoning of a message with calls whose own is missing: Kimi refuses such a message
with no reasoning or an empty one."""
PROVIDER = "moonshot"
INVALID_ARGUMENTS = "invalid_arguments"
"""The key under which arguments that are no JSON object are sent back as text."""
_LONGEST_QUOTE = 400
"""Characters of unusable arguments that an error result quotes."""

SPOILER = '"[}"[}'
"""Appended to cut arguments at the end of a stream: whether they end in a string, after a backslash or outside, no
parser reads the whole as an object, LangChain's lenient one included."""


class RawCall(TypedDict):
    """One tool call as the host sent it."""

    id: str | None
    name: str
    arguments: str
    unwrapped: NotRequired[list[str]]
    cut: NotRequired[bool]
    not_run: NotRequired[str]


def parse_json(text: str) -> Any:
    """The value of a JSON text in which control characters may stand bare in strings. Raises ValueError.

    A lone surrogate, which JSON can escape and no text can hold, becomes U+FFFD.
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    return replaced_in(value) if "\\ud" in text or "\\uD" in text else value


def parse_arguments(arguments: str, unwrapped: Iterable[str] = ()) -> dict[str, Any]:
    """The arguments as a dict. Raises ValueError where they are no JSON object; empty arguments mean none.

    `unwrapped` names those that are parsed once more.
    """
    parsed = parse_json(arguments) if arguments.strip() else {}
    if not isinstance(parsed, dict):
        raise ValueError(f"arguments must be a JSON object, not {type(parsed).__name__}")
    return parsed | {name: parse_json(parsed[name]) for name in unwrapped}


def parse_calls(calls: Iterable[RawCall]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """The calls that can be run, and those whose arguments are no JSON object with the parser's message."""
    valid: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in calls:
        try:
            if why := call.get("not_run"):
                raise ValueError(why)
            args = parse_arguments(call["arguments"], _unwrapped(call))
            if call.get("cut"):
                raise ValueError("the answer was cut before the arguments")
            valid.append(tool_call(name=call["name"], args=args, id=call["id"]))
        except ValueError as error:
            invalid.append(
                invalid_tool_call(name=call["name"], args=call["arguments"], id=call["id"], error=str(error))
            )
    return valid, invalid


def wire_arguments(arguments: str) -> str:
    """The arguments as a JSON object, because hosts refuse a whole history for arguments that are none.

    A string that is such an object is returned unchanged. Arguments with bare control characters are serialised again;
    missing arguments become `{}`; any other text is sent under INVALID_ARGUMENTS. The result depends on the string
    alone, so that it is the same in every request.
    """
    try:
        if isinstance(orjson.loads(arguments), dict):
            return arguments
    except ValueError:
        pass
    try:
        return _dumped(parse_arguments(arguments))
    except (ValueError, RecursionError):
        return _dumped({INVALID_ARGUMENTS: arguments})


def quote_arguments(arguments: str | None) -> str:
    """The model's text instead of a JSON object, for its error result; the middle of a long text is left out."""
    text = (arguments or "").removesuffix(SPOILER)
    if not text.strip():
        return "They were empty."
    if len(text) <= _LONGEST_QUOTE:
        return f"You wrote: {text}"
    half = _LONGEST_QUOTE // 2
    return f"You wrote: {text[:half]} … ({len(text) - 2 * half} characters left out) … {text[-half:]}"


def _dumped(arguments: Mapping[str, Any]) -> str:
    written = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return replaced(written)


def call_blocks(calls: Iterable[RawCall]) -> list[dict[str, Any]]:
    """The calls as content blocks, in their order."""
    return [{**block} for call in calls for parsed in parse_calls([call]) for block in parsed]


def reparse_calls(message: AIMessage) -> None:
    """Replace tool calls that LangChain parsed leniently out of a stream by a strict parse of the raw calls.

    Content blocks lose the `lc_` indices by which the chunks of a stream were joined.
    """
    calls = message.additional_kwargs.get(CALLS)
    if calls:
        message.tool_calls, message.invalid_tool_calls = parse_calls(calls)
    if isinstance(message.content, list):
        others = [_without_stream_index(block) for block in message.content if not (calls and is_call_block(block))]
        message.content = [*others, *call_blocks(calls or ())]


def reasoning_text(message: AIMessage) -> str | None:
    """The reasoning of a message of Kimi or another provider; None where it has none."""
    reasoning = message.additional_kwargs.get(REASONING)
    if isinstance(reasoning, str):
        return reasoning
    if isinstance(message.content, str):
        return None
    texts = [text for block in message.content if (text := reasoning_block_text(block)) is not None]
    return "".join(texts) if texts else None


def reasoning_block_text(block: object) -> str | None:
    """The text of a reasoning block of Kimi or another provider; None for any other block."""
    match block:
        case {"type": "reasoning", "reasoning": str(text)} | {"type": "thinking", "thinking": str(text)}:
            return text
        case {"type": "reasoning" | "thinking" | "redacted_thinking"}:
            return ""
    return None


def is_call_block(block: object) -> bool:
    """Whether a content block is a tool call, valid or not, or a piece of one."""
    return isinstance(block, dict) and str(block.get("type", "")).endswith(("tool_call", "tool_call_chunk"))


def raw_calls(message: AIMessage) -> list[RawCall]:
    """The message's calls, valid and invalid, in their order, with the host's argument strings where they still apply.

    The arguments of a call that was edited since (other arguments under its id), or that another model made, are
    written as compact JSON.
    """
    stored = message.additional_kwargs.get(CALLS)
    recorded: dict[str | None, RawCall] = {call["id"]: call for call in stored if _is_call(call)} if stored else {}
    order = {key: position for position, key in enumerate(recorded)}
    calls: list[RawCall] = [
        RawCall(id=call["id"], name=call["name"], arguments=_arguments(call["args"], recorded.get(call["id"])))
        for call in message.tool_calls
    ]
    calls += [
        RawCall(
            id=call["id"], name=call["name"] or "", arguments=_unspoiled(call["args"] or "", recorded.get(call["id"]))
        )
        for call in message.invalid_tool_calls
    ]
    return sorted(calls, key=lambda call: order.get(call["id"], len(order)))


def _arguments(args: Mapping[str, Any], raw: RawCall | None) -> str:
    if raw is not None:
        try:
            if args == parse_arguments(raw["arguments"]):
                return raw["arguments"]
            if (names := _unwrapped(raw)) and args == parse_arguments(raw["arguments"], names):
                return raw["arguments"]
        except (ValueError, TypeError, KeyError):
            pass
    return json.dumps(args, ensure_ascii=False, separators=(",", ":"), default=str)


def _unwrapped(raw: RawCall) -> list[str]:
    names = raw.get("unwrapped")
    return names if isinstance(names, list) else []


def _unspoiled(arguments: str, raw: RawCall | None) -> str:
    return raw["arguments"] if raw is not None and arguments == raw["arguments"] + SPOILER else arguments


def _without_stream_index(block: str | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(block, dict) and str(block.get("index", "")).startswith("lc_"):
        return {key: value for key, value in block.items() if key != "index"}
    return block


def _refuse_constant(constant: str) -> Never:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)
"""Made once: `json.loads` would make one for each text."""


def _is_call(value: object) -> TypeGuard[RawCall]:
    return isinstance(value, dict) and isinstance(value.get("arguments"), str) and "id" in value
