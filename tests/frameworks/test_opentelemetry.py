"""What the OpenTelemetry instrumentations of LangChain record of models, agents, sub-agents, teams and the middleware.

`genai` is OpenTelemetry's own instrumentation, `openllmetry` that of Traceloop. Both write to an in-memory exporter.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import langchain.agents.factory
import langgraph.prebuilt.chat_agent_executor
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import tool
from langchain_openai.chat_models.base import BaseChatOpenAI
from langchain_openai.llms.base import BaseOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command
from opentelemetry import trace
from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor
from opentelemetry.instrumentation.langchain import LangchainInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_kimi import Compaction, KimiState, agent_as_tool, create_kimi_agent
from langchain_kimi.errors import AuthenticationError
from langchain_kimi.middleware import KimiMiddleware
from langchain_kimi.testing import refused, said, thought
from tests.conftest import FOUR_WAYS, KEY, PAIRED, TWO_OF_FOUR_WAYS, Serve, kimi
from tests.frameworks.traced import LONG, desk_and_sales, helper, lead_and_helper, office, run
from tests.middleware.scenarios import page, reader

INSTRUMENTORS: dict[str, Callable[[], Any]] = {"genai": LangChainInstrumentor, "openllmetry": LangchainInstrumentor}
LIBRARIES = pytest.mark.parametrize("library", INSTRUMENTORS)
PATCHED: list[Any] = [
    *(AgentMiddleware, BaseCallbackManager, BaseChatModel, BaseChatOpenAI, BaseOpenAI, Command, Pregel),
    *(langchain.agents, langchain.agents.factory, langgraph.prebuilt, langgraph.prebuilt.chat_agent_executor),
]
"""What the instrumentations change."""
CAPTURE = {
    "genai": ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY", "NO_CONTENT"),
    "openllmetry": ("TRACELOOP_TRACE_CONTENT", "true", "false"),
}
"""For each library the variable that decides about content, and its values for yes and no."""

Tree = tuple[Any, ...]


class Traces:
    """The spans that one instrumentation has exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def named(self, start: str) -> list[ReadableSpan]:
        """The spans whose names begin so, in the order of their start."""
        spans = [span for span in self.exporter.get_finished_spans() if span.name.startswith(start)]
        return sorted(spans, key=lambda span: span.start_time or 0)

    def trees(self, start: str = "") -> list[Tree]:
        """The spans of every trace as nested names. Spans that are no agents, chats or tools are left out."""
        children: dict[int | None, list[ReadableSpan]] = {}
        for span in self.named(start):
            children.setdefault(span.parent and span.parent.span_id, []).append(span)
        return [part for root in children.get(None, []) for part in _tree(root, children)]

    def text(self) -> str:
        """Everything that was exported."""
        return "".join(span.to_json() for span in self.exporter.get_finished_spans())


def _tree(span: ReadableSpan, children: dict[int | None, list[ReadableSpan]]) -> list[Tree]:
    assert span.context is not None
    below = [part for child in children.get(span.context.span_id, []) for part in _tree(child, children)]
    name = span.name.replace("ChatKimi.chat", "chat kimi-k2.6")
    kept = name.startswith(("invoke_agent", "chat", "execute_tool", "own"))
    return [(name, *below)] if kept else below


@pytest.fixture
def content() -> bool:
    """Whether the settings ask for content."""
    return False


@pytest.fixture
def traces(library: str, content: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Traces]:
    variable, always, never = CAPTURE[library]
    monkeypatch.setenv(variable, always if content else never)
    before = [(owner, dict(vars(owner))) for owner in PATCHED]
    collected, instrumentor = Traces(), INSTRUMENTORS[library]()
    instrumentor.instrument(tracer_provider=collected.provider)
    yield collected
    instrumentor.uninstrument()
    for owner, attributes in before:  # openllmetry leaves its patches
        for name, value in attributes.items():
            if vars(owner)[name] is not value:
                setattr(owner, name, value)


@FOUR_WAYS
@LIBRARIES
@PAIRED
async def test_a_model_call(library: str, way: str, traces: Traces, serve: Serve) -> None:
    server = serve([said("first"), said("private-answer", thinking="private-thought " * 9)])
    model = kimi(server, "kimi-k2.6", max_tokens=20_000, stop=["END"], top_p=0.95)
    await run(model, way, [("system", LONG), ("user", "a")])
    await run(model, way, [("system", LONG), ("user", "b")])
    *_, span = traces.named("chat" if library == "genai" else "ChatKimi.chat")
    recorded, usage = dict(span.attributes or {}), server.usages[-1]
    assert usage is not None
    expected: dict[str, Any] = {
        "operation.name": "chat",
        "request.model": "kimi-k2.6",
        "request.max_tokens": 20_000,
        "request.top_p": 0.95,
        "response.model": "kimi-k2.6",
        "response.finish_reasons": ("stop",),
        "usage.input_tokens": usage["prompt_tokens"],
        "usage.output_tokens": usage["completion_tokens"],
        "usage.cache_read.input_tokens": usage["cached_tokens"],
    }
    assert usage["cached_tokens"] > 1_000
    if library == "genai":
        reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
        assert reasoning > 10
        expected |= {"provider.name": "moonshot", "request.stop_sequences": ("END",)}
        expected |= {"usage.reasoning.output_tokens": reasoning}
    else:
        assert recorded["traceloop.association.properties.ls_provider"] == "moonshot"
        assert recorded["traceloop.association.properties.ls_stop"] == ("END",)
    assert {key: recorded.get(f"gen_ai.{key}") for key in expected} == expected
    assert span.status.is_ok or span.status.status_code is trace.StatusCode.UNSET


@LIBRARIES
async def test_settings_of_one_call(library: str, traces: Traces, serve: Serve) -> None:
    model = kimi(serve([said("x")]), "kimi-k2.6", max_tokens=20_000, stop=["END"])
    await run(model.bind(max_completion_tokens=30_000, stop=["STOP"]), "ainvoke", "a")
    (span,) = traces.named("chat" if library == "genai" else "ChatKimi.chat")
    recorded = dict(span.attributes or {})
    if library == "genai":
        assert recorded["gen_ai.request.max_tokens"] == 30_000
        assert recorded["gen_ai.request.stop_sequences"] == ("STOP",)
    else:
        assert recorded["traceloop.association.properties.ls_max_tokens"] == 30_000
        assert recorded["traceloop.association.properties.ls_stop"] == ("STOP",)


@tool
def fails() -> str:
    """Fail."""
    raise RuntimeError("no")


HELPED = (
    "execute_tool helper",
    ("invoke_agent helper", *[("chat kimi-k2.6",), ("execute_tool add",), ("chat kimi-k2.6",)]),
)


@FOUR_WAYS
@LIBRARIES
@PAIRED
async def test_sub_agents_in_parallel_are_in_the_tree(library: str, way: str, traces: Traces, serve: Serve) -> None:
    server = serve(lead_and_helper)
    lead = create_kimi_agent(kimi(server), [helper(server), fails], name="lead", checkpointer=InMemorySaver())
    for _ in range(2):
        await run(lead, way)
    trees = traces.trees()
    if library == "openllmetry":  # its span of a sub-agent stands beside the runs of the sub-agent
        trees = [_without_agents(tree) for tree in trees]
    chats = ("chat kimi-k2.6",), ("chat kimi-k2.6",)
    helped = HELPED if library == "genai" else ("execute_tool helper", *HELPED[1][1:])
    below = sorted([*chats, helped, helped, ("execute_tool fails",)])
    assert [(name, sorted(rest)) for name, *rest in trees] == [("invoke_agent lead", below)] * 2
    (failed, _) = traces.named("execute_tool fails")
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "RuntimeError"


def _without_agents(tree: Tree) -> Tree:
    """The tree without agents that have nothing below them."""
    name, *rest = tree
    return (name, *[_without_agents(part) for part in rest if part != ("invoke_agent helper",)])


@pytest.mark.parametrize("library", ["genai"])
async def test_a_sub_agent_of_another_make_has_the_name_of_its_tool(traces: Traces, serve: Serve) -> None:
    server = serve([thought("x").calling("helper", task="a"), said("one"), said("two")])
    agent = create_agent(kimi(server), [], name="own name")
    lead = create_kimi_agent(kimi(server), [agent_as_tool(agent, name="helper", description="Helps.")], name="lead")
    await run(lead, "ainvoke")
    chat = ("chat kimi-k2.6",)
    assert traces.trees() == [("invoke_agent lead", chat, ("execute_tool helper", ("invoke_agent helper", chat)), chat)]


@TWO_OF_FOUR_WAYS
@LIBRARIES
async def test_a_team(library: str, way: str, traces: Traces, serve: Serve) -> None:
    await run(office(serve(desk_and_sales)), way)
    chat = ("chat kimi-k2.6",)
    assert traces.trees() == [("invoke_agent office", chat, ("execute_tool transfer_to_sales",), chat)]


@TWO_OF_FOUR_WAYS
@LIBRARIES
async def test_the_middleware_with_its_summaries(library: str, way: str, traces: Traces, serve: Serve) -> None:
    settings = Compaction(window=4_000, reserve=1_000, keep_results=1)
    agent = create_agent(
        kimi(serve(reader(6))), [page], middleware=[KimiMiddleware(compaction=settings)], name="reader"
    )
    await run(agent, way)
    (tree,) = [tree for tree in traces.trees() if tree[0].startswith("invoke_agent")]
    below = [part[0] for part in tree[1:]]
    assert below.count("execute_tool page") == 6
    assert below.count("chat kimi-k2.6") > 7  # a summary too


@LIBRARIES
@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_spans_in_a_tool_and_its_duration(library: str, way: str, traces: Traces, serve: Serve) -> None:
    """A synchronous tool runs in a thread of its own; the tool's span is the parent of those that it opens."""
    tracer, times = traces.provider.get_tracer("own"), []

    @tool
    def work() -> str:
        """Work."""
        times.append(time.time_ns())
        with tracer.start_as_current_span("own work"):
            times.append(time.time_ns())
        return "worked"

    model = kimi(serve([thought("x").calling("work"), said("Done.")]))
    await run(create_kimi_agent(model, [work], name="lead", tool_timeout=30), way)
    assert ("execute_tool work", ("own work",)) in traces.trees()[0]
    (span,) = traces.named("execute_tool work")
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= times[0] <= times[1] <= span.end_time


@LIBRARIES
@pytest.mark.parametrize("content", [False, True], ids=["never", "wanted"])
async def test_content_only_where_it_is_wanted(library: str, content: bool, traces: Traces, serve: Serve) -> None:
    server = serve(lead_and_helper)
    await run(create_kimi_agent(kimi(server), [helper(server)], name="lead", system_prompt="private-prompt"), "ainvoke")
    words = ("private-question", "private-prompt", "private-task", "private-sum", "private-answer")
    assert [word in traces.text() for word in words] == [content] * len(words)


@LIBRARIES
@pytest.mark.parametrize("way", ["invoke", "astream"])
async def test_a_request_that_fails(library: str, way: str, traces: Traces, serve: Serve) -> None:
    model = kimi(serve([refused(401, "invalid_authentication_error", f"bad key {KEY}")]))
    with pytest.raises(AuthenticationError):
        await run(model, way, "private-question")
    (span,) = traces.named("chat" if library == "genai" else "ChatKimi.chat")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert "AuthenticationError" in str((span.attributes or {})["error.type"])
    assert KEY not in traces.text()
    assert "private-question" not in traces.text()


@pytest.mark.parametrize("library", ["genai"])
async def test_agents_as_nodes_and_names_of_runs(library: str, traces: Traces, serve: Serve) -> None:
    agent = create_kimi_agent(kimi(serve(lambda request: said("One."))), name="first")
    graph = StateGraph(KimiState)
    graph.add_node("node", agent)
    graph.add_edge(START, "node")
    await run(graph.compile(), "ainvoke")
    await run(agent, "ainvoke", metadata={"agent_name": "other"})
    chat = ("chat kimi-k2.6",)
    assert traces.trees() == [("invoke_agent first", chat), ("invoke_agent other", chat)]
