"""What the model said, read from a recorded answer; written anew here, so that it can judge the package's own."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_kimi.testing.cassettes.bodies import datas
from langchain_kimi.testing.cassettes.file import Interaction

_REASONING = ("reasoning_content", "reasoning")


@dataclass(slots=True)
class Said:
    """An assistant message, as an answer or as the history of a request has it."""

    reasoning: str | None = None
    """None where there is no such field, which is not the same as an empty one."""
    text: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    """Id, name and arguments of each call."""
    finish: str | None = None
    usage: dict[str, Any] | None = None
    error: str | None = None

    def is_echoed_by(self, other: "Said") -> bool:
        """Whether a message of the history is this answer, whatever became of its reasoning."""
        if self.calls or other.calls:
            return [call[:2] for call in self.calls] == [call[:2] for call in other.calls]
        return bool(self.text) and self.text == other.text


def said_in(message: dict[str, Any]) -> Said:
    """An assistant message of a request's history."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    calls = [_call(call) for call in _objects(message.get("tool_calls"))]
    return Said(_reasoning(message), content if isinstance(content, str) else "", calls)


def answer_of(interaction: Interaction) -> Said:
    """The first choice of a chat answer; a refusal is its `error`."""
    response = interaction.response
    if "json" in response or response["status"] != 200:
        return _whole(response)
    said = Said()
    pieces: dict[Any, list[str]] = {}
    for event in _events(response):
        if isinstance(error := event.get("error"), dict):
            said.error = str(error.get("message"))
        said.usage = event.get("usage") or said.usage
        for choice in _objects(event.get("choices"))[:1]:
            said.finish = choice.get("finish_reason") or said.finish
            said.usage = choice.get("usage") or said.usage
            _take(said, choice.get("delta") or choice.get("message") or {}, pieces)
    said.text = "".join(pieces.pop("content", []))
    said.reasoning = "".join(pieces.pop("reasoning")) if "reasoning" in pieces else None
    said.calls = [(found[0], found[1], "".join(found[2:])) for found in pieces.values()]
    return said


def _whole(response: dict[str, Any]) -> Said:
    body = response.get("json")
    if not isinstance(body, dict):
        return Said(error=str(response.get("text", ""))[:200])
    if response["status"] != 200 or "error" in body:
        error = body.get("error", body)
        return Said(error=str(error.get("message", error) if isinstance(error, dict) else error))
    choice = (_objects(body.get("choices")) or [{}])[0]
    said = said_in(choice.get("message") or {})
    said.finish, said.usage = choice.get("finish_reason"), body.get("usage")
    return said


def _take(said: Said, delta: dict[str, Any], pieces: dict[Any, list[str]]) -> None:
    reasoning = _reasoning(delta)
    if reasoning is not None:
        pieces.setdefault("reasoning", []).append(reasoning)
    if isinstance(delta.get("content"), str):
        pieces.setdefault("content", []).append(delta["content"])
    for number, call in enumerate(_objects(delta.get("tool_calls"))):
        key, name, arguments = _call(call)
        found = pieces.setdefault(("call", call.get("index", number)), ["", ""])
        found[0], found[1] = found[0] or key, found[1] or name
        found.append(arguments)


def _reasoning(message: dict[str, Any]) -> str | None:
    for key in _REASONING:
        if isinstance(message.get(key), str):
            return str(message[key])
    details = _objects(message.get("reasoning_details"))
    return "".join(str(detail.get("text") or "") for detail in details) if details else None


def _call(call: dict[str, Any]) -> tuple[str, str, str]:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    return str(call.get("id") or ""), str(function.get("name") or ""), str(function.get("arguments") or "")


def _events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for data in datas(response):
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
