"""Agents as tools of other agents."""

from collections.abc import Mapping
from typing import Annotated, Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool
from langgraph.errors import GraphBubbleUp, is_invalid_resume
from pydantic import BaseModel
from pydantic_core import to_json

from langchain_kimi._finish_reasons import COMPLETE
from langchain_kimi.agent.compaction.archive import SUBAGENT_THREAD
from langchain_kimi.agent.compiled import KimiAgent
from langchain_kimi.agent.thread_messages import CLOSING_MESSAGE
from langchain_kimi.agent.tool_node.tool_errors import error_text, record_error
from langchain_kimi.agent.usage_limits.budget import AGENT_NAME, SPAN_NAME
from langchain_kimi.errors import DurabilityError

SPENT = "kimi_spent"
"""The key in `additional_kwargs` of a sub-agent's result: the sub-agent's own usage."""

NAMESPACE = "kimi_namespace"
"""The key in `additional_kwargs` of a sub-agent's result: the checkpoint namespace of the sub-agent's thread."""

_RECURSION_LIMIT = 10_007
"""LangGraph's default `recursion_limit`. Inside tools, langchain-core writes its default of 25 into the config, which
LangGraph would obey."""

_FOR_THE_CALLER = (GraphBubbleUp, DurabilityError)

_CUT_SHORT = "{name} was cut short ({reason}). What it had by then: {text}"
_FAILED = "{name} failed: {error}"
_WAITS = "{name} waits for a person, and without a checkpointer of its caller it cannot."


def agent_as_tool(agent: Runnable[Any, Any], *, name: str, description: str) -> BaseTool:
    """A tool that gives its `task` to `agent` and returns the last answer.

    `agent` is any compiled graph with `messages` in its state. Each call is a thread of its own, which the caller's
    checkpointer stores under the namespace of the call. It continues where it stopped after a crash or an interrupt.
    Calls of one turn run in parallel. The agent has the name `name`, whatever its own name is, in the caller's stream,
    in `spent_by_agent` and in `UsageMeter.by_agent`. The members of a team keep their names.

    An agent with a `response_format` returns the object as JSON, and as the result's artifact. If the agent fails, or a
    limit, the loop guard or a cut answer ended its turn, the result is an error result with any partial output. Its
    usage counts for the agent that called it. Its own limits hold, and so do those of its callers, including
    `max_concurrency` and `recursion_limit`. An invalid response to one of its questions raises ValidationError in the
    run of the outermost caller, and the question stays open.

    Raises ValueError for an agent compiled with `checkpointer=True`, whose calls would share one thread.
    """
    if getattr(agent, "checkpointer", None) is True:
        raise ValueError("checkpointer=True: all calls would share one thread. Compile the agent without it.")

    def run(task: str, tool_call_id: Annotated[str, InjectedToolCallId], config: RunnableConfig) -> ToolMessage:
        try:
            state = agent.invoke(_input(task), _config(agent, config, name))
        except Exception as error:
            return _error_result_of(name, tool_call_id, error)
        return _result(name, tool_call_id, state, config)

    async def arun(task: str, tool_call_id: Annotated[str, InjectedToolCallId], config: RunnableConfig) -> ToolMessage:
        try:
            state = await agent.ainvoke(_input(task), _config(agent, config, name))
        except Exception as error:
            return _error_result_of(name, tool_call_id, error)
        return _result(name, tool_call_id, state, config)

    return StructuredTool.from_function(run, arun, name=name, description=description)


def _input(task: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": task}]}


def _config(agent: Runnable[Any, Any], config: RunnableConfig, name: str) -> RunnableConfig:
    own: dict[str, Any] = getattr(agent, "config", None) or {}
    merged = merge_configs(config, {"metadata": {"lc_agent_name": name, SPAN_NAME: name}, "run_name": name})
    merged["recursion_limit"] = _least(own.get("recursion_limit"), merged.get("recursion_limit")) or _RECURSION_LIMIT
    merged["max_concurrency"] = _least(own.get("max_concurrency"), merged.get("max_concurrency"))
    configurable = merged.get("configurable", {})
    if thread := configurable.get("thread_id"):
        configurable = {**configurable, SUBAGENT_THREAD: f"{thread} {configurable.get('checkpoint_ns', '')}"}
    if isinstance(agent, KimiAgent):
        configurable = {**configurable, AGENT_NAME: name}
    merged["configurable"] = configurable
    return merged


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _error_result_of(name: str, call_id: str, error: Exception) -> ToolMessage:
    """The result of a call whose agent failed. Raises errors that are for the caller of the whole run.

    One of these is an invalid response to a question of the agent, which stays open.
    """
    if isinstance(error, _FOR_THE_CALLER) or is_invalid_resume(error):
        raise error
    record_error(error)
    text = _FAILED.format(name=name, error=error_text(error))
    return ToolMessage(text, tool_call_id=call_id, name=name, status="error")


def _result(name: str, call_id: str, state: Mapping[str, Any], config: RunnableConfig) -> ToolMessage:
    """The result of a call from the agent's last state."""
    additional_kwargs = {NAMESPACE: config.get("configurable", {}).get("checkpoint_ns", "")}
    additional_kwargs |= {SPENT: dict(state["spent"])} if "spent" in state else {}
    *_, answer = [
        AIMessage(""),
        *(one for one in state["messages"] if isinstance(one, AIMessage) and not _is_closing(one)),
    ]
    text, response = answer.text, state.get("structured_response")
    if not text.strip() and _is_closing(state["messages"][-1]):
        text = state["messages"][-1].text
    about: dict[str, Any] = {"tool_call_id": call_id, "name": name, "additional_kwargs": additional_kwargs}
    if "__interrupt__" in state:
        return ToolMessage(_WAITS.format(name=name), status="error", **about)
    if reason := _cut_short(state.get("stop_reason"), answer):
        partial = _CUT_SHORT.format(name=name, reason=reason, text=text or "nothing")
        return ToolMessage(partial, status="error", **about)
    return ToolMessage(text if response is None else _as_json(response), artifact=response, **about)


def _is_closing(message: BaseMessage) -> bool:
    return CLOSING_MESSAGE in message.additional_kwargs


def _cut_short(reason: str | None, answer: AIMessage) -> str | None:
    """The reason for which the turn or the last answer ended, unless the agent itself ended it."""
    metadata = answer.response_metadata
    if reason == "tool_calls":  # the limit; the finish reason of this name ends no turn
        return reason
    reasons = [reason, metadata.get("finish_reason"), metadata.get("stop_reason")]
    return next((str(one) for one in reasons if one and str(one).lower() not in COMPLETE), None)


def _as_json(response: Any) -> str:
    return response.model_dump_json() if isinstance(response, BaseModel) else to_json(response).decode()
