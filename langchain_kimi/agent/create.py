"""Builds an agent: the state machine's nodes and routes as a compiled LangGraph graph."""

from collections.abc import Callable, Collection, Mapping, Sequence
from inspect import signature
from typing import Any, TypedDict, get_type_hints, is_typeddict

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as as_tool
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from langchain_kimi.agent.approval import Approval, InterruptOn
from langchain_kimi.agent.calls import ToolCalls
from langchain_kimi.agent.context import Compactor, Context
from langchain_kimi.agent.effects import Node, adrive, drive
from langchain_kimi.agent.guard import LoopGuard
from langchain_kimi.agent.limits import Limits
from langchain_kimi.agent.loop import Loop, Steps
from langchain_kimi.agent.recovery import TOOLS, KimiAgent
from langchain_kimi.agent.speaker import Prompt, Speaker, ToolSelection
from langchain_kimi.agent.state import AgentState, KimiState
from langchain_kimi.usage import cost_of

PARALLEL = 128
"""How many calls run side by side where no `max_concurrency` is given. LangGraph's own default on the synchronous path
is the number of cores plus four."""

_OWN_ANSWERS = ("spent", "stop_reason", "structured_response")


def create_kimi_agent(
    model: BaseChatModel,
    tools: Sequence[BaseTool | Callable[..., Any]] = (),
    *,
    system_prompt: Prompt = None,
    response_format: type | dict[str, Any] | None = None,
    limits: Limits | None = None,
    guard: LoopGuard | None = LoopGuard(),  # noqa: B008 (frozen)
    context: Context | None = Context(),  # noqa: B008 (frozen)
    tool_timeout: float | Mapping[str, float] | None = None,
    sequential_tools: Collection[str] = (),
    max_concurrency: int | None = None,
    interrupt_on: Mapping[str, bool | InterruptOn] | None = None,
    select_tools: ToolSelection = None,
    state_schema: type = KimiState,
    context_schema: type | None = None,
    pre_model_hook: Any = None,
    post_model_hook: Any = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    name: str = "kimi_agent",
) -> KimiAgent:
    """A compiled graph that runs `model` with `tools` until the model stops.

    All tool calls of a turn run in parallel, sync tools in threads. A tool that raises, a tool that does not exist and
    arguments that are no JSON object become an error result for that call alone, and the model goes on. At a limit of
    `limits`, when `guard` sees it going in circles, or shortly before LangGraph's `recursion_limit`, the pending calls
    are answered as not run and the model gives one last answer without tools; `state["stop_reason"]` says why the turn
    ended, `state["spent"]` what it used.

    `system_prompt`: a text, a SystemMessage, or a function of the state (and, as second argument, LangGraph's Runtime)
        for each request.
    `response_format`: a pydantic class, TypedDict or JSON Schema; `state["structured_response"]` then is a validated
        object, asked for after the last answer without forcing a tool. Raises StructuredOutputError where none comes.
    `context`: when a long thread is made shorter, where the model's window is known.
    `tool_timeout`: seconds for each call, or by tool name; a call that takes longer gets an error result, and its
        siblings keep theirs. A synchronous tool cannot be stopped: its thread goes on by itself.
    `sequential_tools`: names of tools of which no two calls run side by side.
    `max_concurrency`: how many calls run side by side; LangGraph's config of the same name wins.
    `interrupt_on`: tools that need a person's decision, in the format of LangChain's human-in-the-loop middleware.
    `select_tools`: a function of the state (and Runtime) that names the tools for each request; the model can call
        none of the others.
    `state_schema`: a TypedDict that extends KimiState. `context_schema`: LangGraph's.
    `pre_model_hook`, `post_model_hook`: nodes before and after the model, functions from the state to an update; the
        former may give `llm_input_messages`, which the model sees instead of `messages`.

    Raises ValueError for settings that do not fit together.
    """
    own_tools = [tool if isinstance(tool, BaseTool) else as_tool(tool) for tool in tools]
    runner = ToolCalls(own_tools, tool_timeout)
    limits = limits or Limits()
    _check(runner, model, limits, sequential_tools)
    loop = Loop(
        Speaker(model, own_tools, system_prompt, select_tools),
        tools=list(runner.by_name),
        limits=limits,
        guard=guard,
        approval=Approval(interrupt_on or {}, runner.by_name),
        compactor=Compactor(context, model, own_tools) if context else None,
        sequential=frozenset(sequential_tools),
        respond=_responder(model, own_tools, response_format),
        hooks=(pre_model_hook is not None, post_model_hook is not None),
    )
    graph = _graph(loop, runner, state_schema, context_schema, pre_model_hook, post_model_hook)
    compiled = graph.compile(checkpointer=checkpointer, store=store, name=name)
    compiled.__class__ = KimiAgent  # LangGraph has no way to name the class that `compile` makes
    settings: RunnableConfig = {"metadata": {"lc_agent_name": name}, "max_concurrency": max_concurrency or PARALLEL}
    agent: Any = compiled.with_config(settings)
    return agent  # type: ignore[no-any-return]


def _graph(
    loop: Loop, runner: ToolCalls, state_schema: type, context_schema: type | None, before: Any, after: Any
) -> StateGraph[Any, Any, Any, Any]:
    state, given, answered = _schemas(state_schema)
    graph = StateGraph(state, context_schema, input_schema=given, output_schema=answered)
    graph.add_node("begin", loop.begin)
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
    ways = [TOOLS, "unusable", "wrap_up", *ends]
    if loop.reviews:
        graph.add_node("review", loop.review)
        graph.add_conditional_edges("review", loop.route_reviewed, [TOOLS, "unusable", asks])
        ways.append("review")
    for node in ("begin", TOOLS, "unusable"):
        graph.add_edge(node, asks)
    graph.add_conditional_edges(spoke, loop.route, ways)
    graph.add_edge("wrap_up", ends[0])
    return graph


def _asking(policy: Callable[[AgentState], Steps], name: str) -> Runnable[Any, Any]:
    """A node that asks the model, synchronously or not."""

    return Node(
        lambda state, config: drive(policy(state), config), lambda state, config: adrive(policy(state), config), name
    )


def _schemas(state_schema: type) -> tuple[Any, Any, Any]:
    """The state with what the agent keeps for itself, what comes in, and what goes out.

    What was spent does not come in: a graph around the agent adds what goes out to its own account.
    """
    if not is_typeddict(state_schema):
        raise ValueError(f"state_schema={state_schema!r}: a TypedDict that extends KimiState.")
    hints = get_type_hints(state_schema, include_extras=True)
    if missing := KimiState.__annotations__.keys() - hints.keys():
        raise ValueError(f"state_schema lacks {', '.join(sorted(missing))}: let it extend KimiState.")
    shown = {key: hint for key, hint in hints.items() if key != "remaining_steps"}
    given = {key: hint for key, hint in shown.items() if key not in _OWN_ANSWERS}
    own = get_type_hints(AgentState, include_extras=True) | hints
    make: Any = TypedDict
    return make("AgentState", own), make("AgentInput", given), make("AgentOutput", shown)


def _responder(
    model: BaseChatModel, tools: Sequence[BaseTool], response_format: type | dict[str, Any] | None
) -> Runnable[Any, Any] | None:
    """What asks for the object; the tools stay in the request where the model can do that, so that its prefix stays."""
    if response_format is None:
        return None
    keeps = "keep_tools" in signature(type(model).with_structured_output).parameters
    return model.with_structured_output(response_format, include_raw=True, **({"keep_tools": tools} if keeps else {}))


def _check(runner: ToolCalls, model: BaseChatModel, limits: Limits, sequential: Collection[str]) -> None:
    if isinstance(sequential, str) or (unknown := set(sequential) - runner.by_name.keys()):
        known = ", ".join(runner.by_name) or "none"
        wrong = repr(sequential) if isinstance(sequential, str) else ", ".join(sorted(unknown))
        raise ValueError(f"sequential_tools names {wrong}; the tools are: {known}.")
    named = getattr(model, "model", None) or getattr(model, "model_name", None)
    nothing = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    if limits.cost_usd is not None and cost_of(nothing, str(named)) is None:  # type: ignore[arg-type]
        raise ValueError(
            f"Limits(cost_usd={limits.cost_usd}): no price is known of the model {named!r}, so its cost cannot be "
            "limited. Give `tokens` instead."
        )
