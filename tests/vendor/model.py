"""A scripted model for Moonshot's verifier: it calls the tools that fit, obeys schemas, and knows its effort."""

import re
from typing import Any

from langchain_kimi.testing import Reply, Request, called, said, shaped
from langchain_kimi.testing.script.schema_replies import example_of

_SENTENCES = {"low": 1, "high": 4, "max": 16}
"""How long the model thinks by its effort."""
_ASKS_FOR_TOOLS = "应当使用工具"
"""The verifier's words for "you should use a tool"."""


def answer(request: Request) -> Reply:
    """The reply to one request of the verifier."""
    effort = effective_effort(request)
    thinking = "The question has to be read twice. " * _SENTENCES.get(effort, 1)
    text = request.text_of("user")
    choice = request.json.get("tool_choice")
    if request.offered_tools and (choice == "required" or (choice != "none" and _ASKS_FOR_TOOLS in text)):
        tool = fitting_tool(request.offered_tools, text)
        return called(tool["name"], **example_of(tool["parameters"])).thinking(thinking)
    wanted = request.json.get("response_format") or {}
    if wanted.get("type", "text") != "text":
        named_keys = re.findall(r"'(\w+)'", text) if wanted["type"] == "json_object" else []
        return shaped(thinking=thinking, **dict.fromkeys(named_keys, "Beijing"))
    return said(effort if "thinking_effort" in text else "OK, 好的。", thinking=thinking)


def effective_effort(request: Request) -> str:
    """The effort that counts: the verifier gives `thinking.effort` precedence over `reasoning_effort`."""
    thinking = request.json.get("thinking") or {}
    return str(thinking.get("effort") or request.json.get("reasoning_effort") or "max")


def fitting_tool(tools: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """The tool with the most words of its name in the text; the first where none has any."""
    return max(tools, key=lambda tool: sum(word in text for word in tool["name"].split("_")))
