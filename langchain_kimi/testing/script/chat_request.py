"""`Request`: a chat request as the fake API received it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from langchain_kimi.testing.serialization import compact_json, dicts_in


@dataclass(frozen=True, eq=False)
class Request:
    """One chat request as it was received.

    `headers` have lower-case names and masked secrets, `body` holds the raw bytes, `number` counts the requests from 1
    in order of arrival.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    number: int

    @cached_property
    def json(self) -> dict[str, Any]:
        """The parsed body. Raises `ValueError` if it is not a JSON object."""
        parsed = json.loads(self.body, parse_constant=_reject_constant)
        if not isinstance(parsed, dict):
            raise ValueError("the body is not a JSON object")
        return parsed

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the conversation."""
        return dicts_in(self.json.get("messages"))

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The declared functions, each with its name, description and parameters."""
        return dicts_in([tool.get("function") for tool in dicts_in(self.json.get("tools"))])

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """`tools`, then those that system messages declare for models of the K3 family."""
        dynamic = [tool for message in self.messages for tool in dicts_in(message.get("tools"))]
        return self.tools + dicts_in([tool.get("function") for tool in dynamic])

    @property
    def model(self) -> str:
        """The name of the requested model."""
        return str(self.json.get("model") or "")

    @property
    def stream(self) -> bool:
        """Whether the response is streamed."""
        return self.json.get("stream") is True

    @property
    def last(self) -> dict[str, Any]:
        """The last message; an empty dict if there are no messages."""
        return self.messages[-1] if self.messages else {}

    @property
    def summary(self) -> str:
        """A short description of the request for error texts."""
        try:
            messages = self.messages
        except (ValueError, RecursionError):
            return f"no JSON object: {self.body[:200]!r}"
        has_user = any(message.get("role") == "user" for message in messages)
        text = f"{self.text_of('user')[:200]!r}" if has_user else "no user message"
        results = [_content_text(result.get("content"))[:80] for result in self.tool_results()]
        return f"{text}, with tool results {results}" if results else text

    def text_of(self, name: str) -> str:
        """The text of one part of the request: `user`, `tool`, `system`, or the name of a field."""
        if name == "user":
            user_messages = [message for message in self.messages if message.get("role") == "user"]
            return _content_text(user_messages[-1].get("content")) if user_messages else ""
        if name == "tool":
            return "\n".join(_content_text(result.get("content")) for result in self.tool_results())
        if name == "system":
            system_messages = [message for message in self.messages if message.get("role") == "system"]
            return "\n".join(_content_text(message.get("content")) for message in system_messages)
        return _content_text(self.json.get(name))

    def tool_results(self) -> list[dict[str, Any]]:
        """The tool messages after the last assistant message."""
        messages = self.messages
        last = max((n for n, message in enumerate(messages) if message.get("role") == "assistant"), default=-1)
        return [message for message in messages[last + 1 :] if message.get("role") == "tool"]


def _content_text(content: Any) -> str:
    """A message content as one text; blocks other than text are written as JSON."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return compact_json(content)
    return "".join(str(block["text"]) if "text" in block else compact_json(block) for block in dicts_in(content))


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
