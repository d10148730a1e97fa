"""Moonshot's Kimi models in LangChain and LangGraph: thinking kept, requests legal, agents that end."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_kimi._http import ResponseLimits, Timeouts
    from langchain_kimi.agent import (
        AgentLimits,
        Compaction,
        KimiState,
        LoopGuard,
        TeamMember,
        TeamState,
        add_kimi_messages,
        agent_as_tool,
        create_kimi_agent,
        create_kimi_team,
    )
    from langchain_kimi.chat_model import (
        ChatKimi,
        amedia_block,
        dynamic_tools_message,
        media_block,
        register_with_langchain,
    )
    from langchain_kimi.errors import KimiError, KimiWarning
    from langchain_kimi.platform import KimiPlatform
    from langchain_kimi.rate_limits import RateLimits
    from langchain_kimi.reasoning_log import ReasoningLog
    from langchain_kimi.tools import aformula_tools, formula_tools, web_search
    from langchain_kimi.usage import UsageMeter, cost_of

_ROOMS = {
    "ChatKimi": "chat_model",
    "Compaction": "agent",
    "Timeouts": "_http",
    "KimiError": "errors",
    "KimiPlatform": "platform",
    "KimiState": "agent",
    "KimiWarning": "errors",
    "AgentLimits": "agent",
    "LoopGuard": "agent",
    "TeamMember": "agent",
    "RateLimits": "rate_limits",
    "ResponseLimits": "_http",
    "ReasoningLog": "reasoning_log",
    "TeamState": "agent",
    "UsageMeter": "usage",
    "aformula_tools": "tools",
    "agent_as_tool": "agent",
    "amedia_block": "chat_model",
    "cost_of": "usage",
    "create_kimi_agent": "agent",
    "create_kimi_team": "agent",
    "formula_tools": "tools",
    "add_kimi_messages": "agent",
    "media_block": "chat_model",
    "register_with_langchain": "chat_model",
    "dynamic_tools_message": "chat_model",
    "web_search": "tools",
}

__all__ = [
    "AgentLimits",
    "ChatKimi",
    "Compaction",
    "KimiError",
    "KimiPlatform",
    "KimiState",
    "KimiWarning",
    "LoopGuard",
    "RateLimits",
    "ReasoningLog",
    "ResponseLimits",
    "TeamMember",
    "TeamState",
    "Timeouts",
    "UsageMeter",
    "add_kimi_messages",
    "aformula_tools",
    "agent_as_tool",
    "amedia_block",
    "cost_of",
    "create_kimi_agent",
    "create_kimi_team",
    "dynamic_tools_message",
    "formula_tools",
    "media_block",
    "register_with_langchain",
    "web_search",
]


def __getattr__(name: str) -> object:
    # Loaded when first asked for: importing the package costs nothing, and a chat app never loads LangGraph.
    if name in _ROOMS:
        return getattr(import_module(f"langchain_kimi.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
