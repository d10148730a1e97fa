"""Replies that are completed by the request: JSON made to its schema, and the rest of an answer that it begins."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import Reply
from langchain_kimi.testing.script.wire_json import compact

_DEEP = 4
"""Levels down to which optional properties and list items are made; a schema may contain itself."""
_DEEPEST = 40


def shaped(*, thinking: str | None = None, **values: Any) -> Reply:
    """A reply with an object made to the schema that the request asks for; `values` replace its properties.

    The schema is that of `response_format`, else of the tool that `tool_choice` forces, which is called then. Text is
    the word "text", numbers are the least allowed. With `json_object` the object is `values`.
    """

    def fit(reply: Reply, request: Request) -> Reply:
        wanted = request.json.get("response_format") or {}
        if wanted.get("type") == "json_object":
            return replace(reply, text=compact(values))
        if wanted.get("type") == "json_schema":
            return replace(reply, text=compact(_object(wanted["json_schema"]["schema"], values)))
        name, schema = _forced(request)
        return reply.calling(name, **_object(schema, values))

    return Reply(reasoning=thinking, fit=fit)


def continued(text: str, *, thinking: str | None = None) -> Reply:
    """A reply to partial mode: of the whole `text`, what follows the beginning that the request gives."""

    def fit(reply: Reply, request: Request) -> Reply:
        beginning = request.last.get("content") if request.last.get("partial") is True else None
        if not isinstance(beginning, str) or not text.startswith(beginning):
            raise ValueError(f"the request begins {text[:80]!r} with {beginning!r}")
        return replace(reply, text=text[len(beginning) :])

    return Reply(reasoning=thinking, fit=fit)


def example_of(schema: Mapping[str, Any]) -> Any:
    """A small value that a JSON Schema of Moonshot's flavour allows. Raises ValueError where it finds none."""
    return _example(schema, schema, 0)


def _object(schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    made = example_of(schema)
    if not isinstance(made, dict):
        raise ValueError(f"the schema asks for {made!r}, which is no object")
    return {**made, **values}


def _forced(request: Request) -> tuple[str, Mapping[str, Any]]:
    """Name and parameters of the tool that the request forces."""
    choice = request.json.get("tool_choice")
    wanted = choice["function"]["name"] if isinstance(choice, dict) else None
    tools = [tool for tool in request.tools if wanted in (None, tool["name"])]
    if choice in (None, "auto", "none") or not tools:
        raise ValueError("the request asks for no JSON: neither response_format nor a forced tool")
    return tools[0]["name"], tools[0]["parameters"]


def _example(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("the schema never ends")
    if "$ref" in schema:
        return _example(_target(schema["$ref"], root), root, depth + 1)
    for key in ("enum", "anyOf"):
        if schema.get(key):
            return schema["enum"][0] if key == "enum" else _branch(schema["anyOf"], root, depth)
    if "default" in schema:
        return schema["default"]
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return _properties(schema, root, depth)
    if kind == "array":
        least = schema.get("minItems", int(depth < _DEEP and schema.get("maxItems", 1) > 0))
        return [_example(schema.get("items") or {"type": "string"}, root, depth + 1) for _ in range(least)]
    if kind == "string":
        text = "text".ljust(schema.get("minLength", 0), ".")
        return text[: schema.get("maxLength", len(text))]
    if kind in ("integer", "number"):
        return schema.get("minimum", min(1, schema.get("maximum", 1)))
    return {"boolean": True, "null": None}[kind]


def _properties(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    required = schema.get("required", ())
    return {
        name: _example(inner, root, depth + 1)
        for name, inner in schema.get("properties", {}).items()
        if name in required or depth < _DEEP
    }


def _branch(branches: list[Mapping[str, Any]], root: Mapping[str, Any], depth: int) -> Any:
    """The first branch, or deep down `null` where that is one."""
    last = {"type": "null"}
    return _example(last if depth >= _DEEP and last in branches else branches[0], root, depth + 1)


def _target(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        found = found[name.replace("~1", "/").replace("~0", "~")] if name else found
    return found if isinstance(found, Mapping) else {}
