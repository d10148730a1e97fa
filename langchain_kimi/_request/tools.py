"""Tools as Kimi declares them: legal names, legal schemas, and a report of what was changed for that."""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import orjson
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from langchain_kimi._redaction import escape_controls
from langchain_kimi._request.names import wire_name
from langchain_kimi._rules.tools import MAX_TOOLS
from langchain_kimi._schema import Change, normalise
from langchain_kimi._surrogates import replaced_in
from langchain_kimi.errors import IllegalRequestError
from langchain_kimi.tokens import count_json

logger = logging.getLogger("langchain_kimi")

_REFERENCE = re.compile(r"'#/\$defs/([^']*)'")

Tool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool


@dataclass(frozen=True, slots=True)
class Declared:
    """A tool as it is declared to Kimi."""

    name: str
    """The user's name of it."""
    wire: Mapping[str, Any]
    """The declaration on the wire."""
    changes: tuple[Change, ...] = ()
    """What was changed in its schema."""
    problems: tuple[tuple[str, str], ...] = ()
    """What makes it unusable: JSON path in the schema, and Kimi's words."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of its arguments on the wire; empty where it has none."""
        function = self.wire.get("function")
        parameters = function.get("parameters") if isinstance(function, dict) else None
        return parameters if isinstance(parameters, dict) else {}

    def __str__(self) -> str:
        sent = self.wire.get("function", {}).get("name", self.name)
        head = self.name if sent == self.name else f"{self.name} (sent as {sent})"
        lines = [f"  {path or 'root'}: refused: {words}" for path, words in self.problems]
        lines += [f"  {change.path or 'root'}: {change.rule}: {change.detail}" for change in self.changes]
        return "\n".join(map(escape_controls, [head, *lines]))


def encode_tool(tool: Tool, *, strict: bool | None = None) -> dict[str, Any]:
    """A function, pydantic class, TypedDict, BaseTool or OpenAI-format dict in OpenAI's format, with the user's name.

    Kimi's own `builtin_function` tools pass as they are, also where a tool has one as its
    `kimi_declaration`. A tool without parameters gets an empty object schema.
    """
    own = getattr(tool, "kimi_declaration", tool)
    if isinstance(own, Mapping) and own.get("type") == "builtin_function":
        return dict(own)
    declared: dict[str, Any] = convert_to_openai_tool(tool, strict=strict)
    if declared.get("type") == "function":
        whole = recursive_schema(tool.tool_call_schema if isinstance(tool, BaseTool) else tool)
        parameters = whole or declared["function"].get("parameters") or {"type": "object", "properties": {}}
        return {**declared, "function": {**declared["function"], "parameters": parameters}}
    return declared


def recursive_schema(source: object) -> dict[str, Any] | None:
    """The schema of a pydantic class that contains itself, which LangChain's conversion cuts off; None for others."""
    if not (isinstance(source, type) and issubclass(source, BaseModel)):
        return None
    schema = source.model_json_schema()
    definitions = schema.get("$defs", {})
    leads_to = {name: set(_REFERENCE.findall(str(body))) for name, body in definitions.items()}
    for _ in definitions:
        leads_to = {name: names.union(*(leads_to.get(far, set()) for far in names)) for name, names in leads_to.items()}
    if not any(name in names for name, names in leads_to.items()):
        return None
    return {key: value for key, value in schema.items() if key not in ("title", "description")}


def declare(tool: Mapping[str, Any]) -> Declared:
    """A tool in OpenAI's format as Kimi takes it; equal tools are worked out once."""
    try:
        return _declare(orjson.dumps(tool))
    except TypeError:
        if (clean := replaced_in(tool)) is tool:
            raise
    declared = _declare(orjson.dumps(clean))
    changed = Change("", "surrogates", "half a character, which cannot be sent, became U+FFFD")
    return replace(declared, name=name_of(tool), changes=(*declared.changes, changed))


@lru_cache(maxsize=2048)
def _declare(encoded: bytes) -> Declared:
    tool = orjson.loads(encoded)
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        return Declared(name_of(tool), tool)
    name, parameters = str(function.get("name", "")), function.get("parameters")
    legal = {**function, "name": wire_name(name)}
    if not isinstance(parameters, dict):
        return Declared(name, {**tool, "function": legal})
    outcome = normalise(parameters)
    for change in outcome.changes:
        logger.debug("tool %s: %s: %s: %s", name, change.path or "root", change.rule, change.detail)
    wire = {**tool, "function": legal | {"parameters": outcome.schema}}
    return Declared(name, wire, outcome.changes, outcome.problems)


def name_of(tool: Mapping[str, Any]) -> str:
    """The name under which the model calls a tool in OpenAI's format."""
    function = tool.get("function")
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""


class Tools(list[dict[str, Any]]):
    """Tools in OpenAI's format, worked out for Kimi once, however many requests they are bound to."""

    @classmethod
    def of(cls, tools: Sequence[Tool], *, strict: bool | None = None) -> "Tools":
        """The tools in OpenAI's format. Raises IllegalRequestError where there are more than a request can hold."""
        own = cls(encode_tool(tool, strict=strict) for tool in tools)
        if len(own) > MAX_TOOLS:
            raise IllegalRequestError(
                f"{len(own)} tools: Kimi takes at most {MAX_TOOLS} in a request. Leave some out, choose them for each "
                "request (`select_tools` of an agent), or split them over several agents."
            )
        return own

    @cached_property
    def tokens(self) -> int:
        """An estimate of the tokens of all declarations."""
        return count_json(orjson.dumps([tool.wire for tool in self.declared]))

    @cached_property
    def declared(self) -> list[Declared]:
        """Every tool as Kimi takes it."""
        return [declare(tool) for tool in self]
