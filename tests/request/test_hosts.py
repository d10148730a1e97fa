"""Kimi models on other hosts: reasoning and the thinking switch in the host's own fields."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi._hosts import DIALECTS, DialectName, host_dialect
from langchain_kimi._request.hosts import reasoning_key, translate_message
from langchain_kimi._response import ResponseDecoder
from langchain_kimi.errors import BadRequestError, IllegalRequestError
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought
from tests.conftest import FOUR_WAYS, PAIRED, Serve, add, kimi
from tests.ways import asked

MODEL = "moonshotai/kimi-k2.6"
THOUGHT = "第一 step.\u2028 "


def script(request: Request) -> Reply:
    if request.last["role"] == "user":
        return thought(THOUGHT).calling_raw("add", '{"a":2,  "b":3}')
    return said("5", thinking="So. ")


KEYS = {
    "kimi": {"reasoning_content": THOUGHT},
    "openrouter": {"reasoning_details": [{"type": "reasoning.text", "text": THOUGHT, "format": "unknown", "index": 0}]},
    "vllm": {"reasoning": THOUGHT},
}


@pytest.mark.parametrize("streaming", [None, False])
@pytest.mark.parametrize("dialect", KEYS)
async def test_reasoning_goes_back_under_the_hosts_key(serve: Serve, dialect: Any, streaming: Any) -> None:
    server = serve(script, dialect=dialect, models=[MODEL])
    agent = create_kimi_agent(kimi(server, MODEL, dialect=dialect, streaming=streaming), [add])
    config = {"configurable": {"thread_id": "1"}}
    state = await agent.ainvoke({"messages": [("user", "2 + 3?")]}, config)
    assert state["messages"][1].additional_kwargs["reasoning_content"] == THOUGHT
    assert state["messages"][-1].text == "5"
    sent = server.requests[1].json["messages"][1]
    assert {key: sent[key] for key in sent if key.startswith("reasoning")} == KEYS[dialect]
    assert set(server.statuses) == {200}
    first, second = (request.body for request in server.requests)
    assert second.startswith(first[: -len(b"]}")])


def test_key_of_an_unknown_host_is_learnt_from_its_answers(serve: Serve) -> None:
    server = serve(script, dialect="vllm", models=[MODEL])
    bound = kimi(server, MODEL).bind_tools([add])
    answer = bound.invoke("2 + 3?")
    bound.invoke([HumanMessage("2 + 3?"), answer, ToolMessage("5", tool_call_id=answer.tool_calls[0]["id"])])
    assert server.requests[1].json["messages"][1]["reasoning"] == THOUGHT


@pytest.mark.parametrize(
    ("dialect", "model", "knobs", "fields"),
    [
        ("openrouter", MODEL, {"thinking": False}, {"reasoning": {"enabled": False}}),
        ("openrouter", "moonshotai/kimi-k3", {"thinking": "low"}, {"reasoning": {"effort": "low"}}),
        ("vllm", MODEL, {"thinking": False}, {"chat_template_kwargs": {"thinking": False}}),
        (
            "vllm",
            MODEL,
            {"keep_thinking": True},
            {"chat_template_kwargs": {"thinking": True, "preserve_thinking": True}},
        ),
        (
            "vllm",
            "moonshotai/kimi-k3",
            {"thinking": "high"},
            {"chat_template_kwargs": {"thinking": True, "thinking_effort": "high"}},
        ),
        ("vllm", MODEL, {}, {}),
        ("kimi", MODEL, {"thinking": False}, {"thinking": {"type": "disabled"}}),
    ],
)
def test_thinking_switch_takes_the_hosts_form(
    serve: Serve, dialect: Any, model: str, knobs: dict[str, Any], fields: dict[str, Any]
) -> None:
    server = serve([said("ok", thinking="hm")], dialect=dialect, models=[model])
    answer = kimi(server, model, dialect=dialect, **knobs).invoke("hi")
    known = ("thinking", "reasoning_effort", "reasoning", "chat_template_kwargs")
    assert {key: server.requests[0].json[key] for key in known if key in server.requests[0].json} == fields
    assert ("reasoning_content" in answer.additional_kwargs) is (knobs.get("thinking") is not False)


@pytest.mark.parametrize("dialect", ["openrouter", "vllm"])
def test_the_hosts_refuse_kimis_own_fields(serve: Serve, dialect: Any) -> None:
    model = kimi(serve([], dialect=dialect, models=[MODEL]), MODEL, dialect="kimi")
    with pytest.raises(BadRequestError, match="`thinking` or `reasoning_effort` is not known here"):
        model.invoke("hi", thinking=False)
    answer = AIMessage("Hm.", additional_kwargs={"reasoning_content": "x"})
    with pytest.raises(BadRequestError, match="`reasoning_content` is not known here"):
        model.invoke([HumanMessage("hi"), answer, HumanMessage("so?")])


@pytest.mark.parametrize(
    ("url", "switch"),
    [
        ("https://openrouter.ai/api/v1", "reasoning"),
        ("https://api.together.xyz/v1", "reasoning"),
        ("https://notopenrouter.ai/v1", "thinking"),
        ("https://api.moonshot.ai/v1", "thinking"),
        ("http://127.0.0.1:8000/v1", "thinking"),
    ],
)
def test_known_hosts_speak_their_dialect_unasked(url: str, switch: str) -> None:
    assert host_dialect(url, None).thinking_switch == switch


def test_ids_of_other_makers_become_k2s_on_other_hosts(serve: Serve) -> None:
    server = serve([said("ok")], models=["moonshotai/Kimi-K2-Thinking"])
    history = [
        HumanMessage("go"),
        AIMessage("", tool_calls=[{"id": "call_x7", "name": "add", "args": {"a": 1, "b": 1}}]),
        ToolMessage("2", tool_call_id="call_x7"),
    ]
    kimi(server, "moonshotai/Kimi-K2-Thinking").invoke(history)
    sent = server.requests[0].messages
    assert (sent[1]["tool_calls"][0]["id"], sent[2]["tool_call_id"]) == ("functions.add:0", "functions.add:0")


def pinged(server: KimiServer) -> list[str]:
    """The ids of calls in the last request."""
    return [call["id"] for message in server.requests[-1].messages for call in message.get("tool_calls", ())]


@PAIRED
@pytest.mark.parametrize("streaming", [None, False])
@pytest.mark.parametrize("form", ["ping_0", "call_x7", "list_dir:0", "chatcmpl-tool-9f", "functions.add:0"])
async def test_ids_go_back_to_the_host_that_gave_them(serve: Serve, form: str, streaming: Any) -> None:
    name = "moonshotai/Kimi-K2-Thinking"

    def answer(request: Request) -> Reply:
        return said("5") if request.last["role"] == "tool" else thought("Hm.").calling_raw("add", '{"a":1,"b":4}', form)

    server, other = serve(answer, models=[name]), serve([said("ok")], models=[name])
    agent = create_kimi_agent(kimi(server, name, streaming=streaming), [add])
    ask: Any = {"messages": [("user", "1 + 4?")]}
    state = await agent.ainvoke(ask)
    assert pinged(server) == [form]
    assert agent.invoke(ask)["messages"][-1].text == "5"
    assert pinged(server) == [form]
    kimi(other, name).invoke([*state["messages"], HumanMessage("Really?")])
    assert pinged(other) == [form if ":" in form else "functions.add:0"]
    await agent.ainvoke({"messages": [*state["messages"], HumanMessage("Again.")]})
    again = pinged(server)
    assert again[0] == form
    assert again[1] not in ("", form)


@PAIRED
@pytest.mark.parametrize("dialect", ["sglang", "openrouter", "vllm", None])
@pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
async def test_a_named_dialect_yields_to_the_key_that_the_host_used(serve: Serve, dialect: Any, key: str) -> None:
    server = serve(script, dialect="vllm" if key == "reasoning" else "kimi", models=[MODEL])
    agent = create_kimi_agent(kimi(server, MODEL, dialect=dialect), [add])
    assert (await agent.ainvoke({"messages": [("user", "2 + 3?")]}))["messages"][-1].text == "5"
    assert server.requests[1].json["messages"][1][key] == THOUGHT


def host_message(reasoning: dict[str, Any]) -> AIMessage:
    message = {"role": "assistant", "content": "5", **reasoning}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return ResponseDecoder(host="h").decode_body(body)


@pytest.mark.parametrize("name", DIALECTS)
def test_the_key_of_every_host_in_the_table_is_read_and_sent_back(name: DialectName) -> None:
    dialect = DIALECTS[name]
    answer = host_message({dialect.reasoning_key: THOUGHT})
    assert answer.additional_kwargs["reasoning_content"] == THOUGHT
    streamed = ResponseDecoder(host="h")
    delta = {"choices": [{"index": 0, "delta": {dialect.reasoning_key: "\ud83d"}}]}
    rest = {"choices": [{"index": 0, "delta": {dialect.reasoning_key: "\ude00"}, "finish_reason": "stop"}]}
    for event in (delta, rest):
        streamed.feed(json.dumps(event).encode())
    assert streamed.message().additional_kwargs["reasoning_content"] == "\U0001f600"
    for chosen in DIALECTS.values():
        key = reasoning_key([answer], chosen, "h")
        assert key == dialect.reasoning_key
        encoded = translate_message({"role": "assistant", "reasoning_content": THOUGHT}, answer, key)
        assert encoded == {"role": "assistant", key: THOUGHT}
    assert reasoning_key([], dialect, "h") == dialect.reasoning_key


def test_the_table_of_hosts_names_every_dialect_and_the_docs_list_it() -> None:
    assert tuple(DIALECTS) == get_args(DialectName)
    docs = (Path(__file__).parents[2] / "docs/hosts.md").read_text()
    for name, row in DIALECTS.items():
        domains = ", ".join(f"`{domain}`" for domain in row.domains) or "–"
        assert f"| `{name}` | {domains} | `{row.reasoning_key}` | `{row.thinking_switch}` |" in docs
        assert all(host_dialect(f"https://api.{domain}/v1", None) is row for domain in row.domains)


def test_answers_of_another_host_say_nothing_of_this_ones_key(serve: Serve) -> None:
    theirs, ours = serve(script, dialect="vllm", models=[MODEL]), serve([said("ok")], models=[MODEL])
    history: list[Any] = [HumanMessage("2 + 3?"), kimi(theirs, MODEL).bind_tools([add]).invoke("2 + 3?")]
    kimi(ours, MODEL).invoke([*history, ToolMessage("5", tool_call_id=history[1].tool_calls[0]["id"])])
    assert ours.requests[0].messages[1]["reasoning_content"] == THOUGHT


def test_a_host_that_uses_both_keys_gets_its_dialects() -> None:
    answer = host_message({"reasoning": "hm", "reasoning_content": "hm"})
    for name, key in (("vllm", "reasoning"), ("sglang", "reasoning_content"), ("kimi", "reasoning_content")):
        dialect = host_dialect("https://h/v1", name)  # type: ignore[arg-type]
        assert reasoning_key([answer], dialect, "h") == key


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        ("kimi", {"thinking": {"type": "disabled"}}),
        ("vllm", {"chat_template_kwargs": {"thinking": False}}),
        ("openrouter", {"reasoning": {"enabled": False}}),
    ],
)
@FOUR_WAYS
async def test_thinking_off_with_k3_passes_on_other_hosts(
    serve: Serve, dialect: Any, fields: dict[str, Any], way: str
) -> None:
    name = "moonshotai/Kimi-K3"
    server = serve([said("ok", thinking="hm")], dialect=dialect, models=[name])
    model = kimi(server, name, dialect=dialect, thinking=False, temperature=0.6)
    answer = await asked(model, "hi", way)
    assert answer.text == "ok"
    assert "reasoning_content" not in answer.additional_kwargs
    assert fields.items() <= server.requests[0].json.items()
    assert server.requests[0].json["temperature"] == 0.6


@pytest.mark.parametrize("url", ["https://api.moonshot.ai/v1", "https://api.moonshot.cn/v1"])
def test_thinking_off_with_k3_is_refused_on_kimis_own_hosts(url: str) -> None:
    with pytest.raises(IllegalRequestError, match="kimi-k3 always thinks"):
        ChatKimi(model="kimi-k3", api_key="sk-x", base_url=url, thinking=False)  # type: ignore[arg-type]
    model = ChatKimi(model="kimi-k3", api_key="sk-x", base_url=url)  # type: ignore[arg-type]
    with pytest.raises(IllegalRequestError, match="kimi-k3 always thinks"):
        model.invoke("hi", thinking=False)
    with pytest.raises(IllegalRequestError, match=r"kimi-k2\.7-code always thinks"):
        ChatKimi(model="kimi-k2.7-code", api_key="sk-x", base_url="http://127.0.0.1:1/v1", thinking=False)  # type: ignore[arg-type]


def test_a_temperature_goes_to_another_host_as_an_extra_field(serve: Serve) -> None:
    server = serve([said("ok")], dialect="vendor")
    model = kimi(server, "kimi-k3", extra_body={"temperature": 0.6})
    assert model.invoke("hi").text == "ok"
    assert server.requests[0].json["temperature"] == 0.6
    with pytest.raises(IllegalRequestError, match="only 0 to 1 is allowed"):
        model.invoke("hi", extra_body={"temperature": 1.1})
    own = ChatKimi(
        model="kimi-k3", api_key="sk-x", base_url="https://api.moonshot.ai/v1", extra_body={"temperature": 0.6}
    )  # type: ignore[arg-type]
    with pytest.raises(IllegalRequestError, match="only 1 is allowed"):
        own.invoke("hi")
