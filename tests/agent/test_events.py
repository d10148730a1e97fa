"""The events of the `custom` stream and the stop reasons: their types, what runs emit, and what the docs say."""

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import TypeAdapter
from typing_extensions import get_type_hints as get_hints

from langchain_kimi import (
    AgentLimits,
    AgentUsage,
    CompactionChange,
    KimiEvent,
    LimitReason,
    LoopGuard,
    StopReason,
    create_kimi_agent,
)
from langchain_kimi._finish_reasons import CONTENT_FILTER, KNOWN
from langchain_kimi.chat_model import retry_events
from langchain_kimi.testing import called, said
from tests.conftest import Serve, add, kimi

PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()
EVENTS: dict[str, Any] = {get_args(get_type_hints(event)["event"])[0]: event for event in get_args(KimiEvent)}


def section(title: str) -> str:
    """The text of a section of docs/agents.md."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the table of a section, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def words(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def test_the_docs_list_every_event_with_its_type_and_its_keys() -> None:
    listed = {name.strip("`"): (kind.strip("`"), keys) for name, kind, keys in rows("Streaming")}
    assert {name: kind for name, (kind, _) in listed.items()} == {
        name: event.__name__ for name, event in EVENTS.items()
    }
    types = {"AgentUsage", "LimitReason", "CompactionChange"}
    for name, (_, keys) in listed.items():
        assert words(keys) - types == set(get_type_hints(EVENTS[name])) - {"event"}
    sentence = section("Streaming").partition("A `CompactionChange` has")[2]
    assert words(sentence) == set(get_type_hints(CompactionChange))


def test_the_docs_list_every_stop_reason() -> None:
    listed = [reason for reasons, _ in rows("Stop reasons") for reason in re.findall(r"`(\w+)`", reasons)]
    assert sorted(listed) == sorted(get_args(StopReason))
    assert set(get_args(LimitReason)) < set(get_args(StopReason))


def test_the_docs_list_every_key_of_the_usage() -> None:
    (row,) = [text for key, text in rows("State") if key == "`spent`"]
    assert words(row) - {"AgentUsage"} == set(get_hints(AgentUsage))


def test_stop_reasons_of_kimi_are_known_finish_reasons() -> None:
    assert set(get_args(StopReason)) - set(get_args(LimitReason)) - {"empty"} <= KNOWN
    assert CONTENT_FILTER in get_args(StopReason)


def test_the_event_of_a_retry_has_the_name_of_its_type() -> None:
    assert EVENTS[retry_events.WAIT_EVENT].__name__ == "RetryEvent"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"limits": AgentLimits(turns=5)}, "turns"),
        ({"guard": LoopGuard(hint=2, block=3, stop=4)}, "loop"),
        ({"limits": AgentLimits(tool_calls=1)}, "tool_calls"),
    ],
)
def test_emitted_events_have_their_type(serve: Serve, settings: dict[str, Any], reason: str) -> None:
    @tool
    def fail(x: int) -> str:
        """Fail."""
        raise RuntimeError("no")

    def script(request: Any) -> Any:
        last = request.json.get("tool_choice") == "none"
        return said("Enough.") if last else called("add", a=1, b=2).calling("fail", x=1)

    agent = create_kimi_agent(kimi(serve(script)), [add, fail], checkpointer=InMemorySaver(), **settings)
    config: Any = {"configurable": {"thread_id": "1"}}
    events = list(agent.stream({"messages": [("user", "go")]}, config, stream_mode="custom"))
    adapter: TypeAdapter[Any] = TypeAdapter(KimiEvent)
    for event in events:
        adapter.validate_python(event, strict=True)
        assert event.keys() <= get_type_hints(EVENTS[event["event"]]).keys()
    assert [event["reason"] for event in events if event["event"] == "limit"] == [reason]
    assert agent.get_state(config).values["stop_reason"] == reason
