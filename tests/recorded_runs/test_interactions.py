"""Runs read from cassettes and recordings of other libraries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langchain_kimi import agent_as_tool, create_kimi_agent
from langchain_kimi._recorded_runs import RecordedRun, read_recorded_run
from langchain_kimi._recorded_runs.interactions import run_of_interactions
from langchain_kimi.testing import Reply, Request, called, said
from langchain_kimi.testing.cassettes import Cassette, Interaction
from tests.agent.helpers import ASK
from tests.conftest import Serve, add, kimi

ROOT = Path(__file__).parents[2]
EXAMPLE = "examples/testing/cassettes/test_app/test_butter_is_what_limits_shortbread.kimi.yaml"
VCRPY = "tests/testing/cassettes/cassettes/test_vcrpy_cassette/test_agent_replays_without_a_server.yaml"


def test_the_recording_of_an_example() -> None:
    run = read_recorded_run(str(ROOT / EXAMPLE))
    assert run.kind == "recording"
    assert run.name == "test_butter_is_what_limits_shortbread.kimi.yaml"
    assert run.usage.requests == len(run.model_calls) == 4
    assert run.usage.input_tokens == 195 + 272 + 419 + 488  # as they stand in the file
    assert run.usage.cached_tokens == 256 + 256
    calls = {call.number: call for call in run.tool_calls}
    for message in run.messages:
        assert [calls[number].message for number in message.tool_calls] == [message.number] * len(message.tool_calls)
    assert all(run.message(call.result).role == "tool" for call in run.tool_calls if call.result)
    assert all(call.inputs == tuple(sorted(call.inputs or ())) for call in run.model_calls)


def test_a_recording_of_vcrpy() -> None:
    run = read_recorded_run(str(ROOT / VCRPY))
    assert run.usage.input_tokens == 58 + 118  # as they stand in the file
    assert [message.role for message in run.messages][:3] == ["user", "assistant", "tool"]


def recorded(path: Path, run: Callable[[], object]) -> RecordedRun:
    with Cassette(path, record="all"):
        run()
    return read_recorded_run(str(path))


@pytest.mark.slow  # it loads the detector of secrets
def test_an_agent_in_a_tool_has_the_tools_name(serve: Serve, tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        if request.text_of("system") == "Research.":
            return said("Known.", thinking="Hm.")
        return said("Done.") if request.last["role"] == "tool" else called("researcher", task="sails")

    model = kimi(serve(script))
    inner = create_kimi_agent(model, [add], system_prompt="Research.")
    agent = create_kimi_agent(model, [agent_as_tool(inner, name="researcher", description="Researches.")])
    run = recorded(tmp_path / "team.kimi.yaml", lambda: agent.invoke(ASK))
    assert [call.agent for call in run.model_calls] == ["agent", "researcher", "agent"]
    assert run.tool_calls[0].sub_agent == "researcher"
    assert [(message.role, message.text, message.agent) for message in run.messages] == [
        ("user", "go", "agent"),
        ("assistant", "", "agent"),
        ("system", "Research.", "researcher"),
        ("user", "sails", "researcher"),
        ("assistant", "Known.", "researcher"),
        ("tool", "Known.", "agent"),
        ("assistant", "Done.", "agent"),
    ]
    assert run.message(5).reasoning == "Hm."
    assert run.model_calls[2].inputs == (1, 2, 6)
    assert run.model_calls[1].tools == ("add",)


def interaction(messages: list[Any], answer: dict[str, Any] | None) -> Interaction:
    """A request with an answer, or with a refusal."""
    body: dict[str, Any] = {"error": {"type": "invalid_request_error", "message": "no"}}
    if answer is not None:
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        body = {"choices": [{"message": {"role": "assistant", **answer}, "finish_reason": "stop"}], "usage": usage}
    request = {"model": "kimi-k3", "messages": messages}
    return Interaction(
        {"method": "POST", "path": "/v1/chat/completions", "json": request},
        {"status": 400 if answer is None else 200, "headers": {}, "json": body},
    )


def test_a_refusal_costs_nothing_and_the_same_request_again_continues() -> None:
    hello = [{"role": "user", "content": "Hello?"}]
    answer = {"reasoning_content": "So.", "content": "Yes."}
    run = run_of_interactions([interaction(hello, None), interaction(hello, answer)], "run")
    assert [(call.error, call.answer) for call in run.model_calls] == [("no", None), (None, 2)]
    assert [message.text for message in run.messages] == ["Hello?", "Yes."]
    assert run.message(2).reasoning == "So."
    assert run.model_calls[0].total.cost_usd == 0
    assert [(event.kind, event.text) for event in run.events] == [("error", "Status 400: no")]
    assert run.agents == ("agent",)


def test_a_request_with_another_history_is_an_edit() -> None:
    call = {"id": "add:0", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    answer = {"content": "", "reasoning_content": "Hm.", "tool_calls": [call]}
    system = {"role": "system", "content": "Old."}
    history = [system, {"role": "user", "content": "Add."}, {"role": "assistant", **answer}]
    result = {"role": "tool", "tool_call_id": "add:0", "content": "3"}
    edited = [{**system, "content": "New."}, *history[1:], result]
    run = run_of_interactions([interaction(history[:2], answer), interaction(edited, {"content": "3"})], "run")
    assert [(event.kind, event.text) for event in run.events] == [
        ("edit", "The request has other messages than the one before, from messages[0] on.")
    ]
    assert run.model_calls[1].inputs == (4, 2, 3, 5)
    assert run.tool_calls[0].result == 5
    assert [message.agent for message in run.messages] == ["agent"] * 6
