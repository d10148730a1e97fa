"""Three agents that hand one conversation over to each other. Live with MOONSHOT_API_KEY, else on a scripted server."""

import os

from langchain_core.tools import tool

from langchain_kimi import ChatKimi, TeamMember, create_kimi_team
from langchain_kimi.testing import KimiServer, Reply, Request, said, thought

ORDERS = {"A-17": "paid, waits for shipping", "B-42": "delivered last week"}


@tool
def order(number: str) -> str:
    """The state of an order."""
    return ORDERS.get(number, "no such order")


@tool
def refund(number: str) -> str:
    """Refund an order."""
    return f"{number} was refunded"


def script(request: Request) -> Reply:
    """Plays all three: each looks first, then hands over or answers."""
    who, looked = request.text_of("system"), request.tool_results()
    if "desk" in who:
        return thought("Money: not mine.").calling("order", number="A-17").calling("transfer_to_billing")
    if "billing" in who and not looked:
        return thought("Paid and not shipped: I may.").calling("refund", number="A-17")
    return said("Your order A-17 was refunded.", thinking="That is all there is to do.")


def main(model: ChatKimi) -> str:
    """One question, two agents, one answer."""
    team = create_kimi_team(
        [
            TeamMember(name="desk", model=model, tools=[order], system_prompt="You are the desk: find who can help."),
            TeamMember(
                name="billing", model=model, tools=[refund], system_prompt="You are billing.", description="Money."
            ),
            TeamMember(name="stock", model=model, tools=[order], system_prompt="You are stock.", transfers_to=["desk"]),
        ]
    )
    state = team.invoke({"messages": [("user", "I do not want A-17 any more. My money back, please.")]})
    for message in state["messages"]:
        message.pretty_print()
    print({agent: f"{spent['turns']} turns" for agent, spent in state["spent_by_agent"].items()})
    return f"{state['active_agent']}: {state['messages'][-1].text}"


if __name__ == "__main__":
    if os.environ.get("MOONSHOT_API_KEY"):
        print(main(ChatKimi(model="kimi-k3")))
    else:
        print("(no MOONSHOT_API_KEY: the model is scripted, the tools and the hand-off are real)")
        with KimiServer(script) as server:
            print(main(ChatKimi(model="kimi-k3", base_url=server.url, api_key="sk-none-needed")))
