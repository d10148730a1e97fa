"""Builds and compiles the LangGraph graph of an agent or a team from its nodes and routes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any, TypedDict, get_type_hints

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import set_config_context
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from langchain_kimi._steps import arun_steps, run_steps
from langchain_kimi.agent.compiled import KimiAgent
from langchain_kimi.agent.nodes import AgentNodes, NodeSteps
from langchain_kimi.agent.routes import AgentConfig, AgentRoutes, GraphConfig
from langchain_kimi.agent.state import TOOLS_NODE, AgentState
from langchain_kimi.agent.thread_locks.held_thread import acheck_held, check_held
from langchain_kimi.agent.thread_locks.thread_lock import ThreadLock
from langchain_kimi.agent.tool_node.tool_call import ToolRunner
from langchain_kimi.agent.tool_node.tool_threads import interruption_of
from langchain_kimi.errors import DurabilityError

DEFAULT_CONCURRENCY = 128
"""How many calls run in parallel without `max_concurrency`. LangGraph's own default for synchronous runs is the number
of cores plus four."""

_OUTPUT_KEYS = ("spent", "spent_by_agent", "stop_reason", "structured_response")
"""Keys of the state that the agent returns and does not accept as input."""


class GraphNode(Runnable[Any, Any]):
    """A function and its asynchronous version as a node of a graph. LangGraph traces nodes itself."""

    def __init__(
        self,
        function: Callable[[Any, RunnableConfig], Any],
        afunction: Callable[[Any, RunnableConfig], Awaitable[Any]],
        name: str,
    ) -> None:
        self.name = name
        self._function = function
        self._afunction = afunction

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The node's update."""
        if interruption := interruption_of(config):
            interruption.check()
        if self.name != "begin":  # which records the input
            check_held(config or {})
        return self._function(input, config or {})

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The node's update."""
        if self.name != "begin":
            await acheck_held(config or {})
        return await self._afunction(input, config or {})


def compile_graph(
    config: GraphConfig,
    tools: ToolRunner,
    *,
    state_schema: type,
    context_schema: type | None,
    pre_model_hook: Any = None,
    post_model_hook: Any = None,
    max_concurrency: int | None,
    checkpointer: Checkpointer,
    store: BaseStore | None,
    exclusive: ThreadLock | None,
    name: str,
) -> KimiAgent:
    """The compiled graph of an agent or a team."""
    if config.once.tools and checkpointer is False:
        raise DurabilityError("once: with checkpointer=False, nothing is known of calls that started before a crash.")
    config = replace(
        config, has_pre_model_hook=pre_model_hook is not None, has_post_model_hook=post_model_hook is not None
    )
    graph = _build_graph(config, tools, state_schema, context_schema, pre_model_hook, post_model_hook)
    compiled = graph.compile(checkpointer=checkpointer, store=store, name=name)
    compiled.__class__ = KimiAgent  # `compile` has no parameter for the class of the compiled graph
    agent: Any = compiled
    agent.exclusive = exclusive
    settings: RunnableConfig = {
        "metadata": {"lc_agent_name": name},
        "max_concurrency": max_concurrency or DEFAULT_CONCURRENCY,
    }
    return agent.with_config(settings)  # type: ignore[no-any-return]


def response_runnable(
    model: BaseChatModel, tools: Sequence[BaseTool], response_format: type | dict[str, Any] | None
) -> Runnable[Any, Any] | None:
    """The model with structured output. If it supports `keep_tools`, the tools stay in the request for its prefix."""
    if response_format is None:
        return None
    keeps = "keep_tools" in signature(type(model).with_structured_output).parameters
    return model.with_structured_output(response_format, include_raw=True, **({"keep_tools": tools} if keeps else {}))


def member_hook(
    hooks: Mapping[str, Any], active_agent: Callable[[AgentState], AgentConfig]
) -> Runnable[Any, Any] | None:
    """A node that runs the hook of the member that answers, if it has one; None if no member has one."""
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(AgentState)
    for name, hook in hooks.items():
        if hook is not None:
            graph.add_node(name, hook)  # LangGraph makes a runnable of it

    def hook_of(state: AgentState) -> Any:
        node = graph.nodes.get(active_agent(state).model.agent or "")
        return node.runnable if node else None

    def run(state: AgentState, config: RunnableConfig) -> Any:
        hook = hook_of(state)
        return hook.invoke(state, config) if hook else {}

    async def arun(state: AgentState, config: RunnableConfig) -> Any:
        hook = hook_of(state)
        return await hook.ainvoke(state, config) if hook else {}

    return GraphNode(run, arun, "hook") if graph.nodes else None


def _build_graph(
    config: GraphConfig,
    tools: ToolRunner,
    state_schema: type,
    context_schema: type | None,
    pre_model_hook: Any,
    post_model_hook: Any,
) -> StateGraph[Any, Any, Any, Any]:
    routes = AgentRoutes(config)
    nodes = AgentNodes(config, routes)
    state, agent_input, agent_output = _schemas(state_schema)
    graph = StateGraph(state, context_schema, input_schema=agent_input, output_schema=agent_output)
    graph.add_node("begin", _begin_node(nodes, tools))
    graph.add_node("model", _steps_node(nodes.model, "model"))
    graph.add_node(TOOLS_NODE, GraphNode(tools.run, tools.arun, TOOLS_NODE))
    unusable: Runnable[Any, Any] = RunnableLambda(nodes.unusable, name="unusable")
    graph.add_node("unusable", unusable)
    graph.add_node("wrap_up", _steps_node(nodes.wrap_up, "wrap_up"))
    graph.add_edge(START, "begin")
    first, last = config.model_node, "model"
    if pre_model_hook is not None:
        graph.add_node("pre_model_hook", pre_model_hook)
        graph.add_edge("pre_model_hook", "model")
    if post_model_hook is not None:
        last = "post_model_hook"
        graph.add_node("post_model_hook", post_model_hook)
        graph.add_edge("model", "post_model_hook")
    end = END
    if config.has_response_format:
        end = "respond"
        graph.add_node("respond", _steps_node(nodes.respond, "respond"))
        graph.add_edge("respond", END)
    targets = [TOOLS_NODE, "unusable", "wrap_up", *{end, END}]
    clarify = ["clarify"] if config.once.asks else []
    if config.approval:
        graph.add_node("review", _steps_node(nodes.review, "review"))
        graph.add_node("review_call", _steps_node(nodes.review_call, "review_call"))
        graph.add_edge("review_call", "review")
        after_review = [TOOLS_NODE, "unusable", "review", "review_call", first, *clarify]
        graph.add_conditional_edges("review", _route(routes.after_review), after_review)
        targets.append("review")
    if clarify:
        graph.add_node("clarify", _steps_node(nodes.clarify, "clarify"))
        targets += clarify
        graph.add_conditional_edges("clarify", _route(routes.after_clarify), [*targets, first])
    for node in ("begin", TOOLS_NODE, "unusable"):
        graph.add_edge(node, first)
    graph.add_conditional_edges(last, _route(routes.after_model), [*targets, first])
    graph.add_edge("wrap_up", end)
    return graph


def _steps_node(steps: Callable[[Any], NodeSteps], name: str) -> Runnable[Any, Any]:
    """A node whose code is written once, for synchronous and asynchronous runs."""
    return GraphNode(
        lambda state, config: run_steps(steps(state), config),
        lambda state, config: arun_steps(steps(state), config),
        name,
    )


def _route(route: Callable[[AgentState], Any]) -> Runnable[Any, Any]:
    """A conditional edge. LangGraph would call a function in a thread in asynchronous runs."""

    def in_context(state: AgentState, config: RunnableConfig) -> Any:
        with set_config_context(config) as context:
            return context.run(route, state)

    async def ain_context(state: AgentState, config: RunnableConfig) -> Any:
        return in_context(state, config)

    return GraphNode(in_context, ain_context, route.__name__)


def _begin_node(nodes: AgentNodes, tools: ToolRunner) -> Runnable[Any, Any]:
    """The first node of a turn. It raises an error in a run that cannot run every tool as promised."""

    def begin(state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        tools.check_durability(config)
        return nodes.begin(state)

    async def abegin(state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        return begin(state, config)

    return GraphNode(begin, abegin, "begin")


def _schemas(state_schema: type) -> tuple[Any, Any, Any]:
    """The schemas of the state with the agent's private keys, of the input and of the output.

    `spent` is not part of the input: a graph around the agent adds the agent's output to its own sum.
    """
    hints = get_type_hints(state_schema, include_extras=True)
    output = {key: hint for key, hint in hints.items() if key != "remaining_steps"}
    accepted = {key: hint for key, hint in output.items() if key not in _OUTPUT_KEYS}
    state = get_type_hints(AgentState, include_extras=True) | hints
    make: Any = TypedDict
    return make("AgentState", state), make("AgentInput", accepted), make("AgentOutput", output)
