"""Twenty researchers at once, as tools of one agent, under one limiter. Live with a key, else on a scripted server."""

import os
from typing import Any

from langchain_core.tools import tool

from langchain_kimi import AgentLimits, ChatKimi, RateLimits, agent_as_tool, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought

TOPICS = [f"{metal} in {year}" for metal in ("copper", "tin", "zinc", "lead") for year in range(2020, 2025)]
AT_ONCE = 6


@tool
def statistics(topic: str) -> str:
    """World production, in kilotonnes."""
    return f"{topic}: {100 * len(topic)} kt"


def script(request: Request) -> Reply:
    """Plays the lead, who sends one researcher out for each topic, and the researchers, who look it up."""
    results = request.tool_results()
    if "researcher" in request.text_of("system"):
        topic = request.text_of("user")
        return said(f"{results[0]['content']}.") if results else thought("Look.").calling("statistics", topic=topic)
    if results:
        return said(f"{len(results)} topics: " + " ".join(str(result["content"]) for result in results))
    reply = thought("Independent questions: I send all researchers out together.")
    for topic in TOPICS:
        reply = reply.calling("research", task=topic)
    return reply


def main(model: ChatKimi) -> dict[str, Any]:
    """All twenty work side by side; the limiter lets six requests through at once."""
    researcher = create_kimi_agent(
        model, [statistics], system_prompt="You are a researcher.", limits=AgentLimits(turns=10), name="researcher"
    )
    research = agent_as_tool(researcher, name="research", description="Find out about one topic, thoroughly.")
    lead = create_kimi_agent(model, [research], limits=AgentLimits(cost_usd=1.0))
    question = {"messages": [("user", f"Research, each by itself: {', '.join(TOPICS)}.")]}
    for _, about in lead.stream(question, stream_mode=["custom", "values"]):
        if about.get("event") == "tool_finished":
            print(f"  {about['name']}: {about['status']} after {about['seconds']:.1f} s")
    print(about["messages"][-1].text)
    print({key: about["spent"][key] for key in ("turns", "tool_calls", "cost_usd")})
    return dict(about)


if __name__ == "__main__":
    settings: Any = {"model": "kimi-k3", "rate_limits": RateLimits(concurrency=AT_ONCE)}
    if os.environ.get("MOONSHOT_API_KEY"):
        main(ChatKimi(**settings))
    else:
        print("(no MOONSHOT_API_KEY: the model is scripted, everything else is real)")
        with KimiServer(script, concurrency=AT_ONCE) as server:
            main(ChatKimi(**settings, base_url=server.url, api_key="sk-none-needed"))
