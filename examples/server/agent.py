"""An agent for LangGraph's server: `langgraph dev` in this folder. Live with a key, else on a scripted server."""

import os

from langchain_core.tools import tool

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought


@tool
def temperature(city: str) -> float:
    """The temperature in a city, in degrees Celsius."""
    return {"Oslo": -3.5, "Lisbon": 16.0}[city]


@tool
def close_windows(city: str) -> str:
    """Close the windows of the house in a city. A person approves it."""
    return f"The windows in {city} are closed."


def script(request: Request) -> Reply:
    """Plays the model: looks one city up or closes windows, then says what it saw."""
    results = request.tool_results()
    if not results and "windows" in request.text_of("user"):
        return thought("It is cold, so I close them.").calling("close_windows", city="Oslo")
    if results and "windows" in str(results[0]["content"]):
        return said(f"Done. {results[0]['content']}", thinking="They approved it.")
    if not results:
        return thought("I need to look that up.").calling("temperature", city="Oslo")
    return said(f"It is {results[0]['content']} °C in Oslo.", thinking="Now I know.")


if os.environ.get("MOONSHOT_API_KEY"):
    model = ChatKimi(model="kimi-k3")
else:
    server = KimiServer(script)
    server.start()
    model = ChatKimi(model="kimi-k3", base_url=server.url, api_key="sk-none-needed")

agent = create_kimi_agent(model, [temperature, close_windows], interrupt_on={"close_windows": True})
