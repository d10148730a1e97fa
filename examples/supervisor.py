"""A supervisor on plain LangGraph that sends the work to two agents. Live with a key, else on a scripted server."""

import os
from contextlib import nullcontext
from typing import Any, Literal

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from langchain_kimi import ChatKimi, KimiState, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said


class State(KimiState):
    next: str


class Route(BaseModel):
    next: Literal["researcher", "writer", "finish"]


def worker(model: ChatKimi, name: str, prompt: str) -> Any:
    """A node: an agent that works by itself, with thoughts of its own, and reports in one message."""
    agent = create_kimi_agent(model, system_prompt=prompt, name=name)

    def work(state: State) -> dict[str, Any]:
        done = agent.invoke({"messages": state["messages"]})
        return {"messages": [HumanMessage(f"{name}: {done['messages'][-1].text}")], "spent": done["spent"]}

    return work


def build(model: ChatKimi) -> Any:
    """supervisor → researcher or writer → supervisor … → END"""
    router, asked = model.with_structured_output(Route), SystemMessage("Supervise a researcher and a writer.")
    graph = StateGraph(State)
    graph.add_node("supervisor", lambda state: dict(router.invoke([asked, *state["messages"]])))
    graph.add_node("researcher", worker(model, "researcher", "You research."))
    graph.add_node("writer", worker(model, "writer", "You write."))
    ways = {"researcher": "researcher", "writer": "writer", "finish": END}
    graph.add_edge(START, "supervisor").add_conditional_edges("supervisor", lambda state: state["next"], ways)
    return graph.add_edge("researcher", "supervisor").add_edge("writer", "supervisor").compile()


def script(request: Request) -> Reply:
    """Plays all three: the supervisor sends each of them once."""
    who, told = request.text_of("system"), request.text_of("user").split(":")[0]
    if "Supervise" not in who:
        return said("Rare since 1950." if "research" in who else "The blue moth: an obituary.", thinking="Hm.")
    return said(Route(next={"researcher": "writer", "writer": "finish"}.get(told, "researcher")).model_dump_json())


if __name__ == "__main__":
    live = "MOONSHOT_API_KEY" in os.environ
    print("live" if live else "(no MOONSHOT_API_KEY: the model is scripted, the graph is real)")
    with nullcontext() if live else KimiServer(script) as server:
        place = {"base_url": server.url, "api_key": "sk-none-needed"} if server else {}
        state = build(ChatKimi(model="kimi-k3", **place)).invoke({"messages": [("user", "A page on the blue moth.")]})
    print("\n".join(message.text for message in state["messages"]))
