"""One agent takes a picture, and another one sees it. Live with MOONSHOT_API_KEY, else on a scripted server."""

import base64
import os
from typing import Any

from langchain_core.tools import tool

from langchain_kimi import ChatKimi, TeamMember, create_kimi_team, media_block
from langchain_kimi.testing import KimiServer, Reply, Request, called, said, thought

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


@tool
def photo() -> list[Any]:
    """Take a photo."""
    return [{"type": "text", "text": "The parcel:"}, media_block(base64.b64decode(PIXEL))]


@tool
def refund(order: str) -> str:
    """Refund an order."""
    return f"{order} was refunded"


def refund_once(state: dict[str, Any]) -> list[str]:
    """The tools of a request: no second refund in one conversation."""
    return [] if any(message.name == "refund" for message in state["messages"]) else ["refund"]


def script(request: Request) -> Reply:
    """Plays both: the warehouse takes a photo, and billing refunds what it sees on it."""
    if "warehouse" in request.text_of("system"):
        return thought("Billing decides.").calling("photo").calling("transfer_to_billing")
    report = request.messages[1]["content"]
    print("billing reads:", [part["type"] for part in report])
    return said("Refunded.") if request.tool_results() else called("refund", order="A-17")


def main(model: ChatKimi) -> str:
    """A photo, a decision, an answer."""
    warehouse = TeamMember(name="warehouse", model=model, tools=[photo], system_prompt="You are the warehouse.")
    billing = TeamMember(name="billing", model=model, tools=[refund], select_tools=refund_once, description="Money.")
    state = create_kimi_team([warehouse, billing]).invoke({"messages": [("user", "A-17 came broken.")]})
    return f"{state['active_agent']}: {state['messages'][-1].text}"


if __name__ == "__main__":
    if os.environ.get("MOONSHOT_API_KEY"):
        print(main(ChatKimi(model="kimi-k3")))
    else:
        print("(no MOONSHOT_API_KEY: the model is scripted, the tools and the picture are real)")
        with KimiServer(script) as server:
            print(main(ChatKimi(model="kimi-k3", base_url=server.url, api_key="sk-none-needed")))
