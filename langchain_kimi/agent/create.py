"""Builds an agent."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from langchain_kimi.agent.approval import Approval, InterruptOn
from langchain_kimi.agent.arguments import chat_model, check_kinds, check_tools, with_known_arguments
from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.recall import always_recall, check_no_recall_tool, recall_tool
from langchain_kimi.agent.compiled import KimiAgent
from langchain_kimi.agent.graph import check, check_schema, compiled, responder, tools_of
from langchain_kimi.agent.limits import AgentLimits
from langchain_kimi.agent.loop_guard import LoopGuard
from langchain_kimi.agent.model_call import Prompt, Speaker, ToolSelection
from langchain_kimi.agent.nodes import Loop, Role
from langchain_kimi.agent.state import KimiState
from langchain_kimi.agent.tool_call import ToolCalls
from langchain_kimi.agent.tool_errors import ToolErrors


@with_known_arguments
def create_kimi_agent(
    model: BaseChatModel | str,
    tools: Sequence[BaseTool | Callable[..., Any]] = (),
    *,
    system_prompt: Prompt = None,
    response_format: type | dict[str, Any] | None = None,
    limits: AgentLimits | None = None,
    guard: LoopGuard | None = LoopGuard(),  # noqa: B008 (frozen)
    compaction: Compaction | None = Compaction(),  # noqa: B008 (frozen)
    tool_timeout: float | Mapping[str, float] | None = None,
    tool_errors: ToolErrors = True,
    sequential_tools: Collection[str] = (),
    max_concurrency: int | None = None,
    interrupt_on: Mapping[str, bool | InterruptOn] | None = None,
    run_input_tool_calls: bool = False,
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

    `model`: any chat model, or the name of one: `"kimi-k2.6"` is `ChatKimi(model="kimi-k2.6")`, and a name with another
        provider, such as `"openai:gpt-5"`, goes to LangChain's `init_chat_model`.
    `system_prompt`: a text, a SystemMessage, or a function of the state (and, as second argument, LangGraph's Runtime)
        for each request.
    `response_format`: a pydantic class, TypedDict or JSON Schema; `state["structured_response"]` then is a validated
        object, asked for after the last answer without forcing a tool. Raises StructuredOutputError where none comes.
    `compaction`: when a long thread is made shorter, where the model's window is known.
    `tool_timeout`: seconds for each call, or by tool name; a call that takes longer gets an error result, and its
        siblings keep theirs. A synchronous tool cannot be stopped: its thread goes on by itself.
    `tool_errors`: which exceptions of tools become error results, as LangGraph's ToolNode takes them: True (all), False
        (none: the run raises them), a text, exception types, or a function of the exception. Each one is logged with
        its traceback. Arguments that do not fit a tool's schema are always an error result.
    `sequential_tools`: names of tools of which no two calls run side by side.
    `max_concurrency`: how many calls run side by side; LangGraph's config of the same name wins.
    `interrupt_on`: tools that need a person's decision, in the format of LangChain's human-in-the-loop middleware.
    `run_input_tool_calls`: whether tool calls of an assistant message at the end of the input run. By default they are
        answered as not run, since nobody knows who wrote them; calls of the thread's own model always go on.
    `select_tools`: a function of the state (and Runtime) that names the tools for each request; the model can call
        none of the others.
    `state_schema`: a TypedDict that extends KimiState. `context_schema`: LangGraph's.
    `pre_model_hook`, `post_model_hook`: nodes before and after the model, functions from the state to an update; the
        former may give `llm_input_messages`, which the model sees instead of `messages`.

    Raises ValueError for settings that do not fit together.
    """
    model = chat_model(model, "create_kimi_agent")
    check_tools("create_kimi_agent", tools)
    check_kinds(
        "create_kimi_agent", limits=(limits, AgentLimits), guard=(guard, LoopGuard), compaction=(compaction, Compaction)
    )
    own_tools = tools_of(tools)
    if compaction and compaction.archive:
        check_no_recall_tool("create_kimi_agent", own_tools)
        own_tools.append(recall_tool())
        select_tools = always_recall(select_tools) if select_tools else None
    runner = ToolCalls(own_tools, tool_timeout, tool_errors)
    limits = limits or AgentLimits()
    check(runner, [model], limits, sequential_tools)
    check_schema(state_schema, KimiState)
    role = Role(
        Speaker(model, own_tools, system_prompt, select_tools),
        Compactor(compaction, model, own_tools) if compaction else None,
        responder(model, own_tools, response_format),
    )
    loop = Loop(
        lambda state: role,
        tools=list(runner.by_name),
        limits=limits,
        guard=guard,
        approval=Approval(interrupt_on or {}, runner.by_name),
        sequential=frozenset(sequential_tools),
        responds=response_format is not None,
        runs_input_calls=run_input_tool_calls,
        hooks=(pre_model_hook is not None, post_model_hook is not None),
    )
    return compiled(
        loop,
        runner,
        state=state_schema,
        context_schema=context_schema,
        before=pre_model_hook,
        after=post_model_hook,
        max_concurrency=max_concurrency,
        checkpointer=checkpointer,
        store=store,
        name=name,
    )
