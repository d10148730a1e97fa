"""One model for langchain-tests: what it answers follows from the request alone."""

import json
import re
from typing import Any

from langchain_kimi.testing import Reply, Request, called, said


def reply(request: Request, *, calls_on_auto: bool = True) -> Reply:
    """An answer as a willing model gives it: JSON to the schema, a call where one is due, else words.

    With `calls_on_auto` False the model talks where it may, as a model does that is not forced.
    """
    asked = last_user_text(request)
    wanted = request.json.get("response_format", {})
    if wanted.get("type") == "json_schema":
        return said(json.dumps(sample(wanted["json_schema"]["schema"], asked)), thinking="The schema decides.")
    if wanted.get("type") == "json_object":
        keys = re.findall(r"['\"](\w+)['\"]", asked)
        return said(json.dumps(dict.fromkeys(keys, "ha")), thinking="Only JSON.")
    choice = request.json.get("tool_choice", "auto")
    may_call = bool(request.tools) and choice != "none" and not request.tool_results()
    if not may_call or (choice == "auto" and not calls_on_auto):
        return said("Here you are.", thinking="Words will do.")
    named = choice["function"]["name"] if isinstance(choice, dict) else request.tools[0]["name"]
    function = next(tool for tool in request.tools if tool["name"] == named)
    given = sample(function["parameters"], asked) if "parameters" in function else {"query": asked}  # Kimi's own search
    return called(named, **given).thinking("" if named.startswith("$") else "A tool is the way.")


def last_user_text(request: Request) -> str:
    """What the user said last."""
    content = next(m["content"] for m in reversed(request.messages) if m["role"] == "user")
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def sample(schema: dict[str, Any], asked: str) -> Any:
    """A value that fits the schema; numbers and quoted names are taken from the question."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], asked)
    kind = schema.get("type", "string")
    if kind == "object":
        return {key: sample(value, asked) for key, value in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample(schema.get("items", {}), asked)]
    if kind in ("integer", "number"):
        return int((re.findall(r"\d+", asked) or ["1"])[0])
    if kind == "boolean":
        return True
    quoted = re.findall(r"'([^']+)'", asked)
    return quoted[0] if quoted else "a word"
