"""Tools as Kimi declares them: legal names, legal schemas, and a report of what was changed for that."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any

import orjson
from langchain_core.messages import BaseMessage, SystemMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from langchain_kimi._redaction import escape_controls
from langchain_kimi._rules.tools import MAX_TOOLS
from langchain_kimi._schema import Change, normalise
from langchain_kimi._surrogates import replaced, replaced_in
from langchain_kimi.errors import IllegalRequestError, warn
from langchain_kimi.tokens import count_tools

logger = logging.getLogger("langchain_kimi")

DYNAMIC_TOOLS = "tools"
"""The key in a system message's `additional_kwargs` that holds dynamic tools, in OpenAI's format."""
SURROGATES = "surrogates"
"""The rule of the change by which lone surrogates in a tool's declaration were replaced."""

_LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_MAX_NAME = 64
"""Characters; newer documents allow 128, older servers took 64."""
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


@lru_cache(maxsize=4096)
def wire_name(name: str) -> str:
    """The tool's name on the wire: the name itself where it is legal, else letters, digits and a hash of the original.

    It depends on the name alone, so a name is the same in every request, whatever other tools there are. Names of
    Kimi's own functions, which begin with `$`, and the empty name stay as they are.
    """
    name = replaced(name)
    if not name or name.startswith("$") or _LEGAL_NAME.fullmatch(name):
        return name
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    if not readable[:1].isalpha():
        readable = f"tool_{readable}".rstrip("_")
    digest = sha256(name.encode()).hexdigest()[:8]
    return f"{readable[: _MAX_NAME - len(digest) - 1]}_{digest}"


def renamed_tools(names: Iterable[str]) -> dict[str, str]:
    """The user's names by the names on the wire, for those names that differ."""
    return {wire_name(name): name for name in names if wire_name(name) != name}


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
    changed = Change("", SURROGATES, "half a character, which cannot be sent, became U+FFFD")
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
        return count_tools([tool.wire for tool in self.declared])

    @cached_property
    def declared(self) -> list[Declared]:
        """Every tool as Kimi takes it."""
        return [declare(tool) for tool in self]


# Dynamic tools: tools that join a conversation in its middle, in a system message of their own. The K3 family reads
# them there. What was sent before stays as it is, and so does Kimi's cache of it. Kimi remembers none of them: the
# message stays in the transcript like any other.


def dynamic_tools_message(tools: Sequence[Tool], *, strict: bool | None = None) -> SystemMessage:
    """A system message that adds tools, in any form that `bind_tools` takes; append it where the tools join.

    It holds plain values, so that checkpointers can store it. Only the K3 family takes it; every name may be declared
    once in a request. A tool whose schema cannot be made legal is left out with a `KimiWarning`; where none is left,
    raises IllegalRequestError.
    """
    encoded = Tools.of(tools, strict=strict)
    legal = [tool for tool, declared in zip(encoded, encoded.declared, strict=True) if not declared.problems]
    for declared in encoded.declared:
        for path, words in declared.problems[:1]:
            warn(
                f"tool {declared.name!r}: Kimi would refuse its schema at {path or 'root'!r}: {words}. It is left out."
            )
    if not legal:
        raise IllegalRequestError("A message with dynamic tools needs at least one tool that Kimi takes.")
    return SystemMessage("", additional_kwargs={DYNAMIC_TOOLS: legal})


def has_dynamic_tools(message: BaseMessage) -> bool:
    """Whether it is a system message that declares tools, which it does instead of having content."""
    tools = message.additional_kwargs.get(DYNAMIC_TOOLS) if isinstance(message, SystemMessage) else None
    return bool(tools) and isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)


def dynamic_tools(message: BaseMessage) -> list[Declared]:
    """The dynamic tools of a message as Kimi takes them; none for any other message."""
    return [declare(tool) for tool in message.additional_kwargs[DYNAMIC_TOOLS]] if has_dynamic_tools(message) else []
