"""News of today as a report, by Moonshot's date and web search. Live with a key, else on a scripted local server."""

import os

from langchain_kimi import ChatKimi, UsageMeter, create_kimi_agent, formula_tools
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought

QUESTION = "Write today's news report: the three things that matter most."


def main(model: ChatKimi) -> str:
    """Ask for the report; the tools run on Moonshot's side, and every thought goes back to the model."""
    tools = formula_tools("moonshot/date:latest", "moonshot/web-search:latest", model=model)
    agent = create_kimi_agent(model, tools, system_prompt="You are a reporter. Name your sources.")
    meter = UsageMeter()
    state = agent.invoke({"messages": [("user", QUESTION)]}, {"callbacks": [meter]})
    for message in state["messages"]:
        message.pretty_print()
        print(f"\033[2m{message.additional_kwargs.get('reasoning_content', '')}\033[0m")
    spent = meter.total
    print(f"{spent.requests} requests, ${spent.cost_usd:.4f}, of it ${spent.fees_usd:.3f} for searching")
    return str(state["messages"][-1].text)


def script(request: Request) -> Reply:
    """Plays the model: the date first, then a search for that day, then the report."""
    results = request.tool_results()
    rounds = sum(message["role"] == "assistant" for message in request.messages)
    if rounds == 0:
        return thought("News of today: I need to know which day it is.").calling("date", operation="now")
    if rounds == 1:
        today = results[0]["content"][:10]
        return thought(f"It is {today}.").calling("web_search", query=f"most important news of {today}")
    return said("# News\nA scripted day: nothing happened.", thinking="That is enough for a report.")


if __name__ == "__main__":
    if os.environ.get("MOONSHOT_API_KEY"):
        main(ChatKimi(model="kimi-k3"))
    else:
        print("(no MOONSHOT_API_KEY: the model and the search are scripted)")
        with KimiServer(script) as server:
            main(ChatKimi(model="kimi-k3", base_url=server.url, api_key="sk-none-needed"))
