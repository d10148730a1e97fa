"""What LangSmith's tracer sends of models, agents, sub-agents and teams, to a local server for its HTTP API."""

import asyncio
import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import add_usage
from langgraph.checkpoint.memory import InMemorySaver
from langsmith import Client, tracing_context

from langchain_kimi import CostTracer, UsageMeter, create_kimi_agent, web_search
from langchain_kimi.errors import AnswerCutShort, AuthenticationError, BrokenStreamError
from langchain_kimi.testing import KimiServer, Reply, cut_after, raw_call, refused, said, thought
from tests import forks
from tests.conftest import FOUR_WAYS, KEY, PAIRED, TWO_OF_FOUR_WAYS, Serve, kimi
from tests.databases import THREAD
from tests.frameworks.traced import HI, LONG, desk_and_sales, helper, lead_and_helper, office, run
from tests.langsmith_server import LangSmithServer

CHAT = ("ChatKimi",)


class Tracing:
    """A LangSmith server, and a client of it."""

    def __init__(self, server: LangSmithServer) -> None:
        self.server = server

    @cached_property
    def client(self) -> Client:
        return Client(api_url=self.server.url, api_key="lsv2_pt_0123456789abcdef0123456789abcdef_0123456789")

    @property
    def tracer(self) -> CostTracer:
        return CostTracer(client=self.client)

    async def run(self, target: Any, way: str, run_input: Any = HI, *, enabled: bool = True, **config: Any) -> None:
        """A run, traced as `LANGSMITH_TRACING=true` traces it, until everything has been sent."""
        with tracing_context(enabled=enabled, client=self.client):
            try:
                await run(target, way, run_input, **config)
            finally:
                await asyncio.to_thread(self.client.flush)


@pytest.fixture
def tracing() -> Iterator[Tracing]:
    with LangSmithServer() as server:
        yield Tracing(server)


def usage_of(run: dict[str, Any]) -> list[Any]:
    """The usage of a model's run in all places where LangSmith looks for it."""
    ((generation,),) = run["outputs"]["generations"]
    return [run["extra"]["metadata"]["usage_metadata"], generation["message"]["kwargs"]["usage_metadata"]]


def approx(number: float | None) -> Any:
    return pytest.approx(number)


@FOUR_WAYS
@pytest.mark.parametrize("with_costs", [True, False], ids=["costs", "no costs"])
@PAIRED
async def test_usage_and_costs_of_a_model(tracing: Tracing, serve: Serve, way: str, with_costs: bool) -> None:
    server = serve([said("first"), said("x", thinking="I think. " * 9)])
    model = kimi(server, "kimi-k2.6", max_tokens=20_000, stop=["END"])
    meter = UsageMeter()
    for question in "ab":
        callbacks = [tracing.tracer, meter] if with_costs else [meter]
        await tracing.run(model, way, [("system", LONG), ("user", question)], callbacks=callbacks)
    wire, (first, run) = server.usages[-1], tracing.server.of_type("llm")
    assert wire is not None
    cached, reasoning = wire["cached_tokens"], wire["completion_tokens_details"]["reasoning_tokens"]
    assert cached > 1_000
    assert reasoning > 10
    expected: dict[str, Any] = {
        "input_tokens": wire["prompt_tokens"],
        "output_tokens": wire["completion_tokens"],
        "total_tokens": wire["total_tokens"],
        "input_token_details": {"cache_read": cached},
        "output_token_details": {"reasoning": reasoning},
    }
    if with_costs:  # the prices of kimi-k2.6: 0.16 for a million cached tokens, 0.95 for other input, 4 for output
        read, wrote = cached * 0.16e-6, wire["completion_tokens"] * 4e-6
        fresh = (wire["prompt_tokens"] - cached) * 0.95e-6
        expected |= {
            "input_cost": approx(read + fresh),
            "output_cost": approx(wrote),
            "total_cost": approx(read + fresh + wrote),
        }
        expected |= {"input_cost_details": {"cache_read": approx(read)}}
        expected |= {"output_cost_details": {"reasoning": approx(reasoning * 4e-6)}}
        assert sum(usage_of(one)[0]["total_cost"] for one in (first, run)) == approx(meter.total.cost_usd)
    assert usage_of(run) == [expected] * 2
    metadata = run["extra"]["metadata"]
    settings = {"ls_provider": "moonshot", "ls_model_name": "kimi-k2.6", "ls_max_tokens": 20_000, "ls_stop": ["END"]}
    assert {key: metadata[key] for key in settings} == settings
    assert KEY not in tracing.server.text


def lead(server: KimiServer) -> Any:
    return create_kimi_agent(kimi(server), [helper(server)], name="lead", checkpointer=InMemorySaver())


ADDS = ("helper", ("begin",), ("model", CHAT), ("tools", ("add",)), ("model", CHAT))
LEAD = (
    "lead",
    *[("begin",), ("model", CHAT), ("tools", ("helper", ADDS)), ("tools", ("helper", ADDS)), ("model", CHAT)],
)


@TWO_OF_FOUR_WAYS
@pytest.mark.parametrize("with_costs", [True, False], ids=["costs", "no costs"])
async def test_sub_agents_in_parallel_are_in_the_tree(
    tracing: Tracing, serve: Serve, way: str, with_costs: bool
) -> None:
    """The tracer with costs stands in for the other one: each run is sent once."""
    meter = UsageMeter()
    await tracing.run(lead(serve(lead_and_helper)), way, callbacks=[tracing.tracer, meter] if with_costs else [meter])
    (root,) = tracing.server.roots()
    assert tracing.server.tree(root) == LEAD
    assert sorted(tracing.server.posted) == sorted(tracing.server.runs)
    runs = tracing.server.runs.values()
    assert {run["extra"]["metadata"]["thread_id"] for run in runs} == {"1"}
    assert all(run["end_time"] for run in runs)
    names = [run["extra"]["metadata"]["lc_agent_name"] for run in tracing.server.of_type("llm")]
    assert sorted(names) == ["helper"] * 4 + ["lead"] * 2
    if with_costs:
        costs = [usage_of(run)[0]["total_cost"] for run in tracing.server.of_type("llm")]
        assert sum(costs) == approx(meter.total.cost_usd)
    assert KEY not in tracing.server.text


@TWO_OF_FOUR_WAYS
async def test_a_team(tracing: Tracing, serve: Serve, way: str) -> None:
    await tracing.run(office(serve(desk_and_sales)), way, callbacks=[tracing.tracer])
    (root,) = tracing.server.roots()
    work = ("begin",), ("model", CHAT), ("tools", ("transfer_to_sales",)), ("model", CHAT)
    assert tracing.server.tree(root) == ("office", *work)
    desk, sales = tracing.server.of_type("llm")
    assert [run["extra"]["metadata"]["lc_agent_name"] for run in (desk, sales)] == ["desk", "sales"]


async def test_nothing_is_sent_where_tracing_is_off(tracing: Tracing, serve: Serve) -> None:
    await tracing.run(lead(serve(lead_and_helper)), "ainvoke", enabled=False)
    assert tracing.server.runs == {}


async def test_the_message_stays_as_it_is(tracing: Tracing, serve: Serve) -> None:
    """LangChain's sum of usages raises for fractions."""
    answers: list[AIMessage] = []

    class Answers(BaseCallbackHandler):
        run_inline = True

        def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            answers.append(response.generations[0][0].message)

    model = kimi(serve([said("one"), said("two")]))
    for _ in range(2):
        await tracing.run(model, "ainvoke", "a", callbacks=[tracing.tracer, Answers()])
    one, two = answers
    assert "total_cost" not in (one.usage_metadata or {})
    assert add_usage(one.usage_metadata, two.usage_metadata)["output_tokens"] == 2


@FOUR_WAYS
@pytest.mark.parametrize(
    "reply",
    [cut_after(said("Half of it", thinking="Hm."), events=4), thought("On and on.").finish("length")],
    ids=["broke off", "cut in its thinking"],
)
@PAIRED
async def test_costs_of_an_answer_that_is_not_whole(tracing: Tracing, serve: Serve, way: str, reply: Reply) -> None:
    meter, model = UsageMeter(), kimi(serve([reply]))
    with pytest.raises((BrokenStreamError, AnswerCutShort)):
        await tracing.run(model, way, "a", callbacks=[tracing.tracer, meter])
    (run,) = tracing.server.of_type("llm")
    usage = run["extra"]["metadata"]["usage_metadata"]
    assert usage["input_tokens"] == meter.total.input_tokens > 0
    assert usage["total_cost"] == approx(meter.total.cost_usd)


@TWO_OF_FOUR_WAYS
async def test_the_fee_of_a_web_search_is_a_cost_of_its_run(tracing: Tracing, serve: Serve, way: str) -> None:
    server = serve([raw_call("$web_search", "{}"), said("ok")])
    meter, agent = UsageMeter(), create_kimi_agent(kimi(server, thinking=False), [web_search()])
    await tracing.run(agent, way, callbacks=[tracing.tracer, meter])
    (search,) = tracing.server.of_type("tool")
    assert search["extra"]["metadata"]["usage_metadata"] == {"total_cost": approx(0.005)}
    answers = [usage_of(run)[0]["total_cost"] for run in tracing.server.of_type("llm")]
    assert sum(answers) + 0.005 == approx(meter.total.cost_usd)


async def test_an_answer_from_langchains_cache_costs_nothing(tracing: Tracing, serve: Serve) -> None:
    model = kimi(serve([said("x")]), cache=InMemoryCache())
    for _ in range(2):
        await tracing.run(model, "ainvoke", "a", callbacks=[tracing.tracer])
    first, second = (usage_of(run)[0] for run in tracing.server.of_type("llm"))
    assert first["total_cost"] > 0
    assert second["total_cost"] == 0


@pytest.mark.filterwarnings("ignore:somebody/else is not in the catalogue")
async def test_no_costs_without_a_price(tracing: Tracing, serve: Serve) -> None:
    model = kimi(serve([said("x")], models=["somebody/else"]), "somebody/else")
    await tracing.run(model, "ainvoke", "a", callbacks=[tracing.tracer])
    (run,) = tracing.server.of_type("llm")
    assert "total_cost" not in usage_of(run)[0]
    assert usage_of(run)[0]["input_tokens"] > 0


async def test_a_request_that_fails_shows_no_key(tracing: Tracing, serve: Serve) -> None:
    model = kimi(serve([refused(401, "invalid_authentication_error", f"bad key {KEY}")]))
    with pytest.raises(AuthenticationError):
        await tracing.run(model, "ainvoke", "a", callbacks=[tracing.tracer])
    (run,) = tracing.server.of_type("llm")
    assert "AuthenticationError" in run["error"]
    assert KEY not in tracing.server.text


def traced_process(url: str) -> None:
    """A program that is traced by the variables of its environment, and ends without waiting for anything."""
    server = KimiServer(lead_and_helper)
    with server:
        lead(server).invoke(HI, THREAD)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "hidden"),
    [
        ({}, ()),
        ({"LANGSMITH_HIDE_INPUTS": "true", "LANGSMITH_HIDE_OUTPUTS": "true"}, ("question", "task", "sum", "answer")),
        ({"LANGSMITH_TRACING": "false"}, None),
    ],
    ids=["shown", "hidden", "off"],
)
def test_a_program_that_ends(variables: dict[str, str], hidden: tuple[str, ...] | None) -> None:
    with LangSmithServer(compressed=not hidden) as server:
        env = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
        env |= {
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_ENDPOINT": server.url,
            "LANGSMITH_API_KEY": "lsv2_pt_0",
            **variables,
        }
        ended = forks.run(traced_process, server.url, env=env)
        assert ended.status == 0, ended.output
        if hidden is None:
            assert server.runs == {}
            return
        assert [server.tree(root) for root in server.roots()] == [LEAD]
        assert server.encodings == ({None} if hidden else {"zstd"})
        assert {word: f"private-{word}" in server.text for word in ("question", "task", "sum", "answer")} == {
            word: word not in hidden for word in ("question", "task", "sum", "answer")
        }
        assert all(usage_of(run)[0]["input_tokens"] > 0 for run in server.of_type("llm") if not hidden)
