"""An agent whose tool calls of one turn run in parallel. Live with MOONSHOT_API_KEY, else on a scripted server."""

import os
import time

from langchain_core.tools import tool

from langchain_kimi import ChatKimi, create_kimi_agent
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought

POPULATION = {"Oslo": 717_710, "Bergen": 291_940, "Trondheim": 214_565}


@tool
def population(city: str) -> int:
    """The number of inhabitants of a Norwegian city."""
    time.sleep(0.3)  # a slow source: three of them still take 0.3 s together
    return POPULATION[city]


def script(request: Request) -> Reply:
    """Plays the model: asks for three cities at once, then adds up what came back."""
    results = request.tool_results()
    if not results:
        reply = thought("Three independent look-ups: I make them together.")
        for city in POPULATION:
            reply = reply.calling("population", city=city)
        return reply
    total = sum(int(result["content"]) for result in results)
    return said(f"Together {total:,} people live there.", thinking="Now I add the three numbers.")


def main(model: ChatKimi) -> str:
    """Ask, time the tools, return the answer."""
    agent = create_kimi_agent(model, [population], system_prompt="Answer with one sentence.")
    begun = time.perf_counter()
    state = agent.invoke({"messages": [("user", f"How many people live in {', '.join(POPULATION)} together?")]})
    for message in state["messages"]:
        message.pretty_print()
    print(f"\n{time.perf_counter() - begun:.1f} s, ended because of: {state['stop_reason']}")
    return str(state["messages"][-1].text)


if __name__ == "__main__":
    if os.environ.get("MOONSHOT_API_KEY"):
        main(ChatKimi(model="kimi-k3"))
    else:
        print("(no MOONSHOT_API_KEY: the model is scripted, the tools are real)")
        with KimiServer(script) as server:
            main(ChatKimi(model="kimi-k3", base_url=server.url, api_key="sk-none-needed"))
