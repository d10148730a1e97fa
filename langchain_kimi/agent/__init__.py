"""The agent: a LangGraph state machine around a chat model. It works with any chat model and does not know the wire."""

from langchain_kimi.agent.archive import recall_tool
from langchain_kimi.agent.context import Context
from langchain_kimi.agent.create import create_kimi_agent
from langchain_kimi.agent.guard import LoopGuard
from langchain_kimi.agent.limits import Limits
from langchain_kimi.agent.recovery import KimiAgent
from langchain_kimi.agent.state import KimiState, TeamState, kimi_messages
from langchain_kimi.agent.subagent import agent_as_tool
from langchain_kimi.agent.team import Member, create_kimi_team

__all__ = [
    "Context",
    "KimiAgent",
    "KimiState",
    "Limits",
    "LoopGuard",
    "Member",
    "TeamState",
    "agent_as_tool",
    "create_kimi_agent",
    "create_kimi_team",
    "kimi_messages",
    "recall_tool",
]
