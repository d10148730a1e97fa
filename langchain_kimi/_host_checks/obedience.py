"""Whether the model obeys `tool_choice`, `response_format` and a request for parallel calls."""

from langchain_kimi import _surrogates as surrogates
from langchain_kimi._host_checks.checks import DOCUMENTATION, VERIFIER, Check, CheckResult, Group, Record
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.responses import ChatRequest, HostResponse, first_refusal, rate, user
from langchain_kimi._host_checks.streams import CITIES, WEATHER
from langchain_kimi._json_schema import SchemaCheck
from langchain_kimi._raw_calls import RawCall, parse_json

_FLOOR = 0.9
COLOUR = {
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": ["vermilion", "teal", "ochre"]},
        "weight_in_grams": {"type": "integer"},
        "parts": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    },
    "required": ["colour", "weight_in_grams", "parts"],
    "additionalProperties": False,
}

REQUIRED = Check(
    "tool_choice_required",
    "must",
    '`tool_choice: "required"` brings a call, or a 400 where the model cannot be forced',
    VERIFIER,
)
SCHEMA = Check("json_schema", "must", "`response_format` with a JSON Schema is followed", VERIFIER)
PARALLEL = Check("parallel_calls", "should", "one answer may have several calls", DOCUMENTATION)


def _requests(profile: HostProfile) -> list[ChatRequest]:
    forced = {"tools": [WEATHER], "tool_choice": "required", **profile.light()}
    shaped = {"type": "json_schema", "json_schema": {"name": "object_on_my_desk", "schema": COLOUR, "strict": True}}
    return [
        *[ChatRequest("required", [user("Hello! Just say hello back.")], profile.cap(48, 400), forced)]
        * profile.repeats,
        *[
            ChatRequest(
                "json_schema",
                [user("Describe an apple on my desk in JSON.")],
                profile.cap(64, 600),
                {"response_format": shaped, **profile.light()},
            )
        ]
        * (profile.repeats if _follows_schemas(profile) else 0),
    ]


def _follows_schemas(profile: HostProfile) -> bool:
    """Whether the catalogue says so, or does not know the model."""
    return profile.row is None or profile.row.json_schema


def _judge(profile: HostProfile, record: Record) -> list[CheckResult]:
    required = _required(record["required"])
    results = [required, _parallel(record["parallel"])]
    if _follows_schemas(profile):
        results.append(_schema(record["json_schema"], can_be_forced=required.outcome == "passed"))
    return results


def _required(responses: list[HostResponse]) -> CheckResult:
    if (refusal := first_refusal(responses)) is not None:
        incompatible = "incompatible with thinking" in refusal
        return REQUIRED.passed("400: not while the model thinks") if incompatible else REQUIRED.failed(refusal)
    good, total = rate(responses, lambda response: bool(response.calls))
    advice = 'with_structured_output(…, method="json_schema") forces no call'
    return REQUIRED.by_rate(good, total, _FLOOR, "answers have a call", advice)


def _schema(responses: list[HostResponse], *, can_be_forced: bool) -> CheckResult:
    refusal = first_refusal(responses)
    good, total = rate(responses, follows_schema)
    result = SCHEMA.failed(refusal) if refusal else SCHEMA.by_rate(good, total, _FLOOR, "answers fit it")
    if result.outcome == "failed" and can_be_forced:
        return SCHEMA.differs(result.observed, 'with_structured_output(…, method="function_calling")')
    return result


def follows_schema(response: HostResponse) -> bool:
    """Whether the text of an answer is JSON of the schema."""
    try:
        value = surrogates.loads(response.text.encode())
    except ValueError:
        return False
    return SchemaCheck("response_format", COLOUR).reasons(value) is None


def _parallel(responses: list[HostResponse]) -> CheckResult:
    both, total = rate(responses, lambda response: set(CITIES) <= set(map(_city, response.calls)))
    if both:
        return PARALLEL.passed(f"{both} of {total} answers have both calls")
    if total < 2:
        return PARALLEL.unclear("one answer without both calls; without --quick it is repeated")
    return PARALLEL.failed(f"none of {total} answers has both calls", "none: agents take a turn for each call")


def _city(call: RawCall) -> str:
    try:
        arguments = parse_json(call["arguments"])
    except ValueError:
        return ""
    return str(arguments.get("city", "")).split(",")[0] if isinstance(arguments, dict) else ""


OBEDIENCE = Group("obedience", (REQUIRED, PARALLEL, SCHEMA), _requests, _judge)
