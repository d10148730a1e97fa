"""Checks the arguments of tool calls against the schemas of their tools."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from langchain_core.messages import ToolCall
from langchain_core.tools import BaseTool
from langchain_core.utils.pydantic import get_fields
from pydantic import AliasChoices, AliasPath

from langchain_kimi._json_schema import SchemaCheck

_DO_NOT_FIT = "The arguments of {name} do not fit its schema"
_INVALID = f"{_DO_NOT_FIT}, so it was not run. {{reasons}} Call it again with other arguments."
_WRONG_EDIT = f"{_DO_NOT_FIT}. {{reasons}}"

_FURTHER_ARGUMENTS = {
    *("additionalProperties", "patternProperties", "unevaluatedProperties", "dependentSchemas"),
    *("allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef"),
}
"""Keywords beside `properties` that say which further arguments a JSON Schema allows."""


class ArgumentChecks:
    """Checks the arguments of calls: the model's before they run, a person's when they are given."""

    def __init__(self, tools: Mapping[str, BaseTool]) -> None:
        self._tools = tools
        self._json_schemas = {
            name: SchemaCheck(f"the tool {name}", tool.args_schema)
            for name, tool in tools.items()
            if isinstance(tool.args_schema, dict)
        }

    def invalid(self, call: ToolCall) -> str | None:
        """Why the arguments of a call do not fit, in words for the model; None where they do.

        Only for tools that are declared by a JSON Schema, such as all tools of MCP servers: LangChain validates the
        arguments of tools with a pydantic schema.
        """
        check = self._json_schemas.get(call["name"])
        reasons = check.reasons(call["args"]) if check else None
        return reasons and _INVALID.format(name=call["name"], reasons=reasons)

    def wrong_edit(self, call: ToolCall) -> str | None:
        """Why a person may not give a call these arguments; None where they may.

        Arguments that the tool does not declare are wrong too, unless its schema allows them: LangChain would drop
        them without a word.
        """
        schema, name, args = self._tools[call["name"]].args_schema, call["name"], call["args"]
        if schema is None:
            return None
        if isinstance(schema, dict):
            fault = self._json_schemas[name].reasons(args)
            known = _properties(schema)
            reasons = [fault] if fault else []
        else:
            known = _arguments(self._tools[name])
            reasons = list(_faults(schema, args, known))
            if _allows_extra(schema):
                known = None
        surplus = [] if known is None else [argument for argument in args if argument not in known]
        names = ", ".join(known or ()) or "none"
        reasons += [f"`{argument}`: There is no such argument; the arguments are: {names}." for argument in surplus]
        return _WRONG_EDIT.format(name=name, reasons=" ".join(reasons)) if reasons else None


def _properties(schema: Mapping[str, Any]) -> list[str] | None:
    """The arguments that a JSON Schema declares; None where it says which others it allows, or declares none."""
    declared = schema.get("properties")
    return list(declared) if isinstance(declared, Mapping) and not _FURTHER_ARGUMENTS & schema.keys() else None


def _arguments(tool: BaseTool) -> list[str]:
    """The arguments that a call of a tool with a pydantic schema may have, aliases included, injected ones not."""
    schema: Any = tool.args_schema
    shown: Any = tool.tool_call_schema
    fields = get_fields(schema)
    return list(dict.fromkeys(name for field in get_fields(shown) for name in _names(field, fields[field])))


def _names(name: str, field: Any) -> Iterator[str]:
    yield name
    alias = getattr(field, "validation_alias", None) or field.alias
    for one in alias.choices if isinstance(alias, AliasChoices) else [alias]:
        own = one.path[0] if isinstance(one, AliasPath) else one
        if isinstance(own, str):
            yield own


def _faults(schema: Any, args: Mapping[str, Any], known: list[str]) -> Iterator[str]:
    """What pydantic has against the arguments; those that are injected later are not there yet."""
    try:
        (getattr(schema, "model_validate", None) or schema.parse_obj)(deepcopy(dict(args)))
    except ValueError as error:  # a ValidationError of pydantic, of either generation
        for fault in getattr(error, "errors")():  # noqa: B009
            place = [str(step) for step in fault["loc"]]
            if not place or place[0] == "__root__":
                yield f"{fault['msg'].removesuffix('.')}."
            elif place[0] in known:
                yield f"`{'.'.join(place)}`: {fault['msg'].removesuffix('.')}."


def _allows_extra(schema: Any) -> bool:
    """Whether a pydantic schema allows arguments that it does not declare."""
    config = getattr(schema, "model_config", None)
    return bool((config.get("extra") if config is not None else schema.__config__.extra) == "allow")
