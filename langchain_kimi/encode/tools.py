"""Tools as Kimi declares them."""

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

Tool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool


def encode_tool(tool: Tool, *, strict: bool | None = None) -> dict[str, Any]:
    """The declaration of a function, pydantic class, TypedDict, BaseTool or OpenAI-format dict.

    Kimi's own `builtin_function` tools pass as they are. A tool without parameters gets an empty object schema.
    """
    if isinstance(tool, Mapping) and tool.get("type") == "builtin_function":
        return dict(tool)
    declared: dict[str, Any] = convert_to_openai_tool(tool, strict=strict)
    if declared.get("type") == "function" and not declared["function"].get("parameters"):
        declared["function"]["parameters"] = {"type": "object", "properties": {}}
    return declared


def name_of(tool: Mapping[str, Any]) -> str:
    """The name under which the model calls a declared tool."""
    function = tool.get("function")
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""
