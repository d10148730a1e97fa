"""Assistant messages of recorded responses and of request histories.

The parser is independent of the package's, so that the audit can check what the package makes of the responses.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_kimi.testing.cassettes.bodies import event_data
from langchain_kimi.testing.cassettes.cassette_file import Interaction
from langchain_kimi.testing.dialects import REASONING_TEXT_FIELDS
from langchain_kimi.testing.serialization import dicts_in


@dataclass(slots=True)
class AssistantMessage:
    """An assistant message of a response, with its finish reason, usage or error, or of the history of a request."""

    reasoning: str | None = None
    """None if there is no such field, which differs from an empty one."""
    text: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    """Id, name and arguments of each call."""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: str | None = None

    def is_repeated_by(self, other: "AssistantMessage") -> bool:
        """Whether a message of the history is this response, even if its reasoning differs."""
        if self.calls or other.calls:
            return [call[:2] for call in self.calls] == [call[:2] for call in other.calls]
        return bool(self.text) and self.text == other.text


def parse_message(message: dict[str, Any]) -> AssistantMessage:
    """An assistant message in JSON."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    calls = [_parse_call(call) for call in dicts_in(message.get("tool_calls"))]
    return AssistantMessage(_reasoning(message), content if isinstance(content, str) else "", calls)


def response_message(interaction: Interaction) -> AssistantMessage:
    """The first choice of a chat response. The `error` is set if the request was refused."""
    response = interaction.response
    if "json" in response or response["status"] != 200:
        return _whole_message(response)
    message = AssistantMessage()
    pieces: dict[Any, list[str]] = {}
    for event in _events(response):
        if isinstance(error := event.get("error"), dict):
            message.error = str(error.get("message"))
        message.usage = event.get("usage") or message.usage
        for choice in dicts_in(event.get("choices"))[:1]:
            message.finish_reason = choice.get("finish_reason") or message.finish_reason
            message.usage = choice.get("usage") or message.usage
            _add_delta(choice.get("delta") or choice.get("message") or {}, pieces)
    message.text = "".join(pieces.pop("content", []))
    message.reasoning = "".join(pieces.pop("reasoning")) if "reasoning" in pieces else None
    message.calls = [(call_id, name, "".join(arguments)) for call_id, name, *arguments in pieces.values()]
    return message


def _whole_message(response: dict[str, Any]) -> AssistantMessage:
    body = response.get("json")
    if not isinstance(body, dict):
        return AssistantMessage(error=str(response.get("text", ""))[:200])
    if response["status"] != 200 or "error" in body:
        error = body.get("error", body)
        return AssistantMessage(error=str(error.get("message", error) if isinstance(error, dict) else error))
    choice = (dicts_in(body.get("choices")) or [{}])[0]
    message = parse_message(choice.get("message") or {})
    message.finish_reason, message.usage = choice.get("finish_reason"), body.get("usage")
    return message


def _add_delta(delta: dict[str, Any], pieces: dict[Any, list[str]]) -> None:
    """Adds a delta to the pieces of each field, and of each tool call: its id, its name, then its arguments."""
    reasoning = _reasoning(delta)
    if reasoning is not None:
        pieces.setdefault("reasoning", []).append(reasoning)
    if isinstance(delta.get("content"), str):
        pieces.setdefault("content", []).append(delta["content"])
    for number, call in enumerate(dicts_in(delta.get("tool_calls"))):
        call_id, name, arguments = _parse_call(call)
        parts = pieces.setdefault(("call", call.get("index", number)), ["", ""])
        parts[0], parts[1] = parts[0] or call_id, parts[1] or name
        parts.append(arguments)


def _reasoning(message: dict[str, Any]) -> str | None:
    for key in REASONING_TEXT_FIELDS:
        if isinstance(message.get(key), str):
            return str(message[key])
    details = dicts_in(message.get("reasoning_details"))
    return "".join(str(detail.get("text") or "") for detail in details) if details else None


def _parse_call(call: dict[str, Any]) -> tuple[str, str, str]:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    return str(call.get("id") or ""), str(function.get("name") or ""), str(function.get("arguments") or "")


def _events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for data in event_data(response):
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event
