"""`create_kimi_team`, which builds a team: several agents in one graph, of which one at a time is active."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer, Command

from langchain_kimi._parameter_names import checks_field_names, checks_parameter_names
from langchain_kimi.agent import parameters
from langchain_kimi.agent.approvals.approval import Approval, InterruptMode, InterruptOn
from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.recall import check_no_recall_tool, recall_tool
from langchain_kimi.agent.compiled import KimiAgent
from langchain_kimi.agent.graph import compile_graph, member_hook, response_runnable
from langchain_kimi.agent.loop_guard import LoopGuard
from langchain_kimi.agent.model_call import ModelCaller, SystemPrompt, ToolSelection
from langchain_kimi.agent.parameters import suggested_parameter_or_limit
from langchain_kimi.agent.routes import AgentConfig, GraphConfig
from langchain_kimi.agent.side_effects.once import OnUnknown
from langchain_kimi.agent.state import AgentState, TeamState
from langchain_kimi.agent.thread_locks.thread_lock import ThreadLock
from langchain_kimi.agent.tool_node.tool_call import ToolRunner
from langchain_kimi.agent.tool_node.tool_errors import ToolErrors
from langchain_kimi.agent.usage_limits.limits import AgentLimits

HANDOFF_PREFIX = "transfer_to_"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,50}")


@checks_field_names
@dataclass(frozen=True, slots=True, kw_only=True)
class TeamMember:
    """One agent of a team.

    - `name`: letters, digits, `_` and `-`. It signs the agent's messages and names the tool `transfer_to_<name>`.
    - `model`: any chat model, or the name of one, as for `create_kimi_agent`.
    - `tools`: the agent's own. In addition it gets a tool `transfer_to_<name>` for each agent in `transfers_to`, or for
      all others if that is None.
    - `system_prompt`: as for `create_kimi_agent`.
    - `description`: tells the other agents when to hand over to this one.
    - `select_tools`: as for `create_kimi_agent`, among the agent's own tools. Those to hand over are in each request.
    - `pre_model_hook`, `post_model_hook`: as for `create_kimi_agent`, before and after this agent's model. The agent
      reads `llm_input_messages` as it reads the conversation: with a report of other agents' messages.
    """

    name: str
    model: BaseChatModel | str
    tools: Sequence[BaseTool | Callable[..., Any]] = ()
    system_prompt: SystemPrompt = None
    description: str = ""
    transfers_to: Collection[str] | None = None
    select_tools: ToolSelection = None
    pre_model_hook: Any = None
    post_model_hook: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"TeamMember(name={self.name!r}): 1 to 50 letters, digits, `_` and `-`.")
        if isinstance(self.transfers_to, str):
            raise ValueError(f"TeamMember(transfers_to={self.transfers_to!r}): a list of names, not one string.")
        parameters.check_tools(f"TeamMember({self.name!r})", self.tools)
        parameters.check_model(self.model, f"TeamMember({self.name!r})")


@checks_parameter_names(suggested_parameter_or_limit)
def create_kimi_team(
    members: Sequence[TeamMember],
    *,
    default_active_agent: str | None = None,
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
    state_schema: type = TeamState,
    context_schema: type | None = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    exclusive: ThreadLock | None = None,
    name: str = "kimi_team",
) -> KimiAgent:
    """A compiled graph of several agents that share one conversation and hand it over to each other.

    The agent in `state["active_agent"]` answers: the first of `members` or `default_active_agent`, until one calls
    `transfer_to_<name>`. It stays the same over user turns, and an input may set it. A hand-off beside other calls
    keeps all their results. If the model hands off several times in one turn, only the first takes effect; the others
    get error results.

    Each agent reads its own messages with its own reasoning, exactly as its model wrote them, and a report of the other
    agents' messages in a user message. So every model gets a conversation that it accepts, and its requests grow only
    at their end. An agent can only call tools of its own requests.

    `limits` and `guard` hold for the whole team. `state["spent"]` is the usage of all members, and
    `state["spent_by_agent"]` the usage of each. All other parameters are those of `create_kimi_agent`.

    Raises TypeError for a parameter of a wrong type, and ValueError for settings that do not fit together.
    """
    parameters.check_types(
        "create_kimi_team", limits=(limits, AgentLimits), guard=(guard, LoopGuard), compaction=(compaction, Compaction)
    )
    parameters.check_types("create_kimi_team", exclusive=(exclusive, ThreadLock))
    first = _first_member(members, default_active_agent)
    handoffs = {member.name: handoff_tool(member.name, member.description) for member in members}
    tools = _tools_by_member(members, handoffs, archive=bool(compaction and compaction.archive))
    runner = ToolRunner(_distinct_tools(tools), tool_timeout, tool_errors, once, on_unknown)
    agents = {member.name: _agent(member, tools[member.name], compaction, response_format) for member in members}
    limits, handoff_names = limits or AgentLimits(), frozenset(tool.name for tool in handoffs.values())
    parameters.check_sequential_tools(sequential_tools, runner.tools_by_name)
    parameters.check_prices(limits, [agent.model.name for agent in agents.values()])
    parameters.check_state_schema(state_schema, TeamState)
    active_agent = partial(_active_agent, agents, first)
    config = GraphConfig(
        active_agent=active_agent,
        limits=limits,
        guard=replace(guard, exempt={*guard.exempt, *handoff_names}) if guard else None,
        approval=Approval(interrupt_on or {}, runner.tools_by_name, interrupt_mode),
        once=runner.once,
        sequential_tools=frozenset(sequential_tools),
        has_response_format=response_format is not None,
        handoffs=handoff_names,
        run_input_tool_calls=run_input_tool_calls,
    )
    return compile_graph(
        config,
        runner,
        state_schema=state_schema,
        context_schema=context_schema,
        pre_model_hook=member_hook({member.name: member.pre_model_hook for member in members}, active_agent),
        post_model_hook=member_hook({member.name: member.post_model_hook for member in members}, active_agent),
        max_concurrency=max_concurrency,
        checkpointer=checkpointer,
        store=store,
        exclusive=exclusive,
        name=name,
    )


def handoff_tool(name: str, description: str) -> BaseTool:
    """The tool by which other agents hand the conversation over to the agent `name`."""

    def transfer(tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        result = ToolMessage(
            f"The conversation was handed over to {name}.", tool_call_id=tool_call_id, name=HANDOFF_PREFIX + name
        )
        return Command(update={"active_agent": name, "messages": [result]})

    text = f"Hand this conversation over to {name}, who then goes on with it. {description}".strip()
    return StructuredTool.from_function(transfer, name=HANDOFF_PREFIX + name, description=text)


def _active_agent(agents: Mapping[str, AgentConfig], first: str, state: AgentState) -> AgentConfig:
    name = str(state.get("active_agent") or first)
    if name not in agents:
        raise ValueError(
            f"active_agent={name!r} is none of the team: {', '.join(agents)}. Give one of these as `active_agent` "
            "beside the next `messages`."
        )
    return agents[name]


def _agent(
    member: TeamMember,
    tools: Sequence[BaseTool],
    compaction: Compaction | None,
    response_format: type | dict[str, Any] | None,
) -> AgentConfig:
    """A member of the team. `tools` are its own, and behind them those that the team adds."""
    model = parameters.to_chat_model(member.model, f"TeamMember({member.name!r})")
    always = [tool.name for tool in tools[len(member.tools) :]]
    return AgentConfig(
        ModelCaller(model, tools, member.system_prompt, member.select_tools, agent=member.name, always=always),
        Compactor(compaction, model, tools, member.name) if compaction else None,
        response_runnable(model, tools, response_format),
    )


def _tools_by_member(
    members: Sequence[TeamMember], handoffs: Mapping[str, BaseTool], *, archive: bool
) -> dict[str, list[BaseTool]]:
    """Each member's own tools, and those that the team adds. A function that several members have is one tool."""
    by_id = {id(tool): tool for member in members for tool in member.tools}
    tools = dict(zip(by_id, parameters.to_tools(list(by_id.values())), strict=True))
    if reserved := [tool.name for tool in tools.values() if tool.name.startswith(HANDOFF_PREFIX)]:
        raise ValueError(f"A tool is named {reserved[0]!r}: names with {HANDOFF_PREFIX!r} are for hand-offs.")
    own = {member.name: [tools[id(tool)] for tool in member.tools] for member in members}
    for name in own if archive else ():
        check_no_recall_tool(f"TeamMember({name!r})", own[name])
    recall = [recall_tool()] if archive else []
    return {member.name: [*own[member.name], *recall, *_handoff_tools(member, handoffs)] for member in members}


def _handoff_tools(member: TeamMember, handoffs: Mapping[str, BaseTool]) -> list[BaseTool]:
    allowed = handoffs.keys() - {member.name} if member.transfers_to is None else member.transfers_to
    return [tool for name, tool in handoffs.items() if name in allowed]


def _distinct_tools(tools: Mapping[str, Sequence[BaseTool]]) -> list[BaseTool]:
    """Every tool of the team once; several agents may have the same tool."""
    distinct: dict[str, BaseTool] = {}
    for agent, own in tools.items():
        for tool in own:
            if distinct.setdefault(tool.name, tool) is not tool:
                raise ValueError(
                    f"{agent} has another tool named {tool.name!r} than an agent before it: give them the same tool, "
                    "or rename one."
                )
    return list(distinct.values())


def _first_member(members: Sequence[TeamMember], default: str | None) -> str:
    """The name of the member that answers first. Raises ValueError for names that do not fit together."""
    names = list(dict.fromkeys(member.name for member in members))
    if len(names) != len(members) or not names:
        raise ValueError(f"members: one or more agents with names of their own, not {[m.name for m in members]}.")
    if default and default not in names:
        raise ValueError(f"default_active_agent={default!r} is none of the team: {', '.join(names)}.")
    for member in members:
        others = [name for name in names if name != member.name]
        if unknown := set(member.transfers_to or ()) - set(others):
            raise ValueError(
                f"TeamMember({member.name!r}, transfers_to={sorted(unknown)}): the other agents are "
                f"{', '.join(others) or 'none'}."
            )
    return default or names[0]
