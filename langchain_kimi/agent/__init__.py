"""Agents and teams: a LangGraph graph around any chat model. It does not depend on the wire."""

from langchain_kimi.agent.agent_usage import AgentUsage
from langchain_kimi.agent.approval import DecisionType, InterruptOn
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compiled import KimiAgent
from langchain_kimi.agent.create_agent import create_kimi_agent
from langchain_kimi.agent.create_team import TeamMember, create_kimi_team
from langchain_kimi.agent.events import (
    CompactionChange,
    CompactionEvent,
    KimiEvent,
    LimitEvent,
    LoopGuardEvent,
    ResultExcerptEvent,
    RetryEvent,
    ToolFinishedEvent,
    ToolStartedEvent,
    UsageEvent,
)
from langchain_kimi.agent.limits import AgentLimits
from langchain_kimi.agent.loop_guard import LoopGuard
from langchain_kimi.agent.model_call import SystemPrompt, ToolSelection
from langchain_kimi.agent.state import (
    KimiState,
    LimitReason,
    StopReason,
    TeamState,
    add_kimi_messages,
)
from langchain_kimi.agent.subagent import agent_as_tool
from langchain_kimi.agent.tool_errors import ToolErrors

__all__ = [
    "AgentLimits",
    "AgentUsage",
    "Compaction",
    "CompactionChange",
    "CompactionEvent",
    "DecisionType",
    "InterruptOn",
    "KimiAgent",
    "KimiEvent",
    "KimiState",
    "LimitEvent",
    "LimitReason",
    "LoopGuard",
    "LoopGuardEvent",
    "ResultExcerptEvent",
    "RetryEvent",
    "StopReason",
    "SystemPrompt",
    "TeamMember",
    "TeamState",
    "ToolErrors",
    "ToolFinishedEvent",
    "ToolSelection",
    "ToolStartedEvent",
    "UsageEvent",
    "add_kimi_messages",
    "agent_as_tool",
    "create_kimi_agent",
    "create_kimi_team",
]
