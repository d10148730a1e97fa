"""Moonshot's Kimi models in LangChain and LangGraph: thinking kept, requests legal, agents that end."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_kimi.agent import KimiState, Limits, create_kimi_agent
    from langchain_kimi.chat_model import ChatKimi
    from langchain_kimi.errors import KimiError, KimiWarning
    from langchain_kimi.transport import Deadlines, RateLimits
    from langchain_kimi.usage import UsageMeter, cost_of

_ROOMS = {
    "ChatKimi": "chat_model",
    "Deadlines": "transport",
    "KimiError": "errors",
    "KimiState": "agent",
    "KimiWarning": "errors",
    "Limits": "agent",
    "RateLimits": "transport",
    "UsageMeter": "usage",
    "cost_of": "usage",
    "create_kimi_agent": "agent",
}

__all__ = [
    "ChatKimi",
    "Deadlines",
    "KimiError",
    "KimiState",
    "KimiWarning",
    "Limits",
    "RateLimits",
    "UsageMeter",
    "cost_of",
    "create_kimi_agent",
]


def __getattr__(name: str) -> object:
    # Loaded when first asked for: importing the package costs nothing, and a chat app never loads LangGraph.
    if name in _ROOMS:
        return getattr(import_module(f"langchain_kimi.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
