"""`$web_search`, the search that is built into Kimi: the model calls it, and its arguments are sent back unchanged."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, InjectedToolArg
from pydantic import BaseModel, Field

from langchain_kimi._raw_calls import parse_arguments, raw_calls
from langchain_kimi.tools.fees import areport_fee, report_fee

NAME = "$web_search"


class WebSearch(BaseTool):
    """Kimi's builtin search as a tool: running it is sending the arguments back, and Kimi does the rest.

    In a LangGraph agent the arguments go back byte for byte; where no calling message is at hand they are written anew.
    """

    name: str = NAME
    description: str = "Searches the web on Kimi's side."
    args_schema: Any = Field(default={"type": "object", "properties": {}})
    kimi_declaration: ClassVar[Mapping[str, Any]] = {"type": "builtin_function", "function": {"name": NAME}}
    """What is declared to Kimi instead of a schema."""

    def get_input_schema(self, config: Any = None) -> type[BaseModel]:
        """What LangGraph reads to know that the tool wants its runtime."""
        return _WithRuntime

    def _run(self, /, runtime: Annotated[Any, InjectedToolArg] = None, **arguments: Any) -> str:
        report_fee(NAME)
        return _echo(arguments, runtime)

    async def _arun(self, /, runtime: Annotated[Any, InjectedToolArg] = None, **arguments: Any) -> str:
        await areport_fee(NAME)
        return _echo(arguments, runtime)


def web_search() -> BaseTool:
    """Kimi's builtin `$web_search`, to be bound beside ordinary tools: `create_kimi_agent(model, [web_search(), …])`.

    K2 models cannot think in a request that declares it: kimi-k2.6 then answers without thinking, with one
    `KimiWarning`; if thinking was set explicitly, or the model always thinks, IllegalRequestError is raised.
    `formula_tools("moonshot/web-search:latest", model=model)` has no such limit. Each search has a fee, which a
    `UsageMeter` counts.
    """
    return WebSearch()


class _WithRuntime(BaseModel):
    runtime: Annotated[Any, InjectedToolArg] = None


def _echo(arguments: Mapping[str, Any], runtime: Any) -> str:
    """The arguments as Kimi wrote them, where the message that called is known and nobody changed them since."""
    call_id = getattr(runtime, "tool_call_id", None)
    for message in reversed(_messages(runtime)):
        for call in raw_calls(message) if isinstance(message, AIMessage) else ():
            if call["id"] == call_id and call["name"] == NAME and _same(call["arguments"], arguments):
                return call["arguments"]
    return json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))


def _messages(runtime: Any) -> Sequence[Any]:
    state = getattr(runtime, "state", None)
    messages = state.get("messages") if isinstance(state, Mapping) else getattr(state, "messages", state)
    return messages if isinstance(messages, Sequence) else ()


def _same(written: str, arguments: Mapping[str, Any]) -> bool:
    try:
        return parse_arguments(written) == arguments
    except ValueError:
        return False
