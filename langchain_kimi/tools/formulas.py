"""Formula tools, which Moonshot hosts and runs: date, web search, fetch, a code runner and others.

Their definitions come from the server; a call posts its arguments there, and what comes back goes to the model as it
is, also where it is encrypted for the model's eyes only.
"""

import json
import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, ToolException
from pydantic import PrivateAttr

from langchain_kimi import _endpoints as endpoints
from langchain_kimi._http import ApiRequest, Connections, Transport, transport_of
from langchain_kimi._steps import Steps, arun_steps, run_steps
from langchain_kimi.catalogue import OFFICIAL_TOOLS
from langchain_kimi.errors import IllegalRequestError, KimiError, NotFoundError, warn
from langchain_kimi.tools.fees import areport_fee, report_fee

Definitions: TypeAlias = Sequence[Mapping[str, Any]]

_definitions: WeakKeyDictionary[Connections, dict[tuple[str, str], Definitions]] = WeakKeyDictionary()
"""What was loaded by base URL and uri. Two threads may load the same at once; both get the same."""


def formula_tools(*uris: str, model: Runnable[Any, Any] | None = None, platform: Any = None) -> list[BaseTool]:
    """The tools of Formulas such as `"moonshot/web-search:latest"`, run on the host and key of `model` or `platform`.

    Their definitions are loaded once per host while a model lives. If some cannot be loaded, a `KimiWarning`
    reports each of them and the others are returned; if none can be loaded, the KimiError of the first is raised. A
    tool with the name of an earlier one gets the name of its Formula before its own.
    """
    transport = _transport(uris, model, platform)
    return _tools(transport, run_steps(_load(transport, uris), transport))


async def aformula_tools(*uris: str, model: Runnable[Any, Any] | None = None, platform: Any = None) -> list[BaseTool]:
    """`formula_tools` for asynchronous use."""
    transport = _transport(uris, model, platform)
    return _tools(transport, await arun_steps(_load(transport, uris), transport))


class FormulaTool(BaseTool):
    """A tool that Moonshot runs. A `UsageMeter` counts its fees; a run that fails is an error result."""

    uri: str
    """The Formula it belongs to."""
    function: str
    """Its name there."""
    handle_tool_error: Any = True

    _transport: Transport = PrivateAttr()

    def __init__(self, transport: Transport, **fields: Any) -> None:
        super().__init__(**fields)
        self._transport = transport

    def _run(self, /, **arguments: Any) -> str:
        try:
            output = self._request(arguments).run(self._transport)
        except KimiError as error:
            raise ToolException(str(error)) from error
        report_fee(self.uri)
        return output

    async def _arun(self, /, **arguments: Any) -> str:
        try:
            output = await self._request(arguments).arun(self._transport)
        except KimiError as error:
            raise ToolException(str(error)) from error
        await areport_fee(self.uri)
        return output

    def _request(self, arguments: Mapping[str, Any]) -> ApiRequest[str]:
        written = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
        return endpoints.run_fiber(self.uri, self.function, written)


def _transport(uris: Sequence[str], model: Runnable[Any, Any] | None, platform: Any) -> Transport:
    if not uris:
        known = ", ".join(f"moonshot/{name}:latest" for name in OFFICIAL_TOOLS)
        raise IllegalRequestError(f"formula_tools needs the uri of at least one Formula. Moonshot's own: {known}.")
    source = model if platform is None else platform
    if source is None or (model is not None and platform is not None):
        raise IllegalRequestError("formula_tools needs model=… or platform=…, whose host and key the tools use.")
    return transport_of(source)


def _load(transport: Transport, uris: Sequence[str]) -> Steps[dict[str, Definitions]]:
    """The definitions of each Formula that can be loaded, in the order of `uris`."""
    loaded: dict[str, Definitions] = {}
    failed: dict[str, KimiError] = {}
    known = _definitions.setdefault(transport.connections, {})
    for uri in dict.fromkeys(uris):
        key = (transport.base_url, uri)
        try:
            if key not in known:
                known[key] = yield from endpoints.formula_definitions(uri)
            loaded[uri] = known[key]
        except KimiError as error:
            failed[uri] = error
    if not loaded:
        raise next(_named(uri, failure) for uri, failure in failed.items())
    for uri, failure in failed.items():
        warn(f"{_named(uri, failure)} The tools of the other Formulas are loaded.")
    return loaded


def _named(uri: str, error: KimiError) -> KimiError:
    """The error with the uri of its Formula."""
    text = f"The Formula {uri!r} cannot be loaded: {str(error).rstrip('.')}."
    if isinstance(error, NotFoundError):
        text += f" Moonshot's own are moonshot/<name>:latest with {', '.join(OFFICIAL_TOOLS)}."
    error.args = (text,)
    return error


def _tools(transport: Transport, loaded: Mapping[str, Definitions]) -> list[BaseTool]:
    tools: dict[str, BaseTool] = {}
    for uri, definitions in loaded.items():
        for definition in definitions:
            function = definition["function"]
            name = next(name for name in _names(uri, function["name"]) if name not in tools)
            tools[name] = FormulaTool(
                transport,
                name=name,
                description=function.get("description") or name,
                args_schema=function.get("parameters") or {"type": "object", "properties": {}},
                uri=uri,
                function=function["name"],
            )
    return list(tools.values())


def _names(uri: str, name: str) -> Generator[str, None, None]:
    """The names that a tool may have, best first."""
    yield name
    formula = re.sub(r"[^A-Za-z0-9]+", "_", uri.partition(":")[0]).strip("_")
    whole = f"{formula}_{name}"
    yield whole
    number = 2
    while True:
        yield f"{whole}_{number}"
        number += 1
