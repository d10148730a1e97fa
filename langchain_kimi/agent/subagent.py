"""Agents as tools of other agents."""

from collections.abc import Mapping
from typing import Annotated, Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool
from langgraph.errors import GraphBubbleUp
from pydantic import BaseModel
from pydantic_core import to_json

from langchain_kimi._finish_reasons import COMPLETE
from langchain_kimi.agent.budget import AGENT_NAME
from langchain_kimi.agent.compaction.archive import SUBAGENT_THREAD
from langchain_kimi.agent.compiled import KimiAgent
from langchain_kimi.agent.spending import SPENT
from langchain_kimi.agent.state import CLOSING
from langchain_kimi.agent.tool_errors import error_text, note_error
from langchain_kimi.errors import AsyncOnlyToolError

NAMESPACE = "kimi_namespace"
"""Where a result keeps the checkpoint namespace in which the agent's transcript is kept."""

_STEPS = 10_007
"""LangGraph's own `recursion_limit`. Inside tools, langchain-core writes its own into the config: 25, which LangGraph
takes for somebody's wish."""

_CUT_SHORT = "{name} was cut short ({reason}). What it had by then: {text}"
_FAILED = "{name} failed: {error}"
_WAITS = "{name} waits for a person, and without a checkpointer of its caller it cannot."


def agent_as_tool(agent: Runnable[Any, Any], *, name: str, description: str) -> BaseTool:
    """A tool that gives its `task` to `agent` and returns the last answer.

    `agent` is any compiled graph with `messages` in its state. Each call is a thread of its own, kept by its caller's
    checkpointer under the namespace of the call; resumed after a crash or an interrupt, it goes on where it was. Calls
    of one turn run in parallel. The agent goes by `name`, whatever its own name is: in the caller's stream, in
    `spent_by_agent` and in `UsageMeter.by_agent`. The members of a team keep theirs.

    An agent with a `response_format` returns the object as JSON, and as the result's artifact. One that fails, or whose
    turn ended for another reason than its own word (a limit, the loop guard, a cut answer), gives an error result with
    what it has. What it spent counts for the agent that called it; its own limits hold, and so do those of its callers,
    `max_concurrency` and `recursion_limit` included.

    Raises ValueError for an agent compiled with `checkpointer=True`, whose calls would share one thread.
    """
    if getattr(agent, "checkpointer", None) is True:
        raise ValueError("checkpointer=True: all calls would share one thread. Compile the agent without it.")

    def run(task: str, tool_call_id: Annotated[str, InjectedToolCallId], config: RunnableConfig) -> ToolMessage:
        try:
            state = agent.invoke(_given(task), _config(agent, config, name))
        except (GraphBubbleUp, AsyncOnlyToolError):
            raise
        except Exception as error:
            return _failed(name, tool_call_id, error)
        return _result(name, tool_call_id, state, config)

    async def arun(task: str, tool_call_id: Annotated[str, InjectedToolCallId], config: RunnableConfig) -> ToolMessage:
        try:
            state = await agent.ainvoke(_given(task), _config(agent, config, name))
        except (GraphBubbleUp, AsyncOnlyToolError):
            raise
        except Exception as error:
            return _failed(name, tool_call_id, error)
        return _result(name, tool_call_id, state, config)

    return StructuredTool.from_function(run, arun, name=name, description=description)


def _given(task: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": task}]}


def _config(agent: Runnable[Any, Any], config: RunnableConfig, name: str) -> RunnableConfig:
    own: dict[str, Any] = getattr(agent, "config", None) or {}
    given = merge_configs(config, {"metadata": {"lc_agent_name": name}, "run_name": name})
    given["recursion_limit"] = _least(own.get("recursion_limit"), given.get("recursion_limit")) or _STEPS
    given["max_concurrency"] = _least(own.get("max_concurrency"), given.get("max_concurrency"))
    place = given.get("configurable", {})
    if thread := place.get("thread_id"):
        place = {**place, SUBAGENT_THREAD: f"{thread} {place.get('checkpoint_ns', '')}"}
    if isinstance(agent, KimiAgent):
        place = {**place, AGENT_NAME: name}
    given["configurable"] = place
    return given


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _failed(name: str, call_id: str, error: Exception) -> ToolMessage:
    note_error(error)
    words = _FAILED.format(name=name, error=error_text(error))
    return ToolMessage(words, tool_call_id=call_id, name=name, status="error")


def _result(name: str, call_id: str, state: Mapping[str, Any], config: RunnableConfig) -> ToolMessage:
    """What the agent's last state says, for the agent that called it."""
    kept = {NAMESPACE: config.get("configurable", {}).get("checkpoint_ns", "")}
    kept |= {SPENT: dict(state["spent"])} if "spent" in state else {}
    *_, answer = [
        AIMessage(""),
        *(one for one in state["messages"] if isinstance(one, AIMessage) and not _is_closing(one)),
    ]
    text, made = answer.text, state.get("structured_response")
    if not text.strip() and _is_closing(state["messages"][-1]):
        text = state["messages"][-1].text
    about: dict[str, Any] = {"tool_call_id": call_id, "name": name, "additional_kwargs": kept}
    if "__interrupt__" in state:
        return ToolMessage(_WAITS.format(name=name), status="error", **about)
    if reason := _cut_short(state.get("stop_reason"), answer):
        words = _CUT_SHORT.format(name=name, reason=reason, text=text or "nothing")
        return ToolMessage(words, status="error", **about)
    return ToolMessage(text if made is None else _as_json(made), artifact=made, **about)


def _is_closing(message: BaseMessage) -> bool:
    return CLOSING in message.additional_kwargs


def _cut_short(reason: str | None, answer: AIMessage) -> str | None:
    """Why the turn or the last answer ended, where it was not by the agent's own word."""
    told = answer.response_metadata
    if reason == "tool_calls":  # the limit; the finish reason of this name ends no turn
        return reason
    reasons = [reason, told.get("finish_reason"), told.get("stop_reason")]
    return next((str(one) for one in reasons if one and str(one).lower() not in COMPLETE), None)


def _as_json(made: Any) -> str:
    return made.model_dump_json() if isinstance(made, BaseModel) else to_json(made).decode()
