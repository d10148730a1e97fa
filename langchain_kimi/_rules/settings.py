"""Rules on the request's own fields: thinking, sampling, stop, tool_choice and response_format."""

from typing import Any

from langchain_kimi._rules.moonshot_schema import problems
from langchain_kimi._rules.request import Breaches, Rule, WireRequest
from langchain_kimi.catalogue import HOST_TEMPERATURES

_JSON_NAMES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
}
_EXPECTED = (("thinking", dict), ("reasoning_effort", str), ("tools", list), ("messages", list))
_CHOICES = ("auto", "none", "required")
_FORMATS = ("text", "json_object", "json_schema")
_MAX_STOPS = 5
_MAX_STOP_BYTES = 32


def wrong_type(request: WireRequest) -> Breaches:
    """A field that holds another JSON type than it must."""
    for field, expected in _EXPECTED:
        value = request.body.get(field)
        if value is not None and not isinstance(value, expected):
            got = _JSON_NAMES.get(type(value), "value")
            yield (
                field,
                f"Invalid request: the `{field}` field in the request (expected type {_JSON_NAMES[expected]}) "
                f"is illegal, and {got} is not acceptable",
            )


def thinking_off(request: WireRequest) -> Breaches:
    """A model that always thinks is asked not to; the K3 family ignores the field."""
    row, thinking = request.row, request.body.get("thinking")
    if row is None or row.thinking != "always" or row.family == "k3" or not row.pinned_thinking:
        return
    if isinstance(thinking, dict) and thinking.get("type", "enabled") != "enabled":
        yield "thinking.type", "invalid thinking: only type=enabled is allowed for this model"


def thinking_twice(request: WireRequest) -> Breaches:
    """Both thinking settings on a model that thinks by choice."""
    switches = [name for name in ("thinking", "reasoning_effort") if request.body.get(name) is not None]
    if request.row and request.row.thinking == "optional" and len(switches) > 1:
        yield "reasoning_effort", "cannot specify both 'thinking' and 'reasoning_effort'"


def pinned_sampling(request: WireRequest) -> Breaches:
    """A sampling field with another value than the one that the model takes."""
    for field, only in request.pinned.items():
        value = request.body.get(field)
        if value is not None and (isinstance(value, bool) or value != only):
            yield field, f"invalid {field}: only {only:g} is allowed for this model"


def host_temperature(request: WireRequest) -> Breaches:
    """A temperature outside the range that other hosts take for a model which Kimi's own hosts pin."""
    low, high = HOST_TEMPERATURES
    value = request.body.get("temperature")
    if request.elsewhere and request.pinned and isinstance(value, int | float) and not low <= value <= high:
        yield "temperature", f"invalid temperature: only {low:g} to {high:g} is allowed for this model"


def logprobs(request: WireRequest) -> Breaches:
    """Log probabilities requested of Kimi's own hosts from a model with pinned sampling."""
    if request.pinned and not request.elsewhere and request.body.get("logprobs") not in (None, False):
        yield "logprobs", "invalid logprobs: only false is allowed for this model"


def top_logprobs(request: WireRequest) -> Breaches:
    """`top_logprobs` without `logprobs`."""
    body = request.body
    if request.row and body.get("top_logprobs") is not None and body.get("logprobs") is not True:
        yield "top_logprobs", "Invalid request: logprobs must be set to true if top_logprobs is used"


def logit_bias(request: WireRequest) -> Breaches:
    """`logit_bias` in any form."""
    if request.row and request.body.get("logit_bias") is not None:
        yield "logit_bias", "Invalid request: logit_bias is not supported yet"


def stop_count(request: WireRequest) -> Breaches:
    """More stop sequences than five."""
    stop = request.body.get("stop")
    if request.row and isinstance(stop, list) and len(stop) > _MAX_STOPS:
        yield "stop", f"stop array too long. Expected an array with maximum length {_MAX_STOPS}, but got {len(stop)}"


def stop_length(request: WireRequest) -> Breaches:
    """A stop sequence of more than 32 bytes."""
    stop = request.body.get("stop")
    words = [("stop", stop)] if isinstance(stop, str) else []
    if isinstance(stop, list):
        words = [(f"stop[{index}]", word) for index, word in enumerate(stop) if isinstance(word, str)]
    for path, word in words if request.row else ():
        if (size := len(word.encode("utf-8", "surrogatepass"))) > _MAX_STOP_BYTES:
            yield path, f"stop sequence too long. Expected at most {_MAX_STOP_BYTES} bytes, but got {size}"


def tool_choice_unknown(request: WireRequest) -> Breaches:
    """A `tool_choice` that is neither a known word nor a named function."""
    choice = request.body.get("tool_choice")
    if choice is not None and _choice(choice) is None:
        yield "tool_choice", "Invalid request: tool_choice must be 'auto', 'none', 'required' or a named function"


def tool_choice_thinking(request: WireRequest) -> Breaches:
    """A forced tool while the model thinks."""
    choice = _choice(request.body.get("tool_choice"))
    if request.row and request.thinks and choice and choice not in request.row.choices(True):
        word = "specified" if choice == "named" else choice
        yield "tool_choice", f"tool_choice '{word}' is incompatible with thinking enabled"


def tool_choice_without_tools(request: WireRequest) -> Breaches:
    """`required` where no tool is declared, neither in the request nor in a message."""
    if request.body.get("tool_choice") == "required" and not request.tools:
        yield "tool_choice", "Invalid request: tool_choice 'required' needs at least one tool"


def tool_choice_empty_tools(request: WireRequest) -> Breaches:
    """Any `tool_choice` beside an empty list of tools; a request without the field may have one."""
    choice = request.body.get("tool_choice")
    if choice is not None and choice != "required" and request.body.get("tools") == [] and not request.tools:
        yield "tool_choice", "Invalid request: tool_choice needs tools, and the `tools` field is an empty array"


def _choice(choice: object) -> str | None:
    """The form of a `tool_choice`, as the catalogue names it; None for one that is malformed."""
    if isinstance(choice, str):
        return choice if choice in _CHOICES else None
    if not isinstance(choice, dict) or choice.get("type") != "function":
        return None
    function = choice.get("function")
    return "named" if isinstance(function, dict) and isinstance(function.get("name"), str) else None


def response_format_type(request: WireRequest) -> Breaches:
    """A `response_format` of an unknown type."""
    wanted = request.body.get("response_format")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in _FORMATS:
        yield "response_format.type", "Invalid request: response_format.type must be text, json_object or json_schema"


def json_schema_missing(request: WireRequest) -> Breaches:
    """`json_schema` announced and missing."""
    wanted = request.body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and _named_schema(request) is None:
        yield "response_format.json_schema", "Invalid request: response_format.json_schema is required"


def json_schema_name(request: WireRequest) -> Breaches:
    """A response schema without a name."""
    named = _named_schema(request)
    if named is not None and not (isinstance(named.get("name"), str) and named["name"]):
        yield "response_format.json_schema.name", "Invalid request: response_format.json_schema.name is required"


def json_schema_strict(request: WireRequest) -> Breaches:
    """A `strict` that is no boolean."""
    named = _named_schema(request)
    if named is not None and not isinstance(named.get("strict", True), bool | None):
        yield (
            "response_format.json_schema.strict",
            "Invalid request: response_format.json_schema.strict must be a boolean",
        )


def json_schema_object(request: WireRequest) -> Breaches:
    """A response schema that is missing or no object."""
    named = _named_schema(request)
    if named is not None and not isinstance(named.get("schema"), dict):
        path = "response_format.json_schema.schema"
        yield path, f"Invalid request: {path} is required and must be an object"


def json_schema_flavour(request: WireRequest) -> Breaches:
    """A response schema outside Moonshot's flavour."""
    named = _named_schema(request)
    if named is not None and isinstance(named.get("schema"), dict):
        path = "response_format.json_schema.schema"
        for where, words in problems(named["schema"], untyped=request.takes_untyped_schemas):
            yield (
                path,
                "Invalid request: response_format.json_schema is not a valid moonshot flavored json schema, "
                f"details: <At path '{where}': {words}>",
            )


def _named_schema(request: WireRequest) -> dict[str, Any] | None:
    """The `json_schema` object of a response format that asks for one."""
    wanted = request.body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    named = wanted.get("json_schema")
    return named if isinstance(named, dict) else None


_K3 = "recorded from kimi-k3, July 2026"
_VERIFIER = "MoonshotAI/Kimi-Vendor-Verifier asserts a 400; the text is ours"

SETTINGS: tuple[Rule, ...] = (
    Rule(
        "wrong_type",
        wrong_type,
        "Send the field with the JSON type that the message names, or leave it out.",
        "recorded for a numeric reasoning_effort on kimi-k3, August 2026, and for an object in BerriAI/litellm pull "
        "request 38611; the other fields by the same form",
    ),
    Rule(
        "thinking_off",
        thinking_off,
        "Leave `thinking` out, or choose a model that can answer without thinking.",
        "MoonshotAI/Kimi-K2 issue 141 and measurements of kimi-k2.7-code, September 2026",
    ),
    Rule(
        "thinking_twice",
        thinking_twice,
        "Send `thinking` only.",
        "HKUDS/nanobot issue 3939, kimi-k2.5 and kimi-k2.6",
    ),
    Rule(
        "pinned_sampling",
        pinned_sampling,
        "Leave the field out; the model samples with one fixed value.",
        f"{_K3} (temperature, top_p, both penalties); MoonshotAI/Kimi-K2 issue 124 (0.6 without thinking); "
        "n by the same form",
    ),
    Rule(
        "host_temperature",
        host_temperature,
        "Choose a temperature from 0 to 1, or leave it out.",
        _VERIFIER,
    ),
    Rule(
        "logprobs", logprobs, "Leave `logprobs` out.", f"{_K3}; hosts must take it by Moonshot's stream specification"
    ),
    Rule("top_logprobs", top_logprobs, "Leave `top_logprobs` out, or set `logprobs` to true with it.", _K3),
    Rule("logit_bias", logit_bias, "Leave `logit_bias` out.", _K3),
    Rule("stop_count", stop_count, "Send at most five stop sequences.", "measured on both hosts, September 2026"),
    Rule(
        "stop_length",
        stop_length,
        "Shorten the stop sequence to 32 bytes of UTF-8.",
        "official chat API page gives the limit; the text is ours",
    ),
    Rule(
        "tool_choice_unknown",
        tool_choice_unknown,
        "Use 'auto', 'none', 'required' or a named function.",
        _VERIFIER,
    ),
    Rule(
        "tool_choice_thinking",
        tool_choice_thinking,
        "Use 'auto', or turn thinking off where the model can.",
        "UKGovernmentBEIS/inspect_ai issue 5152, can1357/oh-my-pi issue 827, AstrBotDevs/AstrBot issue 7805",
    ),
    Rule("tool_choice_without_tools", tool_choice_without_tools, "Declare a tool, or drop `tool_choice`.", _VERIFIER),
    Rule(
        "tool_choice_empty_tools",
        tool_choice_empty_tools,
        "Declare a tool, or leave out `tools` or `tool_choice`.",
        f"{_VERIFIER}, for 'required'; the other words by the same form",
    ),
    Rule("response_format_type", response_format_type, "Use text, json_object or json_schema.", _VERIFIER),
    Rule("json_schema_missing", json_schema_missing, "Give `json_schema` with a name and a schema.", _VERIFIER),
    Rule("json_schema_name", json_schema_name, "Give the response schema a name.", _VERIFIER),
    Rule("json_schema_strict", json_schema_strict, "Set `strict` to true or false.", _VERIFIER),
    Rule("json_schema_object", json_schema_object, "Give `schema` as a JSON Schema object.", _VERIFIER),
    Rule(
        "json_schema_flavour",
        json_schema_flavour,
        "Rewrite the schema in Moonshot's flavour: a type on every part, unions only by anyOf, references to $defs.",
        "MoonshotAI/walle; the frame of the message as recorded for tools",
    ),
)
