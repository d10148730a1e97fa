"""A model that does what the checks of hosts ask of one, for KimiServer."""

import json
import re
from typing import Any

from langchain_kimi.testing import Reply, Request, said, thought
from langchain_kimi.testing.script.schema_replies import example_of

_REASONING_KEYS = ("reasoning_content", "reasoning", "reasoning_details")


def obedient(request: Request) -> Reply:
    """Calls the tools that are named or forced, fits schemas, and knows the number in its reasoning."""
    reply, text = thought("Let me see."), request.text_of("user")
    if text.startswith("Count"):
        return reply.saying("one, two, three").finish("length")
    if text.startswith("Write"):
        return reply.saying("The lighthouse stood alone. " * 10)
    if schema := _response_schema(request):
        return reply.saying(json.dumps(example_of(schema)))
    if request.last.get("role") == "tool":
        return reply.saying(_number(request) or "It rains.")
    tools = [tool for tool in request.tools if tool["name"] in text or request.json.get("tool_choice") == "required"]
    for tool in tools[:1]:
        for values in _calls(text):
            reply = reply.calling(tool["name"], **{**example_of(tool["parameters"]), **values})
    if tools:
        return reply
    line = re.search(r"Reply with (?:exactly this line and nothing else: )?(.*)", text)
    return reply.saying(line.group(1) if line else "Hello!")


def talkative(request: Request) -> Reply:
    """A model that only talks."""
    return said("I would rather talk.", thinking="Hm.")


def _response_schema(request: Request) -> dict[str, Any] | None:
    wanted = request.json.get("response_format") or {}
    return wanted.get("json_schema", {}).get("schema")


def _calls(text: str) -> list[dict[str, str]]:
    """The arguments of each call that the text asks for."""
    return [{"city": city} for city in ("Oslo", "Bergen") if city in text] if "get_weather" in text else [{}]


def _number(request: Request) -> str | None:
    """The number in the reasoning of the last assistant message."""
    assistant = [message for message in request.messages if message.get("role") == "assistant"][-1]
    reasoning = json.dumps([assistant.get(key) for key in _REASONING_KEYS])
    found = re.search(r"\d{4}", reasoning)
    return found.group() if found else None
