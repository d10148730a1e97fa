"""Estimates the tokens of prompts and texts, and imitates Kimi's prefix cache."""

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_kimi.testing.serialization import dicts_in, encode_json

_BLOCK = 256
"""Tokens of one block of the prefix cache."""
_CACHED_PROMPTS = 32
_MEDIA = re.compile(rb"data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]*|ms://[\w-]+")


def token_estimate(length: int) -> int:
    """The estimated tokens of a text of `length` bytes: four bytes are one token."""
    return -(-length // 4)


def byte_length(text: str) -> int:
    """The bytes of a text."""
    return len(text.encode("utf-8", "surrogatepass"))


def prompt_bytes(body: Mapping[str, Any]) -> bytes:
    """Tools and messages as JSON; each image or video, inline or uploaded, counts 1,024 tokens."""
    text = encode_json([body.get("tools") or [], body.get("messages")])
    return _MEDIA.sub(lambda media: hashlib.sha256(media.group()).hexdigest().encode() * 64, text)


def output_cap(body: Mapping[str, Any]) -> int:
    """The request's limit of output tokens; 0 if it has none."""
    cap = body.get("max_completion_tokens") or body.get("max_tokens")
    return cap if type(cap) is int else 0


def builtin_results(body: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Name and arguments of each call of a builtin function, with the content of its tool message."""
    open_calls: dict[Any, dict[str, Any]] = {}
    for message in dicts_in(body.get("messages")):
        if message.get("role") == "tool":
            function = open_calls.pop(message.get("tool_call_id"), None)
            if function is not None:
                yield str(function.get("name")), str(function.get("arguments")), message.get("content")
            continue
        open_calls = {
            call.get("id"): call["function"]
            for call in dicts_in(message.get("tool_calls"))
            if call.get("type") == "builtin_function" and isinstance(call.get("function"), dict)
        }


def search_tokens(body: Mapping[str, Any]) -> int:
    """The tokens of web search results in the prompt: `usage.total_tokens` of the echoed arguments."""
    total = 0
    for _, arguments, _ in builtin_results(body):
        try:
            usage = json.loads(arguments)["usage"]["total_tokens"]
        except (ValueError, KeyError, TypeError):
            continue
        total += usage if type(usage) is int else 0
    return total


class PrefixCache:
    """Kimi's automatic cache: the longest prefix shared with an earlier prompt of the same model, in whole blocks."""

    def __init__(self) -> None:
        self._prompts: deque[tuple[str, bytes]] = deque(maxlen=_CACHED_PROMPTS)

    def cached_tokens(self, model: str, prompt: bytes) -> int:
        """The cached tokens of a prompt, which is then added to the cache."""
        common = max((_common_prefix(prompt, earlier) for name, earlier in self._prompts if name == model), default=0)
        self._prompts.append((model, prompt))
        return common // 4 // _BLOCK * _BLOCK


def _common_prefix(one: bytes, other: bytes) -> int:
    """The length of the common prefix, found by bisection."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
