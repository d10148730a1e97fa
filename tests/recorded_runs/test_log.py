"""Runs read from reasoning logs."""

from pathlib import Path

import pytest

from langchain_kimi import KimiError, ReasoningLog, create_kimi_agent
from langchain_kimi._recorded_runs import RunSourceError, read_recorded_run
from langchain_kimi.testing import refused, said, thought
from tests.agent.helpers import ASK
from tests.conftest import Serve, add, kimi


def test_the_log_of_an_agent(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    script = [thought("Add.").calling("add", a=1, b=2), said("3"), refused(400, "invalid_request_error", "no")]
    agent = create_kimi_agent(kimi(serve(script)), [add], name="adder")
    with ReasoningLog(path) as log:
        agent.invoke(ASK, {"callbacks": [log]})
        with pytest.raises(KimiError):
            agent.invoke(ASK, {"callbacks": [log]})
    run = read_recorded_run(str(path))
    assert run.agents == ("adder",)
    assert [(message.role, message.text, message.reasoning) for message in run.messages] == [
        ("assistant", "", "Add."),
        ("assistant", "3", None),
    ]
    assert [(call.name, call.arguments, call.status) for call in run.tool_calls] == [
        ("add", '{"a":1,"b":2}', "no result")
    ]
    assert [call.answer for call in run.model_calls] == [1, 2, None]
    assert [event.kind for event in run.events] == ["error"]
    assert all(call.time.seconds is not None for call in run.model_calls)
    assert run.model_calls[2].total.cost_usd == 0
    assert run.usage.cost_usd == pytest.approx(sum(call.total.cost_usd or 0 for call in run.model_calls))


def test_the_lines_of_one_thread(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    model = kimi(serve([said("One."), said("Two.")]))
    with ReasoningLog(path) as log:
        for thread in ("a", "b"):
            model.invoke("Hello?", {"callbacks": [log], "metadata": {"thread_id": thread}})
    assert [message.text for message in read_recorded_run(str(path), "b").messages] == ["Two."]
    assert len(read_recorded_run(str(path)).messages) == 2


@pytest.mark.parametrize("line", ["", "[]", "3", '{"model": "m"}', '{"model": "m", "run_id": "1", "time": 3}'])
def test_a_line_that_is_none_of_a_log(tmp_path: Path, line: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(RunSourceError, match=r"run\.jsonl, line 1 is not a line of a reasoning log"):
        read_recorded_run(str(path))
