"""Checks the arguments of tool calls against the schemas of their tools."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from langchain_core.messages import ToolCall
from langchain_core.tools import BaseTool
from langchain_core.utils.pydantic import get_fields
from pydantic import AliasChoices, AliasPath

from langchain_kimi._json_schema import SchemaCheck

_MISMATCH = "The arguments of {name} do not fit its schema"
_INVALID = f"{_MISMATCH}, so it was not run. {{reasons}} Call it again with other arguments."
_INVALID_EDIT = f"{_MISMATCH}. {{reasons}}"

_FURTHER_ARGUMENTS = {
    *("additionalProperties", "patternProperties", "unevaluatedProperties", "dependentSchemas"),
    *("allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef"),
}
"""Keywords beside `properties` that say which further arguments a JSON Schema allows."""


class ArgumentChecks:
    """Checks the arguments of calls: the model's before they run, and a person's edits when they arrive."""

    def __init__(self, tools: Mapping[str, BaseTool]) -> None:
        self._tools = tools
        self._json_schemas = {
            name: SchemaCheck(f"the tool {name}", tool.args_schema)
            for name, tool in tools.items()
            if isinstance(tool.args_schema, dict)
        }

    def invalid(self, call: ToolCall) -> str | None:
        """The reason for which the arguments of a call do not fit its schema, as text for the model, or None.

        This checks only tools with a JSON Schema, such as all tools of MCP servers. LangChain validates the arguments
        of tools with a pydantic schema.
        """
        check = self._json_schemas.get(call["name"])
        reasons = check.reasons(call["args"]) if check else None
        return reasons and _INVALID.format(name=call["name"], reasons=reasons)

    def invalid_edit(self, call: ToolCall) -> str | None:
        """The reason for which a person cannot change a call to these arguments, or None.

        Arguments that the tool does not declare are refused too, unless its schema allows them, because LangChain would
        drop them silently.
        """
        schema, name, args = self._tools[call["name"]].args_schema, call["name"], call["args"]
        if schema is None:
            return None
        if isinstance(schema, dict):
            mismatch = self._json_schemas[name].reasons(args)
            known = _properties(schema)
            reasons = [mismatch] if mismatch else []
        else:
            known = _arguments(self._tools[name])
            reasons = list(_pydantic_errors(schema, args, known))
            if _allows_extra(schema):
                known = None
        surplus = [] if known is None else [argument for argument in args if argument not in known]
        names = ", ".join(known or ()) or "none"
        reasons += [f"`{argument}`: There is no such argument; the arguments are: {names}." for argument in surplus]
        return _INVALID_EDIT.format(name=name, reasons=" ".join(reasons)) if reasons else None


def _properties(schema: Mapping[str, Any]) -> list[str] | None:
    """The arguments that a JSON Schema declares; None if it declares none or says which others it allows."""
    declared = schema.get("properties")
    return list(declared) if isinstance(declared, Mapping) and not _FURTHER_ARGUMENTS & schema.keys() else None


def _arguments(tool: BaseTool) -> list[str]:
    """The arguments of a tool with a pydantic schema, with their aliases and without injected arguments."""
    schema: Any = tool.args_schema
    declared: Any = tool.tool_call_schema
    fields = get_fields(schema)
    return list(dict.fromkeys(name for field in get_fields(declared) for name in _names(field, fields[field])))


def _names(name: str, field: Any) -> Iterator[str]:
    yield name
    alias = getattr(field, "validation_alias", None) or field.alias
    for one in alias.choices if isinstance(alias, AliasChoices) else [alias]:
        own = one.path[0] if isinstance(one, AliasPath) else one
        if isinstance(own, str):
            yield own


def _pydantic_errors(schema: Any, args: Mapping[str, Any], known: list[str]) -> Iterator[str]:
    """Pydantic's errors for the arguments, without those for arguments that are injected later."""
    try:
        (getattr(schema, "model_validate", None) or schema.parse_obj)(deepcopy(dict(args)))
    except ValueError as error:  # a ValidationError of pydantic, of either generation
        for mismatch in getattr(error, "errors")():  # noqa: B009
            path = [str(step) for step in mismatch["loc"]]
            if not path or path[0] == "__root__":
                yield f"{mismatch['msg'].removesuffix('.')}."
            elif path[0] in known:
                yield f"`{'.'.join(path)}`: {mismatch['msg'].removesuffix('.')}."


def _allows_extra(schema: Any) -> bool:
    """Whether a pydantic schema allows arguments that it does not declare."""
    config = getattr(schema, "model_config", None)
    return bool((config.get("extra") if config is not None else schema.__config__.extra) == "allow")
