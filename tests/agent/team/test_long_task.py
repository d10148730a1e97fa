"""The task of sixty turns, with hand-offs, parallel sub-agents, a person's approval and two kills."""

import json
import os
import signal
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from langchain_kimi.catalogue import find
from langchain_kimi.testing import KimiServer, Request
from tests import forks
from tests.agent.team.long_task import MODELS, ROUNDS, World, go_on, play, team, thoughts, who
from tests.databases import Database


def worked_on(database: Database, kimi: KimiServer, other: KimiServer, directory: Path) -> list[int]:
    """Start processes until one ends at the end of the task; how each ended."""
    place = (database.place, kimi.url, other.url, database.way, str(directory))
    return [forks.run(go_on, *place).status for _ in range(4)]


def by_agent(*servers: KimiServer) -> dict[str, list[Request]]:
    """The requests of each agent's thread: a researcher has one for each topic."""
    threads: dict[str, list[Request]] = {}
    for request in (request for server in servers for request in server.requests):
        agent = who(request)
        threads.setdefault(agent + (request.text_of("user") if agent == "researcher" else ""), []).append(request)
    return threads


def counted(server: KimiServer, agents: set[str]) -> Counter[str]:
    """What the server told of its answers to these agents, and what that costs by the price list."""
    total: Counter[str] = Counter()
    for request, usage in zip(server.requests, server.usages, strict=True):
        if usage is None or who(request) not in agents:
            continue
        row = find(request.model)
        assert row is not None
        assert row.usd is not None
        read, cached, said = usage["prompt_tokens"], usage["cached_tokens"], usage["completion_tokens"]
        cost = (read - cached) * row.usd.miss + cached * row.usd.hit + said * row.usd.output
        total.update({"requests": 1, "input_tokens": read, "cached_tokens": cached, "output_tokens": said})
        total.update({"reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"]})
        total.update({"cost_usd": cost / 1_000_000})  # type: ignore[dict-item]
    return total


def assert_own_reasoning_only(requests: list[Request], agent: str) -> None:
    """Every thought of this agent goes back, byte for byte, and no thought of another."""
    for request in requests:
        answers = [message for message in request.messages if message["role"] == "assistant"]
        own = [thoughts(agent, turn) for turn in range(len(answers))]
        if agent != "reviewer":  # whose client knows no reasoning
            assert [message["reasoning_content"] for message in answers] == own
        text = json.dumps(request.json)
        for other in MODELS.keys() - {agent}:
            assert json.dumps(thoughts(other, 0))[1:20] not in text


@pytest.mark.slow
async def test_a_team_of_four_does_a_task_of_sixty_turns(database: Database, tmp_path: Path) -> None:
    async with database.saver():
        pass
    with KimiServer(play) as kimi, KimiServer(play, models=(MODELS["reviewer"],)) as other:
        ends = worked_on(database, kimi, other, tmp_path)
        async with database.saver() as saver:
            agent: Any = team(kimi.url, other.url, World(tmp_path), saver)
            state = (await database.state(agent)).values
    # Killed in a hand-off, stopped for a person, killed in a sub-agent, done.
    assert ends == [-signal.SIGKILL, 0, -signal.SIGKILL, 0]
    assert {name for name in os.listdir(tmp_path) if "killed" in name} == {
        "killed in a hand-off",
        "killed in a sub-agent",
    }
    assert set(kimi.statuses) == set(other.statuses) == {200}
    assert (state["stop_reason"], state["messages"][-1].text) == ("stop", "All done.")
    turns = [message.name for message in state["messages"] if isinstance(message, AIMessage)]
    assert turns == [*("lead", "lead", "coder", "coder", "reviewer", "reviewer") * ROUNDS, "lead"]

    done = Counter((tmp_path / "done").read_text().splitlines())
    twice = {what for what, times in done.items() if times > 1}
    assert twice == {"note round 3", "search topic 6.1"}  # the two that were killed before they gave a result
    assert len(done) == ROUNDS * 6

    threads = by_agent(kimi, other)
    assert len(threads) == 3 + 3 * ROUNDS
    for name, requests in threads.items():
        assert_own_reasoning_only(requests, name.partition("topic")[0])
        for before, after in pairwise(requests):
            assert after.messages[: len(before.messages)] == before.messages
            assert after.json["tools"] == before.json["tools"]

    for agents, server, spent in [
        ({"lead"}, kimi, state["spent_by_agent"]["lead"]),
        ({"researcher"}, kimi, state["spent_by_agent"]["research"]),
        ({"coder"}, kimi, state["spent_by_agent"]["coder"]),
        ({"reviewer"}, other, state["spent_by_agent"]["reviewer"]),
    ]:
        told = counted(server, agents)
        assert {key: spent.get(key, 0) for key in told} == pytest.approx(told)
    everything = counted(kimi, set(MODELS)) + counted(other, set(MODELS))
    assert {key: state["spent"].get(key, 0) for key in everything} == pytest.approx(everything)
    assert len(kimi.requests) + len(other.requests) == everything["requests"] == 6 * ROUNDS + 1 + 6 * ROUNDS
    assert state["spent"]["turns"] == everything["requests"]
