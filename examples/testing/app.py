"""The app under test: a kitchen helper, an agent with three tools."""

from typing import Any

from langchain_core.tools import tool

from langchain_kimi import ChatKimi, create_kimi_agent

PROMPT = "You help in a kitchen. Use the tools for every number."
PANTRY = {"flour": 1_500, "sugar": 400, "butter": 250}
RECIPES = {"shortbread": {"flour": 300, "sugar": 100, "butter": 200}}


@tool
def pantry(item: str) -> int:
    """The grams of an item that are in the pantry."""
    return PANTRY.get(item, 0)


@tool
def recipe(name: str) -> dict[str, int]:
    """What one batch of a recipe takes, in grams."""
    return RECIPES[name]


@tool
def divide(amount: float, by: float) -> float:
    """Divide one number by another."""
    return round(amount / by, 2)


def agent() -> Any:
    """The agent; its key and host come from the environment."""
    return create_kimi_agent(ChatKimi(model="kimi-k3"), [pantry, recipe, divide], system_prompt=PROMPT)


def ask(question: str) -> str:
    """The agent's answer."""
    state = agent().invoke({"messages": [("user", question)]})
    return str(state["messages"][-1].text)
