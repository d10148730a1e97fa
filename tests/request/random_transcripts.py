"""Hypothesis strategies for transcripts in any order, with any ids and content, and a strict reader of JSON."""

import json
import os
from typing import Any, Never

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

PNG = "iVBORw0KGgoAAAANSUhEUg=="
USER = HumanMessage("go on")

texts = st.sampled_from(["", " ", "hi", "é\n", "half \ud83d", "\ude00 half", "\ud83d\ude00", "\x00"])
names = st.sampled_from(["add", "f", "g\udc00"])
ids = st.sampled_from(["add:0", "add:1", "add:0~2", "toolu_1", "add_0", "x\ud800", "x\ud801"])
OBJECTS = [
    "{}",
    '{"x":1}',
    '{ "x" : "\\u00e9", "y":[1.50, {"z": null}]}',
    '{"x":1,"x":2}\n',
    '{"n":18446744073709551617}',
]
"""Argument strings that go back as they came."""
BROKEN = [
    *("", " ", "{", '{"x": ', '{"x":1,}', '{"x":"a\nb"}', "null", "[1]", '"a"', '"{\\"x\\":1}"', '{"x":NaN}', "1e999"),
    *('{"x":1e999}', '{"x":"\\ud800"}', '{"x":"\ud800"}', "{'x': 1}", '{"x":1}{"x":1}', "\ufeff{}", "{" * 40_000),
]
"""Argument strings that a host cannot read as an object."""
FINISHES = [None, "stop", "tool_calls", "length", "content_filter", "engine_overloaded", "repeat", "strange", 7]
text_parts = texts | texts.map(lambda text: {"type": "text", "text": text})
images = st.sampled_from(
    [
        {"type": "image", "base64": PNG, "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
)
objects = st.sampled_from(
    [
        {"rows": [1, None]},
        {"type": "json", "json": {"a": 1}},
        {"type": "text", "text": 5},
        {"type": "image", "url": "https://x.y/z.png"},
        {"type": "image_url", "image_url": "https://x.y/z.png"},
        {"type": "file", "base64": "aGk="},
    ]
)
blocks = text_parts | st.sampled_from(
    [
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "add:0", "name": "add", "input": {}},
        {"type": "tool_use", "id": "add:1", "name": "add", "input": '{"x": '},
        {"type": "invalid_tool_call", "id": "add:1", "name": "add", "args": '{"x": ', "error": None},
        {"type": "tool_call", "id": "add:0", "name": "add", "args": {}},
        {"type": "refusal", "refusal": "No."},
        {"type": "executable_code", "executable_code": "1"},
        {"type": "text", "text": None},
    ]
)
arguments = st.sampled_from([{}, {"x": 1}, {"x": "half \ud800"}, {"x": float("nan")}, {"x\udc00": [{"y": "\ud83d"}]}])
valid_calls = st.fixed_dictionaries({"name": names, "args": arguments, "id": ids | st.sampled_from([None, ""])})
invalid_calls = st.fixed_dictionaries(
    {
        "name": names | st.none(),
        "args": st.sampled_from([*BROKEN, *OBJECTS]) | st.none(),
        "id": ids | st.none(),
        "error": st.none() | st.just("no JSON"),
    }
)


def written(draw: st.DrawFn, args: Any) -> str:
    """The argument string that a call is recorded with: its own, or one that holds no longer."""
    own = args if isinstance(args, str) else json.dumps(args)
    return own if draw(st.booleans()) else draw(st.sampled_from([*BROKEN, *OBJECTS]))


@st.composite
def assistants(draw: st.DrawFn) -> AIMessage:
    """An answer of Kimi's or of another model, whole or edited: its record may lack calls, or hold more."""
    valid = draw(st.lists(valid_calls, max_size=3))
    invalid = draw(st.lists(invalid_calls, max_size=1))
    kept: dict[str, Any] = {}
    if draw(st.booleans()):
        record = draw(st.permutations([*valid, *invalid]))
        kept["kimi_calls"] = [
            {"id": call["id"], "name": call["name"], "arguments": written(draw, call["args"])} for call in record
        ][draw(st.integers(0, 1)) :]
    if draw(st.booleans()):
        kept["reasoning_content"] = draw(texts)
    metadata = dict(draw(st.sampled_from([{}, {"model_provider": "moonshot"}, {"model_provider": "anthropic"}])))
    metadata |= {"finish_reason": draw(st.sampled_from(FINISHES))}
    content: Any = draw(texts | st.lists(blocks, max_size=4))
    return AIMessage(
        content, tool_calls=valid, invalid_tool_calls=invalid, additional_kwargs=kept, response_metadata=metadata
    )


results = st.builds(
    ToolMessage,
    texts | st.lists(text_parts | images | objects, max_size=3),
    tool_call_id=ids | st.just(""),
)
inputs = texts | st.lists(text_parts | images, max_size=3)
others = st.one_of(
    st.builds(HumanMessage, inputs),
    st.builds(SystemMessage, texts | st.lists(text_parts, max_size=2)),
    st.builds(ChatMessage, texts, role=st.sampled_from(["developer", "user", "assistant", "model", "tool", "critic"])),
    st.builds(FunctionMessage, texts, name=names),
    st.just(RemoveMessage(id="1")),
)
histories = st.lists(assistants() | results | others, max_size=12)
exchanges = st.lists(
    st.lists(ids | st.none(), min_size=1, max_size=3).flatmap(
        lambda keys: st.permutations([ToolMessage(f"{at}", tool_call_id=key or "") for at, key in enumerate(keys)]).map(
            lambda answers: [
                AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": key} for key in keys]),
                *answers,
            ]
        )
    ),
    min_size=1,
    max_size=2,
).map(lambda pairs: [message for pair in pairs for message in pair])

TRANSCRIPTS = int(os.environ.get("KIMI_RANDOM_TRANSCRIPTS", "100"))
"""How many random transcripts the strictest test reads."""

judged = settings(
    max_examples=max(50, TRANSCRIPTS // 10),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def no_constant(constant: str) -> Never:
    raise ValueError(constant)


def strictly(text: str) -> Any:
    """A JSON text as the strictest hosts read it: no NaN, no infinity, no surrogate. Raises ValueError."""
    value = json.loads(text, parse_constant=no_constant)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value
