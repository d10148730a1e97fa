"""Replies that the request completes: JSON for its schema, and the continuation of a partial-mode message."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import Reply
from langchain_kimi.testing.serialization import compact_json

_OPTIONAL_DEPTH = 4
"""Levels down to which optional properties and list items are generated; a schema may contain itself."""
_MAX_DEPTH = 40


def shaped(*, thinking: str | None = None, **values: Any) -> Reply:
    """A reply with an object that fits the schema of the request; `values` replace its properties.

    The schema is that of `response_format`, else that of the tool that `tool_choice` forces; the reply then calls the
    tool. Strings are the word "text", numbers the least allowed. For `json_object` the object is `values`.
    """

    def complete(reply: Reply, request: Request) -> Reply:
        response_format = request.json.get("response_format") or {}
        if response_format.get("type") == "json_object":
            return replace(reply, text=compact_json(values))
        if response_format.get("type") == "json_schema":
            return replace(reply, text=compact_json(_object(response_format["json_schema"]["schema"], values)))
        name, schema = _forced_tool(request)
        return reply.calling(name, **_object(schema, values))

    return Reply(reasoning=thinking, complete=complete)


def continued(text: str, *, thinking: str | None = None) -> Reply:
    """A reply in partial mode: the part of `text` that follows the prefix in the request's last message."""

    def complete(reply: Reply, request: Request) -> Reply:
        prefix = request.last.get("content") if request.last.get("partial") is True else None
        if not isinstance(prefix, str) or not text.startswith(prefix):
            raise ValueError(f"the text {text[:80]!r} does not continue the prefix of the request, which is {prefix!r}")
        return replace(reply, text=text[len(prefix) :])

    return Reply(reasoning=thinking, complete=complete)


def example_of(schema: Mapping[str, Any]) -> Any:
    """A small value that a JSON Schema of Moonshot's flavour allows. Raises ValueError if there is none."""
    return _example(schema, schema, 0)


def _object(schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    example = example_of(schema)
    if not isinstance(example, dict):
        raise ValueError(f"the schema does not describe an object; an example of it is {example!r}")
    return {**example, **values}


def _forced_tool(request: Request) -> tuple[str, Mapping[str, Any]]:
    """Name and parameters of the tool that the request forces."""
    choice = request.json.get("tool_choice")
    name = choice["function"]["name"] if isinstance(choice, dict) else None
    tools = [tool for tool in request.offered_tools if name in (None, tool["name"])]
    if choice in (None, "auto", "none") or not tools:
        raise ValueError("the request asks for no JSON: it has neither a response_format nor a forced tool")
    return tools[0]["name"], tools[0]["parameters"]


def _example(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("the schema refers to itself without an end")
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
        least = schema.get("minItems", int(depth < _OPTIONAL_DEPTH and schema.get("maxItems", 1) > 0))
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
        if name in required or depth < _OPTIONAL_DEPTH
    }


def _branch(branches: list[Mapping[str, Any]], root: Mapping[str, Any], depth: int) -> Any:
    """The first branch; below `_OPTIONAL_DEPTH`, `null` if that is a branch."""
    null = {"type": "null"}
    return _example(null if depth >= _OPTIONAL_DEPTH and null in branches else branches[0], root, depth + 1)


def _target(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    node: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        node = node[name.replace("~1", "/").replace("~0", "~")] if name else node
    return node if isinstance(node, Mapping) else {}
