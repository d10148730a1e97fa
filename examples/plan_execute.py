"""Plan, execute, plan again, on plain LangGraph. Live with MOONSHOT_API_KEY, else on a scripted server."""

import json
import os
from contextlib import nullcontext
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, Field

from langchain_kimi import ChatKimi, KimiState, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said


class Plan(BaseModel):
    steps: list[str] = Field(description="What is still to be done; nothing when the question can be answered.")


class State(KimiState):
    steps: list[str]


def build(model: ChatKimi) -> Any:
    """plan → execute → plan … → answer"""
    planner, asked = model.with_structured_output(Plan), SystemMessage("Plan what is left to do.")
    worker = create_kimi_agent(model, system_prompt="Do this one step.")

    def execute(state: State) -> dict[str, Any]:
        done = worker.invoke({"messages": [("user", step := state["steps"][0])]})
        return {"messages": [HumanMessage(f"{step}: {done['messages'][-1].text}")], "spent": done["spent"]}

    graph = StateGraph(State)
    graph.add_node("plan", lambda state: dict(planner.invoke([asked, *state["messages"]])))
    graph.add_node("execute", execute)
    graph.add_node("answer", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "plan").add_edge("execute", "plan").add_edge("answer", END)
    graph.add_conditional_edges("plan", lambda state: "execute" if state["steps"] else "answer", ["execute", "answer"])
    return graph.compile()


def script(request: Request) -> Reply:
    """Plays the planner, the worker and who answers."""
    if "Plan" in request.text_of("system"):
        done = sum("times" in message["content"] for message in request.messages)
        return said(json.dumps({"steps": ["12 times 12", "144 times 144"][done:]}), thinking=f"{done} steps are done.")
    results = {"12 times 12": "144", "144 times 144": "20736"}
    return said(results.get(request.text_of("user"), "12 to the fourth is 20736."), thinking="I multiply.")


if __name__ == "__main__":
    live = "MOONSHOT_API_KEY" in os.environ
    print("live" if live else "(no MOONSHOT_API_KEY: the model is scripted, the graph is real)")
    with nullcontext() if live else KimiServer(script) as server:
        place = {"base_url": server.url, "api_key": "sk-none-needed"} if server else {}
        question = {"messages": [("user", "What is 12 to the fourth?")]}
        state = build(ChatKimi(model="kimi-k3", **place)).invoke(question)
    print("\n".join(message.text for message in state["messages"]))
