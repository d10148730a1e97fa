"""The keys that the middleware adds to an agent's state."""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, Required

from langchain_core.messages import AnyMessage
from langgraph.channels import DeltaChannel
from langgraph.managed.is_last_step import RemainingStepsManager

from langchain_kimi.agent.state import (
    SNAPSHOT_EVERY,
    StopReason,
    UnknownCall,
    add_kimi_messages,
    merged_unknown_calls,
)
from langchain_kimi.agent.usage_limits.agent_usage import AgentUsage, add_agent_usage, add_usage_by_agent
from langchain_kimi.middleware.langchain_types import AgentState, OmitFromInput, PrivateStateAttr


class KimiMiddlewareState(AgentState[Any]):
    """The state of an agent with the middleware.

    With `create_agent(…, state_schema=KimiMiddlewareState)` the checkpoints hold each message once. Without it, the
    agent has LangChain's own `messages`, of which every checkpoint holds a copy, and the other keys.
    """

    messages: Required[Annotated[list[AnyMessage], DeltaChannel(add_kimi_messages, snapshot_frequency=SNAPSHOT_EVERY)]]
    spent: NotRequired[Annotated[AgentUsage, OmitFromInput, add_agent_usage]]
    """The usage of the whole thread, as in `KimiState`."""
    spent_by_agent: NotRequired[Annotated[dict[str, AgentUsage], OmitFromInput, add_usage_by_agent]]
    """`spent` by agent name, as in `KimiState`."""
    stop_reason: NotRequired[Annotated[StopReason | str | None, OmitFromInput]]
    """Why the last user turn ended; None while it runs, and after a tool with `return_direct` ended it."""
    remaining_steps: NotRequired[Annotated[int, PrivateStateAttr, RemainingStepsManager]]
    kimi_turn: NotRequired[Annotated[AgentUsage, PrivateStateAttr]]
    """The thread's usage when the user turn began."""
    kimi_begin: NotRequired[Annotated[int, PrivateStateAttr]]
    """The superstep in which the user turn began."""
    kimi_step: NotRequired[Annotated[int | None, PrivateStateAttr]]
    """The superstep of the model's last turn, to know how many supersteps a round has in this agent."""
    kimi_unknown: NotRequired[Annotated[dict[str, UnknownCall], PrivateStateAttr, merged_unknown_calls]]
    """Calls of tools in `once` that may have run and have no result, by call id, until people have decided."""
    kimi_excerpts: NotRequired[Annotated[Mapping[str, Mapping[str, Any]], PrivateStateAttr]]
    """Tool results of which the model reads an excerpt, because the whole does not fit into its window."""


OUTPUT_KEYS = ("spent", "spent_by_agent", "stop_reason")
"""The keys that the middleware alone writes."""
