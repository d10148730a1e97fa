"""examples/workers as it is: worker processes on DBOS, a web endpoint, PostgreSQL, and a server that plays Kimi."""

import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest
from dbos import DBOSClient, DBOSPortableJSONSerializer

from langchain_kimi.testing import KimiServer, Reply, Request, said, thought
from tests.services import fresh_database, no_postgres, no_redis
from tests.worker_processes import Fleet, WorkerProcess, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
WORKERS = ("worker-1", "worker-2")


class Model:
    """Plays the model: orders are refunded, and a question that begins with "wait" is thought about until `go_on`."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, request: Request) -> Reply:
        results = request.tool_results()
        if results:
            return said(f"Result: {results[-1]['content']}", thinking="Now I know.")
        if request.text_of("user").startswith("refund"):
            return thought("It is theirs.").calling("refund", order="A-17", cents=8900)
        if request.text_of("user").startswith("wait"):
            return said("I waited.", thinking=self._pauses())
        return thought("I look it up.").calling("find_order", order="A-17")

    def _pauses(self) -> Iterator[str]:
        yield "Let me think. "
        self.go_on.wait(120)
        yield "Done."


@dataclass
class Setup:
    """What the tests of this module share."""

    fleet: Fleet
    server: KimiServer
    model: Model
    database: str
    workers: dict[str, WorkerProcess]

    def post(self, path: str, **body: Any) -> Any:
        return httpx2.post(f"{self.fleet.url}{path}", json=body, timeout=30).raise_for_status().json()

    def send(self, thread: str, text: str) -> str:
        return str(self.post(f"/threads/{thread}/messages", message=text)["run"])

    def answer(self, thread: str, question: str, **decision: Any) -> str:
        return str(self.post(f"/threads/{thread}/answers", question=question, decisions=[decision])["run"])

    def status_of(self, run: str) -> Any:
        """The row of a run, as DBOS has it."""
        client = DBOSClient(system_database_url=self.database, serializer=DBOSPortableJSONSerializer())
        try:
            return client.list_workflows(workflow_ids=[run])[0]
        finally:
            client.destroy()


class Events:
    """What a browser reads of a run, in the background."""

    def __init__(self, setup: Setup, run: str, after: int | None = None) -> None:
        self.all: list[dict[str, Any]] = []
        self.last_id = -1
        self._end: dict[str, Any] = {}
        headers = {} if after is None else {"last-event-id": str(after)}
        self._thread = threading.Thread(target=self._read, args=(f"{setup.fleet.url}/runs/{run}/events", headers))
        self._thread.start()

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.all if event["event"] == name]

    def text(self, name: str) -> str:
        return "".join(event["text"] for event in self.named(name))

    def end(self) -> Any:
        """How the run ended."""
        self._thread.join(150)
        assert self._end, f"the stream ended early, after {self.all}"
        return self._end

    def _read(self, url: str, headers: dict[str, str]) -> None:
        with httpx2.stream("GET", url, headers=headers, timeout=150) as response:
            kind = ""
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    self.last_id = int(value)
                elif name == "data" and kind == "end":
                    self._end = json.loads(value)
                elif name == "data":
                    self.all += json.loads(value)


@pytest.fixture(scope="module")
def setup() -> Iterator[Setup]:
    """Two workers and a web endpoint, and the server that plays Kimi."""
    if reason := no_postgres() or no_redis():
        pytest.skip(reason)
    model = Model()
    with fresh_database() as database, KimiServer(model, strict=False) as server:
        access = {"MOONSHOT_API_KEY": "sk-test-workers", "MOONSHOT_BASE_URL": server.url}
        own = {"DATABASE_URL": database, "KIMI_ACCOUNT": f"test-{uuid4()}", "SHUTDOWN_SECONDS": "1"}
        with Fleet(**access, **own) as fleet:
            workers = {name: fleet.start_worker(name) for name in WORKERS}
            fleet.start_web().wait_for("startup complete")
            for worker in workers.values():
                worker.wait_for("takes runs")
            yield Setup(fleet, server, model, database, workers)
            model.go_on.set()


def question_of(end: Any) -> dict[str, Any]:
    assert end["status"] == "SUCCESS", end
    [question] = end["result"]["questions"]
    return dict(question)


def refunds(setup: Setup) -> list[Any]:
    with psycopg.connect(setup.database) as connection:
        return connection.execute("SELECT order_id, cents FROM refunds").fetchall()


def tries_of_locks(setup: Setup) -> list[Any]:
    """When a worker last asked for a lock, if it did nothing since."""
    with psycopg.connect(setup.database) as connection:
        return connection.execute(
            "SELECT pid, query_start FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'SELECT pg_try_advisory_lock%'"
        ).fetchall()


def test_a_run_streams_its_events_and_ends(setup: Setup) -> None:
    run = setup.send("orders", "Where is my jacket?")
    events = Events(setup, run)
    assert events.end() == {"status": "SUCCESS", "result": {"stop_reason": "stop", "questions": []}, "error": ""}
    assert events.text("thinking") == "I look it up.Now I know."
    assert [event["args"] for event in events.named("tool_started")] == [{"order": "A-17"}]
    assert events.text("text") == "Result: Order A-17: a blue jacket, 89.00 €, delivered."
    again = Events(setup, run, after=events.last_id)
    assert (again.end(), again.all) == (events.end(), []), "a browser that comes back reads only what it lacks"
    assert httpx2.get(f"{setup.fleet.url}/runs/none/events").status_code == 404


def test_an_approval_is_answered_and_a_late_answer_is_refused(setup: Setup) -> None:
    question = question_of(Events(setup, setup.send("approval", "refund it")).end())
    assert question["action_requests"][0]["args"] == {"order": "A-17", "cents": 8900}
    assert refunds(setup) == []
    events = Events(setup, setup.answer("approval", question["question"], type="approve"))
    assert events.end()["result"]["stop_reason"] == "stop"
    assert events.text("text").startswith("Result: 89.00 €")
    assert refunds(setup) == [("A-17", 8900)]
    late = Events(setup, setup.answer("approval", question["question"], type="approve")).end()
    assert (late["status"], late["error"]) == ("ERROR", "This question is not open any more.")
    assert refunds(setup) == [("A-17", 8900)]


def test_a_cancelled_run_ends_and_its_thread_takes_the_next_message(setup: Setup) -> None:
    run = setup.send("cancelled", "wait for me")
    events = Events(setup, run)
    wait_until(lambda: events.text("thinking") == "Let me think. ", "the first thought")
    next_run = setup.send("cancelled", "Where is my jacket?")  # waits, since its thread is busy
    setup.post(f"/runs/{run}/cancel")
    assert events.end()["status"] == "CANCELLED"
    assert Events(setup, next_run).end()["result"]["stop_reason"] == "stop"
    users = [m["content"] for m in setup.server.requests[-1].messages if m["role"] == "user"]
    assert users == ["wait for me", "Where is my jacket?"]


def test_a_standby_continues_the_run_of_a_killed_worker(setup: Setup) -> None:
    run = setup.send("killed", "wait for me")
    events = Events(setup, run)
    wait_until(lambda: events.text("thinking") == "Let me think. ", "the first thought")
    name = setup.status_of(run).executor_id
    standby = setup.fleet.start_worker(name).wait_for("waits")
    tries: set[Any] = set()
    wait_until(lambda: len(tries.update(tries_of_locks(setup)) or tries) >= 5, "the standby to try for the name")
    assert not standby.wrote("takes runs")
    setup.workers[name].end(signal.SIGKILL)
    setup.workers[name] = standby
    wait_until(lambda: events.named("continued"), "the standby")
    setup.model.go_on.set()
    assert events.end()["result"]["stop_reason"] == "stop"
    setup.model.go_on.clear()
    assert events.text("text") == "I waited."
    requests = [request for request in setup.server.requests if request.text_of("user") == "wait for me"]
    assert requests[-1].body == requests[-2].body, "the thread goes on where it was"


def test_a_call_of_a_killed_worker_is_shown_and_runs_once(setup: Setup) -> None:
    before = len(refunds(setup))
    question = question_of(Events(setup, setup.send("once", "refund it")).end())
    with psycopg.connect(setup.database) as lock:
        lock.execute("LOCK TABLE refunds")  # the tool waits for it
        run = setup.answer("once", question["question"], type="approve")
        events = Events(setup, run)
        wait_until(lambda: events.named("tool_started"), "the tool")
        name = setup.status_of(run).executor_id
        setup.workers[name].end(signal.SIGKILL)
    setup.workers[name] = setup.fleet.start_worker(name).wait_for("takes runs")
    unknown = question_of(events.end())
    assert unknown["review_configs"][0]["allowed_decisions"] == ["happened", "run", "unknown"]
    assert len(refunds(setup)) == before
    events = Events(setup, setup.answer("once", unknown["question"], type="run"))
    assert events.end()["result"]["stop_reason"] == "stop"
    assert len(refunds(setup)) == before + 1


def test_a_worker_that_is_stopped_ends_in_time_and_leaves_its_runs_to_the_next(setup: Setup) -> None:
    run = setup.send("stopped", "wait for me")
    events = Events(setup, run)
    wait_until(lambda: events.text("thinking") == "Let me think. ", "the first thought")
    worker = setup.workers[setup.status_of(run).executor_id]
    assert worker.end(signal.SIGTERM) == 0
    assert setup.status_of(run).status == "PENDING", "the next worker of this name continues it, as after a kill"
    setup.post(f"/runs/{run}/cancel")
    assert events.end()["status"] == "CANCELLED"
