"""Every rule, by requests that break exactly one of them and by neighbours that break none."""

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_kimi._rules import RULES, Rule, Violation, check, thinks

Json = dict[str, Any]

K3, K27, K26, K25 = "kimi-k3", "kimi-k2.7-code", "kimi-k2.6", "kimi-k2.5"
OLD, UNKNOWN = "kimi-k2-0905-preview", "some-model-of-tomorrow"
PREFIX = "Invalid request: "
NOT_MFJS = "Invalid request: tools.function.parameters is not a valid moonshot flavored json schema, details: "
BAD_IMAGE = (
    "Invalid request: prepare image failed error, status code: 400, message: failed to decode image: "
    "invalid or unsupported image format"
)
BAD_NAME = (
    "Invalid request: function name is invalid, must start with a letter and can contain letters, numbers, "
    "underscores, and dashes"
)
SEARCH = {"type": "builtin_function", "function": {"name": "$web_search"}}
NEEDS_OBJECT = 'Invalid request: tools.function.parameters.type is required and must be "object"'
UNANSWERED = (
    "an assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
    "The following tool_call_ids did not have response messages: "
)
ORPHAN = "Invalid request: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'"
NO_REASONING = "thinking is enabled but reasoning_content is missing in assistant tool call message at index "


def user(content: Any = "How deep is Lake Baikal?") -> Json:
    return {"role": "user", "content": content}


def said(content: Any, **more: Any) -> Json:
    return {"role": "assistant", "content": content, **more}


def called(*ids: str, reasoning: Any = "The lake's depth is a fact to look up.") -> Json:
    calls = [
        {"id": i, "type": "function", "function": {"name": "measure", "arguments": '{"lake": "Baikal"}'}} for i in ids
    ]
    return {"role": "assistant", "content": "", "reasoning_content": reasoning, "tool_calls": calls}


def with_arguments(arguments: Any) -> Json:
    """A call with these arguments; without any where they are None."""
    message = called("a")
    message["tool_calls"][0]["function"] = {
        "name": "measure",
        **({} if arguments is None else {"arguments": arguments}),
    }
    return message


def result(call_id: str, content: Any = "1642 m") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def tool(name: Any = "measure", parameters: Any = None) -> Json:
    schema = {"type": "object", "properties": {"lake": {"type": "string"}}, "required": ["lake"]}
    return {"type": "function", "function": {"name": name, "parameters": schema if parameters is None else parameters}}


def image(data: bytes) -> Json:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(data).decode()}}


def named(**json_schema: Any) -> Json:
    return {"response_format": {"type": "json_schema", "json_schema": json_schema}}


def legal(model: str, **changes: Any) -> Json:
    """A request with a finished tool turn that no rule objects to, and changes to it."""
    turn = [called("measure:0", "measure:1"), result("measure:1"), result("measure:0"), said("1642 metres.")]
    messages = [{"role": "system", "content": "You know lakes."}, user(), *turn, user("And Tanganyika?")]
    return {"model": model, "messages": messages, "tools": [tool()], "max_completion_tokens": 4096} | changes


PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
LEGAL = {
    "k3.1-pro": legal("kimi-k3.1-pro", tool_choice="required", reasoning_effort="low", temperature=1.0),
    "k3": legal(K3, thinking={"type": "enabled", "keep": "all"}, top_p=0.95, n=1, presence_penalty=0, logprobs=False),
    "k2.7-code": legal(K27, thinking={"type": "enabled"}, tool_choice="auto", temperature=1),
    "k2.6 thinking": legal(K26, tool_choice="none", temperature=1.0, stop=["a", "b", "c", "d", "e"]),
    "k2.6 instant": legal(
        K26,
        thinking={"type": "disabled"},
        temperature=0.6,
        tool_choice={"type": "function", "function": {"name": "measure"}},
    ),
    "k2.5": legal(K25, stop="x" * 32),
    "k2-thinking": legal("kimi-k2-thinking", temperature=0.3),
    "k2": legal(
        OLD, temperature=0.6, tool_choice="required", messages=[user(), called("a", reasoning=None), result("a")]
    ),
    "moonshot-v1": legal("moonshot-v1-8k-vision-preview", messages=[user([image(PNG)])], n=3),
    "unknown": legal(
        UNKNOWN,
        temperature=3,
        logit_bias={"1": 2},
        messages=[
            user([{"type": "image_url", "image_url": "https://lakes.example/a.png"}]),
            called("a", reasoning=""),
            result("a"),
        ],
    ),
}


class Case(NamedTuple):
    """A change to a legal request, and the one violation it must give."""

    rule: str
    model: str
    changes: Json
    path: str
    message: str
    beside: Mapping[str, Any] = MappingProxyType({})
    """Arguments of `check` besides the body."""
    status: int = 400
    type: str = "invalid_request_error"


CASES = [
    # The whole request.
    Case(
        "body_size",
        K3,
        {},
        "body of 104,857,601 bytes",
        "Request exceeds the maximum size",
        {"size": 104_857_601},
        413,
    ),
    # Settings.
    Case(
        "wrong_type",
        K3,
        {"reasoning_effort": 3},
        "reasoning_effort",
        "Invalid request: the `reasoning_effort` field in the request (expected type string) is illegal, "
        "and number is not acceptable",
    ),
    Case(
        "wrong_type",
        K26,
        {"thinking": True},
        "thinking",
        "Invalid request: the `thinking` field in the request (expected type object) is illegal, "
        "and bool is not acceptable",
    ),
    Case(
        "thinking_off",
        K27,
        {"thinking": {"type": "disabled"}},
        "thinking.type",
        "invalid thinking: only type=enabled is allowed for this model",
    ),
    Case(
        "thinking_twice",
        K26,
        {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
        "reasoning_effort",
        "cannot specify both 'thinking' and 'reasoning_effort'",
    ),
    *(
        Case(
            "pinned_sampling",
            model,
            changes | {field: value},
            field,
            f"invalid {field}: only {only} is allowed for this model",
        )
        for model, field, value, only, changes in [
            (K3, "temperature", 0.3, "1", {}),
            (K27, "top_p", 0.9, "0.95", {}),
            (K3, "n", 2, "1", {}),
            (K3, "presence_penalty", 0.1, "0", {}),
            (K26, "frequency_penalty", 0.1, "0", {}),
            (K26, "temperature", 0.6, "1", {}),
            (K26, "temperature", 1.0, "0.6", {"thinking": {"type": "disabled"}}),
            (K25, "temperature", 0, "1", {}),
        ]
    ),
    *(
        Case(
            "host_temperature",
            model,
            {"temperature": temperature, "thinking": thinking},
            "temperature",
            "invalid temperature: only 0 to 1 is allowed for this model",
            {"elsewhere": True},
        )
        for model in (K3, K26)
        for thinking in (None, {"type": "disabled"})
        for temperature in (-0.1, 1.1, 2.0)
    ),
    Case("logprobs", K3, {"logprobs": True}, "logprobs", "invalid logprobs: only false is allowed for this model"),
    Case(
        "top_logprobs",
        K3,
        {"top_logprobs": 3},
        "top_logprobs",
        "Invalid request: logprobs must be set to true if top_logprobs is used",
    ),
    Case("logit_bias", K3, {"logit_bias": {"15": -1}}, "logit_bias", PREFIX + "logit_bias is not supported yet"),
    Case(
        "stop_count",
        K26,
        {"stop": list("abcdef")},
        "stop",
        "stop array too long. Expected an array with maximum length 5, but got 6",
    ),
    Case(
        "stop_length",
        K26,
        {"stop": ["ok", "é" * 17]},
        "stop[1]",
        "stop sequence too long. Expected at most 32 bytes, but got 34",
    ),
    Case(
        "tool_choice_unknown",
        UNKNOWN,
        {"tool_choice": "any"},
        "tool_choice",
        PREFIX + "tool_choice must be 'auto', 'none', 'required' or a named function",
    ),
    Case(
        "tool_choice_thinking",
        K26,
        {"tool_choice": "required"},
        "tool_choice",
        "tool_choice 'required' is incompatible with thinking enabled",
    ),
    Case(
        "tool_choice_thinking",
        K3,
        {"tool_choice": {"type": "function", "function": {"name": "measure"}}},
        "tool_choice",
        "tool_choice 'specified' is incompatible with thinking enabled",
    ),
    Case(
        "tool_choice_without_tools",
        K3,
        {"tool_choice": "required", "tools": []},
        "tool_choice",
        PREFIX + "tool_choice 'required' needs at least one tool",
    ),
    *(
        Case(
            "tool_choice_empty_tools",
            K3,
            {"tool_choice": choice, "tools": []},
            "tool_choice",
            PREFIX + "tool_choice needs tools, and the `tools` field is an empty array",
        )
        for choice in ("auto", "none")
    ),
    Case(
        "response_format_type",
        K3,
        {"response_format": {"type": "xml"}},
        "response_format.type",
        PREFIX + "response_format.type must be text, json_object or json_schema",
    ),
    Case(
        "json_schema_missing",
        K3,
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        PREFIX + "response_format.json_schema is required",
    ),
    Case(
        "json_schema_name",
        K3,
        named(schema={"type": "object"}),
        "response_format.json_schema.name",
        PREFIX + "response_format.json_schema.name is required",
    ),
    Case(
        "json_schema_strict",
        K3,
        named(name="lake", schema={"type": "object"}, strict="yes"),
        "response_format.json_schema.strict",
        PREFIX + "response_format.json_schema.strict must be a boolean",
    ),
    Case(
        "json_schema_object",
        K3,
        named(name="lake", schema=["object"]),
        "response_format.json_schema.schema",
        PREFIX + "response_format.json_schema.schema is required and must be an object",
    ),
    Case(
        "json_schema_flavour",
        K26,
        named(name="lake", schema={"type": "object", "properties": {"depth": {}}}),
        "response_format.json_schema.schema",
        "Invalid request: response_format.json_schema is not a valid moonshot flavored json schema, "
        "details: <At path 'properties.depth': type is not defined>",
    ),
    # Tools.
    Case(
        "too_many_tools",
        UNKNOWN,
        {"tools": [tool(f"measure_{i}") for i in range(129)]},
        "tools",
        "functions cannot exceed 128",
    ),
    Case(
        "tool_type",
        K3,
        {"tools": [tool(), tool()["function"]]},
        "tools[1].type",
        "Invalid request: unknown tool type: , currently only function and plugin are supported",
    ),
    Case(
        "tool_type",
        K27,
        {"tools": [tool() | {"type": "custom"}]},
        "tools[0].type",
        "Invalid request: unknown tool type: custom, currently only function and plugin are supported",
    ),
    *(
        Case("function_name", K3, {"tools": [tool("fine"), tool(name)]}, "tools[1].function.name", BAD_NAME)
        for name in ["3d_scan", "lake.depth", "", "$web_search", None, "x" * 129, "deep\n", "tiefe_ä"]
    ),
    Case(
        "duplicate_function",
        K3,
        {"tools": [tool(), tool("swim"), tool()]},
        "tools[2].function.name",
        "function name measure is duplicated",
    ),
    Case(
        "duplicate_function",
        K3,
        {"messages": [user(), {"role": "system", "tools": [tool()]}]},
        "messages[1].tools[0].function.name",
        "function name measure is duplicated",
    ),
    *(
        Case("parameters_type", K3, {"tools": [tool(parameters=schema)]}, "tools[0].function.parameters", NEEDS_OBJECT)
        for schema in [
            {},
            {"type": "array", "items": {"type": "string"}},
            {"type": ["object"]},
            {"anyOf": [{"type": "object", "properties": {}}]},
            "object",
        ]
    ),
    Case(
        "parameters_type",
        UNKNOWN,
        {"tools": [{"type": "function", "function": {"name": "now"}}]},
        "tools[0].function.parameters",
        NEEDS_OBJECT,
    ),
    Case(
        "parameters_flavour",
        K3,
        {"tools": [tool(parameters={"type": "object", "anyOf": [{"type": "object"}]})]},
        "tools[0].function.parameters",
        NOT_MFJS
        + "<At path 'root': when using anyOf, type should be defined in anyOf items instead of the parent schema>",
    ),
    *(
        Case(
            "search_while_thinking",
            model,
            {"tools": [tool(), SEARCH]},
            "tools[1].function",
            PREFIX + "$web_search is incompatible with thinking enabled",
        )
        for model in ("kimi-k2.6", "kimi-k2.7-code")
    ),
    Case(
        "dynamic_tools_role",
        K3,
        {"messages": [user() | {"tools": [tool("swim")]}]},
        "messages[0].tools",
        PREFIX + "tools in a message can only be used with role 'system'",
    ),
    Case(
        "dynamic_tools_array",
        K3,
        {"messages": [user(), {"role": "system", "content": "", "tools": {"type": "function"}}]},
        "messages[1].tools",
        PREFIX + "tools in a message must be an array",
    ),
    Case(
        "dynamic_tools_content",
        K3,
        {"messages": [user(), {"role": "system", "content": "New tools.", "tools": [tool("swim")]}]},
        "messages[1].content",
        PREFIX + "tools cannot be used with content",
    ),
    Case(
        "dynamic_tools_model",
        "kimi-k2.6",
        {"messages": [user(), {"role": "system", "tools": [tool("swim")]}]},
        "messages[1].tools",
        "tokenization failed",
    ),
    # Messages.
    Case("messages_empty", UNKNOWN, {"messages": []}, "messages", PREFIX + "messages must not be empty"),
    Case(
        "role_unknown",
        K3,
        {"messages": [{"role": "developer", "content": "You know lakes."}, user()]},
        "messages[0].role",
        "role 'developer' is not allowed",
    ),
    Case("role_unknown", UNKNOWN, {"messages": [user(), "hello"]}, "messages[1].role", "role '' is not allowed"),
    Case(
        "part_type",
        "kimi-latest",
        {
            "messages": [
                said("Show me."),
                user([{"type": "text", "text": "See:"}, {"type": "video_url", "video_url": "ms://a"}]),
            ]
        },
        "messages[1].content[1].type",
        "the message at position 1 with role 'user' contains an invalid part type: video_url",
    ),
    Case(
        "part_type",
        OLD,
        {"messages": [user([image(PNG)])]},
        "messages[0].content[0].type",
        "the message at position 0 with role 'user' contains an invalid part type: image_url",
    ),
    Case(
        "part_type",
        K3,
        {"messages": [user([{"type": "input_audio", "input_audio": {}}])]},
        "messages[0].content[0].type",
        "the message at position 0 with role 'user' contains an invalid part type: input_audio",
    ),
    Case(
        "media_url",
        K3,
        {"messages": [user([{"type": "image_url", "image_url": {"url": "https://lakes.example/a.png"}}])]},
        "messages[0].content[0].image_url.url",
        "Invalid request: unsupported image url: https://lakes.example/a.png",
    ),
    Case(
        "media_url",
        K3,
        {"messages": [user([{"type": "image_url", "image_url": "lakes/a.png"}])]},
        "messages[0].content[0].image_url",
        "Invalid request: unsupported image url: lakes/a.png",
    ),
    *(
        Case("image_format", K26, {"messages": [user([part])]}, "messages[0].content[0].image_url.url", BAD_IMAGE)
        for part in [
            image(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
            image(b""),
            image(b"RIFF\x00\x00\x00\x00WAVEfmt "),
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBOR"}},
            {"type": "image_url", "image_url": {"url": "data:image/png,iVBORw0KGgo="}},
        ]
    ),
    *(
        Case(
            "empty_assistant",
            model,
            {"messages": [user(), said(content), user()]},
            "messages[1].content",
            "Invalid request: the message at position 1 with role 'assistant' must not be empty",
        )
        for model in (K3, UNKNOWN)
        for content in ["", None, [], [{"type": "text", "text": ""}, {"type": "text", "text": " \n"}]]
    ),
    *(
        Case(
            "missing_reasoning",
            model,
            {"messages": [user(), said("One moment."), called("a", reasoning=reasoning), result("a")]},
            "messages[2].reasoning_content",
            f"{NO_REASONING}2",
        )
        for model in (K3, K27, K26, K25, "kimi-k2-thinking-turbo")
        for reasoning in (None, "", 0)
    ),
    *(
        Case(
            "call_arguments",
            model,
            {"messages": [user(), with_arguments(arguments), result("a")]},
            "messages[1].tool_calls[0].function.arguments",
            "Invalid request: messages[1].tool_calls[0].function.arguments must be a JSON object",
        )
        for model in (K3, UNKNOWN)
        for arguments in (
            None,
            "",
            " ",
            '{"x": ',
            '{"x":1,}',
            '{"x":"a\nb"}',
            "null",
            "[1]",
            '"a"',
            '{"x":NaN}',
            {"x": 1},
        )
    ),
    Case(
        "duplicate_call_id",
        K3,
        {"messages": [user(), called("a"), result("a"), called("b", "a"), result("a"), result("b")]},
        "messages[3].tool_calls[1].id",
        "Invalid request: tool call id a is duplicated",
    ),
    Case("tool_without_call", K3, {"messages": [user(), result("a")]}, "messages[1].role", ORPHAN),
    Case(
        "tool_without_call",
        UNKNOWN,
        {"messages": [user(), called("a"), result("a"), user(), result("a")]},
        "messages[4].role",
        ORPHAN,
    ),
    Case(
        "unanswered_call",
        K3,
        {"messages": [user(), called("a", "Shell:58"), result("a"), user("Well?")]},
        "messages[1].tool_calls",
        f"{UNANSWERED}Shell:58",
    ),
    Case(
        "unanswered_call",
        UNKNOWN,
        {"messages": [called("a", "b", "c"), result("b")]},
        "messages[0].tool_calls",
        f"{UNANSWERED}a, c",
    ),
    Case(
        "unknown_call_id",
        K3,
        {"messages": [called("a"), result("a"), result("b")]},
        "messages[2].tool_call_id",
        "tool_call_id b is not found",
    ),
    Case(
        "unknown_call_id",
        K3,
        {"messages": [called("a"), result("a"), {"role": "tool", "content": "1642 m"}]},
        "messages[2].tool_call_id",
        "tool_call_id  is not found",
    ),
    Case(
        "unknown_call_id",
        K3,
        {"messages": [called("a"), result("a"), result("a")]},
        "messages[2].tool_call_id",
        "tool_call_id a is not found",
    ),
    Case(
        "partial_json_object",
        K26,
        {"messages": [user(), said("{", partial=True)], "response_format": {"type": "json_object"}},
        "messages[1].partial",
        PREFIX + "partial cannot be used with response_format json_object",
    ),
]

NEIGHBOURS = [
    (K3, {"thinking": {"type": "disabled"}}),  # the K3 family ignores the field
    (K3, {"reasoning_effort": "medium"}),  # nor is the value of the effort looked at
    (K3, {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
    (K26, {"reasoning_effort": "high"}),
    (K3, dict.fromkeys(["temperature", "n", "thinking", "stop", "tool_choice", "response_format", "logit_bias"])),
    (OLD, {"temperature": 0.2, "logprobs": True, "top_logprobs": 3}),
    (K26, {"thinking": {"type": "disabled"}, "tool_choice": "required"}),
    (UNKNOWN, {"tool_choice": "required", "stop": ["x" * 40], "thinking": {"type": "disabled"}, "temperature": 0.1}),
    *((K3, {"tools": None, "tool_choice": choice}) for choice in ("auto", "none")),
    (K3, {"tools": [], "tool_choice": "auto", "messages": [user(), {"role": "system", "tools": [tool()]}]}),
    (K3, {"tools": [tool(parameters={"type": "object", "properties": {"depth": {"description": "In metres."}}})]}),
    *(
        (K3, {"thinking": {"type": "enabled", "keep": "all", "effort": effort}, "reasoning_effort": "max"})
        for effort in ("low", "high", "max")
    ),
    (K3, {"thinking": {"keep": "all"}}),
    (K3, {"thinking": {"type": "disabled"}, "temperature": 0.6}),
    (K3, {"tools": None, "tool_choice": "required", "messages": [user(), {"role": "system", "tools": [tool()]}]}),
    (K3, {"response_format": {"type": "json_object"}}),
    (K3, named(name="lake", schema={"type": "object"}, strict=False)),
    (K3, named(name="lake", schema={})),
    (K3, {"tools": [tool("x" * 128), tool("_private"), tool("a-b_9"), {"type": "plugin"}]}),
    (K3, {"tools": [tool(f"measure_{i}") for i in range(128)]}),
    (K3, {"tools": [SEARCH, tool("web_search")]}),
    (K26, {"tools": [SEARCH, tool()], "thinking": {"type": "disabled"}}),
    (K3, {"messages": [user(), called("a", reasoning=" "), result("a")]}),
    (K26, {"thinking": {"type": "disabled"}, "messages": [user(), called("a", reasoning=None), result("a")]}),
    (UNKNOWN, {"messages": [user(), called("a", reasoning=None), result("a")]}),
    (K3, {"messages": [user(), said("", reasoning_content="Only thought.")]}),
    (K3, {"messages": [user(), said([{"type": "text", "text": ""}, {"type": "text", "text": "Deep."}])]}),
    (K3, {"messages": [user(), said("", name="Captain", partial=True)]}),
    (K26, {"messages": [user(), said("{", partial=True)], "response_format": {"type": "text"}}),
    (K26, {"messages": [user(), said("{")], "response_format": {"type": "json_object"}}),
    (K3, {"messages": [user([{"type": "video_url", "video_url": {"url": "ms://file-1"}}])]}),
    (K3, {"messages": [user([{"type": "image_url", "image_url": "ms://file-1"}])]}),
    (K3, {"messages": [called("a"), result("a", [image(PNG)])]}),
    *(
        (K26, {"messages": [user([image(head + bytes(8))])]})
        for head in [
            b"\xff\xd8\xff\xe0",
            b"GIF89a",
            b"RIFF\x24\x00\x00\x00WEBP",
            b"BM\x46\x00",
            b"\x00\x00\x00\x18ftypheic",
            b"\x00\x00\x00\x18ftypmif1",
        ]
    ),
]


@pytest.mark.parametrize("request_", LEGAL.values(), ids=LEGAL)
def test_a_legal_request_of_each_family_passes(request_: Json) -> None:
    assert check(request_) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.model}")
def test_a_breach_is_reported_once_with_the_servers_words(case: Case) -> None:
    found = check(legal(case.model, **case.changes), **case.beside)
    assert [(violation.rule, violation.path, violation.message) for violation in found] == [
        (case.rule, case.path, case.message)
    ]
    rule = next(rule for rule in RULES if rule.name == case.rule)
    assert (found[0].way_out, found[0].status, found[0].type) == (rule.way_out, case.status, case.type)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.model}")
def test_nothing_reports_a_breach_once_its_rule_is_gone(case: Case) -> None:
    others = [rule for rule in RULES if rule.name != case.rule]
    assert check(legal(case.model, **case.changes), rules=others, **case.beside) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_has_a_case_and_says_where_it_comes_from(rule: Rule) -> None:
    assert any(case.rule == rule.name for case in CASES)
    assert rule.evidence
    assert rule.way_out.endswith(".")
    assert rule.find.__doc__


def test_rule_names_are_unique() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("model", [K3, K26, K25])
@pytest.mark.parametrize("thinking", [None, {"type": "disabled"}])
@pytest.mark.parametrize(
    "changes", [{"temperature": 0.0}, {"temperature": 0.6}, {"temperature": 1}, {"logprobs": True}]
)
def test_other_hosts_sample_more_freely(model: str, thinking: Json | None, changes: Json) -> None:
    body = legal(model, thinking=thinking, **changes)
    assert check(body, elsewhere=True) == []
    assert [v.rule for v in check(body | {"top_p": 0.8}, elsewhere=True)] == ["pinned_sampling"]


@pytest.mark.parametrize(("model", "taken"), [(K3, True), ("kimi-k3.1-pro", True), (K26, False), (UNKNOWN, False)])
def test_a_part_without_a_type_is_for_k3(model: str, taken: bool) -> None:
    body = legal(model, tools=[tool(parameters={"type": "object", "properties": {"depth": {}}})])
    assert (check(body) == []) is taken
    body["tools"][0]["function"]["parameters"]["properties"]["depth"] = {"enum": ["deep"]}
    assert [violation.rule for violation in check(body)] == ["parameters_flavour"]


@pytest.mark.parametrize(("model", "changes"), NEIGHBOURS)
def test_a_neighbour_of_a_breach_passes(model: str, changes: Json) -> None:
    assert check(legal(model, **changes)) == []


def test_the_limits_of_a_whole_request_are_for_kimis_own_models_and_platform() -> None:
    assert check(legal(K3), size=104_857_600) == []
    assert check(legal(UNKNOWN), size=104_857_601) == []
    assert check(legal(K25)) == []


def test_all_breaches_are_reported_settings_first_then_tools_then_messages() -> None:
    messages = [called("a", reasoning=None), result("b"), said(""), result("a")]
    found = check(legal(K26, temperature=2, top_p=1, tools=[tool("9")], messages=messages))
    assert [(violation.rule, violation.path) for violation in found] == [
        ("pinned_sampling", "temperature"),
        ("pinned_sampling", "top_p"),
        ("function_name", "tools[0].function.name"),
        ("empty_assistant", "messages[2].content"),
        ("missing_reasoning", "messages[0].reasoning_content"),
        ("tool_without_call", "messages[3].role"),
        ("unanswered_call", "messages[0].tool_calls"),
        ("unknown_call_id", "messages[1].tool_call_id"),
    ]


def test_a_violation_is_a_plain_value() -> None:
    found = check({"model": K3, "messages": []})
    assert found == [
        Violation(
            "messages_empty", "messages", "Invalid request: messages must not be empty", "Send at least one message."
        )
    ]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"model": K3}, True),
        ({"model": K27, "thinking": {"type": "disabled"}}, True),
        ({"model": K26}, True),
        ({"model": K26, "thinking": None}, True),
        ({"model": K26, "thinking": "disabled"}, True),
        ({"model": K26, "thinking": {"type": "disabled"}}, False),
        ({"model": "moonshotai/Kimi-K2.5", "thinking": {"type": "enabled"}}, True),
        ({"model": OLD, "thinking": {"type": "enabled"}}, False),
        ({"model": UNKNOWN}, None),
        ({"model": ["kimi-k3"]}, None),
        ({}, None),
    ],
)
def test_thinks_is_decided_by_the_row_and_the_thinking_field(request_: Json, expected: bool | None) -> None:
    assert thinks(request_) is expected


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
words = st.sampled_from(
    ["role", "content", "tool_calls", "id", "tool_call_id", "type", "function", "name", "parameters", "properties"]
) | st.sampled_from(
    ["anyOf", "$ref", "$defs", "enum", "items", "required", "json_schema", "schema", "image_url", "url", "tools"]
)
values = scalars | st.sampled_from(
    [
        "tool",
        "assistant",
        "system",
        "function",
        "object",
        "array",
        "json_schema",
        "image_url",
        "#",
        "#/$defs/a",
        "a",
        "data:,",
    ]
)
anything = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    ["model", "messages", "tools", "tool_choice", "thinking", "reasoning_effort", "response_format", "stop"]
) | st.sampled_from(["logprobs", "temperature", "n", "top_logprobs", "logit_bias"])


@settings(max_examples=100, deadline=None, database=None)
@given(st.dictionaries(fields, anything, max_size=6), st.sampled_from([K3, K27, K26, OLD, UNKNOWN, None]))
def test_no_json_makes_the_judge_raise(body: Json, model: str | None) -> None:
    check(body)
    check(body | {"model": model, "messages": [body.get("messages")]})
    check({"model": model, "tools": [{"type": "function", "function": body}], **named(**body)})
    check({"model": model, "messages": [body, {"role": "assistant", **body}, {"role": "tool", **body}]})


@pytest.mark.parametrize("body", [None, [], "hello", 3])
def test_a_body_that_is_no_object_is_judged_as_an_empty_one(body: Any) -> None:
    assert [violation.rule for violation in check(body)] == ["messages_empty"]
