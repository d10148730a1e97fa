"""Traces of an agent and its sub-agents by OpenTelemetry, kept in memory and printed as a tree.

Needs `pip install opentelemetry-instrumentation-genai-langchain opentelemetry-sdk`. Live with MOONSHOT_API_KEY, else on
a scripted server.
"""

import os
from contextlib import nullcontext

from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_kimi import ChatKimi, agent_as_tool, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought

HEIGHTS = {"Galdhøpiggen": 2469, "Kebnekaise": 2096}


def height(mountain: str) -> int:
    """The height of a mountain in metres."""
    return HEIGHTS[mountain]


def script(request: Request) -> Reply:
    """Plays the guide, who asks the researcher twice at once, and the researcher, who looks the heights up."""
    results = [result["content"] for result in request.tool_results()]
    if request.text_of("system") == "You guide.":
        asked = thought("Both at once.").calling("research", task=min(HEIGHTS)).calling("research", task=max(HEIGHTS))
        return said(f"The higher one has {max(results)} metres.") if results else asked
    return said(results[0]) if results else thought("").calling("height", mountain=request.text_of("user"))


def show(spans: list[ReadableSpan], parent: int | None = None, depth: int = 0) -> None:
    """Print the spans as a tree, with tokens where they have some."""
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        if (span.parent and span.parent.span_id) == parent:
            used = [span.attributes.get(f"gen_ai.usage.{kind}_tokens", 0) for kind in ("input", "output")]
            print("  " * depth + span.name, f"({used[0]} + {used[1]} tokens)" if any(used) else "")
            show(spans, span.context.span_id, depth + 1)


if __name__ == "__main__":
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    LangChainInstrumentor().instrument(tracer_provider=provider)
    live = "MOONSHOT_API_KEY" in os.environ
    with nullcontext() if live else KimiServer(script) as server:
        model = ChatKimi(model="kimi-k3", **({"base_url": server.url} if server else {}))
        researcher = create_kimi_agent(model, [height], system_prompt="You look up one mountain. Say its height only.")
        research = agent_as_tool(researcher, name="research", description="Finds out the height of one mountain.")
        guide = create_kimi_agent(model, [research], system_prompt="You guide.", name="guide")
        state = guide.invoke({"messages": [("user", f"Which is higher, {' or '.join(HEIGHTS)}?")]})
    print(state["messages"][-1].text)
    show(list(exporter.get_finished_spans()))
