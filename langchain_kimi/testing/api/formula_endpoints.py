"""The Formula tools of the fake API: definitions of the official ones, and runs whose results a test may script.

Names and purposes are those of Moonshot's list of official tools; the schemas are approximations. Nothing is fetched,
searched or run: without a script, `date`, `base64` and `random-choice` work, and the others return a fixed text.
"""

import base64
import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from langchain_kimi.testing.api.http_request import HttpRequest
from langchain_kimi.testing.api.http_response import HttpResponse, invalid_request, json_response, not_found
from langchain_kimi.testing.serialization import compact_json

_BEGIN, _END = "----MOONSHOT ENCRYPTED BEGIN----", "----MOONSHOT ENCRYPTED END----"


@dataclass(frozen=True)
class Fiber:
    """The result of one run of a Formula tool, which Kimi calls a fiber."""

    status: str = "succeeded"
    output: str | None = None
    encrypted_output: str | None = None
    error: str | None = None
    error_at: Literal["top", "context"] = "top"
    """Where the response holds the error: at the top beside `status`, or in the `context`."""


def fiber_succeeded(output: str) -> Fiber:
    """A run that succeeded with this output."""
    return Fiber(output=output)


def fiber_encrypted(output: str) -> Fiber:
    """A run that succeeded with an output that only the model can read; it is sent between Moonshot's markers."""
    sealed = base64.b64encode(output.encode()).decode()
    return Fiber(encrypted_output=f"{_BEGIN}{sealed}{_END}")


def fiber_failed(
    error: str | None = None, *, status: str = "failed", error_at: Literal["top", "context"] = "top"
) -> Fiber:
    """A run that did not succeed; without an `error` the response has no reason."""
    return Fiber(status=status, error=error, error_at=error_at)


FormulaFunction = Callable[[str, dict[str, Any]], Fiber | str]
"""A function from a tool's name and arguments to the result of a run."""

FormulaResult = Fiber | str | Sequence[Fiber | str] | FormulaFunction
"""The results of a formula's runs: always the same, a list in order, or a function. A string is an output."""


@dataclass(frozen=True)
class Formula:
    """A custom formula: its tools in OpenAI's form, and the results of its runs."""

    tools: Sequence[Mapping[str, Any]]
    result: FormulaResult = field(default="ok")


class FormulaEndpoints:
    """The endpoints below `/formulas`. `scripted` maps uris to results or to whole formulas."""

    def __init__(self, scripted: Mapping[str, FormulaResult | Formula]) -> None:
        self._formulas = {uri: Formula(tools, _default_result(uri)) for uri, tools in OFFICIAL_FORMULAS.items()}
        self._results: dict[str, deque[Fiber | str]] = {}
        for uri, entry in scripted.items():
            uri = _full_uri(uri)
            if not isinstance(entry, Formula):
                if uri not in self._formulas:
                    raise ValueError(f"{uri} is not an official formula. Pass a Formula(tools=[…], result=…) for it.")
                entry = Formula(self._formulas[uri].tools, entry)
            self._formulas[uri] = entry

    def tools(self, request: HttpRequest, uri: str) -> HttpResponse:
        """GET /formulas/{uri}/tools."""
        formula = self._formulas.get(_full_uri(uri))
        return json_response({"tools": formula.tools}) if formula else not_found(f"formula {uri} not found")

    def run(self, request: HttpRequest, uri: str) -> HttpResponse:
        """POST /formulas/{uri}/fibers."""
        formula = self._formulas.get(_full_uri(uri))
        if formula is None:
            return not_found(f"formula {uri} not found")
        try:
            name, arguments = request.json.get("name"), request.json.get("arguments")
        except ValueError as error:
            return invalid_request(f"Invalid request: {error}")
        if not isinstance(name, str) or not isinstance(arguments, str):
            return invalid_request("Invalid request: name and arguments are required and must be strings")
        return json_response(_fiber_json(uri, name, arguments, self._result(_full_uri(uri), formula, name, arguments)))

    def _result(self, uri: str, formula: Formula, name: str, arguments: str) -> Fiber:
        if name not in {tool["function"]["name"] for tool in formula.tools}:
            return fiber_failed(f"function {name} not found in {uri}")
        try:
            parsed = json.loads(arguments or "{}")
        except ValueError as error:
            return fiber_failed(f"arguments are no JSON: {error}")
        result = formula.result
        if callable(result):
            result = result(name, parsed if isinstance(parsed, dict) else {})
        elif isinstance(result, Sequence) and not isinstance(result, str):
            left = self._results.setdefault(uri, deque(result))
            if not left:
                raise LookupError(f"no result is left for {uri}")
            result = left.popleft()
        return fiber_succeeded(result) if isinstance(result, str) else result


def is_function(entry: FormulaResult | Formula) -> bool:
    """Whether a function returns the results."""
    return callable(entry.result if isinstance(entry, Formula) else entry)


def _full_uri(uri: str) -> str:
    """The uri with its tag. Kimi's documentation spells one name in two ways."""
    uri = uri if ":" in uri else f"{uri}:latest"
    return uri.replace("code-runner", "code_runner")


def _fiber_json(uri: str, name: str, arguments: str, fiber: Fiber) -> dict[str, Any]:
    context: dict[str, Any] = {"input": compact_json({"name": name, "arguments": arguments})}
    if fiber.output is not None:
        context["output"] = fiber.output
    if fiber.encrypted_output is not None:
        context["encrypted_output"] = fiber.encrypted_output
    if fiber.error is not None and fiber.error_at == "context":
        context["error"] = fiber.error
    fiber_json = {
        "id": f"fiber-{secrets.token_hex(10)}",
        "object": "fiber",
        "created_at": int(time.time()),
        "lambda_id": f"lambda-{secrets.token_hex(10)}",
        "status": fiber.status,
        "context": context,
        "formula": uri,
        "organization_id": "org-4f1d0c2be5a94a6d",
        "project_id": "proj-9a3c51f2d7b84e60",
    }
    return fiber_json | ({"error": fiber.error} if fiber.error is not None and fiber.error_at == "top" else {})


def _tool(name: str, description: str, required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    """A tool definition. A property is a description or a whole schema."""
    schemas = {
        key: {"type": "string", "description": value} if isinstance(value, str) else value
        for key, value in properties.items()
    }
    parameters = {"type": "object", "properties": schemas, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


_STRINGS = {"type": "array", "items": {"type": "string"}}
_NUMBER = {"type": "number"}

OFFICIAL_FORMULAS: dict[str, list[dict[str, Any]]] = {
    "moonshot/convert:latest": [
        _tool(
            "convert",
            "Convert between units of length, mass, volume, temperature, area, time, energy, pressure or speed.",
            ("value", "from_unit", "to_unit"),
            value=_NUMBER,
            from_unit="The unit of the value, such as km.",
            to_unit="The unit wanted, such as mile.",
        )
    ],
    "moonshot/web-search:latest": [
        _tool("web_search", "Search the web for current information.", ("query",), query="What to search for.")
    ],
    "moonshot/rethink:latest": [
        _tool("rethink", "Put thoughts in order before going on.", ("thought",), thought="What to think over.")
    ],
    "moonshot/random-choice:latest": [
        _tool(
            "random_choice",
            "Choose at random among candidates.",
            ("candidates",),
            candidates=_STRINGS,
            count={"type": "integer"},
        )
    ],
    "moonshot/mew:latest": [_tool("mew", "A cat's mew and a blessing.", mode=_one_of("meow", "bless"))],
    "moonshot/memory:latest": [
        _tool(
            "memory",
            "Keep and find what is worth remembering across conversations.",
            ("action",),
            action=_one_of("store", "retrieve", "list", "delete"),
            key="The name of the memory.",
            data="What to store.",
        )
    ],
    "moonshot/excel:latest": [
        _tool(
            "excel",
            "Analyse an Excel or CSV file.",
            ("file_url", "operation"),
            file_url="Where the file is.",
            operation=_one_of("read", "describe", "query"),
            query="What to look for.",
        )
    ],
    "moonshot/date:latest": [
        _tool(
            "date",
            "Tell and calculate dates and times.",
            ("operation",),
            operation=_one_of("now", "convert", "between", "add"),
            date="A date in ISO 8601.",
            zone="A time zone such as Asia/Shanghai.",
            days={"type": "integer"},
        )
    ],
    "moonshot/base64:latest": [
        _tool("base64_encode", "Encode a text in base64.", ("data",), data="The text."),
        _tool("base64_decode", "Decode base64 to a text.", ("data",), data="The base64."),
    ],
    "moonshot/fetch:latest": [
        _tool("fetch", "Read a web page as Markdown.", ("url",), url="The page.", max_length={"type": "integer"})
    ],
    "moonshot/quickjs:latest": [_tool("quickjs", "Run JavaScript in QuickJS.", ("code",), code="The script.")],
    "moonshot/code_runner:latest": [_tool("code_runner", "Run Python.", ("code",), code="The program.")],
}
"""The tools of every official formula."""


def _default_result(uri: str) -> FormulaResult:
    """The results of an official formula that a test does not script."""
    if uri == "moonshot/web-search:latest":
        return fiber_encrypted("Three results of a scripted search.")
    if uri in ("moonshot/date:latest", "moonshot/base64:latest", "moonshot/random-choice:latest"):
        return _run_locally
    return f"KimiServer does not run {uri}. Script its result with formulas={{{uri!r}: …}}."


def _run_locally(name: str, arguments: dict[str, Any]) -> Fiber | str:
    """The result of a tool that needs only its arguments."""
    if name == "date":
        return datetime.now(UTC).isoformat(timespec="seconds")
    if name == "random_choice":
        candidates = arguments.get("candidates")
        return secrets.choice(candidates) if candidates else fiber_failed("candidates must not be empty")
    data = str(arguments.get("data", ""))
    try:
        if name == "base64_encode":
            return base64.b64encode(data.encode()).decode()
        return base64.b64decode(data, validate=True).decode()
    except ValueError as error:
        return fiber_failed(str(error))
