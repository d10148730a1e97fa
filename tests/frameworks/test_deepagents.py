"""deepagents: three turns with its files, plans and sub-agents, each thought kept."""

import json
from typing import Any

import pytest
from deepagents import create_deep_agent
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi.testing import Reply, Request, refused, said
from tests.conftest import SYNC_AND_ASYNC, Serve, add, kimi
from tests.frameworks.wire import WAYS_AND_MODELS, Told, adds, sent_back, three_turns, warnings_of

FULL = "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)"
TODOS = '{"todos" : [{"content":"add", "status":"in_progress"}]}'


def is_adder(request: Request) -> bool:
    """Whether it is the sub-agent that asks."""
    return "You are the adder." in request.text_of("system")


def works(request: Request) -> Reply:
    """In every turn: a plan beside a file, then two sub-agents in parallel beside a sum, then words."""
    if is_adder(request):
        return said("It is 5.") if request.tool_results() else Reply().calling_raw("add", '{"a": 2,  "b":3}')
    turn = sum(message["role"] == "user" for message in request.messages)
    last = request.tool_results()
    if not last:
        path = json.dumps(f"/notes{turn}.txt")
        file = f'{{"file_path" : {path}, "content":"2 + 3"}}'
        return Reply().calling_raw("write_todos", TODOS).calling_raw("write_file", file)
    if len(last) == 2:
        task = '{"description" : "Add %d.", "subagent_type":"adder"}'
        reply = Reply().calling_raw("task", task % 1).calling_raw("add", '{"a": 1,  "b":1}')
        return reply.calling_raw("task", task % 2)
    return said("That is it.")


@WAYS_AND_MODELS
async def test_three_turns_with_files_plans_and_sub_agents(
    serve: Serve, model: str, way: str, recwarn: pytest.WarningsRecorder
) -> None:
    told = Told(works)
    server = serve(told)
    adder: Any = {
        "name": "adder",
        "description": "Adds.",
        "system_prompt": "You are the adder.",
        "tools": [add],
        "model": kimi(server, "kimi-k2.6"),
    }
    agent: Any = create_deep_agent(
        kimi(server, model), [add], system_prompt="You lead.", subagents=[adder], checkpointer=InMemorySaver()
    )
    state = await three_turns(agent, way)
    back = sent_back(server, told)
    assert set(state["files"]) == {"/notes1.txt", "/notes2.txt", "/notes3.txt"}
    lead = told.by(lambda request: not is_adder(request))
    assert len(lead) == 9
    assert back[-1] == lead[:-1]
    assert warnings_of(recwarn) == []


@SYNC_AND_ASYNC
async def test_a_window_that_is_full_is_summarised_and_the_thread_goes_on(serve: Serve, way: str) -> None:
    refusals = iter([refused(400, "invalid_request_error", FULL)])

    def plan(request: Request) -> Reply:
        if not request.tools:
            return said("Numbers were added.", thinking="Short. ")
        if sum(message["role"] == "user" for message in request.messages) == 3 and (refusal := next(refusals, None)):
            return refusal
        return adds(request)

    told = Told(plan)
    server = serve(told)
    agent: Any = create_deep_agent(kimi(server), [add], checkpointer=InMemorySaver())
    state = await three_turns(agent, way, "Add these numbers. " * 20_000)
    sent_back(server, told)
    assert told.refused == 1
    assert "Numbers were added." in server.requests[-1].body.decode()
    assert state["messages"][-1].text.startswith("Step ")
