"""The agent's account: what answers used, as plain numbers that add up."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

from langchain_kimi.agent.state import SpentSoFar, add_spent
from langchain_kimi.usage import Spent, UsageMeter


def spent_on(answers: Iterable[AIMessage], model: str) -> SpentSoFar:
    """What these answers used; `model` is the name to take where an answer has none."""
    parts = [
        Spent.on(answer.usage_metadata, str(answer.response_metadata.get("model_name") or model)) for answer in answers
    ]
    return _plain(parts)


SPENT = "kimi_spent"
"""Where the result of a sub-agent keeps the sub-agent's own account, which also knows what was spent before a crash."""


def account(spent: SpentSoFar, agent: str | None) -> dict[str, Any]:
    """The update of the state for what was spent, by an agent of a team or by the only one."""
    return {"spent": spent} | ({"spent_by_agent": {agent: spent}} if agent else {})


def spent_by(meter: UsageMeter) -> SpentSoFar:
    """What a meter counted; nothing where no model was asked."""
    return _plain(meter.by_model.values())


def spent_in(results: Sequence[ToolMessage], meter: UsageMeter) -> SpentSoFar:
    """What a tool call used: by its own account, which a sub-agent gives, or by the meter around it if that knows more.

    The seconds of a sub-agent are those of the call.
    """
    accounts = (result.additional_kwargs[SPENT] for result in results if SPENT in result.additional_kwargs)
    own: SpentSoFar = next(accounts, {})
    heard = spent_by(meter)
    # Its own account lacks what other nodes of it asked models; the meter, what was before a crash.
    used = {key: max(own.get(key, 0), heard.get(key, 0)) for key in {**own, **heard}}
    return add_spent({"tool_calls": 1}, {key: value for key, value in used.items() if key != "seconds"})


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
