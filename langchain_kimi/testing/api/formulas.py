"""The double's Formula tools: the definitions of the official ones, and fibers whose results a test may script.

Names and purposes are those of Moonshot's list of official tools; the schemas are ours. Nothing is really fetched,
searched or run: without a script, `date`, `base64` and `random-choice` work, and the others answer with a fixed text.
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
from langchain_kimi.testing.api.response import Answer, invalid, json_answer, not_found
from langchain_kimi.testing.script.wire_json import compact

_BEGIN, _END = "----MOONSHOT ENCRYPTED BEGIN----", "----MOONSHOT ENCRYPTED END----"


@dataclass(frozen=True)
class Fiber:
    """How one run of a Formula tool ends."""

    status: str = "succeeded"
    output: str | None = None
    encrypted_output: str | None = None
    error: str | None = None
    told: Literal["top", "context"] = "top"
    """Where the error stands: beside `status`, or in the context."""


def ran(output: str) -> Fiber:
    """A run that succeeded with this output."""
    return Fiber(output=output)


def encrypted(output: str) -> Fiber:
    """A run that succeeded, with its output for the model's eyes only; it is sent between Moonshot's marks."""
    sealed = base64.b64encode(output.encode()).decode()
    return Fiber(encrypted_output=f"{_BEGIN}{sealed}{_END}")


def fiber_failed(error: str | None = None, *, status: str = "failed", told: Literal["top", "context"] = "top") -> Fiber:
    """A run that did not succeed; without an `error` nothing is said of why."""
    return Fiber(status=status, error=error, told=told)


Run = Callable[[str, dict[str, Any]], Fiber | str]
"""A function from a tool's name and arguments to its run."""

Result = Fiber | str | Sequence[Fiber | str] | Run
"""What a formula's runs end with: always the same, one after the other, or by a function. A string is an output."""


@dataclass(frozen=True)
class Formula:
    """A formula of one's own: its tools in OpenAI's form, and how its runs end."""

    tools: Sequence[Mapping[str, Any]]
    result: Result = field(default="ok")


class Formulas:
    """The formulas of one double, by uri. `scripted` gives results, or whole formulas, by uri."""

    def __init__(self, scripted: Mapping[str, Result | Formula]) -> None:
        self._formulas = {uri: Formula(tools, _default(uri)) for uri, tools in OFFICIAL.items()}
        self._results: dict[str, deque[Fiber | str]] = {}
        for uri, given in scripted.items():
            uri = _full(uri)
            if not isinstance(given, Formula):
                if uri not in self._formulas:
                    raise ValueError(f"{uri} is no official formula: give a Formula(tools=[…], result=…)")
                given = Formula(self._formulas[uri].tools, given)
            self._formulas[uri] = given

    def tools(self, request: HttpRequest, uri: str) -> Answer:
        """GET /formulas/{uri}/tools."""
        formula = self._formulas.get(_full(uri))
        return json_answer({"tools": formula.tools}) if formula else not_found(f"formula {uri} not found")

    def run(self, request: HttpRequest, uri: str) -> Answer:
        """POST /formulas/{uri}/fibers."""
        formula = self._formulas.get(_full(uri))
        if formula is None:
            return not_found(f"formula {uri} not found")
        try:
            name, arguments = request.json.get("name"), request.json.get("arguments")
        except ValueError as error:
            return invalid(f"Invalid request: {error}")
        if not isinstance(name, str) or not isinstance(arguments, str):
            return invalid("Invalid request: name and arguments are required and must be strings")
        return json_answer(_shown(uri, name, arguments, self._ended(_full(uri), formula, name, arguments)))

    def _ended(self, uri: str, formula: Formula, name: str, arguments: str) -> Fiber:
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
        return ran(result) if isinstance(result, str) else result


def waiting(given: Result | Formula) -> bool:
    """Whether a function is asked for the result."""
    return callable(given.result if isinstance(given, Formula) else given)


def _full(uri: str) -> str:
    """The uri with its tag; the documents print one name in two ways."""
    uri = uri if ":" in uri else f"{uri}:latest"
    return uri.replace("code-runner", "code_runner")


def _shown(uri: str, name: str, arguments: str, fiber: Fiber) -> dict[str, Any]:
    context: dict[str, Any] = {"input": compact({"name": name, "arguments": arguments})}
    if fiber.output is not None:
        context["output"] = fiber.output
    if fiber.encrypted_output is not None:
        context["encrypted_output"] = fiber.encrypted_output
    if fiber.error is not None and fiber.told == "context":
        context["error"] = fiber.error
    shown = {
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
    return shown | ({"error": fiber.error} if fiber.error is not None and fiber.told == "top" else {})


def _tool(name: str, description: str, required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    """A definition; a property is its description, or a whole schema."""
    schemas = {
        key: {"type": "string", "description": of} if isinstance(of, str) else of for key, of in properties.items()
    }
    parameters = {"type": "object", "properties": schemas, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


_STRINGS = {"type": "array", "items": {"type": "string"}}
_NUMBER = {"type": "number"}

OFFICIAL: dict[str, list[dict[str, Any]]] = {
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


def _default(uri: str) -> Result:
    """How runs of an official formula end where no test says otherwise."""
    if uri == "moonshot/web-search:latest":
        return encrypted("Three results of a scripted search.")
    if uri in ("moonshot/date:latest", "moonshot/base64:latest", "moonshot/random-choice:latest"):
        return _really
    return f"{uri} is played by KimiServer, which ran nothing; script its result with formulas={{{uri!r}: …}}."


def _really(name: str, arguments: dict[str, Any]) -> Fiber | str:
    """The few tools that need nothing but their arguments."""
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
