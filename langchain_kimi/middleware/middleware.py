"""`KimiMiddleware`, which gives an agent of LangChain the policies of `create_kimi_agent`."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langgraph.config import get_config
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.runtime import Runtime

from langchain_kimi._parameter_names import checks_parameter_names
from langchain_kimi._steps import Steps, arun_steps, run_steps
from langchain_kimi.agent.compaction.archive import check_store
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.recall import recall_tool
from langchain_kimi.agent.loop_guard import LoopGuard
from langchain_kimi.agent.parameters import check_types, suggested_parameter_or_limit
from langchain_kimi.agent.side_effects.intents import check_durability
from langchain_kimi.agent.side_effects.once import Once, OnUnknown
from langchain_kimi.agent.tool_node.tool_errors import ToolErrors
from langchain_kimi.agent.usage_limits.limits import AgentLimits
from langchain_kimi.middleware.begin_turn import begin_turn
from langchain_kimi.middleware.langchain_types import AgentMiddleware, ExtendedModelResponse, ModelRequest
from langchain_kimi.middleware.middleware_state import KimiMiddlewareState
from langchain_kimi.middleware.model_context import ModelContexts, Policies
from langchain_kimi.middleware.wrap_model_call import MiddlewareTurn
from langchain_kimi.middleware.wrap_tool_call import ToolCalls


class KimiMiddleware(AgentMiddleware[KimiMiddlewareState, Any, Any]):
    """The policies of `create_kimi_agent` in LangChain's `create_agent` and in deepagents, around any chat model.

    When a limit of `limits` or the `guard` stops the turn, the open calls get error results and the model gives one
    last answer without tools. A long thread is compacted. A tool that raises, and arguments that are no JSON object or
    do not fit a JSON Schema, give an error result for that call alone. A new message on a thread that crashed takes the
    results that were recorded, and the model is told that the other calls are unknown. `state["stop_reason"]` is the
    reason why the turn ended, and `state["spent"]` its usage.

    No call of a tool in `once` runs again by itself after it may have run: people decide about it, or the model is
    told. Every tool can read the idempotency key of its call.

    The parameters are those of `create_kimi_agent`; `guard=None` and `compaction=None` switch a policy off. One
    middleware may serve many agents, sub-agents and threads at the same time. Put it first in the list: it then sees
    the calls, retries and requests of all other middleware.

    `name`: deepagents replaces its own middleware of that name. With `"SummarizationMiddleware"`, this compaction takes
    the place of deepagents' own, in its general-purpose sub-agent too.

    Raises TypeError for a parameter of a wrong type, and ValueError for settings that do not fit together. An agent
    with two of them, or without a tool that `once` names, raises ValueError in its first turn, and DurabilityError if
    `once` needs a checkpointer or another `durability`.
    """

    state_schema = KimiMiddlewareState

    @checks_parameter_names(suggested_parameter_or_limit)
    def __init__(
        self,
        *,
        limits: AgentLimits | None = None,
        guard: LoopGuard | None = LoopGuard(),  # noqa: B008 (frozen)
        compaction: Compaction | None = Compaction(),  # noqa: B008 (frozen)
        tool_errors: ToolErrors = True,
        once: Collection[str] = (),
        on_unknown: OnUnknown = "ask",
        name: str = "KimiMiddleware",
    ) -> None:
        types = {"limits": (limits, AgentLimits), "guard": (guard, LoopGuard), "compaction": (compaction, Compaction)}
        check_types("KimiMiddleware", **types)
        self._policies = Policies(limits or AgentLimits(), guard, compaction, tool_errors, Once(once, on_unknown))
        recall = recall_tool() if compaction and compaction.archive else None
        self.tools: Sequence[BaseTool] = [recall] if recall else []
        self._name = name
        self._models = ModelContexts(self._policies, recall)
        self._tool_calls = ToolCalls(self._policies)

    @property
    def name(self) -> str:
        """The name of the middleware in the agent."""
        return self._name

    def before_agent(self, state: KimiMiddlewareState, runtime: Runtime[Any]) -> dict[str, Any]:
        """Starts a user turn, on a thread without open calls."""
        return run_steps(self._begin(state, runtime), get_config())

    async def abefore_agent(self, state: KimiMiddlewareState, runtime: Runtime[Any]) -> dict[str, Any]:
        """`before_agent` for asynchronous use."""
        return await arun_steps(self._begin(state, runtime), get_config())

    def _begin(self, state: Any, runtime: Runtime[Any]) -> Steps[dict[str, Any]]:
        if self._policies.once.tools:
            check_durability(get_config())
        if self._policies.compaction:
            check_store(self._policies.compaction, runtime.store)
        return (yield from begin_turn(state, get_config()))

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]
    ) -> ExtendedModelResponse[Any]:
        """The model's turn."""
        turn = self._turn(request, handler)
        return run_steps(turn.steps(), turn.config)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[Any]]
    ) -> ExtendedModelResponse[Any]:
        """`wrap_model_call` for asynchronous use."""
        turn = self._turn(request, handler)
        return await arun_steps(turn.steps(), turn.config)

    def _turn(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]) -> MiddlewareTurn:
        context = self._models.of(request.model, request.tools)
        return MiddlewareTurn(self._policies, context, request, handler, get_config())

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """One tool call."""
        return self._tool_calls.run(request, handler)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """`wrap_tool_call` for asynchronous use."""
        return await self._tool_calls.arun(request, handler)
