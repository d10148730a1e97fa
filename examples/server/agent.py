"""An agent for LangGraph's server: `langgraph dev` in this folder. Live with a key, else on a scripted server."""

import os

from langchain_core.tools import tool

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought


@tool
def temperature(city: str) -> float:
    """The temperature in a city, in degrees Celsius."""
    return {"Oslo": -3.5, "Lisbon": 16.0}[city]


def script(request: Request) -> Reply:
    """Plays the model: looks one city up, then says what it saw."""
    results = request.tool_results()
    if not results:
        return thought("I need to look that up.").calling("temperature", city="Oslo")
    return said(f"It is {results[0]['content']} °C in Oslo.", thinking="Now I know.")


if os.environ.get("MOONSHOT_API_KEY"):
    model = ChatKimi(model="kimi-k3")
else:
    server = KimiServer(script)
    server.start()
    model = ChatKimi(model="kimi-k3", base_url=server.url, api_key="sk-none-needed")

agent = create_kimi_agent(model, [temperature])
