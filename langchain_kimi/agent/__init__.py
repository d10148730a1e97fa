"""The agent: a LangGraph state machine around a chat model. It works with any chat model and does not know the wire."""

from langchain_kimi.agent.limits import Limits
from langchain_kimi.agent.loop import create_kimi_agent
from langchain_kimi.agent.state import KimiState

__all__ = ["KimiState", "Limits", "create_kimi_agent"]
