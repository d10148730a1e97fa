"""`Request`: a chat request as the double received it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from langchain_kimi.testing.script.wire_json import compact, objects


@dataclass(frozen=True, eq=False)
class Request:
    """One chat request as it was received.

    `headers` have lower-case names and masked secrets, `body` is raw, `number` counts from 1 in order of arrival.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    number: int

    @cached_property
    def json(self) -> dict[str, Any]:
        """The parsed body; `ValueError` where it is not a JSON object."""
        parsed = json.loads(self.body, parse_constant=_not_json)
        if not isinstance(parsed, dict):
            raise ValueError("the body is not a JSON object")
        return parsed

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the conversation."""
        return objects(self.json.get("messages"))

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The declared functions, each with its name, description and parameters."""
        return objects([tool.get("function") for tool in objects(self.json.get("tools"))])

    @property
    def model(self) -> str:
        """The model asked for."""
        return str(self.json.get("model") or "")

    @property
    def stream(self) -> bool:
        """Whether the answer is to be streamed."""
        return self.json.get("stream") is True

    @property
    def last(self) -> dict[str, Any]:
        """The last message; empty where there is none."""
        return self.messages[-1] if self.messages else {}

    @property
    def asked(self) -> str:
        """What was asked, in a few words, for messages."""
        try:
            messages = self.messages
        except (ValueError, RecursionError):
            return f"no JSON object: {self.body[:200]!r}"
        spoken = any(message.get("role") == "user" for message in messages)
        text = f"{self.text_of('user')[:200]!r}" if spoken else "no user message"
        results = [_text(result.get("content"))[:80] for result in self.tool_results()]
        return f"{text}, with tool results {results}" if results else text

    def text_of(self, name: str) -> str:
        """The text of one part of the request: `user`, `tool`, `system`, or a field."""
        if name == "user":
            spoken = [message for message in self.messages if message.get("role") == "user"]
            return _text(spoken[-1].get("content")) if spoken else ""
        if name == "tool":
            return "\n".join(_text(result.get("content")) for result in self.tool_results())
        if name == "system":
            return "\n".join(_text(part.get("content")) for part in self.messages if part.get("role") == "system")
        return _text(self.json.get(name))

    def tool_results(self) -> list[dict[str, Any]]:
        """The tool messages after the last assistant message."""
        messages = self.messages
        asked = max((n for n, message in enumerate(messages) if message.get("role") == "assistant"), default=-1)
        return [message for message in messages[asked + 1 :] if message.get("role") == "tool"]


def _text(content: Any) -> str:
    """A content as one text; parts that are no text as JSON."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return compact(content)
    return "".join(str(part["text"]) if "text" in part else compact(part) for part in objects(content))


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
