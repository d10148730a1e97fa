"""A deep agent with a budget that its sub-agents share. Live with a key, else on a scripted server."""

import os
from typing import Any

from deepagents import create_deep_agent
from langchain_core.tools import tool
from langgraph.store.memory import InMemoryStore

from langchain_kimi import AgentLimits, ChatKimi, Compaction
from langchain_kimi.middleware import KimiMiddleware
from langchain_kimi.testing import KimiServer, Reply, Request, called, said, thought


@tool
def inhabitants(city: str) -> int:
    """The number of inhabitants of a city."""
    return 100_000 * len(city)


def script(request: Request) -> Reply:
    """Plays the lead, who never has enough, and the researchers, who look one city up."""
    if "researcher" in request.text_of("system"):
        city = request.text_of("user").split()[-1]
        return said(f"{city} has its people.") if request.tool_results() else called("inhabitants", city=city)
    if request.json.get("tool_choice") == "none":
        return said(f"I know {len(request.tool_results())} cities so far: my budget is used up.")
    reply = thought("More cities.")
    for city in ("Jena", "Erfurt"):
        reply = reply.calling("task", description=f"Look up {city}", subagent_type="researcher")
    return reply


def main(model: ChatKimi) -> dict[str, Any]:
    """Ten tool calls are for the lead and its researchers together; each researcher has three turns at most."""
    researcher: Any = {
        "name": "researcher",
        "description": "Looks one city up.",
        "system_prompt": "You are a researcher.",
        "tools": [inhabitants],
        "middleware": [KimiMiddleware(limits=AgentLimits(turns=3))],
    }
    limits, compaction = AgentLimits(tool_calls=10, cost_usd=0.50), Compaction(archive=True)
    # In place of deepagents' own compaction, by the name.
    policies = KimiMiddleware(limits=limits, compaction=compaction, name="SummarizationMiddleware")
    around: Any = {"middleware": [policies], "store": InMemoryStore(), "name": "lead"}
    agent = create_deep_agent(model, subagents=[researcher], **around)
    state = agent.invoke({"messages": [("user", "How many people live in Thuringia's cities?")]})
    print(f"{state['messages'][-1].text}\nended because of: {state['stop_reason']}")
    print({name: f"{usage['turns']} turns" for name, usage in state["spent_by_agent"].items()})
    return dict(state)


if __name__ == "__main__":
    if os.environ.get("MOONSHOT_API_KEY"):
        main(ChatKimi(model="kimi-k3"))
    else:
        print("(no MOONSHOT_API_KEY: the model is scripted, everything else is real)")
        with KimiServer(script) as server:
            main(ChatKimi(model="kimi-k3", base_url=server.url, api_key="sk-none-needed"))
