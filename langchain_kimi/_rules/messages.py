"""Rules on the transcript: roles, content, reasoning, and every tool call answered once by the messages after it."""

import base64
import binascii
from collections.abc import Iterator

import orjson

from langchain_kimi._rules.request import Breaches, Rule, WireRequest

_MEDIA = {"image_url": "image", "video_url": "video"}
_MARKS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM")
_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_HEAD = 16
"""Characters of base64 that are decoded: twelve bytes hold every format's mark."""


def messages_empty(request: WireRequest) -> Breaches:
    """No messages at all."""
    if request.transcript.length == 0 and request.body.get("messages") in (None, []):
        yield "messages", "Invalid request: messages must not be empty"


def role_unknown(request: WireRequest) -> Breaches:
    """A role that Kimi does not take, `developer` among them."""
    for at, role in request.transcript.unknown_roles:
        yield f"messages[{at}].role", f"role '{role}' is not allowed"


def part_type(request: WireRequest) -> Breaches:
    """A content part of a kind that the model cannot read."""
    if request.row is None:
        return
    legal = ("text", *(part for part, kind in _MEDIA.items() if kind in request.row.inputs))
    for at, role, index, part in request.transcript.parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in legal:
            shown = kind if isinstance(kind, str) else ""
            yield (
                f"messages[{at}].content[{index}].type",
                f"the message at position {at} with role '{role}' contains an invalid part type: {shown}",
            )


def media_url(request: WireRequest) -> Breaches:
    """An image or a video that is neither inline data nor an uploaded file."""
    for path, kind, url in _media(request):
        if not url.startswith(("data:", "ms://")):
            yield path, f"Invalid request: unsupported {kind} url: {url}"


def image_format(request: WireRequest) -> Breaches:
    """Inline image data that begins like no known image."""
    for path, kind, url in _media(request):
        if kind == "image" and url.startswith("data:") and not _is_image(url):
            yield (
                path,
                "Invalid request: prepare image failed error, status code: 400, message: failed to decode image: "
                "invalid or unsupported image format",
            )


def _media(request: WireRequest) -> Iterator[tuple[str, str, str]]:
    """Path, kind and URL of every image and video; none for an unknown model, whose host may take other URLs."""
    for at, _, index, part in request.transcript.parts if request.row else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("image_url", "video_url"):
            continue
        path, url = f"messages[{at}].content[{index}].{kind}", part.get(kind)
        if isinstance(url, dict):
            path, url = f"{path}.url", url.get("url")
        yield path, _MEDIA[kind], url if isinstance(url, str) else ""


def _is_image(url: str) -> bool:
    """Whether a data URL begins with the mark of a JPEG, PNG, GIF, BMP, WebP or HEIF image."""
    start = url.find(",") + 1
    if not start or not url.endswith(";base64", 0, start - 1):
        return False
    try:
        head = base64.b64decode(url[start : start + _HEAD])
    except (binascii.Error, ValueError):
        return False
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    return head.startswith(_MARKS) or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)


def empty_assistant(request: WireRequest) -> Breaches:
    """An assistant message that says nothing: no content, no call, no reasoning. A prefix to complete may be empty."""
    for at, message in request.transcript.plain:
        if message.get("reasoning_content") or message.get("partial") or not _is_blank(message.get("content")):
            continue
        yield (
            f"messages[{at}].content",
            f"Invalid request: the message at position {at} with role 'assistant' must not be empty",
        )


def _is_blank(content: object) -> bool:
    if not isinstance(content, list):
        return not content
    return all(
        isinstance(part, dict)
        and part.get("type") == "text"
        and isinstance(text := part.get("text", ""), str)
        and not text.strip()
        for part in content
    )


def missing_reasoning(request: WireRequest) -> Breaches:
    """An assistant message that called tools without its reasoning, while thinking is on; a space will do."""
    for exchange in request.transcript.exchanges if request.thinks else ():
        reasoning = exchange.message.get("reasoning_content")
        if not (isinstance(reasoning, str) and reasoning):
            yield (
                f"messages[{exchange.at}].reasoning_content",
                "thinking is enabled but reasoning_content is missing in assistant tool call message "
                f"at index {exchange.at}",
            )


def call_arguments(request: WireRequest) -> Breaches:
    """A tool call in the history whose arguments are missing or a text that is no JSON object."""
    for exchange in request.transcript.exchanges:
        for index, call in enumerate(exchange.message["tool_calls"]):
            function = call.get("function") if isinstance(call, dict) else None
            arguments = function.get("arguments") if isinstance(function, dict) else None
            if not _is_json_object(arguments):
                path = f"messages[{exchange.at}].tool_calls[{index}].function.arguments"
                yield path, f"Invalid request: {path} must be a JSON object"


def _is_json_object(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(orjson.loads(text), dict)
    except ValueError:
        return False


def duplicate_call_id(request: WireRequest) -> Breaches:
    """A tool call id that was used before, in this or an earlier message."""
    seen = set(request.transcript.earlier_call_ids)
    for exchange in request.transcript.exchanges:
        for index, call_id in enumerate(exchange.calls):
            if call_id and call_id in seen:
                yield (
                    f"messages[{exchange.at}].tool_calls[{index}].id",
                    f"Invalid request: tool call id {call_id} is duplicated",
                )
            seen.add(call_id)


def tool_without_call(request: WireRequest) -> Breaches:
    """A tool message that stands behind no assistant message with tool calls."""
    for at in request.transcript.orphans:
        yield (
            f"messages[{at}].role",
            "Invalid request: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'",
        )


def unanswered_call(request: WireRequest) -> Breaches:
    """Tool calls without an answer in the messages directly after them."""
    for exchange in request.transcript.exchanges:
        answered = {call_id for _, call_id in exchange.answers}
        silent = [call_id for call_id in exchange.calls if call_id not in answered]
        if silent:
            yield (
                f"messages[{exchange.at}].tool_calls",
                "an assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(silent)}",
            )


def unknown_call_id(request: WireRequest) -> Breaches:
    """An answer without an id, to a call that was not made, or to one that has its answer."""
    for exchange in request.transcript.exchanges:
        open_calls = {call_id for call_id in exchange.calls if call_id}
        for at, call_id in exchange.answers:
            if call_id not in open_calls:
                yield f"messages[{at}].tool_call_id", f"tool_call_id {call_id} is not found"
            open_calls.discard(call_id)


def partial_json_object(request: WireRequest) -> Breaches:
    """A prefix to complete together with `json_object`."""
    wanted = request.body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_object":
        return
    for at, message in request.transcript.plain:
        if message.get("partial") is True:
            yield f"messages[{at}].partial", "Invalid request: partial cannot be used with response_format json_object"


MESSAGES: tuple[Rule, ...] = (
    Rule("messages_empty", messages_empty, "Send at least one message.", "measured on kimi-k3, August 2026"),
    Rule(
        "role_unknown",
        role_unknown,
        "Use system, user, assistant or tool; what other APIs call developer is system here.",
        "earendil-works/pi issue 8109; openclaw/openclaw issue 21911 saw an older text",
    ),
    Rule(
        "part_type",
        part_type,
        "Leave the part out, or choose a model that reads it.",
        "MoonshotAI/kimi-cli issue 788; the legal kinds by the official chat API page",
    ),
    Rule(
        "media_url",
        media_url,
        "Inline the file as a data: URL (`langchain_kimi.media_block` reads or fetches it), or upload it and send "
        "ms://<file id>.",
        "OpenHands/software-agent-sdk pull request 3219 (images, kimi-k2.6); videos by the same form",
    ),
    Rule(
        "image_format",
        image_format,
        "Send a whole JPEG, PNG, GIF, WebP, BMP or HEIF file in base64.",
        "NousResearch/hermes-agent issue 81326; MoonshotAI/kimi-code issue 1082",
    ),
    Rule(
        "empty_assistant",
        empty_assistant,
        "Drop the message, or give it text.",
        "AstrBotDevs/AstrBot issue 7200; lobehub/lobehub issue 8419; MoonshotAI/kimi-code issue 1985 (kimi-k3)",
    ),
    Rule(
        "missing_reasoning",
        missing_reasoning,
        "Send the message back with the reasoning_content it came with, or a single space if there is none.",
        "mastra-ai/mastra issue 12592; continuedev/continue issue 11600; earendil-works/pi issue 4178; recorded for "
        "kimi-k2.5, k2.6 and k2-thinking, demanded by the documents for the others",
    ),
    Rule(
        "call_arguments",
        call_arguments,
        "Send `{}`, or an object that holds the model's text, and say in the call's result what was wrong with it.",
        "MoonshotAI/kimi-cli issues 1171 and 2165 and vllm-project/vllm issue 43995 (vLLM and SGLang); "
        "MoonshotAI/Kimi-Vendor-Verifier for Kimi's own serving; the text is ours",
    ),
    Rule(
        "duplicate_call_id",
        duplicate_call_id,
        "Give the later call an id of its own, and its answer the same id.",
        "openclaw/openclaw issues 51155 and 84730",
    ),
    Rule(
        "tool_without_call",
        tool_without_call,
        "Put the tool message directly after the assistant message that called it, or drop it.",
        "NousResearch/hermes-agent issue 24328",
    ),
    Rule(
        "unanswered_call",
        unanswered_call,
        "Answer every call with a tool message right after the calls, even when the tool failed or was cancelled.",
        "MoonshotAI/kimi-cli issues 1977 and 2405; MoonshotAI/kimi-code issue 705",
    ),
    Rule(
        "unknown_call_id",
        unknown_call_id,
        "Copy the id of the call into tool_call_id, and answer each call once.",
        "yaogang1991/harness issue 392 and MoonshotAI/kimi-code's error tests; MoonshotAI/Kimi-Vendor-Verifier for a "
        "missing id; a second answer by the same form",
    ),
    Rule(
        "partial_json_object",
        partial_json_object,
        "Use partial mode or json_object, not both.",
        "official chat API page forbids it; the text is ours",
    ),
)
