"""What pruning leaves of a thread: every state that stays reads as before, and the thread goes on."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.tools import tool
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command

from langchain_kimi import agent_as_tool, create_kimi_agent
from langchain_kimi._stored_threads.retention import RetentionRule
from langchain_kimi._stored_threads.snapshots import ExactSerializer
from langchain_kimi._stored_threads.threads import PrunedThread, open_stored_threads
from langchain_kimi.testing import FakeKimi, Reply, Request, called, said

THREAD: Any = {"configurable": {"thread_id": "1"}}
OTHER: Any = {"configurable": {"thread_id": "2"}}


@pytest.fixture(params=["sqlite", pytest.param("postgres")])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the tables of a checkpointer."""
    place = str(tmp_path / "threads.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgres")
    with saver_on(place) as saver:
        saver.setup()
    return str(place)


def saver_on(place: str) -> Any:
    return (SqliteSaver if place.startswith("/") else PostgresSaver).from_conn_string(place)


def prune(place: str, thread: str = "1", *, dry_run: bool = False, **rule: Any) -> PrunedThread:
    with open_stored_threads(place, writes=not dry_run) as threads:
        return threads.prune(thread, RetentionRule(**rule), dry_run=dry_run)


@tool
def note(text: str) -> str:
    """Note something."""
    return f"noted {text}"


def script(request: Request) -> Reply:
    """Calls a tool and a sub-agent, and then answers."""
    last = request.messages[-1]
    if last["role"] == "user":
        return called("note", text=str(last["content"])).calling("helper", task="help")
    return said(f"answer {len(request.messages)}")


def agent_on(saver: Any, **settings: Any) -> Any:
    helper = create_kimi_agent(FakeKimi(lambda request: said("helped")))
    tools = [note, agent_as_tool(helper, name="helper", description="Helps.")]
    return create_kimi_agent(FakeKimi(script), tools, checkpointer=saver, **settings)


def turn(saver: Any, text: str, thread: Any = THREAD) -> Any:
    return agent_on(saver).invoke({"messages": [("user", text)]}, thread)


def messages(saver: Any, thread: Any = THREAD) -> list[Any]:
    return list(agent_on(saver).get_state(thread).values["messages"])


def counts(place: str, thread: str = "1") -> tuple[int, int, int]:
    """How many checkpoints, writes and values of their own the thread has."""
    writes, values = ("writes", None) if place.startswith("/") else ("checkpoint_writes", "checkpoint_blobs")
    with saver_on(place) as saver:
        numbers = []
        for table in ("checkpoints", writes, values):
            query = f"SELECT count(*) AS number FROM {table} WHERE thread_id = '{thread}'"
            row = saver.conn.execute(query).fetchone() if table else (0,)
            numbers.append(row["number"] if isinstance(row, dict) else row[0])
    return numbers[0], numbers[1], numbers[2]


def test_the_newest_state_stays_and_the_thread_goes_on_as_it_would_have(place: str) -> None:
    with saver_on(place) as saver:
        for thread in (THREAD, OTHER):
            for text in ("one", "two", "three"):
                turn(saver, text, thread)
        before, other = messages(saver), counts(place, "2")
        pruned = prune(place)
        assert (pruned.kept, counts(place)[:2]) == (1, (1, 0))
        assert pruned.deleted == other[0] - 1
        assert counts(place, "2") == other
        assert messages(saver) == before
        assert [message.text for message in turn(saver, "four")["messages"]] == [
            message.text for message in turn(saver, "four", OTHER)["messages"]
        ]
        prune(place)
        assert [message.text for message in messages(saver)] == [message.text for message in messages(saver, OTHER)]


def test_values_that_only_deleted_checkpoints_have_are_deleted_too(postgres: str) -> None:
    with saver_on(postgres) as saver:
        saver.setup()
        for text in ("one", "two", "three"):
            turn(saver, text)
        prune(postgres)
        _, _, values = counts(postgres)
        state = saver.get_tuple(THREAD)
        assert values <= len(state.checkpoint["channel_versions"])


def test_a_dry_run_says_what_would_be_deleted_and_deletes_nothing(place: str) -> None:
    with saver_on(place) as saver:
        turn(saver, "one")
        turn(saver, "two")
        before = counts(place)
        planned = prune(place, dry_run=True)
        assert counts(place) == before
        assert prune(place) == planned
        assert prune(place).deleted == 0


@pytest.mark.parametrize("rule", [{"keep": 4}, {"keep": 9}])
def test_every_checkpoint_that_stays_reads_as_before(place: str, rule: Any) -> None:
    with saver_on(place) as saver:
        for text in ("one", "two", "three"):
            turn(saver, text)
        history = list(agent_on(saver).get_state_history(THREAD))[: rule["keep"]]
        prune(place, **rule)
        kept = list(agent_on(saver).get_state_history(THREAD))
        assert [state.values for state in kept] == [state.values for state in history]
        fork = agent_on(saver).invoke({"messages": [("user", "fork")]}, kept[-1].config)
        assert fork["messages"][-1].text.startswith("answer")


def test_checkpoints_newer_than_a_date_stay(place: str) -> None:
    with saver_on(place) as saver:
        turn(saver, "one")
        turn(saver, "two")
        before = counts(place)
        assert prune(place, before=datetime.now(UTC) - timedelta(hours=1)).deleted == 0
        assert counts(place) == before
        assert prune(place, before=datetime.now(UTC) + timedelta(hours=1)).kept == 1


def test_an_interrupted_turn_with_a_sub_agent_goes_on_after_pruning(place: str) -> None:
    with saver_on(place) as saver:
        inner = create_kimi_agent(
            FakeKimi([called("note", text="deep"), said("helped")]), [note], interrupt_on={"note": True}
        )
        helper = agent_as_tool(inner, name="helper", description="Helps.")
        answers = [said("hello"), called("helper", task="help").calling("note", text="wide"), said("done")]
        agent = create_kimi_agent(FakeKimi(answers), [note, helper], checkpointer=saver)
        agent.invoke({"messages": [("user", "hi")]}, THREAD)
        waiting = agent.invoke({"messages": [("user", "go")]}, THREAD)
        assert waiting["__interrupt__"]
        assert prune(place).deleted > 0
        state = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
        assert sorted(message.text for message in state["messages"][4:6]) == ["helped", "noted wide"]
        assert state["messages"][-1].text == "done"


def test_messages_that_cannot_be_copied_exactly_stay_as_they_are(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with saver_on(place) as saver:
        turn(saver, "one")
        before = messages(saver)
        with monkeypatch.context() as patched:  # as for a class that the command cannot import
            patched.setattr(ExactSerializer, "dumps_typed", lambda self, value: ("msgpack", b"other"))
            pruned = prune(place)
        assert messages(saver) == before
        assert pruned.kept > 1
        assert turn(saver, "two")["messages"][: len(before)] == before


def joined(state: list[str], writes: Any) -> list[str]:
    return [*state, *(text for write in writes for text in write)]


class Words(TypedDict):
    words: Annotated[list[str], DeltaChannel(joined, snapshot_frequency=1000)]


def test_a_graph_of_another_package_keeps_what_its_state_is_read_from(place: str) -> None:
    graph: Any = StateGraph(Words)
    graph.add_node("add", lambda state: {"words": [str(len(state["words"]))]})
    graph.add_edge(START, "add")
    with saver_on(place) as saver:
        compiled = graph.compile(checkpointer=saver)
        for word in ("a", "b", "c"):
            compiled.invoke({"words": [word]}, THREAD)
        before = compiled.get_state(THREAD).values
        prune(place)
        assert compiled.get_state(THREAD).values == before == {"words": ["a", "1", "b", "3", "c", "5"]}


@pytest.fixture
def in_use(place: str) -> Iterator[tuple[str, list[Any], threading.Event]]:
    """A database in which a run takes turn after turn meanwhile; the list gets the last messages of each."""
    enough, turns = threading.Event(), list[Any]()

    def run() -> None:
        with saver_on(place) as saver:
            while not enough.is_set():
                turns.append([message.text for message in turn(saver, f"turn {len(turns)}")["messages"]])

    runner = threading.Thread(target=run)
    runner.start()
    yield place, turns, enough
    enough.set()
    runner.join()


@pytest.mark.slow
async def test_a_database_in_use_is_pruned_and_no_turn_is_lost(
    in_use: tuple[str, list[Any], threading.Event],
) -> None:
    place, turns, enough = in_use
    deleted = 0
    async with asyncio.timeout(60):
        while deleted == 0 or len(turns) < 8:
            settled = datetime.now(UTC) - timedelta(seconds=1)
            deleted += (await asyncio.to_thread(prune, place, settled=settled)).deleted if turns else 0
            await asyncio.sleep(0)
    enough.set()
    await asyncio.sleep(0)
    assert deleted > 0
    for earlier, later in pairwise(turns):
        assert later[: len(earlier)] == earlier
    assert [text for text in turns[-1] if text.startswith("turn")] == [f"turn {at}" for at in range(len(turns))]
