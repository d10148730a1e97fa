"""Settings of one call, of the output cap and of tools: what passes, what raises, and that nothing given is changed."""

import asyncio
import re
import warnings
from copy import deepcopy
from typing import Any

import orjson
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ValidationError

from langchain_kimi import ChatKimi, create_kimi_agent, create_kimi_team, dynamic_tools_message
from langchain_kimi._raw_calls import CALLS
from langchain_kimi._request.repair import repair
from langchain_kimi._response import ResponseDecoder
from langchain_kimi.agent.team.create_team import TeamMember
from langchain_kimi.catalogue import suggestion
from langchain_kimi.errors import ContextOverflowError, IllegalRequestError, KimiWarning, NotFoundError
from langchain_kimi.testing import FakeKimi, Reply, Request, called, refused, said
from tests.conftest import PAIRED, Serve, add, kimi
from tests.ways import WAYS, asked

# Keywords of a call.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "Did you mean temperature=?"),
        ("max_token", "Did you mean max_tokens=?"),
        ("reasoning_efort", "Did you mean reasoning_effort=?"),
        ("foo", 'extra_body={"foo": …}'),
        ("timeout", "set when the model is made"),
        ("api_key", "set when the model is made"),
    ],
)
async def test_an_unknown_keyword_raises_and_nothing_is_sent(serve: Serve, way: str, name: str, hint: str) -> None:
    server = serve([])
    with pytest.raises(IllegalRequestError) as caught:
        await asked(kimi(server).bind(**{name: 1}), "hi", way)
    assert hint in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "Did you mean temperature=?"),
        ("max_completion_token", "Did you mean max_completion_tokens=?"),
        ("time_out", "Did you mean timeout=?"),
        ("api_kye", "Did you mean api_key=?"),
        ("foo", 'extra_body={"foo": …}'),
    ],
)
@pytest.mark.parametrize("model", [ChatKimi, FakeKimi])
def test_an_unknown_argument_of_the_constructor_names_the_nearest_one(
    model: type[ChatKimi], name: str, hint: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        model(model="kimi-k3", **{"api_key": "sk-x", name: "sk-secret-0123456789"})
    assert f"{model.__name__} takes no setting {name}=. " in str(caught.value)
    assert hint in str(caught.value)
    assert "sk-secret" not in str(caught.value)
    assert "sk-secret" not in repr(caught.value.errors())


@pytest.mark.parametrize("way", WAYS)
async def test_langchains_own_keywords_pass(serve: Serve, way: str) -> None:
    server = serve([said("ok")])
    bound = kimi(server, "kimi-k3").bind(
        stop=["x"],
        tools=[convert_to_openai_tool(add)],
        tool_choice="auto",
        response_format={"type": "json_object"},
        strict=True,
        ls_structured_output_format={"kwargs": {"method": "json_mode"}, "schema": {"title": "a", "type": "object"}},
        model="kimi-k2.6",
        max_tokens=20_000,
        extra_body={"custom": 1},
    )
    config: Any = {"callbacks": [], "tags": ["t"], "metadata": {"m": 1}, "run_name": "r"}
    await asked(bound.with_config(config), "hi", way)
    sent = server.requests[0].json
    assert (sent["model"], sent["stop"], sent["max_completion_tokens"], sent["custom"]) == (
        "kimi-k2.6",
        ["x"],
        20_000,
        1,
    )
    assert not sent.keys() & {"strict", "ls_structured_output_format", "host", "elsewhere"}


# The output cap and the window.

LONG = "xxxxx" * 190_000
"""About 236,000 tokens."""


@pytest.mark.parametrize("way", WAYS)
async def test_a_default_cap_shrinks_to_what_fits_with_one_warning(serve: Serve, way: str) -> None:
    server = serve([said("ok"), said("ok"), said("ok")])
    model = kimi(server)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await asked(model, LONG, way)
        await asked(model, LONG, way)
        await asked(model, "short", way)
    caps = [request.json["max_completion_tokens"] for request in server.requests]
    assert caps[0] == caps[1]
    assert 16_000 <= caps[0] < 262_144 - 237_500
    assert caps[2] == 32_768
    assert sum("the output cap is lowered from 32,768" in str(one.message) for one in caught) == 1


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("thinking", "more", "floor"), [(None, 14_000, 16_000), (False, 18_500, 4_096)])
async def test_where_the_floor_does_not_fit_the_host_says_what_does(
    serve: Serve, way: str, thinking: bool | None, more: int, floor: int
) -> None:
    server = serve([said("ok"), said("ok")])
    model = kimi(server, thinking=thinking, max_retries=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert (await asked(model, LONG + "xxxxx" * more, way)).text == "ok"
        await asked(model, LONG + "xxxxx" * more, way)
    assert server.statuses == [400, 200] * 2
    first, second = (request.json["max_completion_tokens"] for request in server.requests[:2])
    requested = int(re.findall(r"requested: (\d+)", str(caught[-1].message))[0])
    assert (first, second) == (floor, 262_144 - (requested - floor))
    assert server.requests[0].messages == server.requests[1].messages
    told = [str(one.message) for one in caught]
    assert sum(f"with an output cap of {second:,} tokens instead of {floor:,}" in text for text in told) == 1


@PAIRED
@pytest.mark.filterwarnings("ignore:The prompt is about")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("thinking", "more"), [(None, 18_500), (False, 20_500)])
async def test_no_request_is_repeated_without_room_for_an_answer(
    serve: Serve, way: str, thinking: bool | None, more: int
) -> None:
    server = serve([])
    with pytest.raises(ContextOverflowError, match="answered 400"):
        await asked(kimi(server, thinking=thinking, max_retries=None), LONG + "xxxxx" * more, way)
    with pytest.raises(ContextOverflowError, match="answered 400"):
        await asked(kimi(server, max_retries=0), LONG + "xxxxx" * 12_000, way)
    strict = kimi(server, max_tokens_over_window="raise", max_retries=None)
    with pytest.raises(ContextOverflowError, match="answered 400"):
        await asked(strict, LONG + "xxxxx" * 12_000, way)
    assert server.statuses == [400] * 3


@pytest.mark.filterwarnings("ignore:The prompt is about")
@pytest.mark.parametrize("way", WAYS)
async def test_a_prompt_that_is_surely_longer_than_the_window_is_not_sent(serve: Serve, way: str) -> None:
    """The estimate may be a fifth too high, and more where text repeats: twice the window is sure."""
    server = serve([])
    far_too_long = LONG * 3
    with pytest.raises(ContextOverflowError, match="cannot fit, so nothing was sent") as caught:
        await asked(kimi(server), far_too_long, way)
    assert caught.value.limit == 262_144
    assert caught.value.requested is not None
    assert caught.value.requested > 2 * 262_144
    assert server.requests == []
    with pytest.raises(ContextOverflowError, match="answered 400"):
        await asked(kimi(server), LONG * 2, way)
    with pytest.raises(ContextOverflowError, match="answered 400"):
        await asked(kimi(server, max_tokens=20_000), far_too_long, way)
    with pytest.warns(KimiWarning, match="not in the catalogue"), pytest.raises(NotFoundError):
        await asked(kimi(server, "kimi-next"), far_too_long, way)
    assert len(server.requests) == 3


@pytest.mark.filterwarnings("ignore:The prompt is about")
async def test_thinking_and_pictures_are_no_sure_part_of_a_prompt(serve: Serve) -> None:
    server = serve(lambda request: refused(400, "invalid_request_error", "Input token length too long"))
    thought: Any = AIMessage("ok", additional_kwargs={"reasoning_content": LONG * 3})
    shown: Any = HumanMessage([{"type": "image_url", "image_url": {"url": "ms://f"}}] * 600)
    for message in (thought, shown):
        with pytest.raises(ContextOverflowError, match="answered 400"):
            await kimi(server).ainvoke([HumanMessage("hi"), message, HumanMessage("go")])


@pytest.mark.parametrize("way", WAYS)
async def test_a_cap_of_the_users_is_sent_as_it_is_or_raises(serve: Serve, way: str) -> None:
    server = serve([])
    with pytest.raises(ContextOverflowError, match="answered 400"):
        await asked(kimi(server, max_tokens=32_000), LONG, way)
    assert server.requests[0].json["max_completion_tokens"] == 32_000
    with pytest.raises(ContextOverflowError, match="max_tokens=32000 does not fit") as caught:
        await asked(kimi(server, max_tokens=32_000, max_tokens_over_window="raise"), LONG, way)
    assert (caught.value.limit, len(server.requests)) == (262_144, 1)
    with pytest.raises(ContextOverflowError):
        await asked(kimi(server, max_tokens_over_window="raise").bind(max_completion_tokens=40_000), LONG, way)


# Messages that lost their reasoning.

LOST: list[BaseMessage] = [
    HumanMessage("2 + 3?"),
    AIMessage("", tool_calls=[{"name": "add", "args": {"a": 2, "b": 3}, "id": "add:0"}]),
    ToolMessage("5", tool_call_id="add:0"),
]


@pytest.mark.parametrize("way", WAYS)
async def test_thinking_goes_off_for_requests_whose_messages_lost_it(serve: Serve, way: str) -> None:
    server = serve([said("5", thinking="hm"), said("Hi.", thinking="hm"), said("5")])
    model = kimi(server, missing_reasoning="thinking_off", thinking=True)
    with pytest.warns(KimiWarning, match="does not think in requests with"):
        await asked(model, LOST, way)
    await asked(model, "hi", way)
    first, second = (request.json for request in server.requests)
    assert first["thinking"] == {"type": "disabled"}
    assert "reasoning_content" not in first["messages"][1]
    assert second["thinking"] == {"type": "enabled"}
    with pytest.warns(KimiWarning):
        await asked(kimi(server, "kimi-k2.7-code", missing_reasoning="thinking_off"), LOST, way)
    assert server.requests[2].messages[1]["reasoning_content"] == " "
    assert set(server.statuses) == {200}


# Tools and names.


def test_tools_of_one_name_raise_the_same_error_everywhere(serve: Serve) -> None:
    model = kimi(serve([]))

    @tool("add")
    def other(a: int) -> int:
        """Add something else."""
        return a

    for build in (
        lambda: model.bind_tools([add, other]).invoke("hi"),
        lambda: model.invoke("hi", tools=[convert_to_openai_tool(one) for one in (add, other)]),
        lambda: create_kimi_agent(model, [add, other]),
        lambda: create_kimi_agent(model, [add, add], select_tools=lambda state: ["add"]),
    ):
        with pytest.raises(IllegalRequestError, match="name add is duplicated"):
            build()


def test_more_tools_than_kimi_takes_raise_when_they_are_bound(serve: Serve) -> None:
    def numbered(number: int) -> Any:
        @tool(f"t{number}")
        def made(a: int) -> int:
            """Do something."""
            return a

        return made

    many = [numbered(number) for number in range(129)]
    model = kimi(serve([said("ok")]))
    for build in (lambda: model.bind_tools(many), lambda: create_kimi_agent(model, many)):
        with pytest.raises(IllegalRequestError, match="129 tools: Kimi takes at most 128"):
            build()
    agent = create_kimi_agent(model, many, select_tools=lambda state: ["t0"])
    assert agent.invoke({"messages": [("user", "hi")]})["messages"][-1].text == "ok"


def test_a_misspelt_model_gets_a_suggestion(serve: Serve) -> None:
    assert [suggestion(name) for name in ("kimi-k2-6", "Kimi-K3.1-por", "moonshotai/kimi-k26", "gpt-9")] == [
        "kimi-k2.6",
        "kimi-k3.1-pro",
        "kimi-k2.6",
        "",
    ]
    with (
        pytest.warns(KimiWarning, match=r"Did you mean 'kimi-k2\.6'\?"),
        pytest.raises(Exception, match="Did you mean"),
    ):
        kimi(serve([]), "kimi-k2-6").invoke("hi")


# Calls whose arguments never came.


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("function", "finish", "runs"),
    [
        ({"name": "wipe"}, "tool_calls", False),
        ({"name": "wipe", "arguments": None}, "tool_calls", False),
        ({"name": "wipe", "arguments": ""}, "tool_calls", True),
        ({"name": "wipe", "arguments": "{}"}, "tool_calls", True),
        ({"name": "wipe", "arguments": ""}, "stop", True),
        ({"name": "wipe", "arguments": ""}, "length", False),
        ({"name": "wipe", "arguments": ""}, None, False),
        ({"name": "wipe", "arguments": ""}, "strange", False),
        ({"name": "ping"}, "tool_calls", True),
        ({"name": "ping"}, "length", False),
    ],
)
def test_a_call_without_arguments_runs_only_where_none_are_missing(
    function: dict[str, Any], finish: str | None, runs: bool, streamed: bool
) -> None:
    schemas = {
        "wipe": {"type": "object", "properties": {"path": {"type": "string", "default": "/"}}},
        "ping": {"type": "object", "properties": {}},
    }
    answer = ResponseDecoder(schemas=schemas)
    part = {"role": "assistant", "content": "", "tool_calls": [{"index": 0, "id": "a", "function": function}]}
    if streamed:
        answer.feed(orjson.dumps({"choices": [{"index": 0, "delta": part}]}))
        answer.feed(orjson.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}))
        answer.feed(b"[DONE]")
        message = answer.message()
    else:
        message = answer.decode_body({"choices": [{"index": 0, "message": part, "finish_reason": finish}]})
    assert [len(message.tool_calls), len(message.invalid_tool_calls)] == ([1, 0] if runs else [0, 1])


# Nothing given is changed.


def _script(request: Request) -> Reply:
    if request.last["role"] == "user" and request.json.get("tools") and "response_format" not in request.json:
        return called("add", a=1, b=2)
    return said('{"x": 1}')


async def test_nothing_that_is_given_is_changed(serve: Serve) -> None:
    server = serve(_script)
    bare = {"type": "function", "function": {"name": "bare", "parameters": {}}}
    schema = {"title": "Point", "type": "object", "properties": {"x": {"type": "integer", "minimum": 0}}}
    listed = {"type": "function", "function": {"name": "f", "description": "F.", "parameters": deepcopy(schema)}}
    body, headers, stop = {"a": {"b": [1]}}, {"x-a": "1"}, ["x"]
    history: list[Any] = [
        SystemMessage("s"),
        HumanMessage([{"type": "text", "text": " "}, {"type": "text", "text": "go"}]),
        AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "a"}, {"name": "f", "args": {}, "id": "a"}]),
        ToolMessage([{"type": "json", "json": {"k": "v"}}], tool_call_id="a"),
        AIMessage(
            [{"type": "tool_use", "id": "t", "name": "f", "input": '{"x'}],
            additional_kwargs={CALLS: [{"id": "t", "name": "f", "arguments": ""}]},
        ),
        HumanMessage("half \ud800"),
    ]
    given: list[Any] = [bare, schema, listed, body, headers, stop, history]
    before = deepcopy(given)

    def unchanged() -> None:
        assert given == before

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kimi(server, extra_body=body, default_headers=headers, stop=stop)
        bound = model.bind_tools([bare, listed])
        for way in WAYS:
            await asked(bound, history, way)
            unchanged()
        model.check_tools([bare, listed])
        dynamic_tools_message([bare, listed])
        model.get_num_tokens_from_messages(history, [bare, listed])
        repair(history, k2_ids=True, host="h")
        unchanged()
        model.with_structured_output(schema, keep_tools=[bare]).invoke("a point")
        model.bind(response_format=schema).invoke("a point")
        unchanged()
        for graph in (
            create_kimi_agent(model, [add]),
            create_kimi_team([TeamMember(name="a", model=model, tools=[add]), TeamMember(name="b", model=model)]),
        ):
            await asyncio.to_thread(graph.invoke, {"messages": history})
            await graph.ainvoke({"messages": history})
            for message in history:
                message.id = None  # LangGraph gives the messages of every graph's input their ids
            unchanged()


def test_from_another_model_changes_nothing_of_it() -> None:
    pytest.importorskip("langchain_openai")
    from langchain_openai import ChatOpenAI

    extra = {"thinking": {"type": "disabled"}, "a": [1]}
    other = ChatOpenAI(model="kimi-k2.6", api_key="sk-x", base_url="http://127.0.0.1:1/v1", extra_body=extra)  # type: ignore[arg-type]
    ChatKimi.from_chat_openai(other)
    assert extra == {"thinking": {"type": "disabled"}, "a": [1]} == other.extra_body
