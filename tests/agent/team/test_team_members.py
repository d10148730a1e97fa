"""What members of a team have as single agents have it: chosen tools, hooks, and pictures in results of others."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from langchain_kimi import Compaction, KimiState, TeamMember, create_kimi_agent, create_kimi_team
from langchain_kimi.testing import KimiServer, Reply, Request, called, said
from tests.agent.team.helpers import ASK, Play, assert_only_grows, note, of, ran
from tests.conftest import KEY, PAIRED, SYNC_AND_ASYNC, Serve, add, kimi
from tests.databases import THREAD

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PNG_PART = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


@tool
def multiply(a: int, b: int) -> int:
    """Multiply."""
    return a * b


def tool_names(request: Request) -> list[str]:
    return [declared["function"]["name"] for declared in request.json.get("tools", ())]


def member(server: KimiServer, name: str, model: str = "kimi-k2.6", **settings: Any) -> TeamMember:
    return TeamMember(name=name, model=kimi(server, model), system_prompt=name, **settings)


@SYNC_AND_ASYNC
async def test_each_member_chooses_its_tools_and_keeps_those_to_hand_over(serve: Serve, way: str) -> None:
    server = serve(
        Play(
            ann=[called("note", text="a").calling("add", a=1, b=1), called("transfer_to_bob")],
            bob=[called("note", text="b").calling("add", a=2, b=2), said("Done.")],
        )
    )

    def choose(state: KimiState) -> list[Any]:
        return ["add"] if len(state["messages"]) == 1 else [note]

    members = [member(server, "ann", tools=[add, note], select_tools=choose), member(server, "bob", tools=[add, note])]
    state = await ran(create_kimi_team(members), way)
    assert [tool_names(request) for request in of(server, "ann")] == [
        ["add", "transfer_to_bob"],
        ["note", "transfer_to_bob"],
    ]
    assert [tool_names(request) for request in of(server, "bob")] == [["add", "note", "transfer_to_ann"]] * 2
    results = [(m.text, m.status) for m in state["messages"] if isinstance(m, ToolMessage)]
    assert results[0] == ("note is not a tool you have. Your tools are: add, transfer_to_bob.", "error")
    assert [text for text, _ in results[1:]] == ["2", "The conversation was handed over to bob.", "noted b", "4"]


@SYNC_AND_ASYNC
async def test_a_selection_cannot_hide_the_archive(serve: Serve, way: str) -> None:
    server = serve([said("Hi.")])
    members = [member(server, "ann", tools=[add], select_tools=lambda state: [])]
    team = create_kimi_team(members, compaction=Compaction(archive=True), store=InMemoryStore())
    await ran(team, way)
    assert tool_names(server.requests[0]) == ["recall"]


@SYNC_AND_ASYNC
async def test_an_unknown_name_in_a_selection_is_an_error(serve: Serve, way: str) -> None:
    team = create_kimi_team([member(serve([]), "ann", tools=[add], select_tools=lambda state: ["fly"])])
    with pytest.raises(ValueError, match="select_tools returned fly; the agent's tools are: add"):
        await ran(team, way)


@SYNC_AND_ASYNC
async def test_tools_join_the_requests_of_one_member_without_moving_its_prefix(serve: Serve, way: str) -> None:
    server = serve(
        Play(
            ann=[called("transfer_to_bob"), said("Again.", thinking="Hm.").calling("transfer_to_bob"), said("Bye.")],
            bob=[called("multiply", a=6, b=7), called("transfer_to_ann"), called("add", a=1, b=1), said("Done.")],
        )
    )

    def grows(*names: str) -> Any:
        """One tool in the first request, and all in the others."""
        return lambda state: names if len(state["messages"]) > 3 else names[:1]

    members = [
        member(server, "ann", "kimi-k3", tools=[note, multiply], select_tools=grows("note", "multiply")),
        member(server, "bob", "kimi-k3", tools=[multiply, add], select_tools=grows("multiply", "add")),
    ]
    team = create_kimi_team(members, checkpointer=InMemorySaver())
    await ran(team, way)
    await ran(team, way, {**ASK, "active_agent": "ann"})
    assert set(server.statuses) == {200}
    declared = {}
    for name in ("ann", "bob"):
        assert_only_grows(of(server, name))
        last = of(server, name)[-1]
        declared[name] = [one["function"]["name"] for m in last.messages for one in m.get("tools", ())]
    assert declared == {"ann": ["multiply"], "bob": ["add"]}


@SYNC_AND_ASYNC
async def test_hooks_belong_to_one_member(serve: Serve, way: str) -> None:
    server = serve(
        Play(
            ann=[said("Secret plan.").calling("transfer_to_bob")],
            bob=[called("note", text="x").calling("transfer_to_carl")],
            carl=[said("Done.")],
        )
    )
    seen: list[str] = []

    def before(state: KimiState) -> Any:
        seen.append("before bob")
        return {"llm_input_messages": [HumanMessage("only this"), *state["messages"][1:]]}

    async def arevise(state: KimiState) -> Any:
        return revise(state)

    def revise(state: KimiState) -> Any:
        seen.append(f"after {state['messages'][-1].name}")
        return {"messages": [state["messages"][-1].model_copy(update={"content": "Revised."})]}

    after: Any = arevise if way == "async" else revise
    members = [
        member(server, "ann", post_model_hook=after),
        member(server, "bob", tools=[note], pre_model_hook=before),
        member(server, "carl"),
    ]
    state = await ran(create_kimi_team(members), way)
    assert seen == ["after ann", "before bob"]
    [bob] = of(server, "bob")
    assert [m["content"] for m in bob.messages[:2]] == ["bob", "only this"]
    assert "[ann] Revised." in bob.last["content"]
    [carl] = of(server, "carl")
    assert carl.messages[1]["content"] == "go"  # bob's messages were for bob alone
    assert state["messages"][-1].text == "Done."


@SYNC_AND_ASYNC
async def test_a_team_with_hooks_ends_in_an_answer_at_every_recursion_limit(serve: Serve, way: str) -> None:
    def script(request: Request) -> Reply:
        return said("I stop.") if request.json.get("tool_choice") == "none" else called("note", text=str(request.json))

    server = serve(script)
    hooks: Any = {"pre_model_hook": lambda state: {}, "post_model_hook": lambda state: None}
    team = create_kimi_team([member(server, "ann", tools=[note], **hooks), member(server, "bob")])
    for limit in (5, 7, 10):
        state = await ran(team, way, config={"recursion_limit": limit})
        assert (state["messages"][-1].text, state["stop_reason"]) == ("I stop.", "recursion_limit")


@SYNC_AND_ASYNC
async def test_the_messages_of_a_hook_are_for_one_turn_of_the_model(serve: Serve, way: str) -> None:
    server = serve([called("add", a=1, b=2), said("3.")])

    def first_only(state: KimiState) -> Any:
        return {"llm_input_messages": [HumanMessage("Add.")]} if len(state["messages"]) == 1 else {}

    await ran(create_kimi_agent(kimi(server), [add], pre_model_hook=first_only), way)
    assert [[m["content"] for m in request.messages] for request in server.requests] == [["Add."], ["go", "", "3"]]


@tool
def photo() -> list[Any]:
    """Take a photo."""
    return [{"type": "text", "text": "Here:"}, {"type": "image", "base64": PNG, "mime_type": "image/jpeg"}]


def photographers(server: KimiServer, second: Any, taker: Any = photo) -> Any:
    first = member(server, "ann", tools=[taker])
    bob = second if isinstance(second, TeamMember) else member(server, "bob", second)
    return create_kimi_team([first, bob], checkpointer=InMemorySaver())


def photo_script() -> Play:
    return Play(
        ann=[called("photo"), said("What is it?").calling("transfer_to_bob"), said("Thanks.")],
        bob=[said("A dot.").calling("transfer_to_ann"), said("Still a dot.")],
    )


@SYNC_AND_ASYNC
async def test_a_picture_in_a_result_reaches_another_member_as_a_picture(serve: Serve, way: str) -> None:
    server = serve(photo_script())
    team = photographers(server, "kimi-k3")
    await ran(team, way)
    await ran(team, way, {**ASK, "active_agent": "bob"}, THREAD)
    assert set(server.statuses) == {200}
    before, picture, after = of(server, "bob")[0].last["content"]
    lines = before["text"].splitlines()
    assert lines[1:] == ["[ann] called photo({})", "[result of photo] Here: (image below)"]
    assert picture == PNG_PART
    assert after["text"].splitlines() == [
        "[ann] What is it?",
        "[ann] called transfer_to_bob({})",
        "[result of transfer_to_bob] The conversation was handed over to bob.",
    ]
    assert_only_grows(of(server, "bob"))
    assert_only_grows(of(server, "ann"))


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.filterwarnings("ignore:a-model-of-another-host is not in the catalogue")
@pytest.mark.parametrize("model", ["kimi-k2-thinking", "a-model-of-another-host"])
async def test_a_member_that_takes_no_pictures_reads_that_there_is_one(serve: Serve, way: str, model: str) -> None:
    server = serve(photo_script(), models=["kimi-k2.6", model])
    await ran(photographers(server, model), way)
    assert set(server.statuses) == {200}
    assert "[result of photo] Here: (image not shown)\n" in of(server, "bob")[0].last["content"]


@SYNC_AND_ASYNC
async def test_a_picture_of_the_user_is_a_text_for_a_member_that_takes_none(serve: Serve, way: str) -> None:
    server = serve(
        Play(ann=[called("transfer_to_bob")], bob=[said("No idea.")]), models=["kimi-k2.6", "kimi-k2-thinking"]
    )
    question = HumanMessage([{"type": "text", "text": "What is it?"}, PNG_PART])
    await ran(photographers(server, "kimi-k2-thinking"), way, {"messages": [question]})
    assert set(server.statuses) == {200}
    assert of(server, "ann")[0].last["content"] == [{"type": "text", "text": "What is it?"}, PNG_PART]
    told = of(server, "bob")[0].messages[1]["content"]
    assert [part["text"] for part in told] == ["What is it?", "(image not shown)"]


def blocks_result(*blocks: Any) -> Any:
    def photo() -> Sequence[Any]:
        """Take a photo."""
        return list(blocks)

    return tool(photo)


SHOWN = [
    {"type": "image", "base64": PNG, "mime_type": "image/png"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    {"type": "image_url", "image_url": PNG_PART["image_url"]},
]
NOT_SHOWN = [
    {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
    {"type": "image", "url": "https://example.com/a.png"},
    {"type": "image", "base64": "PHN2Zz4=", "mime_type": "image/svg+xml"},
]


@pytest.mark.parametrize("own", [False, True], ids=["ChatKimi", "ChatOpenAI"])
async def test_only_pictures_that_hosts_take_are_shown(serve: Serve, own: bool) -> None:
    server = serve(photo_script())
    bob: Any = "kimi-k3"
    if own:
        model: Any = ChatOpenAI(model="kimi-k3", base_url=server.url, api_key=KEY, profile={"image_inputs": True})
        bob = TeamMember(name="bob", model=model, system_prompt="bob")
    await ran(photographers(server, bob, blocks_result(*SHOWN, *NOT_SHOWN)), "async")
    assert set(server.statuses) == {200}
    content = of(server, "bob")[0].last["content"]
    assert [part for part in content if part["type"] != "text"] == [PNG_PART] * len(SHOWN)
    notes = content[0]["text"].splitlines()[-1]
    assert notes.count("(image below)") == len(SHOWN)
    assert notes.count("not shown)") == len(NOT_SHOWN)


async def test_a_thread_of_pictures_is_stored_as_it_was(serve: Serve) -> None:
    server = serve(photo_script())
    state = await ran(photographers(server, "kimi-k3"), "async")
    [stored] = [m for m in state["messages"] if isinstance(m, ToolMessage) and m.name == "photo"]
    assert stored.content == photo.invoke({})
    assert PNG not in json.dumps([m.content for m in state["messages"] if m is not stored])
