"""Rules on declared tools: their number, types, names and parameter schemas."""

import re

from langchain_kimi._rules.moonshot_schema import problems
from langchain_kimi._rules.request import FUNCTION_KINDS, Breaches, Rule, WireRequest

MAX_TOOLS = 128
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,127}")
_BUILTIN_NAME = re.compile(r"\$?[a-zA-Z_][a-zA-Z0-9_-]{0,127}")


def too_many_tools(request: WireRequest) -> Breaches:
    """More tools than 128."""
    tools = request.body.get("tools")
    if isinstance(tools, list) and len(tools) > MAX_TOOLS:
        yield "tools", f"functions cannot exceed {MAX_TOOLS}"


def tool_type(request: WireRequest) -> Breaches:
    """A tool of an unknown type."""
    for path, tool in request.tools:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in (*FUNCTION_KINDS, "plugin"):
            shown = kind if isinstance(kind, str) else ""
            yield (
                f"{path}.type",
                f"Invalid request: unknown tool type: {shown}, currently only function and plugin are supported",
            )


def function_name(request: WireRequest) -> Breaches:
    """A function name that Kimi does not take; `$` is for its own builtin functions."""
    for path, kind, function in request.functions:
        name = function.get("name")
        pattern = _NAME if kind == "function" else _BUILTIN_NAME
        if not isinstance(name, str) or not pattern.fullmatch(name):
            yield (
                f"{path}.name",
                "Invalid request: function name is invalid, must start with a letter and can contain letters, numbers, "
                "underscores, and dashes",
            )


def duplicate_function(request: WireRequest) -> Breaches:
    """Two functions of one name."""
    seen: set[str] = set()
    for path, _, function in request.functions:
        name = function.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield f"{path}.name", f"function name {name} is duplicated"
        seen.add(name)


def parameters_type(request: WireRequest) -> Breaches:
    """Parameters that are missing or whose own type is not exactly "object"; a union at the root does not help."""
    for path, kind, function in request.functions:
        parameters = function.get("parameters")
        if kind == "function" and not (isinstance(parameters, dict) and parameters.get("type") == "object"):
            yield (
                f"{path}.parameters",
                'Invalid request: tools.function.parameters.type is required and must be "object"',
            )


def parameters_flavour(request: WireRequest) -> Breaches:
    """Parameters outside Moonshot's flavour; checked once their type is right, as the server does."""
    for path, kind, function in request.functions:
        parameters = function.get("parameters")
        if kind != "function" or not isinstance(parameters, dict) or parameters.get("type") != "object":
            continue
        for where, words in problems(parameters, untyped=request.takes_untyped_schemas):
            yield (
                f"{path}.parameters",
                "Invalid request: tools.function.parameters is not a valid moonshot flavored json schema, "
                f"details: <At path '{where}': {words}>",
            )


def search_while_thinking(request: WireRequest) -> Breaches:
    """Kimi's builtin search in a request on which a K2 model thinks; for the K3 family no refusal is recorded."""
    if request.row and request.thinks and request.row.family != "k3":
        for path, kind, function in request.functions:
            if kind == "builtin_function" and function.get("name") == "$web_search":
                yield path, "Invalid request: $web_search is incompatible with thinking enabled"


def dynamic_tools_role(request: WireRequest) -> Breaches:
    """Tools in a message that is not a system message."""
    for at, message in request.transcript.dynamic_tools:
        if message.get("role") != "system":
            yield f"messages[{at}].tools", "Invalid request: tools in a message can only be used with role 'system'"


def dynamic_tools_array(request: WireRequest) -> Breaches:
    """Tools in a message that are no array."""
    for at, message in request.transcript.dynamic_tools:
        if not isinstance(message["tools"], list):
            yield f"messages[{at}].tools", "Invalid request: tools in a message must be an array"


def dynamic_tools_content(request: WireRequest) -> Breaches:
    """A system message with both tools and content."""
    for at, message in request.transcript.dynamic_tools:
        if message.get("role") == "system" and message.get("content"):
            yield f"messages[{at}].content", "Invalid request: tools cannot be used with content"


def dynamic_tools_model(request: WireRequest) -> Breaches:
    """Tools in a message to a model that reads them nowhere but in the request."""
    if request.row and not request.row.dynamic_tools:
        for at, _ in request.transcript.dynamic_tools:
            yield f"messages[{at}].tools", "tokenization failed"


_VERIFIER = "MoonshotAI/Kimi-Vendor-Verifier, dynamic tools of the K3 family"

TOOLS: tuple[Rule, ...] = (
    Rule(
        "too_many_tools",
        too_many_tools,
        "Offer at most 128 tools; split the rest over other agents.",
        "official tool use guide; not seen live",
    ),
    Rule(
        "tool_type",
        tool_type,
        'Declare tools as {"type": "function", "function": {...}}.',
        "recorded from kimi-k3, July 2026, for a missing type; a log of kimi-k2.7-code, June 2026, for type custom",
    ),
    Rule(
        "function_name",
        function_name,
        "Start with a letter or underscore and use letters, digits, underscores and dashes, 128 characters at most.",
        "MoonshotAI/kimi-cli issues 1773, 2164 and 2531; the length by the official chat API page",
    ),
    Rule("duplicate_function", duplicate_function, "Give every function its own name.", "official tool use guide"),
    Rule(
        "parameters_type",
        parameters_type,
        'Set `parameters` to a schema with "type": "object" at its root, and nest a union under a property.',
        "Hmbown/Codewhale issue 3265 (empty parameters) and lidge-jun/opencodex issue 228 (a union at the root)",
    ),
    Rule(
        "parameters_flavour",
        parameters_flavour,
        "Rewrite the schema in Moonshot's flavour: a type on every part, unions only by anyOf, references to $defs.",
        "MoonshotAI/walle; MoonshotAI/kimi-cli issues 1903, 2475 and 2531; MoonshotAI/kimi-code issue 1610; "
        "earendil-works/pi issue 4138; router-for-me/CLIProxyAPI issue 5316",
    ),
    Rule(
        "search_while_thinking",
        search_while_thinking,
        "Search with formula_tools('moonshot/web-search:latest', model=model), which models may use while they think, "
        "or turn thinking off where the model can (kimi-k2.6 with thinking=False).",
        "official web search guide for kimi-k2.6 and kimi-k2.5, noted by an unsloth client too; other K2 models that "
        "think by the same; the text is ours",
    ),
    Rule("dynamic_tools_role", dynamic_tools_role, "Add tools in a system message.", f"{_VERIFIER}; the text is ours"),
    Rule(
        "dynamic_tools_model",
        dynamic_tools_model,
        "Bind the tools to the request, or choose a model of the K3 family, which takes tools in messages.",
        _VERIFIER,
    ),
    Rule(
        "dynamic_tools_array",
        dynamic_tools_array,
        "Give the tools of the message as an array.",
        f"{_VERIFIER}; the text is ours",
    ),
    Rule(
        "dynamic_tools_content", dynamic_tools_content, "Leave `content` out of a message that adds tools.", _VERIFIER
    ),
)
