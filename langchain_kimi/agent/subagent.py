"""Agents as tools of other agents."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool
from langgraph.errors import GraphBubbleUp
from pydantic import BaseModel

from langchain_kimi.agent.spending import SPENT

NAMESPACE = "kimi_namespace"
"""Where a result keeps the checkpoint namespace in which the agent's transcript is kept."""

_CUT_SHORT = "{name} was cut short ({reason}). What it had by then: {text}"
_FAILED = "{name} failed: {error}"
_WAITS = "{name} waits for a person, and without a checkpointer of its caller it cannot."


def agent_as_tool(agent: Runnable[Any, Any], *, name: str, description: str) -> BaseTool:
    """A tool that gives its `task` to `agent` and returns the last answer.

    `agent` is any compiled graph with `messages` in its state. Each call is a thread of its own, kept by its caller's
    checkpointer under the namespace of the call; resumed after a crash or an interrupt, it goes on where it was. Calls
    of one turn run in parallel. What the agent streams reaches the caller's stream under `name`.

    An agent with a `response_format` returns the object as JSON, and as the result's artifact. One that fails, or whose
    turn ended for another reason than its own word (a limit, the loop guard, a cut answer), gives an error result with
    what it has. What it spent counts for the agent that called it; its own limits hold, and so do those of its callers.
    """

    def run(task: str, tool_call_id: Annotated[str, InjectedToolCallId], config: RunnableConfig) -> ToolMessage:
        try:
            state = agent.invoke(_given(task), _config(config, name))
        except GraphBubbleUp:
            raise
        except Exception as error:
            return _failed(name, tool_call_id, error)
        return _result(name, tool_call_id, state, config)

    async def arun(task: str, tool_call_id: Annotated[str, InjectedToolCallId], config: RunnableConfig) -> ToolMessage:
        try:
            state = await agent.ainvoke(_given(task), _config(config, name))
        except GraphBubbleUp:
            raise
        except Exception as error:
            return _failed(name, tool_call_id, error)
        return _result(name, tool_call_id, state, config)

    return StructuredTool.from_function(run, arun, name=name, description=description)


def _given(task: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": task}]}


def _config(config: RunnableConfig, name: str) -> RunnableConfig:
    return merge_configs(config, {"metadata": {"lc_agent_name": name}, "run_name": name})


def _failed(name: str, call_id: str, error: Exception) -> ToolMessage:
    words = _FAILED.format(name=name, error=f"{type(error).__name__}: {error}")
    return ToolMessage(words, tool_call_id=call_id, name=name, status="error")


def _result(name: str, call_id: str, state: Mapping[str, Any], config: RunnableConfig) -> ToolMessage:
    """What the agent's last state says, for the agent that called it."""
    kept = {NAMESPACE: config.get("configurable", {}).get("checkpoint_ns", "")}
    kept |= {SPENT: dict(state["spent"])} if "spent" in state else {}
    text = next((message.text for message in reversed(state["messages"]) if isinstance(message, AIMessage)), "")
    reason, made = state.get("stop_reason"), state.get("structured_response")
    about: dict[str, Any] = {"tool_call_id": call_id, "name": name, "additional_kwargs": kept}
    if "__interrupt__" in state:
        return ToolMessage(_WAITS.format(name=name), status="error", **about)
    if reason not in (None, "stop"):
        words = _CUT_SHORT.format(name=name, reason=reason, text=text or "nothing")
        return ToolMessage(words, status="error", **about)
    return ToolMessage(text if made is None else _as_json(made), artifact=made, **about)


def _as_json(made: Any) -> str:
    return made.model_dump_json() if isinstance(made, BaseModel) else json.dumps(made, ensure_ascii=False)
