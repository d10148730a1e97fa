"""An agent that goes on from SQLite in a new process, thinking included. Live with a key, else on a scripted server."""

import os
import sqlite3
import sys
from pathlib import Path

from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought

THREAD = {"configurable": {"thread_id": "groceries"}}


@tool
def price(item: str) -> float:
    """The price of an item in euros."""
    return {"bread": 3.20, "milk": 1.15}[item]


def script(request: Request) -> Reply:
    """Plays the model: looks prices up, and adds what the whole thread has told."""
    if request.last["role"] == "user":
        item = "bread" if "bread" in request.last["content"] else "milk"
        return thought(f"I need the price of {item}.").calling("price", item=item)
    prices = [float(message["content"]) for message in request.messages if message["role"] == "tool"]
    return said(f"That makes {sum(prices):.2f} € so far.", thinking=f"Prices seen in this thread: {prices}.")


def main(model: ChatKimi, database: Path, question: str) -> str:
    """Ask one question on the thread that the database holds."""
    with sqlite3.connect(database, check_same_thread=False) as connection:
        agent = create_kimi_agent(model, [price], checkpointer=SqliteSaver(connection))
        state = agent.invoke({"messages": [("user", question)]}, THREAD)
    print(f"{len(state['messages'])} messages in the thread. {state['messages'][-1].text}")
    return str(state["messages"][-1].text)


if __name__ == "__main__":
    database = Path(sys.argv[1] if len(sys.argv) > 1 else "groceries.sqlite")
    question = "What does bread cost?" if not database.exists() else "And with milk?"
    print(f"{question}  (thread in {database}: run again to go on)")
    if os.environ.get("MOONSHOT_API_KEY"):
        main(ChatKimi(model="kimi-k3"), database, question)
    else:
        with KimiServer(script) as server:
            main(ChatKimi(model="kimi-k3", base_url=server.url, api_key="sk-none-needed"), database, question)
