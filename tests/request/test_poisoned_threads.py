"""Threads that hosts would refuse for ever: argument strings that are no JSON object, and halves of characters."""

import asyncio
import json
import warnings
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from langchain_kimi import KimiPlatform, create_kimi_agent, dynamic_tools_message
from langchain_kimi._raw_calls import INVALID_ARGUMENTS
from langchain_kimi.errors import KimiWarning
from langchain_kimi.testing import Reply, Request, said, thought
from tests.conftest import KEY, PAIRED, Serve, kimi
from tests.databases import Database
from tests.request.random_transcripts import BROKEN, strictly
from tests.ways import WAYS, asked

SHORT = [text for text in BROKEN if text.strip() and "\ud800" not in text and len(text) < 99]


HALF, WHOLE = "half \ud83d", "half \ufffd"


@tool
def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


def arguments_of(request: Request, at: int = 1) -> list[str]:
    return [call["function"]["arguments"] for call in request.messages[at]["tool_calls"]]


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("streaming", [None, False])
@pytest.mark.parametrize(
    "written", [text for text in BROKEN if text.strip() and "\ud800" not in text and len(text) < 99]
)
async def test_a_call_that_no_host_can_read_goes_back_as_an_object(
    serve: Serve, written: str, streaming: Any, way: str
) -> None:
    server = serve([thought("Hm.").calling_raw("add", written), said("Sorry."), said("Really.")])
    model = kimi(server, streaming=streaming).bind_tools([add])
    answer = await asked(model, "2 + 3?", way)
    before = answer.model_dump()
    history: list[BaseMessage] = [HumanMessage("2 + 3?"), answer, HumanMessage("Go on.")]
    second = await asked(model, history, way)
    await asked(model, [*history, second, HumanMessage("Why?")], way)
    assert server.statuses == [200, 200, 200]
    assert answer.model_dump() == before
    sent = arguments_of(server.requests[1])[0]
    assert isinstance(strictly(sent), dict)
    if answer.invalid_tool_calls:
        assert strictly(sent) == {INVALID_ARGUMENTS: written}
        assert written in server.requests[1].messages[2]["content"]
    first, longer = (request.body for request in server.requests[1:])
    assert longer.startswith(first[: -len(b"]}")])


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_an_agent_tells_the_model_what_it_wrote_and_goes_on(serve: Serve, way: str) -> None:
    written = '{"a": 2, "b": ' + "3" * 5_000

    def script(request: Request) -> Reply:
        if request.last["role"] == "user":
            return thought("Hm.").calling_raw("add", written).calling_raw("add", '{"a": 1 }')
        return said("5")

    server = serve(script)
    agent = create_kimi_agent(kimi(server), [add])
    ask = {"messages": [("user", "2 + 3?")]}
    state = await asyncio.to_thread(agent.invoke, ask) if way == "invoke" else await agent.ainvoke(ask)
    unusable = next(one for one in state["messages"] if isinstance(one, ToolMessage) and one.status == "error")
    assert "are no JSON object" in unusable.text
    assert written[:200] in unusable.text
    assert len(unusable.text) < 1_000
    assert arguments_of(server.requests[1]) == [
        json.dumps({INVALID_ARGUMENTS: written}, separators=(",", ":")),
        '{"a": 1 }',
    ]
    assert state["messages"][1].invalid_tool_calls[0]["args"] == written
    more = {"messages": [*state["messages"], HumanMessage("and 3 + 4?")]}
    await agent.ainvoke(more)
    assert set(server.statuses) == {200}


def test_calls_of_other_models_and_of_people_go_out_as_objects(serve: Serve) -> None:
    server = serve([said("ok")])
    history: list[BaseMessage] = [
        HumanMessage("go"),
        AIMessage(
            [{"type": "tool_use", "id": "toolu_1", "name": "add", "input": '{"a": '}],
            response_metadata={"model_provider": "anthropic"},
        ),
        AIMessage("", tool_calls=[{"name": "add", "args": {"a": float("inf"), "when": HALF}, "id": "call_1"}]),
        AIMessage(
            [{"type": "invalid_tool_call", "id": "call_2", "name": "add", "args": "[1]", "error": None}],
            invalid_tool_calls=[{"name": "add", "args": "[1]", "id": "call_2", "error": None}],
            response_metadata={"output_version": "v1"},
        ),
        AIMessage("", invalid_tool_calls=[{"name": "add", "args": None, "id": "call_3", "error": None}]),
    ]
    with pytest.warns(KimiWarning):
        kimi(server).invoke(history)
    sent = [strictly(arguments_of(server.requests[0], at)[0]) for at in (1, 3, 5, 7)]
    assert sent[0] == {INVALID_ARGUMENTS: '{"a": '}
    assert "Infinity" in sent[1][INVALID_ARGUMENTS]
    assert sent[2:] == [{INVALID_ARGUMENTS: "[1]"}, {}]


def halves(found: Any) -> int:
    return json.dumps(found, ensure_ascii=False).count("\ufffd")


@PAIRED
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("streaming", [None, False])
async def test_half_a_character_is_replaced_wherever_it_enters_with_one_warning(
    serve: Serve, way: str, streaming: Any
) -> None:
    server = serve([said("ok"), said("ok")])
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "description": HALF, "enum": [HALF]}},
        "required": ["a"],
    }
    declared = {"type": "function", "function": {"name": f"t{HALF}", "description": HALF, "parameters": schema}}
    model = kimi(
        server,
        "kimi-k3",
        streaming=streaming,
        stop=[HALF],
        prompt_cache_key=HALF,
        extra_body={"metadata": {HALF: [HALF]}},
    ).bind(
        tools=[declared],
        tool_choice="auto",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    history: list[BaseMessage] = [
        SystemMessage(HALF),
        HumanMessage([{"type": "text", "text": HALF}], name=HALF),
        AIMessage(
            HALF,
            tool_calls=[{"name": f"t{HALF}", "args": {"a": HALF}, "id": f"id{HALF}"}],
            additional_kwargs={"reasoning_content": HALF},
        ),
        ToolMessage(HALF, tool_call_id=f"id{HALF}"),
        HumanMessage("joined \ud83d\ude00"),
    ]
    before = [message.model_dump() for message in history]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await asked(model, history, way)
        await asked(model, [*history, AIMessage("ok"), HumanMessage("more")], way)
    assert server.statuses == [200, 200]
    assert sum("half a character" in str(one.message) for one in caught) == 1
    sent = server.requests[0].json
    assert [message["content"] for message in sent["messages"][:2]] == [WHOLE, [{"type": "text", "text": WHOLE}]]
    assert sent["messages"][2]["reasoning_content"] == WHOLE
    assert sent["messages"][2]["tool_calls"][0]["id"] == sent["messages"][3]["tool_call_id"] == f"id{WHOLE}"
    assert sent["messages"][4]["content"] == "joined 😀"
    assert (sent["stop"], sent["prompt_cache_key"], sent["metadata"]) == ([WHOLE], WHOLE, {WHOLE: [WHOLE]})
    assert halves(sent["tools"]) == halves(sent["response_format"]) + 1 == 3
    assert sent["messages"][2]["tool_calls"][0]["function"]["name"] == sent["tools"][0]["function"]["name"]
    assert [message.model_dump() for message in history] == before
    first, longer = (request.body for request in server.requests)
    assert longer.startswith(first[: -len(b"]}")])


async def test_a_thread_goes_on_whatever_its_checkpointer_makes_of_half_a_character(
    serve: Serve, database: Database
) -> None:
    @tool
    def cut(text: str) -> str:
        """Cut a text."""
        return HALF

    script: Any = lambda request: said("ok") if request.last["role"] == "tool" else thought("").calling("cut", text="x")  # noqa: E731
    server = serve(script)
    async with database.saver() as saver:
        agent = create_kimi_agent(kimi(server), [cut], checkpointer=saver)
        with pytest.warns(KimiWarning, match="half a character"):
            await database.run(agent, {"messages": [("user", HALF)]})
        await database.run(agent, {"messages": [("user", "again")]})
        stored = (await database.state(agent)).values["messages"]
    assert set(server.statuses) == {200}
    assert [message["content"] for message in server.requests[1].messages[:3:2]] == [WHOLE, WHOLE]
    assert [message.text for message in stored[:3:2]] == ["half ?", "half ?"]
    assert [message["content"] for message in server.requests[2].messages[:3:2]] == ["half ?", "half ?"]


def test_half_a_character_beyond_chat(serve: Serve) -> None:
    server = serve([])
    platform = KimiPlatform(api_key=KEY, base_url=server.url)
    assert platform.count_tokens([HumanMessage(HALF)], model="kimi-k3").total > 0
    message = dynamic_tools_message(
        [{"type": "function", "function": {"name": "f", "description": HALF, "parameters": {}}}]
    )
    assert message.additional_kwargs["tools"]
