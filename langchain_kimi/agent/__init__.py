"""The agent: a LangGraph state machine around a chat model. It works with any chat model and does not know the wire."""

from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compiled import KimiAgent
from langchain_kimi.agent.create import create_kimi_agent
from langchain_kimi.agent.limits import AgentLimits
from langchain_kimi.agent.loop_guard import LoopGuard
from langchain_kimi.agent.state import KimiState, TeamState, add_kimi_messages
from langchain_kimi.agent.subagent import agent_as_tool
from langchain_kimi.agent.team import TeamMember, create_kimi_team

__all__ = [
    "AgentLimits",
    "Compaction",
    "KimiAgent",
    "KimiState",
    "LoopGuard",
    "TeamMember",
    "TeamState",
    "add_kimi_messages",
    "agent_as_tool",
    "create_kimi_agent",
    "create_kimi_team",
]
