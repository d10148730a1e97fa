"""The user's knobs on the wire: what is sent, what is dropped with a note, what raises."""

from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_kimi._request import EncodedRequest, encode_request
from langchain_kimi._rules import check
from langchain_kimi.catalogue import MODELS, Model, find
from langchain_kimi.errors import IllegalRequestError, ToolChoiceError
from tests.conftest import PAIRED

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("add", "look")
]
NAMED = {"type": "function", "function": {"name": "add"}}


def encode(model: str, **chosen: Any) -> EncodedRequest:
    return encode_request({"model": model, **chosen}, [HumanMessage("hi")], stream=False)


THINKING = [
    # model, knobs, fields on the wire
    ("kimi-k2.6", {}, {}),
    ("kimi-k2.6", {"thinking": True}, {"thinking": {"type": "enabled"}}),
    ("kimi-k2.6", {"thinking": False}, {"thinking": {"type": "disabled"}}),
    ("kimi-k2.6", {"keep_thinking": True}, {"thinking": {"type": "enabled", "keep": "all"}}),
    ("kimi-k2.7-code", {"thinking": True, "keep_thinking": True}, {}),
    ("kimi-k3", {"thinking": True}, {}),
    ("kimi-k3", {"thinking": "low"}, {"reasoning_effort": "low"}),
    ("kimi-k3", {"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
    ("kimi-k3", {"thinking": "max", "reasoning_effort": "max"}, {"reasoning_effort": "max"}),
    ("moonshot-v1-8k", {"thinking": False}, {}),
    ("somebody/else", {"thinking": False}, {"thinking": {"type": "disabled"}}),
    ("somebody/else", {"thinking": "high"}, {"reasoning_effort": "high"}),
    ("moonshotai/Kimi-K3", {"thinking": "low"}, {"reasoning_effort": "low"}),
]


@pytest.mark.parametrize(("model", "knobs", "fields"), THINKING)
def test_thinking_knob_becomes_what_the_model_takes(model: str, knobs: dict[str, Any], fields: dict[str, Any]) -> None:
    body = encode(model, **knobs).body
    assert {key: body[key] for key in ("thinking", "reasoning_effort") if key in body} == fields


@pytest.mark.parametrize(
    ("model", "knobs", "says"),
    [
        ("kimi-k2.6", {"thinking": "high"}, "takes no effort"),
        ("kimi-k2.6", {"reasoning_effort": "low"}, "Use thinking=True or False"),
        ("kimi-k3", {"thinking": False}, "always thinks; thinking='low' is the least"),
        ("kimi-k3", {"thinking": "medium"}, "only low, high, max"),
        ("kimi-k2.7-code", {"thinking": False}, "always thinks"),
        ("kimi-k3", {"keep_thinking": False}, "always reads its earlier reasoning"),
        ("kimi-k2.5", {"keep_thinking": True}, "has no `keep`"),
        ("kimi-k2.6", {"keep_thinking": True, "thinking": False}, "does not think"),
        ("moonshot-v1-8k", {"thinking": True}, "cannot think"),
        ("kimi-k3", {"thinking": "low", "reasoning_effort": "max"}, "contradict"),
        ("kimi-k2.6", {"thinking": False, "reasoning_effort": "max"}, "contradict"),
    ],
)
def test_knob_the_model_cannot_turn_raises_and_says_what_to_do(model: str, knobs: dict[str, Any], says: str) -> None:
    with pytest.raises(IllegalRequestError, match=says):
        encode(model, **knobs)


CHOICES = [
    # model, thinking, choice, on the wire, noted
    ("kimi-k2.6", None, "auto", "auto", False),
    ("kimi-k2.6", None, "none", "none", False),
    ("kimi-k2.6", None, "any", "auto", True),
    ("kimi-k2.6", None, True, "auto", True),
    ("kimi-k2.6", None, "add", "auto", True),
    ("kimi-k2.6", False, "add", NAMED, False),
    ("kimi-k2.6", False, NAMED, NAMED, False),
    ("kimi-k2.6", False, "required", "required", False),
    ("kimi-k2.7-code", None, NAMED, "auto", True),
    ("kimi-k3", None, "any", "required", False),
    ("kimi-k3", None, "add", "required", True),
    ("somebody/else", None, "add", NAMED, False),
    ("kimi-k2.6", None, None, None, False),
    ("kimi-k2.6", None, {"type": "any"}, "auto", True),
]


@pytest.mark.parametrize(("model", "thinking", "choice", "sent", "noted"), CHOICES)
def test_tool_choice_is_sent_or_resolved_to_the_nearest(
    model: str, thinking: bool | None, choice: Any, sent: Any, noted: bool
) -> None:
    encoded = encode(model, thinking=thinking, tools=TOOLS, tool_choice=choice)
    assert encoded.body.get("tool_choice") == sent
    assert [note.topic for note in encoded.notes if note.topic != "model"] == ["tool_choice"] * noted


@pytest.mark.parametrize(("model", "thinking", "choice", "sent", "noted"), [row for row in CHOICES if row[4]])
def test_illegal_tool_choice_raises_on_demand(model: str, thinking: Any, choice: Any, sent: Any, noted: Any) -> None:
    with pytest.raises(ToolChoiceError, match="is not taken while"):
        encode(model, thinking=thinking, tools=TOOLS, tool_choice=choice, illegal_tool_choice="raise")


@pytest.mark.parametrize("choice", ["delete", {"type": "tool"}, {"function": {}}, 3])
def test_tool_choice_of_no_known_form_or_tool_raises(choice: Any) -> None:
    with pytest.raises(ToolChoiceError):
        encode("kimi-k2.6", tools=TOOLS, tool_choice=choice)


def test_forced_call_without_tools_becomes_auto() -> None:
    encoded = encode("kimi-k3", tool_choice="required")
    assert encoded.body["tool_choice"] == "auto"
    assert "without tools" in encoded.notes[0].text


def test_pinned_sampling_is_dropped_with_one_note() -> None:
    encoded = encode("kimi-k3", temperature=0.2, top_p=0.95, n=1, presence_penalty=1.0)
    assert not encoded.body.keys() & {"temperature", "top_p", "n", "presence_penalty"}
    (note,) = encoded.notes
    assert note.topic == "sampling"
    assert "temperature=0.2, presence_penalty=1.0 is dropped" in note.text
    assert "only temperature=1.0, presence_penalty=0" in note.text


def test_pin_follows_thinking() -> None:
    assert encode("kimi-k2.6", temperature=0.6, thinking=False).notes == ()
    assert encode("kimi-k2.6", temperature=0.6).notes[0].topic == "sampling"


def test_the_one_value_is_sent_to_other_hosts_which_may_not_know_it() -> None:
    assert encode("kimi-k3", top_p=0.95, temperature=0.2, elsewhere=True).body["top_p"] == 0.95
    assert "temperature" not in encode("kimi-k3", temperature=0.2, elsewhere=True).body
    assert "top_p" not in encode("kimi-k3", top_p=0.95, elsewhere=False).body


def test_sampling_of_other_models_is_sent() -> None:
    assert encode("somebody/else", temperature=0.2).body["temperature"] == 0.2
    assert encode("moonshot-v1-8k", temperature=0.2).body["temperature"] == 0.2


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row.id)
def test_output_cap_is_always_explicit_and_large_enough_to_think(row: Any) -> None:
    body = encode(row.id).body
    assert body["max_completion_tokens"] == row.default_output
    assert "max_tokens" not in body
    assert row.thinking == "never" or row.default_output >= 16_000


def test_small_cap_is_sent_and_noted_while_the_model_thinks() -> None:
    encoded = encode("kimi-k2.6", max_tokens=100)
    assert encoded.body["max_completion_tokens"] == 100
    assert [note.topic for note in encoded.notes] == ["max_tokens"]
    assert encode("kimi-k2.6", max_tokens=100, thinking=False).notes == ()


def test_empty_stop_counts_as_unset_and_extra_body_goes_as_it_is() -> None:
    body = encode("kimi-k2.6", stop=[], extra_body={"safety_identifier": "u1"}, prompt_cache_key="thread-1").body
    assert "stop" not in body
    assert body["safety_identifier"] == "u1"
    assert body["prompt_cache_key"] == "thread-1"


def test_messages_come_last_so_that_requests_share_their_beginning() -> None:
    assert list(encode("kimi-k2.6", tools=TOOLS, max_tokens=20_000, extra_body={"a": 1}).body)[-1] == "messages"


def test_find_ignores_host_prefix_and_case() -> None:
    assert find("moonshotai/Kimi-K2-Thinking") is find("kimi-k2-thinking") is not None
    assert find("gpt-5") is None


DROPPED, RAISES = "dropped with a note", "raises"
FAMILIES = ("K3", "K2.7", "K2.6", "K2.5", "K2 Thinking", "never thinks")
THINKS: dict[str, Any] = {"type": "enabled"}
RESTS: dict[str, Any] = {"type": "disabled"}
KNOBS: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    # the knob, then what becomes of it in each family: the fields sent, DROPPED or RAISES
    ({"thinking": None}, ({}, {}, {}, {}, {}, {})),
    ({"thinking": True}, ({}, {}, {"thinking": THINKS}, {"thinking": THINKS}, {}, RAISES)),
    ({"thinking": False}, (RAISES, RAISES, {"thinking": RESTS}, {"thinking": RESTS}, RAISES, {})),
    ({"thinking": "low"}, ({"reasoning_effort": "low"}, RAISES, RAISES, RAISES, RAISES, RAISES)),
    ({"reasoning_effort": "max"}, ({"reasoning_effort": "max"}, RAISES, RAISES, RAISES, RAISES, RAISES)),
    ({"reasoning_effort": "none"}, (RAISES,) * 6),
    ({"keep_thinking": True}, ({}, {}, {"thinking": {**THINKS, "keep": "all"}}, RAISES, RAISES, RAISES)),
    ({"keep_thinking": False}, (RAISES, RAISES, {}, {}, {}, {})),
    ({"temperature": 0.3}, (DROPPED, DROPPED, DROPPED, DROPPED, {"temperature": 0.3}, {"temperature": 0.3})),
    ({"temperature": 1.0}, ({}, {}, {}, {}, {"temperature": 1.0}, {"temperature": 1.0})),
    (
        {"temperature": 0.6, "thinking": False},
        (RAISES, RAISES, {"thinking": RESTS}, {"thinking": RESTS}, RAISES, {"temperature": 0.6}),
    ),
    ({"top_p": 0.5}, (DROPPED, DROPPED, DROPPED, DROPPED, {"top_p": 0.5}, {"top_p": 0.5})),
    ({"n": 2}, (DROPPED, DROPPED, DROPPED, DROPPED, {"n": 2}, {"n": 2})),
    ({"presence_penalty": 1}, (DROPPED, DROPPED, DROPPED, DROPPED, {"presence_penalty": 1}, {"presence_penalty": 1})),
    (
        {"frequency_penalty": 1},
        (DROPPED, DROPPED, DROPPED, DROPPED, {"frequency_penalty": 1}, {"frequency_penalty": 1}),
    ),
    ({"stop": ["a"]}, ({"stop": ["a"]},) * 6),
    ({"stop": []}, ({},) * 6),
    ({"prompt_cache_key": "k"}, ({"prompt_cache_key": "k"},) * 6),
]


def family(row: Model) -> str:
    if row.thinking == "never":
        return "never thinks"
    if row.efforts:
        return "K3"
    if row.thinking == "optional":
        return "K2.6" if row.keeps == "on_request" else "K2.5"
    return "K2.7" if row.pinned_thinking else "K2 Thinking"


@PAIRED
@pytest.mark.parametrize("row", MODELS, ids=lambda row: row.id)
@pytest.mark.parametrize(("knob", "outcomes"), KNOBS, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_every_knob_on_every_model(row: Model, knob: dict[str, Any], outcomes: tuple[Any, ...]) -> None:
    """What Kimi would say to what is not sent, in its own words:

    thinking=False on K2.7: "invalid thinking: only type=enabled is allowed for this model"; efforts on K2.6 beside
    `thinking`: "cannot specify both 'thinking' and 'reasoning_effort'"; sampling: "invalid temperature: only 1 is
    allowed for this model" (0.6 with thinking off), "invalid top_p: only 0.95 is allowed for this model", "invalid n:
    only 1 is allowed for this model", "invalid presence_penalty: only 0 is allowed for this model" and the same for
    frequency_penalty.
    """
    outcome = outcomes[FAMILIES.index(family(row))]
    if outcome == RAISES:
        with pytest.raises(IllegalRequestError):
            encode(row.id, **knob)
        return
    encoded = encode(row.id, **knob)
    plain = encode(row.id).body
    assert {key: value for key, value in encoded.body.items() if plain.get(key) != value} == (
        {} if outcome == DROPPED else outcome
    )
    assert [note.topic for note in encoded.notes] == ["sampling"] * (outcome == DROPPED)
    assert check(encoded.body) == []


def test_unknown_model_passes_with_one_note() -> None:
    encoded = encode("somebody/else", temperature=0.3, n=2, top_p=0.1, thinking="low")
    assert encoded.body.items() >= {"temperature": 0.3, "n": 2, "top_p": 0.1, "reasoning_effort": "low"}.items()
    assert [note.topic for note in encoded.notes] == ["model"]
