"""The CPU time of a turn of an agent without a tracer and with each of them, with ChatKimi.

    python tests/benchmarks/tracing.py [steps] [rounds]

Each run has so many tool calls one after another with the server of `loop.py`, which is a process of its own, as is
each tracer: tracers change LangChain for the whole process. The rounds of all runners alternate; a figure is the least
CPU time of its process for one call and its answer, the tracer's own threads included. LangSmith's runs go to a local
server. Before, calls without a tracer alternate with those of a ChatKimi without what it adds for tracers.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

from langchain_core.language_models import BaseChatModel
from loop import ASKED, LOOP, MARKS, MODEL, config, look_up, serve

from langchain_kimi import AgentLimits, ChatKimi, CostTracer, create_kimi_agent
from tests.langsmith_server import LangSmithServer

PROCESSES = get_context("spawn")


class WithoutNames(ChatKimi):
    """ChatKimi without what it adds for tracers."""

    _serialized = BaseChatModel._serialized
    _get_invocation_params = BaseChatModel._get_invocation_params
    _combine_llm_outputs = BaseChatModel._combine_llm_outputs


def nothing(url: str) -> list[Any]:
    return []


def opentelemetry(url: str) -> list[Any]:
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=provider())
    return []


def openllmetry(url: str) -> list[Any]:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    os.environ["TRACELOOP_TRACE_CONTENT"] = "false"
    LangchainInstrumentor().instrument(tracer_provider=provider())
    return []


def provider() -> Any:
    """Spans that are sampled and go nowhere."""
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    made = TracerProvider()
    made.add_span_processor(SpanProcessor())
    return made


def langsmith(url: str) -> list[Any]:
    os.environ |= {"LANGSMITH_TRACING": "true", "LANGSMITH_ENDPOINT": url, "LANGSMITH_API_KEY": "lsv2_pt_0"}
    return []


def langsmith_with_costs(url: str) -> list[Any]:
    langsmith(url)
    return [CostTracer()]


RUNNERS: dict[str, Callable[[str], list[Any]]] = {
    "no tracer": nothing,
    "OpenTelemetry": opentelemetry,
    "OpenLLMetry": openllmetry,
    "LangSmith": langsmith,
    "LangSmith, CostTracer": langsmith_with_costs,
}


def work(name: str, url: str, langsmith_url: str, steps: int, pipe: Any) -> None:
    """Run the agent whenever the pipe names a way, and send the CPU seconds back."""
    callbacks = RUNNERS[name](langsmith_url)
    limits = AgentLimits(turns=100_000)

    def agent(calls: int) -> Any:
        return create_kimi_agent(model(ChatKimi, f"{url}/{calls}/1/v1"), [look_up], limits=limits)

    agent(3).invoke(ASKED, {**config(), "callbacks": callbacks})
    while way := pipe.recv():
        MARKS.clear()
        ready, settings = agent(steps), {**config(), "callbacks": callbacks}
        start = time.process_time()
        if way == "invoke":
            ready.invoke(ASKED, settings)
        else:
            LOOP.run_until_complete(ready.ainvoke(ASKED, settings))
        pipe.send(time.process_time() - start)


def model(kind: type[ChatKimi], url: str) -> ChatKimi:
    return kind(model=MODEL, base_url=url, api_key="sk-benchmark")


def untraced(url: str, calls: int = 2_000) -> None:
    """The price of the names for those who do not trace: calls of both models, one after the other."""
    seconds: dict[type[ChatKimi], list[float]] = {WithoutNames: [], ChatKimi: []}
    models = {kind: model(kind, f"{url}/0/1/v1") for kind in seconds}
    for _ in range(calls):
        for kind, one in models.items():
            start = time.thread_time()
            one.invoke("Hello.")
            seconds[kind].append(time.thread_time() - start)
    without, ours = (statistics.median(taken) * 1e6 for taken in seconds.values())
    print(
        f"one call, CPU µs, median of {calls}: {without:.1f} without names, {ours:.1f} with them: {ours / without:.3f}"
    )


def measure(url: str, langsmith_url: str, steps: int, rounds: int) -> None:
    pipes, best = {}, {}
    for name in RUNNERS:
        pipes[name], there = PROCESSES.Pipe()
        PROCESSES.Process(target=work, args=(name, url, langsmith_url, steps, there), daemon=True).start()
    for _ in range(rounds):
        for way in ("invoke", "ainvoke"):
            for name, pipe in pipes.items():
                pipe.send(way)
                best[way, name] = min(best.get((way, name), 1e9), pipe.recv())
    for pipe in pipes.values():
        pipe.send(None)
    print(f"{steps} calls one after another, CPU ms for each, least of {rounds}")
    for (way, name), seconds in best.items():
        print(f"{way:8} {name:24} {seconds / steps * 1000:8.2f} {seconds / best[way, 'no tracer']:6.2f}")


def main() -> None:
    steps, rounds = [*map(int, sys.argv[1:]), *(100, 5)[len(sys.argv) - 1 :]]
    here, there = PROCESSES.Pipe()
    server = PROCESSES.Process(target=serve, args=(there,), daemon=True)
    server.start()
    try:
        with LangSmithServer() as langsmith_server:
            url = f"http://127.0.0.1:{here.recv()}"
            untraced(url)
            measure(url, langsmith_server.url, steps, rounds)
    finally:
        server.kill()


if __name__ == "__main__":
    main()
