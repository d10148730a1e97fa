"""Moonshot's Kimi models in LangChain and LangGraph: a chat model, agents and teams, tools and the platform's API."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_kimi._cache_breaks import CacheBreak
    from langchain_kimi._http import ResponseLimits, Timeouts
    from langchain_kimi.agent.approvals.approval import DecisionType, InterruptMode, InterruptOn, ToolApprovalRequest
    from langchain_kimi.agent.compaction.config import Compaction
    from langchain_kimi.agent.compiled import KimiAgent
    from langchain_kimi.agent.create_agent import create_kimi_agent
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
        ToolUnknownEvent,
        UsageEvent,
    )
    from langchain_kimi.agent.loop_guard import LoopGuard
    from langchain_kimi.agent.model_call import SystemPrompt, ToolSelection
    from langchain_kimi.agent.side_effects.idempotency import InjectedIdempotencyKey, idempotency_key
    from langchain_kimi.agent.side_effects.once import (
        OnceAction,
        OnceDecision,
        OnceDecisionType,
        OnceRequest,
        OnceReview,
        OnUnknown,
    )
    from langchain_kimi.agent.state import (
        KimiState,
        LimitReason,
        StopReason,
        TeamState,
        add_kimi_messages,
    )
    from langchain_kimi.agent.team.create_team import TeamMember, create_kimi_team
    from langchain_kimi.agent.team.subagent import agent_as_tool
    from langchain_kimi.agent.thread_locks.postgres_lock import PostgresThreadLock
    from langchain_kimi.agent.thread_locks.redis_lock import RedisThreadLock
    from langchain_kimi.agent.thread_locks.thread_lock import MultitaskStrategy, ThreadLock
    from langchain_kimi.agent.tool_node.tool_errors import ToolErrors
    from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage
    from langchain_kimi.agent.usage_limits.limits import AgentLimits
    from langchain_kimi.chat_model import (
        CacheOptions,
        ChatKimi,
        DialectName,
        MediaSource,
        StructuredOutputMethod,
        amedia_block,
        dynamic_tools_message,
        media_block,
        register_with_langchain,
    )
    from langchain_kimi.cost_tracer import CostTracer
    from langchain_kimi.errors import KimiError, KimiWarning
    from langchain_kimi.platform import (
        Balance,
        Batch,
        KimiBatches,
        KimiFile,
        KimiFiles,
        KimiPlatform,
        ModelInfo,
        TokenCount,
    )
    from langchain_kimi.rate_limits import RateLimits
    from langchain_kimi.reasoning_log import ReasoningLog
    from langchain_kimi.tools import (
        aformula_tools,
        formula_tools,
        web_search,
    )
    from langchain_kimi.usage import Usage, cost_of
    from langchain_kimi.usage_meter import RunKey, UsageMeter

_PACKAGES = {
    "AgentLimits": "agent.usage_limits.limits",
    "AgentUsage": "agent.usage_limits.agent_usage",
    "Balance": "platform",
    "Batch": "platform",
    "CacheBreak": "_cache_breaks",
    "CacheOptions": "chat_model",
    "ChatKimi": "chat_model",
    "Compaction": "agent.compaction.config",
    "CompactionChange": "agent.events",
    "CompactionEvent": "agent.events",
    "CostTracer": "cost_tracer",
    "DecisionType": "agent.approvals.approval",
    "DialectName": "chat_model",
    "InjectedIdempotencyKey": "agent.side_effects.idempotency",
    "InterruptMode": "agent.approvals.approval",
    "InterruptOn": "agent.approvals.approval",
    "KimiAgent": "agent.compiled",
    "KimiBatches": "platform",
    "KimiError": "errors",
    "KimiEvent": "agent.events",
    "KimiFile": "platform",
    "KimiFiles": "platform",
    "KimiPlatform": "platform",
    "KimiState": "agent.state",
    "KimiWarning": "errors",
    "LimitEvent": "agent.events",
    "LimitReason": "agent.state",
    "LoopGuard": "agent.loop_guard",
    "LoopGuardEvent": "agent.events",
    "MediaSource": "chat_model",
    "ModelInfo": "platform",
    "MultitaskStrategy": "agent.thread_locks.thread_lock",
    "OnUnknown": "agent.side_effects.once",
    "OnceAction": "agent.side_effects.once",
    "OnceDecision": "agent.side_effects.once",
    "OnceDecisionType": "agent.side_effects.once",
    "OnceRequest": "agent.side_effects.once",
    "OnceReview": "agent.side_effects.once",
    "PostgresThreadLock": "agent.thread_locks.postgres_lock",
    "RateLimits": "rate_limits",
    "ReasoningLog": "reasoning_log",
    "RedisThreadLock": "agent.thread_locks.redis_lock",
    "ResponseLimits": "_http",
    "ResultExcerptEvent": "agent.events",
    "RetryEvent": "agent.events",
    "RunKey": "usage_meter",
    "StopReason": "agent.state",
    "StructuredOutputMethod": "chat_model",
    "SystemPrompt": "agent.model_call",
    "TeamMember": "agent.team.create_team",
    "TeamState": "agent.state",
    "ThreadLock": "agent.thread_locks.thread_lock",
    "Timeouts": "_http",
    "TokenCount": "platform",
    "ToolApprovalRequest": "agent.approvals.approval",
    "ToolErrors": "agent.tool_node.tool_errors",
    "ToolFinishedEvent": "agent.events",
    "ToolSelection": "agent.model_call",
    "ToolStartedEvent": "agent.events",
    "ToolUnknownEvent": "agent.events",
    "Usage": "usage",
    "UsageEvent": "agent.events",
    "UsageMeter": "usage_meter",
    "add_kimi_messages": "agent.state",
    "aformula_tools": "tools",
    "agent_as_tool": "agent.team.subagent",
    "amedia_block": "chat_model",
    "cost_of": "usage",
    "create_kimi_agent": "agent.create_agent",
    "create_kimi_team": "agent.team.create_team",
    "dynamic_tools_message": "chat_model",
    "formula_tools": "tools",
    "idempotency_key": "agent.side_effects.idempotency",
    "media_block": "chat_model",
    "register_with_langchain": "chat_model",
    "web_search": "tools",
}
"""The package or module that defines each public name, below `langchain_kimi`."""

__all__ = [
    "AgentLimits",
    "AgentUsage",
    "Balance",
    "Batch",
    "CacheBreak",
    "CacheOptions",
    "ChatKimi",
    "Compaction",
    "CompactionChange",
    "CompactionEvent",
    "CostTracer",
    "DecisionType",
    "DialectName",
    "InjectedIdempotencyKey",
    "InterruptMode",
    "InterruptOn",
    "KimiAgent",
    "KimiBatches",
    "KimiError",
    "KimiEvent",
    "KimiFile",
    "KimiFiles",
    "KimiPlatform",
    "KimiState",
    "KimiWarning",
    "LimitEvent",
    "LimitReason",
    "LoopGuard",
    "LoopGuardEvent",
    "MediaSource",
    "ModelInfo",
    "MultitaskStrategy",
    "OnUnknown",
    "OnceAction",
    "OnceDecision",
    "OnceDecisionType",
    "OnceRequest",
    "OnceReview",
    "PostgresThreadLock",
    "RateLimits",
    "ReasoningLog",
    "RedisThreadLock",
    "ResponseLimits",
    "ResultExcerptEvent",
    "RetryEvent",
    "RunKey",
    "StopReason",
    "StructuredOutputMethod",
    "SystemPrompt",
    "TeamMember",
    "TeamState",
    "ThreadLock",
    "Timeouts",
    "TokenCount",
    "ToolApprovalRequest",
    "ToolErrors",
    "ToolFinishedEvent",
    "ToolSelection",
    "ToolStartedEvent",
    "ToolUnknownEvent",
    "Usage",
    "UsageEvent",
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
    "idempotency_key",
    "media_block",
    "register_with_langchain",
    "web_search",
]


def __getattr__(name: str) -> object:
    # Names are imported on first use: importing the package is fast, and a chat app never loads LangGraph.
    if name in _PACKAGES:
        return getattr(import_module(f"langchain_kimi.{_PACKAGES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
