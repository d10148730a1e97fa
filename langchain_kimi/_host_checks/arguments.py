"""Arguments of tool calls against schemas of growing difficulty."""

from typing import Any

from langchain_kimi._host_checks.checks import MOST_SLIPS, VERIFIER, Check, CheckResult, Group, Record
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.responses import ChatRequest, HostResponse, first_refusal, function, user
from langchain_kimi._json_schema import SchemaCheck
from langchain_kimi._raw_calls import parse_json
from langchain_kimi._response import REPORT

_FLOOR = 0.95
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 1}
_ITEM = {
    "type": "object",
    "properties": {"article": _TEXT, "count": _COUNT, "price": {"type": "number"}},
    "required": ["article", "count", "price"],
    "additionalProperties": False,
}
_NODE = {
    "type": "object",
    "properties": {"name": _TEXT, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "required": ["name", "children"],
    "additionalProperties": False,
}
_FIELDS = ("name", "street", "city", "country", "phone", "email", "company", "title", "language", "note")

LEVELS: tuple[tuple[dict[str, Any], str], ...] = (
    (
        function("save_note", "Save a note.", {"title": _TEXT, "text": _TEXT}, additionalProperties=False),
        'Save note number {n}: buy {n} lemons, and quote "fresh" ones.',
    ),
    (
        function(
            "set_alarm",
            "Set an alarm.",
            {
                "hour": {"type": "integer", "minimum": 0, "maximum": 23},
                "days": {"type": "array", "items": {"type": "string", "enum": ["mon", "tue", "wed", "thu", "fri"]}},
                "loud": {"type": "boolean"},
            },
            additionalProperties=False,
        ),
        "Set a loud alarm for Tuesday and Friday at hour {n} modulo 24.",
    ),
    (
        function(
            "place_order",
            "Place an order.",
            {"customer": _TEXT, "items": {"type": "array", "items": _ITEM, "minItems": 1}},
            additionalProperties=False,
        ),
        "Order {n} apples at 0.40 and 3 pears at 0.55 for the customer Åsa.",
    ),
    (
        function(
            "book_room",
            "Book a room.",
            {
                "guest": {"anyOf": [_TEXT, {"type": "null"}]},
                "stay": {
                    "type": "object",
                    "properties": {"nights": _COUNT, "view": {"type": "string", "enum": ["sea", "yard"]}},
                    "required": ["nights", "view"],
                    "additionalProperties": False,
                },
                "extras": {
                    "type": "array",
                    "items": {"anyOf": [{"type": "string", "enum": ["bed", "breakfast"]}, _ITEM]},
                },
            },
            additionalProperties=False,
        ),
        "Book a room with sea view for {n} nights for an unknown guest (null), with breakfast and 2 towels at 1.50.",
    ),
    (
        function(
            "save_contact",
            "Save a contact.",
            {name: {"anyOf": [_TEXT, {"type": "null"}]} for name in _FIELDS},
            additionalProperties=False,
        ),
        "Save the contact Mei Lin, Harbour Street {n}, Bergen, Norway; all that is unknown is null.",
    ),
    (
        function(
            "save_tree",
            "Save a tree of folders.",
            {"root": {"$ref": "#/$defs/node"}},
            additionalProperties=False,
            **{"$defs": {"node": _NODE}},
        ),
        "Save a tree: the root r{n} has the folders a and b, a has the folder c, and c has none.",
    ),
)
"""Tools and tasks, the easiest first."""

ARGUMENTS = Check("arguments", "must", "arguments of calls are JSON objects of the tool's schema", VERIFIER)
_ADVICE = "none: create_kimi_agent checks arguments and tells the model; expect more turns"


def _requests(profile: HostProfile) -> list[ChatRequest]:
    requests = []
    for number in range(profile.cases):
        tool, task = LEVELS[number % len(LEVELS)]
        text = task.format(n=number + 2) + f" Call {tool['function']['name']} once."
        fields = {"tools": [tool], **(profile.light() if profile.quick else profile.least_effort())}
        requests.append(ChatRequest("arguments", [user(text)], 1024, fields))
    return requests


def _judge(profile: HostProfile, record: Record) -> list[CheckResult]:
    responses = [*record["parallel"], *record.get("arguments", ())]
    problems: list[str] = []
    valid = total = without_call = 0
    for response in responses:
        if not response.is_answer or response.was_cut:
            continue
        if not response.calls and not _leaks(response):
            without_call += 1
            continue
        total += 1
        problem = _problem(response)
        valid += problem is None
        problems += [problem] if problem else []
    if total == 0 and (refusal := first_refusal(responses)):
        return [ARGUMENTS.failed(f"tools are refused: {refusal}")]
    if without_call > max(total, MOST_SLIPS):
        return [ARGUMENTS.failed(f"{without_call} of {total + without_call} answers have no call", _ADVICE)]
    return [ARGUMENTS.by_rate(valid, total, _FLOOR, f"calls are valid{_note(problems, without_call)}", _ADVICE)]


def _note(problems: list[str], without_call: int) -> str:
    notes = [f"for instance {problems[0]}"] if problems else []
    notes += [f"{without_call} answers without a call"] if without_call else []
    return "".join(f"; {note}" for note in notes)


def _problem(response: HostResponse) -> str | None:
    """Why the calls of an answer are not valid; None where they are."""
    if _leaks(response):
        return "markup of calls in the text"
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in response.request.fields["tools"]}
    for call in response.calls:
        name, arguments = call["name"], call["arguments"]
        if name not in schemas:
            return f"a call of {name!r}, which is no tool"
        try:
            value = parse_json(arguments or "{}")
        except ValueError:
            return f"{name} with arguments that are no JSON"
        if reasons := SchemaCheck(name, schemas[name]).reasons(value):
            return f"{name}: {reasons[:120]}"
    return None


def _leaks(response: HostResponse) -> bool:
    """Whether the answer has the markup of tool calls in its text."""
    return response.answer is not None and "leaked_tool_markup" in response.answer.response_metadata.get(REPORT, ())


VALID_ARGUMENTS = Group("arguments", (ARGUMENTS,), _requests, _judge)
