"""Counts the tokens of prompts as Kimi's chat template has them, and imitates Kimi's prefix cache."""

import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_kimi._picture_sizes import picture_size
from langchain_kimi._rules import thinks
from langchain_kimi._token_estimates import Frames, count_picture, count_schema, count_text, frames_of
from langchain_kimi.catalogue import find
from langchain_kimi.testing.serialization import compact_json, dicts_in, encode_json

_BLOCK = 256
"""Tokens of one block of the prefix cache."""
_CACHED_PROMPTS = 32
_CLOSING = b"]]"
"""The end of `prompt_bytes`, which a longer prompt does not have in this place."""
_LIFETIME, _LONG_LIFETIME = 300.0, 3600.0
"""Seconds after its last use in which a prompt stays in the cache."""
_MEDIA = re.compile(rb"data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]*|ms://[\w-]+")
_UPLOADED_MEDIA = 1_024
"""The tokens of an image or a video of unknown size."""


def token_estimate(length: int) -> int:
    """The estimated tokens of a part of an answer of `length` bytes: four bytes are one token."""
    return -(-length // 4)


def byte_length(text: str) -> int:
    """The bytes of a text."""
    return len(text.encode("utf-8", "surrogatepass"))


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """The tokens of a request in Kimi's form: exact for the frames of the template, estimated for texts."""
    model = body.get("model")
    frames = frames_of(find(model) if isinstance(model, str) else None)
    thinking = thinks(body) is not False
    total = frames.request + (_effort_tokens(body, frames) if thinking else 0)
    if tools := body.get("tools"):
        total += frames.tools + count_schema(compact_json(tools))
    names: dict[Any, str] = {}
    for message in dicts_in(body.get("messages")):
        for call in dicts_in(message.get("tool_calls")):
            names[call.get("id")] = str(_function(call).get("name"))
        total += _message_tokens(message, names, frames, thinking)
    return total + _choice_tokens(body.get("tool_choice"), frames) + _format_tokens(body, frames) + search_tokens(body)


def _effort_tokens(body: Mapping[str, Any], frames: Frames) -> int:
    thinking = body.get("thinking")
    effort = (thinking.get("effort") if isinstance(thinking, dict) else None) or body.get("reasoning_effort") or "max"
    return frames.effort + (1 if frames.effort and effort != "max" else 0)


def _choice_tokens(choice: object, frames: Frames) -> int:
    if choice == "none":
        return frames.required + 2 if frames.required else 0
    return frames.required if choice == "required" else 0


def _format_tokens(body: Mapping[str, Any], frames: Frames) -> int:
    wanted = body.get("response_format")
    wanted = wanted if isinstance(wanted, dict) else {}
    if wanted.get("type") == "json_schema" and isinstance(named := wanted.get("json_schema"), dict):
        return frames.json_schema + count_schema(compact_json(named.get("schema")))
    return frames.json_object if wanted.get("type") == "json_object" else 0


def _message_tokens(message: Mapping[str, Any], names: Mapping[Any, str], frames: Frames, thinking: bool) -> int:
    role, content = message.get("role"), _content_tokens(message.get("content"), frames)
    if role == "assistant":
        reasoning = message.get("reasoning_content")
        reasoning = frames.thinking + (count_text(reasoning) if isinstance(reasoning, str) else 0) if thinking else 0
        calls = [_call_tokens(call, frames) for call in dicts_in(message.get("tool_calls"))]
        return frames.answer + content + reasoning + (frames.calls + sum(calls) if calls else 0)
    if role == "tool":
        return frames.result + count_text(names.get(message.get("tool_call_id"), "")) + content
    if role == "system" and message.get("tools"):
        return frames.dynamic_tools + count_schema(compact_json(message["tools"]))
    return frames.message + content


def _call_tokens(call: Mapping[str, Any], frames: Frames) -> int:
    function = _function(call)
    arguments = str(function.get("arguments") or "")
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError:
        parsed = {}
    count = len(parsed) if isinstance(parsed, dict) else 0
    return frames.call + count_text(str(function.get("name"))) + frames.argument * count + count_text(arguments)


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, dict) else {}


def _content_tokens(content: object, frames: Frames) -> int:
    if isinstance(content, str):
        return count_text(content)
    return sum(_part_tokens(part, frames) for part in dicts_in(content))


def _part_tokens(part: Mapping[str, Any], frames: Frames) -> int:
    if isinstance(text := part.get("text"), str):
        return count_text(text)
    url = part.get("image_url") or part.get("video_url")
    url = url.get("url") if isinstance(url, dict) else url
    size = picture_size(url) if isinstance(url, str) and "image_url" in part else None
    return count_picture(*size, frames) if size else _UPLOADED_MEDIA


def prompt_bytes(body: Mapping[str, Any]) -> bytes:
    """What the prefix cache compares: tools and messages as JSON; an image or a video counts 1,024 tokens."""
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


@dataclass(slots=True)
class _CachedPrompt:
    state: str
    prompt: bytes
    tokens: int
    lifetime: float
    used: float

    def shared_tokens(self, length: int) -> int:
        """The tokens of the first bytes of the prompt: all if only its closing brackets are missing."""
        whole = len(self.prompt) - len(_CLOSING)
        return self.tokens if length >= whole else self.tokens * length // whole


class PrefixCache:
    """Kimi's automatic cache: the longest prefix shared with an earlier prompt, in whole blocks.

    Another model or effort has a cache of its own. A prompt is forgotten five minutes after its last use, or an hour if
    the request that wrote it asks for that by `prompt_cache_options`. `clock` tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._prompts: deque[_CachedPrompt] = deque(maxlen=_CACHED_PROMPTS)

    def cached_tokens(self, body: Mapping[str, Any], prompt: bytes, tokens: int) -> int:
        """The cached tokens of a prompt of `tokens` tokens, which is then added to the cache."""
        now, state = self._clock(), _model_state(body)
        alive = [each for each in self._prompts if each.state == state and now - each.used <= each.lifetime]
        shared = [(_common_prefix(prompt, each.prompt), each) for each in alive]
        longest = max((length for length, _ in shared), default=0)
        for length, each in shared:
            if length == longest:
                each.used = now
        cached = max((each.shared_tokens(length) for length, each in shared), default=0)
        self._prompts.append(_CachedPrompt(state, prompt, tokens, _lifetime(body), now))
        return min(cached, tokens) // _BLOCK * _BLOCK


def _model_state(body: Mapping[str, Any]) -> str:
    """The model with its effort: prompts read by one are of no use to another."""
    thinking = body.get("thinking")
    effort = thinking.get("effort") if isinstance(thinking, dict) else None
    return f"{body.get('model')} {effort or body.get('reasoning_effort')}"


def _lifetime(body: Mapping[str, Any]) -> float:
    options = body.get("prompt_cache_options")
    return _LONG_LIFETIME if isinstance(options, dict) and options.get("ttl") == "1h" else _LIFETIME


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
