"""Assembles the state machine's nodes and routes into a compiled LangGraph graph."""

from collections.abc import Callable, Collection, Iterable, Sequence
from inspect import signature
from typing import Any, TypedDict, get_type_hints, is_typeddict

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as as_tool
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from langchain_kimi.agent.compiled import TOOLS, KimiAgent
from langchain_kimi.agent.limits import AgentLimits
from langchain_kimi.agent.model_call import model_name
from langchain_kimi.agent.nodes import Loop, Steps
from langchain_kimi.agent.state import AgentState
from langchain_kimi.agent.steps import Node, adrive, drive
from langchain_kimi.agent.tool_call import ToolCalls
from langchain_kimi.usage import cost_of

PARALLEL = 128
"""How many calls run side by side where no `max_concurrency` is given. LangGraph's own default on the synchronous path
is the number of cores plus four."""

_OWN_ANSWERS = ("spent", "spent_by_agent", "stop_reason", "structured_response")


def compiled(
    loop: Loop,
    runner: ToolCalls,
    *,
    state: type,
    context_schema: type | None,
    before: Any = None,
    after: Any = None,
    max_concurrency: int | None,
    checkpointer: Checkpointer,
    store: BaseStore | None,
    name: str,
) -> KimiAgent:
    """The graph of an agent or a team; `before` and `after` are nodes around the model."""
    graph = _graph(loop, runner, state, context_schema, before, after)
    built = graph.compile(checkpointer=checkpointer, store=store, name=name)
    built.__class__ = KimiAgent  # LangGraph has no way to name the class that `compile` makes
    settings: RunnableConfig = {"metadata": {"lc_agent_name": name}, "max_concurrency": max_concurrency or PARALLEL}
    agent: Any = built.with_config(settings)
    return agent  # type: ignore[no-any-return]


def check_schema(given: type, base: type) -> None:
    """Raise ValueError where a `state_schema` does not extend the state it must extend."""
    if not is_typeddict(given):
        raise ValueError(f"state_schema={given!r}: a TypedDict that extends {base.__name__}.")
    if missing := get_type_hints(base).keys() - get_type_hints(given).keys():
        raise ValueError(f"state_schema lacks {', '.join(sorted(missing))}: let it extend {base.__name__}.")


def tools_of(given: Sequence[BaseTool | Callable[..., Any]]) -> list[BaseTool]:
    """The tools, functions among them made tools."""
    return [tool if isinstance(tool, BaseTool) else as_tool(tool) for tool in given]


def _graph(
    loop: Loop, runner: ToolCalls, state_schema: type, context_schema: type | None, before: Any, after: Any
) -> StateGraph[Any, Any, Any, Any]:
    state, given, answered = _schemas(state_schema)
    graph = StateGraph(state, context_schema, input_schema=given, output_schema=answered)
    graph.add_node("begin", _beginning(loop, runner))
    graph.add_node("model", _asking(loop.model, "model"))
    graph.add_node(TOOLS, Node(runner.run, runner.arun, TOOLS))
    unusable: Runnable[Any, Any] = RunnableLambda(loop.unusable, name="unusable")
    graph.add_node("unusable", unusable)
    graph.add_node("wrap_up", _asking(loop.wrap_up, "wrap_up"))
    graph.add_edge(START, "begin")
    asks, spoke = "model", "model"
    if before is not None:
        asks = "pre_model_hook"
        graph.add_node(asks, before)
        graph.add_edge(asks, "model")
    if after is not None:
        spoke = "post_model_hook"
        graph.add_node(spoke, after)
        graph.add_edge("model", spoke)
    ends = [END]
    if loop.responds:
        graph.add_node("respond", _asking(loop.respond, "respond"))
        graph.add_edge("respond", END)
        ends = ["respond"]
    ways = [TOOLS, "unusable", "wrap_up", *{*ends, END}]
    if loop.reviews:
        graph.add_node("review", _of_whole(loop.review))
        graph.add_conditional_edges("review", _of_whole(loop.route_reviewed), [TOOLS, "unusable", "review", asks])
        ways.append("review")
    for node in ("begin", TOOLS, "unusable"):
        graph.add_edge(node, asks)
    graph.add_conditional_edges(spoke, _of_whole(loop.route), [*ways, asks])
    graph.add_edge("wrap_up", ends[0])
    return graph


def _asking(policy: Callable[[AgentState], Steps], name: str) -> Runnable[Any, Any]:
    """A node that asks the model, synchronously or not."""

    return Node(
        lambda state, config: drive(policy(state), config), lambda state, config: adrive(policy(state), config), name
    )


def _beginning(loop: Loop, runner: ToolCalls) -> Runnable[Any, Any]:
    """The first node of a turn; it also refuses a synchronous run that could not run every tool."""

    def begin(state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        runner.check_sync()
        return loop.begin(state)

    async def abegin(state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        return loop.begin(state)

    return Node(begin, abegin, "begin")


def _of_whole(function: Callable[[AgentState], Any]) -> Any:
    """The function without its annotation, by which LangGraph would leave out what a `state_schema` adds."""
    return lambda state: function(state)


def _schemas(state_schema: type) -> tuple[Any, Any, Any]:
    """The state with what the agent keeps for itself, what comes in, and what goes out.

    What was spent does not come in: a graph around the agent adds what goes out to its own account.
    """
    hints = get_type_hints(state_schema, include_extras=True)
    shown = {key: hint for key, hint in hints.items() if key != "remaining_steps"}
    given = {key: hint for key, hint in shown.items() if key not in _OWN_ANSWERS}
    own = get_type_hints(AgentState, include_extras=True) | hints
    make: Any = TypedDict
    return make("AgentState", own), make("AgentInput", given), make("AgentOutput", shown)


def responder(
    model: BaseChatModel, tools: Sequence[BaseTool], response_format: type | dict[str, Any] | None
) -> Runnable[Any, Any] | None:
    """What asks for the object; the tools stay in the request where the model can do that, so that its prefix stays."""
    if response_format is None:
        return None
    keeps = "keep_tools" in signature(type(model).with_structured_output).parameters
    return model.with_structured_output(response_format, include_raw=True, **({"keep_tools": tools} if keeps else {}))


def check(runner: ToolCalls, models: Iterable[BaseChatModel], limits: AgentLimits, sequential: Collection[str]) -> None:
    """Raise ValueError for settings that do not fit together."""
    if isinstance(sequential, str) or (unknown := set(sequential) - runner.by_name.keys()):
        known = ", ".join(runner.by_name) or "none"
        wrong = repr(sequential) if isinstance(sequential, str) else ", ".join(sorted(unknown))
        raise ValueError(f"sequential_tools names {wrong}; the tools are: {known}.")
    if limits.cost_usd is None:
        return
    nothing: Any = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    for named in map(model_name, models):
        if cost_of(nothing, named) is None:
            raise ValueError(
                f"AgentLimits(cost_usd={limits.cost_usd}): no price is known of the model {named!r}, so its cost "
                "cannot be limited. Give `tokens` instead."
            )
