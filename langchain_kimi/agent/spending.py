"""The agent's account: what answers used, as plain numbers that add up."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from langchain_core.messages import AIMessage

from langchain_kimi.agent.state import SpentSoFar
from langchain_kimi.usage import Spent, UsageMeter


def spent_on(answers: Iterable[AIMessage], model: str) -> SpentSoFar:
    """What these answers used; `model` is the name to take where an answer has none."""
    return _plain(Spent.of(answer, model) for answer in answers)


SPENT = "kimi_spent"
"""Where the result of a sub-agent has the sub-agent's own account."""


def account(spent: SpentSoFar, agent: str) -> dict[str, Any]:
    """The update of the state for what an agent spent."""
    return {"spent": spent, "spent_by_agent": {agent: spent}}


def spent_by(meter: UsageMeter) -> SpentSoFar:
    """What a meter counted; nothing where no model was called."""
    return _plain(meter.by_model.values())


def spent_by_agent(meter: UsageMeter, own: str) -> dict[str, SpentSoFar]:
    """What a meter counted, by the names of agents; `own` stands for requests outside of agents."""
    parts: dict[str, list[Spent]] = {}
    for (agent, _), spent in meter.by_agent_and_model.items():
        parts.setdefault(agent or own, []).append(spent)
    return {agent: _plain(spent) for agent, spent in parts.items()}


def _plain(parts: Iterable[Spent]) -> SpentSoFar:
    account: SpentSoFar = {}
    for part in parts:
        numbers = asdict(part)
        cost = numbers.pop("cost_usd")
        numbers |= {"unpriced": part.requests} if cost is None else {"cost_usd": cost}
        for key, value in numbers.items():
            if value:
                account[key] = account.get(key, 0) + value
    return account
