"""Agents that hand a conversation over to each other: what each sees on the wire, and what the thread keeps."""

import json
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_kimi import AgentLimits, Compaction, LoopGuard, TeamMember, TeamState, UsageMeter, create_kimi_team
from langchain_kimi.testing import Reply, Request, called, said, thought
from tests.agent.team.helpers import ASK, Play, assert_only_grows, note, of, ran, team, who
from tests.conftest import PAIRED, SYNC_AND_ASYNC, Serve, kimi
from tests.databases import THREAD


@SYNC_AND_ASYNC
async def test_each_agent_gets_its_own_reasoning_and_is_told_of_the_others(serve: Serve, way: str) -> None:
    server = serve(
        Play(
            planner=[
                thought("p1\u2028 ").calling_raw("transfer_to_doer", "{ }"),
                said("Thanks.", thinking="p2"),
                said("Again.", thinking="p3"),
            ],
            doer=[
                thought("d1").calling_raw("add", '{"a":  1, "b": 2}'),
                said("It is 3.", thinking="d2").calling("transfer_to_planner"),
            ],
        )
    )
    agent = team(server, checkpointer=InMemorySaver())
    state = await ran(agent, way, config=THREAD)
    assert state["messages"][-1].text == "Thanks."
    assert (state["active_agent"], state["stop_reason"]) == ("planner", "stop")
    names = [message.name for message in state["messages"] if isinstance(message, AIMessage)]
    assert names == ["planner", "doer", "doer", "planner"]
    first = of(server, "doer")[0]
    assert [message["role"] for message in first.messages] == ["system", "user", "user"]
    assert "p1" not in json.dumps(first.json)
    assert "[planner] called transfer_to_doer({})" in first.last["content"]
    back = of(server, "planner")[1].messages
    assert [message["role"] for message in back] == ["system", "user", "assistant", "tool", "user"]
    assert (back[2]["reasoning_content"], back[2]["tool_calls"][0]["function"]["arguments"]) == ("p1\u2028 ", "{ }")
    for told in ('[doer] called add({"a": 1, "b": 2})', "[result of add] 3", "[doer] It is 3."):
        assert told in back[4]["content"]
    assert "d1" not in json.dumps(back)
    assert "name" not in back[2]
    await ran(agent, way, {"messages": [("user", "more")]}, THREAD)
    for name in ("planner", "doer"):
        assert_only_grows(of(server, name))
    assert [m["reasoning_content"] for m in of(server, "planner")[2].messages if m["role"] == "assistant"] == [
        "p1\u2028 ",
        "p2",
    ]
    assert set(server.statuses) == {200}


@SYNC_AND_ASYNC
async def test_a_hand_off_beside_other_calls_keeps_all_results_in_order(serve: Serve, way: str) -> None:
    server = serve(
        Play(
            planner=[
                thought("p").calling("add", a=1, b=1).calling("transfer_to_doer").calling("note", text="x"),
            ],
            doer=[said("Done.")],
        )
    )
    state = await ran(team(server), way)
    results = [(m.name, m.content) for m in state["messages"] if isinstance(m, ToolMessage)]
    assert results == [
        ("add", "2"),
        ("transfer_to_doer", "The conversation was handed over to doer."),
        ("note", "noted x"),
    ]
    assert (state["active_agent"], state["messages"][-1].name) == ("doer", "doer")
    assert [line for line in of(server, "doer")[0].last["content"].splitlines() if "result of" in line] == [
        "[result of add] 2",
        "[result of transfer_to_doer] The conversation was handed over to doer.",
        "[result of note] noted x",
    ]


@SYNC_AND_ASYNC
async def test_of_two_hand_offs_in_a_turn_the_first_counts(serve: Serve, way: str) -> None:
    server = serve(
        Play(
            planner=[thought("p").calling("transfer_to_critic").calling("transfer_to_doer")],
            critic=[said("I judge.")],
        )
    )
    state = await ran(team(server), way)
    assert (state["active_agent"], state["messages"][-1].text) == ("critic", "I judge.")
    first, second = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert (first.status, second.status) == ("success", "error")
    assert second.content.startswith("Not done: transfer_to_critic came first")


@SYNC_AND_ASYNC
async def test_an_unusable_hand_off_does_not_count_as_the_first(serve: Serve, way: str) -> None:
    server = serve(
        Play(
            planner=[thought("p").calling_raw("transfer_to_critic", "{").calling("transfer_to_doer")],
            doer=[said("Done.")],
        )
    )
    state = await ran(team(server), way)
    assert (state["active_agent"], state["messages"][-1].text) == ("doer", "Done.")


@SYNC_AND_ASYNC
async def test_an_agent_cannot_call_what_it_was_not_shown(serve: Serve, way: str) -> None:
    server = serve(
        Play(
            planner=[called("transfer_to_critic")],
            critic=[
                called("note", text="mine"),
                called("transfer_to_doer"),
                said("I cannot."),
            ],
        )
    )
    state = await ran(team(server), way)
    assert state["active_agent"] == "critic"
    refusals = [m.content for m in state["messages"] if isinstance(m, ToolMessage) and m.status == "error"]
    assert refusals == [
        "note is not a tool you have. Your tools are: transfer_to_planner.",
        "transfer_to_doer is not a tool you have. Your tools are: transfer_to_planner.",
    ]
    assert [t["function"]["name"] for t in of(server, "critic")[0].json["tools"]] == ["transfer_to_planner"]


@SYNC_AND_ASYNC
async def test_what_was_spent_is_told_by_agent_and_adds_up(serve: Serve, way: str) -> None:
    server = serve(
        Play(
            planner=[thought("p").calling("add", a=1, b=1).calling("transfer_to_doer")],
            doer=[called("add", a=2, b=2), said("Done.")],
        )
    )
    meter = UsageMeter()
    state = await ran(team(server), way, config={"callbacks": [meter]})
    spent, by_agent = state["spent"], state["spent_by_agent"]
    assert {name: (own["turns"], own["tool_calls"]) for name, own in by_agent.items()} == {
        "planner": (1, 2),
        "doer": (2, 1),
    }
    for key in spent:
        assert sum(own.get(key, 0) for own in by_agent.values()) == pytest.approx(spent[key])
    metered = meter.by_agent
    assert set(metered) == {"planner", "doer"}
    for name in metered:
        assert metered[name].input_tokens == by_agent[name]["input_tokens"]
        assert metered[name].cost_usd == pytest.approx(by_agent[name]["cost_usd"])


def hands_on(request: Request) -> Reply:
    """Planner and doer hand over to each other for ever."""
    if request.json.get("tool_choice") == "none":
        return said("That is all.")
    return called("transfer_to_doer" if who(request) == "planner" else "transfer_to_planner")


@PAIRED
@SYNC_AND_ASYNC
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"limits": AgentLimits(turns=5), "guard": None}, "turns"),
        ({"guard": LoopGuard(stop=7)}, "loop"),
    ],
    ids=["limit", "guard"],
)
async def test_a_team_that_only_hands_on_is_ended(serve: Serve, way: str, settings: Any, reason: str) -> None:
    server = serve(hands_on)
    agent = team(server, checkpointer=InMemorySaver(), **settings)
    state = await ran(agent, way, config=THREAD)
    assert (state["stop_reason"], state["messages"][-1].text) == (reason, "That is all.")
    assert len(server.requests) == (6 if reason == "turns" else 8)
    assert (await ran(agent, way, config=THREAD))["messages"][-1].text == "That is all."
    assert set(server.statuses) == {200}


@SYNC_AND_ASYNC
async def test_hand_offs_of_earlier_user_turns_do_not_count(serve: Serve, way: str) -> None:
    on = [called("transfer_to_doer") for _ in range(3)]
    server = serve(
        Play(
            planner=[*on, *[said("", thinking="Nothing to say.")] * 2, called("transfer_to_doer")],
            doer=[*(called("transfer_to_planner") for _ in range(3)), said("Hm.")],
        )
    )
    agent = team(server, checkpointer=InMemorySaver(), guard=LoopGuard(stop=8))
    for _ in range(2):
        state = await ran(agent, way, config=THREAD)
    assert (state["stop_reason"], state["messages"][-1].text) == ("stop", "Hm.")


@SYNC_AND_ASYNC
async def test_agents_that_talk_to_each_other_are_left_alone(serve: Serve, way: str) -> None:
    rounds = 10
    turns = [said(f"Draft {n}.").calling("transfer_to_doer") for n in range(rounds)]
    server = serve(
        Play(
            planner=[*turns, said("Final.")],
            doer=[said(f"No {n}.").calling("transfer_to_planner") for n in range(rounds)],
        )
    )
    state = await ran(team(server), way)
    assert (state["stop_reason"], state["messages"][-1].text) == ("stop", "Final.")


@SYNC_AND_ASYNC
async def test_a_person_decides_beside_a_hand_off(serve: Serve, way: str) -> None:
    server = serve(
        Play(planner=[thought("p").calling("note", text="x").calling("transfer_to_doer")], doer=[said("Done.")])
    )
    agent = team(server, checkpointer=InMemorySaver(), interrupt_on={"note": True, "transfer_to_doer": True})
    state = await ran(agent, way, config=THREAD)
    asked = state["__interrupt__"][0].value["action_requests"]
    assert [request["name"] for request in asked] == ["note", "transfer_to_doer"]
    decisions = [{"type": "reject", "message": "no notes"}, {"type": "approve"}]
    state = await ran(agent, way, Command(resume={"decisions": decisions}), THREAD)
    assert (state["active_agent"], state["messages"][-1].text) == ("doer", "Done.")
    assert "no notes" in of(server, "doer")[0].last["content"]


@SYNC_AND_ASYNC
async def test_an_input_chooses_who_speaks(serve: Serve, way: str) -> None:
    server = serve(Play(critic=[said("I judge."), said("I judge again.")], doer=[said("I do.")]))
    agent = team(server, default_active_agent="critic", checkpointer=InMemorySaver())
    assert (await ran(agent, way, config=THREAD))["active_agent"] == "critic"
    assert (await ran(agent, way, ASK | {"active_agent": "doer"}, THREAD))["messages"][-1].text == "I do."
    with pytest.raises(ValueError, match="active_agent='nobody' is none of the team: planner, doer, critic"):
        await ran(agent, way, ASK | {"active_agent": "nobody"}, THREAD)
    assert (await ran(agent, way, ASK | {"active_agent": "critic"}, THREAD))["messages"][-1].text == "I judge again."
    assert set(server.statuses) == {200}


async def test_a_stream_tells_who_speaks(serve: Serve) -> None:
    server = serve(Play(planner=[said("Over.").calling("transfer_to_doer")], doer=[said("Done.")]))
    speakers = {}
    async for chunk, about in team(server).astream(ASK, stream_mode="messages"):
        speakers.setdefault(about["lc_agent_name"], []).append(chunk.text)
    assert "".join(speakers["planner"]).startswith("Over.")
    assert "".join(speakers["doer"]) == "Done."


async def test_a_tool_of_the_users_own_can_choose_who_goes_on(serve: Serve) -> None:
    @tool
    def call_for(name: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Call for somebody."""
        return Command(update={"active_agent": name, "messages": [ToolMessage("called", tool_call_id=tool_call_id)]})

    server = serve(
        Play(
            planner=[thought("p").calling("call_for", name="doer").calling("call_for", name="critic")],
            critic=[said("Me.")],
        )
    )
    state = await ran(team(server, tools=[call_for]), "async")
    assert state["messages"][-1].text == "Me."


@SYNC_AND_ASYNC
async def test_a_validated_object_comes_from_who_ends(serve: Serve, way: str) -> None:
    server = serve(
        Play(planner=[called("transfer_to_doer")], doer=[said("It is 3."), said('{"total": 3}', thinking="as object")])
    )
    schema = {"title": "Sum", "type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}
    state = await ran(team(server, response_format=schema), way)
    assert state["structured_response"] == {"total": 3}
    assert [message["role"] for message in of(server, "doer")[1].messages] == [
        "system",
        "user",
        "user",
        "assistant",
        "user",
    ]
    assert len(of(server, "doer")) == 2
    assert state["spent_by_agent"]["doer"]["requests"] == 2


def test_a_thread_of_other_messages_is_told_to_all(serve: Serve) -> None:
    server = serve(Play(planner=[said("Fine.")]))
    call = {"name": "add", "args": {"a": 1, "b": "ünï"}, "id": "1", "type": "tool_call"}
    before = [
        HumanMessage("hello"),
        AIMessage([{"type": "image_url"}, "Löök."], name="old", tool_calls=[call]),
        ToolMessage([{"type": "text", "text": "2"}], tool_call_id="1"),
        AIMessage("", additional_kwargs={"reasoning_content": "secret"}),
        HumanMessage("and?"),
    ]
    team(server).invoke({"messages": before})
    sent = server.requests[0].messages
    assert [message["role"] for message in sent] == ["system", "user", "user", "user"]
    assert sent[2]["content"].splitlines()[1:] == [
        "[old] Löök. (image_url not shown)",
        '[old] called add({"a": 1, "b": "ünï"})',
        "[result of a tool] 2",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"members": []}, "one or more agents"),
        ({"default_active_agent": "x"}, "default_active_agent='x' is none of the team: a, b"),
        ({"transfers_to": ["c"]}, "the other agents are b"),
        ({"transfers_to": ["a"]}, "the other agents are b"),
        ({"sequential_tools": ["x"]}, "sequential_tools names x"),
        ({"limits": AgentLimits(cost_usd=1)}, "no price is known of the model 'stranger'"),
        ({"state_schema": dict}, "a TypedDict that extends TeamState"),
        ({"tools": [tool("note", description="Other.")(lambda text: text)]}, "another tool named 'note'"),
        ({"tools": [tool("transfer_to_x", description="Mine.")(lambda: "x")]}, "are for hand-offs"),
    ],
)
def test_settings_that_do_not_fit_are_told(serve: Serve, change: dict[str, Any], words: str) -> None:
    server = serve([])
    first = {key: change.pop(key) for key in ("tools", "transfers_to") if key in change}
    members = [
        TeamMember(**{"name": "a", "model": kimi(server, "stranger"), **first}),
        TeamMember(name="b", model=kimi(server), tools=[note]),
    ]
    with pytest.raises(ValueError, match=words):
        create_kimi_team(change.pop("members", members), **change)


@pytest.mark.parametrize("wrong", [{"name": "two words"}, {"name": ""}, {"transfers_to": "planner"}])
def test_members_of_odd_kinds_are_refused(serve: Serve, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="TeamMember"):
        TeamMember(**{"name": "a", "model": kimi(serve([])), **wrong})


def test_one_function_may_belong_to_several_agents(serve: Serve) -> None:
    def look(place: str) -> str:
        """Look there."""
        return f"{place}: nothing"

    server = serve(
        Play(a=[called("look", place="here"), called("transfer_to_b")], b=[called("look", place="there"), said("No.")])
    )
    members = [TeamMember(name=name, model=kimi(server), tools=[look], system_prompt=name) for name in ("a", "b")]
    state = create_kimi_team(members).invoke(ASK)
    assert [m.content for m in state["messages"] if m.type == "tool" and m.name == "look"] == [
        "here: nothing",
        "there: nothing",
    ]


def test_a_team_extends_its_state(serve: Serve) -> None:
    class Mine(TeamState):
        topic: str

    server = serve(Play(planner=[said("Fine.")]))
    assert team(server, state_schema=Mine).invoke(ASK | {"topic": "sums"})["topic"] == "sums"


def long_work(request: Request) -> Reply:
    """Planner and doer fill the thread up, handing it to and fro; whoever has neither tools nor a role sums up."""
    if not request.tools:
        return said("They worked long.", thinking="Summary.")
    done = sum(message["role"] == "assistant" for message in request.messages)
    reply = said("word " * 400, thinking=f"{who(request)} thinks " + "idea " * 100)
    return reply.calling("transfer_to_doer" if who(request) == "planner" else "transfer_to_planner", n=done)


@pytest.mark.parametrize("way", [pytest.param("sync", marks=pytest.mark.slow), "async"])
async def test_a_long_conversation_is_made_shorter_for_whoever_speaks(serve: Serve, way: str) -> None:
    server = serve(long_work)
    small = Compaction(window=9_000, reserve=2_000, keep_results=2, result_tokens=40)
    agent = team(server, compaction=small, limits=AgentLimits(turns=24), checkpointer=InMemorySaver())
    for turn in range(2):
        state = await ran(agent, way, {"messages": [("user", f"question {turn}")]}, THREAD)
    assert state["stop_reason"] == "turns"
    assert set(server.statuses) == {200}
    assert any("They worked long." in str(request.messages) for request in server.requests)
    assert max(len(request.body) for request in server.requests if request.tools) < 4 * 9_000


@SYNC_AND_ASYNC
async def test_who_speaks_drops_only_its_own_old_thoughts(serve: Serve, way: str) -> None:
    @tool
    def read(page: int) -> str:
        """Read a page."""
        return f"page {page}: " + "word " * 400

    def play(request: Request) -> Reply:
        answers = sum(message["role"] == "assistant" for message in request.messages)
        reply = thought(f"{who(request)} " + "idea " * 20)
        if who(request) == "doer":
            return reply.calling("transfer_to_planner")
        return reply.saying("Read.") if request.tool_results() else reply.calling("read", page=answers)

    server = serve(play)
    small = Compaction(window=4_000, reserve=1_000, keep_results=1, result_tokens=30, trigger=0.8, target=0.7)
    agent = team(server, tools=[read], default_active_agent="doer", compaction=small, checkpointer=InMemorySaver())
    # The doer, whose model reads its old thoughts, hands over to the planner, whose model does not.
    for turn in range(5):
        state = await ran(agent, way, {"messages": [("user", f"turn {turn}")]}, THREAD)
    thoughts = {
        name: ["idea" in m.additional_kwargs.get("reasoning_content", "") for m in state["messages"] if m.name == name]
        for name in ("planner", "doer")
    }
    assert thoughts["doer"] == [True]
    assert not all(thoughts["planner"])
