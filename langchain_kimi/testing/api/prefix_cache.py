"""What the scripted model reads, as the bytes that tokens are counted by, and the cache of its prefixes."""

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_kimi.testing.script.wire_json import encode, objects

_BLOCK = 256
"""Tokens in one block of the prefix cache."""
_REMEMBERED = 32
"""Prompts in the prefix cache."""
_MEDIA = re.compile(rb"data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]*|ms://[\w-]+")


def prompt_of(body: Mapping[str, Any]) -> bytes:
    """Tools and messages as JSON; a picture, inline or uploaded, is one of 1,024 tokens."""
    text = encode([body.get("tools") or [], body.get("messages")])
    return _MEDIA.sub(lambda media: hashlib.sha256(media.group()).hexdigest().encode() * 64, text)


def output_cap(body: Mapping[str, Any]) -> int:
    """The output cap that a request names; 0 where it names none."""
    cap = body.get("max_completion_tokens") or body.get("max_tokens")
    return cap if type(cap) is int else 0


def builtin_answers(body: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Name and arguments of each call to one of Kimi's own functions, with the content of its answer."""
    open_calls: dict[Any, dict[str, Any]] = {}
    for message in objects(body.get("messages")):
        if message.get("role") == "tool":
            function = open_calls.pop(message.get("tool_call_id"), None)
            if function is not None:
                yield str(function.get("name")), str(function.get("arguments")), message.get("content")
            continue
        open_calls = {
            call.get("id"): call["function"]
            for call in objects(message.get("tool_calls"))
            if call.get("type") == "builtin_function" and isinstance(call.get("function"), dict)
        }


def searched_tokens(body: Mapping[str, Any]) -> int:
    """The tokens of the web searches whose results the model reads: `usage.total_tokens` of the echoed arguments."""
    total = 0
    for _, arguments, _ in builtin_answers(body):
        try:
            usage = json.loads(arguments)["usage"]["total_tokens"]
        except (ValueError, KeyError, TypeError):
            continue
        total += usage if type(usage) is int else 0
    return total


class PrefixCache:
    """Kimi's automatic cache: the longest common prefix with an earlier prompt of the same model, in whole blocks."""

    def __init__(self) -> None:
        self._prompts: deque[tuple[str, bytes]] = deque(maxlen=_REMEMBERED)

    def hit(self, model: str, prompt: bytes) -> int:
        """The cached tokens of a prompt, which is remembered."""
        common = max((_common(prompt, earlier) for name, earlier in self._prompts if name == model), default=0)
        self._prompts.append((model, prompt))
        return common // 4 // _BLOCK * _BLOCK


def _common(one: bytes, other: bytes) -> int:
    """The length of the common prefix, found by bisection."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
