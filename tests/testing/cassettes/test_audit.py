"""The audit: a good recording is clean, and each thing that can be wrong is found."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi.testing import said, thought
from langchain_kimi.testing.cassettes import Cassette, CassetteError, Interaction, audit
from langchain_kimi.testing.cassettes.cassette_file import load_cassette, save_cassette
from tests.conftest import KEY, Serve, add

NOWHERE = "http://127.0.0.1:9/v1"


def run(url: str) -> Any:
    agent = create_kimi_agent(ChatKimi(model="kimi-k2.6", base_url=url, api_key=KEY), [add], system_prompt="Add.")
    state = agent.invoke({"messages": [("user", "2 + 3, and 4 more?")]})
    return agent.invoke({"messages": [*state["messages"], ("user", "Thanks.")]})


@pytest.fixture
def recorded(serve: Serve, path: Path) -> Path:
    script = [
        thought("First 2 + 3.\u2028 ").calling("add", a=2, b=3),
        thought("").saying("Now 4 more.").calling("add", a=5, b=4),
        said("It is 9.", thinking="Done."),
        said("Welcome."),
    ]
    with Cassette(path, record="once"):
        run(serve(script).url)
    return path


def edited(path: Path, edit: Callable[[list[Interaction]], Any]) -> Path:
    interactions = copy.deepcopy(load_cassette(path))
    edit(interactions)
    save_cassette(path, interactions)
    return path


def checks(path: Path | Cassette) -> list[tuple[str, int]]:
    return [(finding.check, finding.at) for finding in audit(path)]


def test_recording_of_this_package_is_clean(recorded: Path) -> None:
    assert audit(recorded) == []
    with Cassette(recorded) as cassette:
        run(NOWHERE)
    assert audit(cassette) == []


def message(interactions: list[Interaction], number: int, at: int) -> dict[str, Any]:
    found: dict[str, Any] = interactions[number - 1].request["json"]["messages"][at]
    return found


def test_request_that_kimi_would_refuse_today_is_found(recorded: Path) -> None:
    edited(recorded, lambda every: every[0].request["json"].update(temperature=0.3))
    (finding,) = audit(recorded)
    assert (finding.check, finding.at) == ("rules", 1)
    assert "invalid temperature: only 1 is allowed for this model" in str(finding)
    assert str(recorded) in str(finding)


def test_unanswered_tool_call_is_found(recorded: Path) -> None:
    edited(recorded, lambda every: every[1].request["json"]["messages"].pop())
    assert ("rules", 2) in checks(recorded)


def test_lost_reasoning_is_found_with_what_was_thought(recorded: Path) -> None:
    edited(recorded, lambda every: [message(every, n, 2).pop("reasoning_content") for n in (2, 3, 4)])
    found = [finding for finding in audit(recorded) if finding.check == "reasoning"]
    assert [finding.at for finding in found] == [2]
    assert "messages[2].reasoning_content is missing; in response 1 it is 'First 2 + 3." in found[0].message


@pytest.mark.parametrize("change", [" ", "First 2 + 3.\u2028", "First 2 + 3.\n ", ""])
def test_reasoning_that_differs_by_one_character_is_found(change: str, recorded: Path) -> None:
    edited(recorded, lambda every: [message(every, n, 2).update(reasoning_content=change) for n in (2, 3, 4)])
    assert ("reasoning", 2) in checks(recorded)


def test_empty_reasoning_that_was_left_out_is_found(recorded: Path) -> None:
    edited(recorded, lambda every: [message(every, n, 4).pop("reasoning_content") for n in (3, 4)])
    assert ("reasoning", 3) in checks(recorded)


def test_reasoning_lost_on_a_later_turn_only_is_found(recorded: Path) -> None:
    edited(recorded, lambda every: message(every, 4, 2).update(reasoning_content=" "))
    assert checks(recorded) == [("prefix", 4)]


def test_arguments_written_anew_are_found(recorded: Path) -> None:
    def rewrite(every: list[Interaction]) -> None:
        for number in (2, 3, 4):
            message(every, number, 2)["tool_calls"][0]["function"]["arguments"] = '{"a": 2, "b": 3}'

    edited(recorded, rewrite)
    (finding,) = audit(recorded)
    assert (finding.check, finding.at) == ("reasoning", 2)
    assert "messages[2].tool_calls" in finding.message


def test_changed_text_of_an_answer_is_found(recorded: Path) -> None:
    edited(recorded, lambda every: message(every, 4, 6).update(content="It is ten."))
    assert checks(recorded) == [("reasoning", 4)]


def test_beginning_that_moves_is_found(recorded: Path) -> None:
    def stamp(every: list[Interaction]) -> None:
        for number in range(1, 5):
            message(every, number, 0)["content"] = f"Add. It is {datetime(2026, 11, 20, 9, number, tzinfo=UTC)}."

    edited(recorded, stamp)
    found = audit(recorded)
    assert [(finding.check, finding.at) for finding in found] == [("prefix", 2), ("prefix", 3), ("prefix", 4)]
    assert "messages[0].content: recorded" in found[0].message
    assert audit(recorded, skip=["prefix"]) == []


def test_tools_that_change_within_a_conversation_are_found(recorded: Path) -> None:
    edited(recorded, lambda every: every[2].request["json"].pop("tools"))
    assert ("prefix", 3) in checks(recorded)


def test_retired_model_is_found_on_kimis_own_hosts_only(recorded: Path) -> None:
    def retire(every: list[Interaction], host: str) -> None:
        for each in every:
            each.request["json"]["model"] = "kimi-k2.5"
            each.request["host"] = host

    edited(recorded, lambda every: retire(every, "api.moonshot.ai"))
    found = [finding for finding in audit(recorded) if finding.check == "retired"]
    assert len(found) == 4
    assert "its successor is 'kimi-k3'. Record again" in found[0].message
    edited(recorded, lambda every: retire(every, "openrouter.ai"))
    assert [finding for finding in audit(recorded) if finding.check == "retired"] == []


def test_secret_that_someone_wrote_into_the_file_is_found_and_not_shown(recorded: Path) -> None:
    recorded.write_text(recorded.read_text().replace("Welcome.", "sk-0123456789abcdef"))
    (finding,) = audit(recorded)
    assert (finding.check, finding.at) == ("secret", 4)
    assert "0123456789" not in str(finding)


def test_secret_in_the_pieces_of_a_stream_is_found(recorded: Path) -> None:
    text = recorded.read_text()
    assert '{"content":" 9."}' in text
    piece = '    - \'{"content":" 9."}\'\n'
    recorded.write_text(text.replace(piece, "".join(piece.replace(" 9.", part) for part in (" s", "k-01234", "56789"))))
    assert ("secret", 3) in checks(recorded)


def test_interaction_that_nobody_asked_for_is_found(recorded: Path) -> None:
    with Cassette(recorded) as cassette:
        ChatKimi(model="kimi-k2.6", base_url=NOWHERE, api_key=KEY).bind_tools([add]).invoke(
            [("system", "Add."), ("user", "2 + 3, and 4 more?")]
        )
    assert checks(cassette) == [("played", 2), ("played", 3), ("played", 4)]
    assert audit(recorded) == []


def test_two_conversations_that_say_the_same_are_kept_apart(serve: Serve, path: Path) -> None:
    def reply(request: Any) -> Any:
        if request.last["role"] == "tool":
            return said("Five.", thinking="ok")
        return thought(f"{request.last['content']} It is a sum.").calling("add", a=2, b=3)

    with Cassette(path, record="once"):
        url = serve(reply).url
        agents = [
            create_kimi_agent(ChatKimi(model="kimi-k2.6", base_url=url, api_key=KEY), [add], system_prompt=prompt)
            for prompt in ("One.", "Two.")
        ]
        for question in ("2 + 3?", "3 + 2?"):
            for agent in agents:
                agent.invoke({"messages": [("user", question)]})
    assert len(load_cassette(path)) == 8
    assert audit(path) == []
    edited(path, lambda every: every.sort(key=lambda each: len(each.request["json"]["messages"])))
    assert audit(path) == []


def test_file_that_cannot_be_judged_raises(tmp_path: Path) -> None:
    with pytest.raises(CassetteError, match="cannot be read"):
        audit(tmp_path / "nothing.kimi.yaml")
