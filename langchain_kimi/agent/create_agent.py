"""`create_kimi_agent`, which builds an agent."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from langchain_kimi._parameter_names import checks_parameter_names
from langchain_kimi.agent import parameters
from langchain_kimi.agent.approvals.approval import Approval, InterruptMode, InterruptOn
from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.recall import RECALL, check_no_recall_tool, recall_tool
from langchain_kimi.agent.compiled import KimiAgent
from langchain_kimi.agent.graph import compile_graph, response_runnable
from langchain_kimi.agent.loop_guard import LoopGuard
from langchain_kimi.agent.model_call import ModelCaller, SystemPrompt, ToolSelection
from langchain_kimi.agent.model_request import model_name
from langchain_kimi.agent.parameters import suggested_parameter_or_limit
from langchain_kimi.agent.routes import AgentConfig, GraphConfig
from langchain_kimi.agent.side_effects.once import OnUnknown
from langchain_kimi.agent.state import KimiState
from langchain_kimi.agent.thread_locks.thread_lock import ThreadLock
from langchain_kimi.agent.tool_node.tool_call import ToolRunner
from langchain_kimi.agent.tool_node.tool_errors import ToolErrors
from langchain_kimi.agent.usage_limits.limits import AgentLimits


@checks_parameter_names(suggested_parameter_or_limit)
def create_kimi_agent(
    model: BaseChatModel | str,
    tools: Sequence[BaseTool | Callable[..., Any]] = (),
    *,
    system_prompt: SystemPrompt = None,
    response_format: type | dict[str, Any] | None = None,
    limits: AgentLimits | None = None,
    guard: LoopGuard | None = LoopGuard(),  # noqa: B008 (frozen)
    compaction: Compaction | None = Compaction(),  # noqa: B008 (frozen)
    tool_timeout: float | Mapping[str, float] | None = None,
    tool_errors: ToolErrors = True,
    sequential_tools: Collection[str] = (),
    max_concurrency: int | None = None,
    interrupt_on: Mapping[str, bool | InterruptOn] | None = None,
    interrupt_mode: InterruptMode = "batched",
    once: Collection[str] = (),
    on_unknown: OnUnknown = "ask",
    run_input_tool_calls: bool = False,
    select_tools: ToolSelection = None,
    state_schema: type = KimiState,
    context_schema: type | None = None,
    pre_model_hook: Any = None,
    post_model_hook: Any = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    exclusive: ThreadLock | None = None,
    name: str = "kimi_agent",
) -> KimiAgent:
    """A compiled graph that runs `model` with `tools` until the model stops.

    All tool calls of a turn run in parallel, synchronous tools in threads. A tool that raises, a tool that does not
    exist, and arguments that are no JSON object give an error result for that call alone, and the model continues. When
    a limit of `limits`, the `guard` or LangGraph's `recursion_limit` stops the turn, the open calls get error results
    and the model gives one last answer without tools. `state["stop_reason"]` is the reason why the turn ended, and
    `state["spent"]` its usage.

    - `model`: any chat model, or the name of one: `"kimi-k3"` is `ChatKimi(model="kimi-k3")`, and a name with another
      provider, such as `"openai:gpt-5"`, goes to LangChain's `init_chat_model`.
    - `system_prompt`: a text, a SystemMessage, or a function of the state (and, as second argument, LangGraph's
      Runtime) for each request.
    - `response_format`: a pydantic class, TypedDict or JSON Schema. `state["structured_response"]` is a validated
      object, requested after the last answer without forcing a tool. Raises StructuredOutputError if there is none.
    - `compaction`: when and how a long thread is made shorter, if the model's window is known.
    - `tool_timeout`: seconds for each call, or by tool name. A call that takes longer gets an error result, and its
      siblings keep theirs. A synchronous tool cannot be stopped: its thread continues.
    - `tool_errors`: which exceptions of tools become error results, with the values of LangGraph's ToolNode: True
      (all), False (none: the run raises them), a text, exception types, or a function of the exception. Each one is
      logged with its traceback. Arguments that do not fit a tool's schema are always an error result.
    - `sequential_tools`: names of tools of which no two calls run in parallel.
    - `max_concurrency`: how many calls run in parallel; LangGraph's config of the same name takes precedence.
    - `interrupt_on`: tools that need a person's decision, in the format of LangChain's human-in-the-loop middleware.
    - `interrupt_mode`: `batched` asks for decisions on all calls of a turn in one interrupt, `per_call` in one for each
      call, which is answered by its id.
    - `once`: names of tools whose calls never run twice by themselves. Before one starts, that is recorded in the
      checkpointer. A call that may have run and has no result, after a crash or a timeout, becomes an interrupt that
      takes a decision of a person, or with `on_unknown="tell_model"` an error result. A run without a checkpointer or
      with `durability="exit"` raises DurabilityError.
    - `run_input_tool_calls`: whether tool calls of an assistant message at the end of the input run. By default they
      get error results, because their author is unknown; calls of the thread's own model always continue.
    - `select_tools`: a function of the state (and Runtime) that returns the tools for each request. The model cannot
      call the others.
    - `state_schema`: a TypedDict that extends KimiState. `context_schema`: LangGraph's.
    - `exclusive`: a PostgresThreadLock or RedisThreadLock, by which one run at a time has a thread. Without it, the
      turns of two runs at the same time on one thread are not both kept.
    - `pre_model_hook`, `post_model_hook`: nodes before and after the model, functions from the state to an update. The
      former may return `llm_input_messages`, which the model reads instead of `messages`.

    Raises TypeError for a parameter of a wrong type, and ValueError for settings that do not fit together.
    """
    owner = "create_kimi_agent"
    model = parameters.to_chat_model(model, owner)
    parameters.check_tools(owner, tools)
    parameters.check_types(
        owner, limits=(limits, AgentLimits), guard=(guard, LoopGuard), compaction=(compaction, Compaction)
    )
    parameters.check_types(owner, exclusive=(exclusive, ThreadLock))
    own_tools = parameters.to_tools(tools)
    if compaction and compaction.archive:
        check_no_recall_tool(owner, own_tools)
        own_tools.append(recall_tool())
    runner = ToolRunner(own_tools, tool_timeout, tool_errors, once, on_unknown)
    limits = limits or AgentLimits()
    parameters.check_sequential_tools(sequential_tools, runner.tools_by_name)
    parameters.check_prices(limits, [model_name(model)])
    parameters.check_state_schema(state_schema, KimiState)
    agent = AgentConfig(
        ModelCaller(model, own_tools, system_prompt, select_tools, always=[RECALL]),
        Compactor(compaction, model, own_tools) if compaction else None,
        response_runnable(model, own_tools, response_format),
    )
    config = GraphConfig(
        active_agent=lambda state: agent,
        limits=limits,
        guard=guard,
        approval=Approval(interrupt_on or {}, runner.tools_by_name, interrupt_mode),
        once=runner.once,
        sequential_tools=frozenset(sequential_tools),
        has_response_format=response_format is not None,
        run_input_tool_calls=run_input_tool_calls,
    )
    return compile_graph(
        config,
        runner,
        state_schema=state_schema,
        context_schema=context_schema,
        pre_model_hook=pre_model_hook,
        post_model_hook=post_model_hook,
        max_concurrency=max_concurrency,
        checkpointer=checkpointer,
        store=store,
        exclusive=exclusive,
        name=name,
    )
