"""Builds a team: several agents in one state machine, of which one at a time is active."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from langchain_kimi.agent.approval import Approval, InterruptOn
from langchain_kimi.agent.arguments import chat_model, check_kinds, check_model, check_tools, with_known_arguments
from langchain_kimi.agent.compaction.compactor import Compactor
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.compaction.recall import check_no_recall_tool, recall_tool
from langchain_kimi.agent.compiled import KimiAgent
from langchain_kimi.agent.graph import check, check_schema, compiled, responder, tools_of
from langchain_kimi.agent.handoff import PREFIX, handoff_tool
from langchain_kimi.agent.limits import AgentLimits
from langchain_kimi.agent.loop_guard import LoopGuard
from langchain_kimi.agent.model_call import Prompt, Speaker
from langchain_kimi.agent.nodes import Loop, Role
from langchain_kimi.agent.state import AgentState, TeamState
from langchain_kimi.agent.tool_call import ToolCalls
from langchain_kimi.agent.tool_errors import ToolErrors

_NAME = re.compile(r"[A-Za-z0-9_-]{1,50}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamMember:
    """One agent of a team.

    `name`: letters, digits, `_` and `-`; it signs the agent's messages and names the tool `transfer_to_<name>`.
    `model`: any chat model, or the name of one, as for `create_kimi_agent`.
    `tools`: the agent's own; beside them it gets a `transfer_to_<name>` for each agent in
    `transfers_to`, or for all others where that is None. `system_prompt`: as for `create_kimi_agent`. `description`:
    told to the other agents, so that they know whom to hand over to.
    """

    name: str
    model: BaseChatModel | str
    tools: Sequence[BaseTool | Callable[..., Any]] = ()
    system_prompt: Prompt = None
    description: str = ""
    transfers_to: Collection[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"TeamMember(name={self.name!r}): 1 to 50 letters, digits, `_` and `-`.")
        if isinstance(self.transfers_to, str):
            raise ValueError(f"TeamMember(transfers_to={self.transfers_to!r}): a list of names, not one string.")
        check_tools(f"TeamMember({self.name!r})", self.tools)
        check_model(self.model, f"TeamMember({self.name!r})")


@with_known_arguments
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
    run_input_tool_calls: bool = False,
    state_schema: type = TeamState,
    context_schema: type | None = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    name: str = "kimi_team",
) -> KimiAgent:
    """A compiled graph of several agents that share one conversation and hand it over to each other.

    `state["active_agent"]` speaks: the first of `members`, or `default_active_agent`, until one calls
    `transfer_to_<name>`; it stays so over user turns, and an input may set it. A hand-off beside other calls keeps all
    their results; of several hand-offs in one turn the first counts, and the others are answered as not done.

    Each agent sees its own messages with its own reasoning, exactly as its model wrote them, and those of the others
    told in a user message. So every model gets a conversation that it takes, and its requests grow by their prefix.
    An agent can only call tools that it was shown.

    `limits` and `guard` hold for the whole team; `state["spent"]` is what all used, `state["spent_by_agent"]` who used
    what. All else is as for `create_kimi_agent`: one machine, with one speaker at a time.

    Raises ValueError for settings that do not fit together.
    """
    check_kinds(
        "create_kimi_team", limits=(limits, AgentLimits), guard=(guard, LoopGuard), compaction=(compaction, Compaction)
    )
    by_name = {member.name: member for member in members}
    first = default_active_agent or next(iter(by_name), "")
    _check_members(members, by_name, first)
    models = {member.name: chat_model(member.model, f"TeamMember({member.name!r})") for member in members}
    handoffs = {member.name: handoff_tool(member.name, member.description) for member in members}
    made = _made(members)
    archive = [recall_tool()] if compaction and compaction.archive else []
    for member in members if archive else ():
        check_no_recall_tool(f"TeamMember({member.name!r})", made[member.name])
    tools = {member.name: [*made[member.name], *archive, *_transfers(member, handoffs)] for member in members}
    runner = ToolCalls(_all_of(tools), tool_timeout, tool_errors)
    limits = limits or AgentLimits()
    check(runner, models.values(), limits, sequential_tools)
    check_schema(state_schema, TeamState)
    roles = {
        member.name: Role(
            Speaker(models[member.name], tools[member.name], member.system_prompt, agent=member.name),
            Compactor(compaction, models[member.name], tools[member.name], member.name) if compaction else None,
            responder(models[member.name], tools[member.name], response_format),
        )
        for member in members
    }
    names = frozenset(tool.name for tool in handoffs.values())
    loop = Loop(
        _Active(roles, first),
        tools=list(runner.by_name),
        limits=limits,
        guard=replace(guard, exempt={*guard.exempt, *names}) if guard else None,
        approval=Approval(interrupt_on or {}, runner.by_name),
        sequential=frozenset(sequential_tools),
        responds=response_format is not None,
        runs_input_calls=run_input_tool_calls,
        handoffs=names,
    )
    return compiled(
        loop,
        runner,
        state=state_schema,
        context_schema=context_schema,
        max_concurrency=max_concurrency,
        checkpointer=checkpointer,
        store=store,
        name=name,
    )


class _Active:
    """The role of whoever is active in a state."""

    def __init__(self, roles: Mapping[str, Role], first: str) -> None:
        self._roles = roles
        self._first = first

    def __call__(self, state: AgentState) -> Role:
        name = str(state.get("active_agent") or self._first)
        if name not in self._roles:
            raise ValueError(
                f"active_agent={name!r} is none of the team: {', '.join(self._roles)}. Give one of these as "
                "`active_agent` beside the next `messages`."
            )
        return self._roles[name]


def _made(members: Sequence[TeamMember]) -> dict[str, list[BaseTool]]:
    """Each agent's own tools; a function that several agents have becomes one tool."""
    given = {id(tool): tool for member in members for tool in member.tools}
    tools = dict(zip(given, tools_of(list(given.values())), strict=True))
    own = {member.name: [tools[id(tool)] for tool in member.tools] for member in members}
    if taken := [tool.name for tool in tools.values() if tool.name.startswith(PREFIX)]:
        raise ValueError(f"A tool is named {taken[0]!r}: names with {PREFIX!r} are for hand-offs.")
    return own


def _transfers(member: TeamMember, handoffs: Mapping[str, BaseTool]) -> list[BaseTool]:
    allowed = handoffs.keys() - {member.name} if member.transfers_to is None else member.transfers_to
    return [tool for name, tool in handoffs.items() if name in allowed]


def _all_of(tools: Mapping[str, Sequence[BaseTool]]) -> list[BaseTool]:
    """Every tool of the team once; the same tool may belong to several agents."""
    found: dict[str, BaseTool] = {}
    for agent, own in tools.items():
        for tool in own:
            if found.setdefault(tool.name, tool) is not tool:
                raise ValueError(
                    f"{agent} has another tool named {tool.name!r} than an agent before it: give them the same tool, "
                    "or rename one."
                )
    return list(found.values())


def _check_members(members: Sequence[TeamMember], by_name: Mapping[str, TeamMember], first: str) -> None:
    known = ", ".join(by_name) or "none"
    if len(by_name) != len(members) or not members:
        raise ValueError(f"members: one or more agents with names of their own, not {[m.name for m in members]}.")
    if first not in by_name:
        raise ValueError(f"default_active_agent={first!r} is none of the team: {known}.")
    for member in members:
        others = [name for name in by_name if name != member.name]
        if unknown := set(member.transfers_to or ()) - set(others):
            raise ValueError(
                f"TeamMember({member.name!r}, transfers_to={sorted(unknown)}): the other agents are "
                f"{', '.join(others) or 'none'}."
            )
