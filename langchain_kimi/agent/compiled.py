"""A thread that was left in the middle of a turn, by a crash, a cancelled run or an unanswered interrupt.

Resumed (`invoke(None)`, `Command(resume=…)`), it goes on where it was: LangGraph runs only what has no recorded result.
A new message instead makes LangGraph throw away what was recorded since the last checkpoint: an answer of the model, or
the results of tools whose siblings had not finished. So before a new message is taken, that is committed, and only the
other calls are answered as unknown.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.graph import START
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Overwrite, StateSnapshot, StateUpdate

from langchain_kimi.agent.budget import Accounts, budget_of, with_budget
from langchain_kimi.agent.durability import watched
from langchain_kimi.agent.editing import editing_state
from langchain_kimi.agent.interruption import ended_by_ctrl_c, interruption_of, with_interruption
from langchain_kimi.agent.state import KimiState, add_kimi_messages, add_spent_by_agent, pending_calls, refused

TOOLS = "tools"
"""The node that runs tools."""
_RUN_CALLS = (TOOLS, "unusable")

UNKNOWN = "The run was interrupted and no result was recorded: the tool may or may not have run. Find out first."
_NOT_STARTED = "Not run: the user went on before this call was approved."

_Graph: TypeAlias = CompiledStateGraph[KimiState, Any, Any, Any]


class KimiAgent(_Graph):
    """The compiled graph of an agent. A new message on a thread that was left in the middle loses no result."""

    def stream(self, input: Any, config: RunnableConfig | None = None, **settings: Any) -> Iterator[Any]:
        """LangGraph's `stream`; `invoke` is made of it."""
        if (edit := self._edit(input, config)) is not None and config is not None:
            input = edit
            if self.get_state(config).next:
                if edit.update is not None:
                    config = _after(config, self.update_state(config, edit.update))
                input = _onward(edit, self.get_state(config))
        saver = self._begun_anew(input, config)
        if saver is not None and config is not None:
            left = self.get_state(config)
            if updates := _settlement(left):
                _Graph.bulk_update_state(self._committing(saver), left.config, [updates])
        config = self._budgeted(config)
        if (saver := self._resumed(input, config)) is not None and config is not None:
            left = self.get_state(config)
            accounts = {place: saver.get_tuple(at) for place, at in _open_calls(left, config).items()}
            budget_of(config).resume(*_spent_before(left, accounts))
        with nullcontext(config) if self._lacks_thread(config) else ended_by_ctrl_c(config) as own_config:
            yield from _Graph.stream(self._watched(config), input, own_config, **settings)

    def batch(self, inputs: list[Any], config: Any = None, **settings: Any) -> list[Any]:
        """LangChain's `batch`, whose runs are in threads; Ctrl-C ends them as it ends `invoke`."""
        with ended_by_ctrl_c(None) as own_config:
            if (interruption := interruption_of(own_config)) is not None:
                config = [
                    one if self._lacks_thread(one) else with_interruption(one, interruption)
                    for one in get_config_list(config, len(inputs))
                ]
            return super().batch(inputs, config, **settings)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **settings: Any) -> AsyncIterator[Any]:
        """LangGraph's `astream`; `ainvoke` is made of it."""
        if (edit := self._edit(input, config)) is not None and config is not None:
            input = edit
            if (await self.aget_state(config)).next:
                if edit.update is not None:
                    config = _after(config, await self.aupdate_state(config, edit.update))
                input = _onward(edit, await self.aget_state(config))
        saver = self._begun_anew(input, config)
        if saver is not None and config is not None:
            left = await self.aget_state(config)
            if updates := _settlement(left):
                await _Graph.abulk_update_state(self._committing(saver), left.config, [updates])
        config = self._budgeted(config)
        if (saver := self._resumed(input, config)) is not None and config is not None:
            left = await self.aget_state(config)
            accounts = {place: await saver.aget_tuple(at) for place, at in _open_calls(left, config).items()}
            budget_of(config).resume(*_spent_before(left, accounts))
        async for part in _Graph.astream(self._watched(config), input, config, **settings):
            yield part

    def bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]) -> RunnableConfig:
        """LangGraph's `bulk_update_state`, of which `update_state` is made. Results of tools whose siblings have not
        finished stay; LangGraph would drop them, and those tools would run again."""
        with editing_state():
            if saver := self._own_saver(config):
                left = self.get_state(config)
                if recorded := _recorded(left):
                    config = _Graph.bulk_update_state(self._committing(saver), left.config, [recorded])
                if left.next:
                    supersteps = _begun(supersteps)
            return super().bulk_update_state(config, supersteps)

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """LangGraph's `abulk_update_state`, of which `aupdate_state` is made; see `bulk_update_state`."""
        with editing_state():
            if saver := self._own_saver(config):
                left = await self.aget_state(config)
                if recorded := _recorded(left):
                    config = await _Graph.abulk_update_state(self._committing(saver), left.config, [recorded])
                if left.next:
                    supersteps = _begun(supersteps)
            return await super().abulk_update_state(config, supersteps)

    def _begun_anew(self, input: Any, config: RunnableConfig | None) -> BaseCheckpointSaver[Any] | None:
        """The checkpointer, where this is a new message for a thread of our own: no resumed run, no node of a graph."""
        given = (config or {}).get("configurable", {})
        inside = any(key.startswith("__pregel") for key in given)
        if _goes_on(input) or inside or not given.get("thread_id") or given.get("checkpoint_id"):
            return None
        return self.checkpointer if isinstance(self.checkpointer, BaseCheckpointSaver) else None

    def _edit(self, input: Any, config: RunnableConfig | None) -> Command[Any] | None:
        """The command, where the input is one that edits a thread of this graph and lets its turn go on: `update`, or
        `goto` the model or the tools, or both. The model's node takes both: it passes open calls on to the tools, after
        the usual checks and approvals."""
        known = (config or {}).get("configurable", {})
        inside = any(key.startswith("__pregel") for key in known)
        if not isinstance(input, Command) or inside or self._own_saver(config or {}) is None:
            return None
        places = list(input.goto) if isinstance(input.goto, list | tuple) else [input.goto]
        if input.resume is not None or input.graph or not all(place in ("model", TOOLS) for place in places):
            return None
        edits = bool(places) or input.update is not None
        return Command(update=input.update, goto="model" if places else ()) if edits else None

    def _own_saver(self, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
        """The checkpointer, where the config names a thread of this graph, not of one around or inside it."""
        known = config.get("configurable", {})
        own = bool(known.get("thread_id")) and not known.get("checkpoint_ns")
        return self.checkpointer if own and isinstance(self.checkpointer, BaseCheckpointSaver) else None

    def _lacks_thread(self, config: RunnableConfig | None) -> bool:
        """Whether the config lacks a thread; LangGraph complains of that if nothing is added to it."""
        return bool(self.checkpointer) and not (config or {}).get("configurable")

    def _budgeted(self, config: RunnableConfig | None) -> RunnableConfig | None:
        """The config with a budget for sub-agents."""
        return config if self._lacks_thread(config) else with_budget(config, self.name)

    def _watched(self, config: RunnableConfig | None) -> _Graph:
        """This graph with its checkpointer watched during a run; inside another graph, that one's is used."""
        inside = "__pregel_checkpointer" in (config or {}).get("configurable", {})
        if config is None or inside or not isinstance(self.checkpointer, BaseCheckpointSaver):
            return self
        return self.copy({"checkpointer": watched(self.checkpointer, budget_of(config))})

    def _resumed(self, input: Any, config: RunnableConfig | None) -> BaseCheckpointSaver[Any] | None:
        """The checkpointer, where a run goes on that was interrupted before, this one or one around it."""
        known = (config or {}).get("configurable", {})
        inside = known.get("__pregel_checkpointer")
        resumes = known.get("__pregel_resuming") or (not inside and _goes_on(input))
        saver = inside or self.checkpointer
        return saver if resumes and known.get("thread_id") and isinstance(saver, BaseCheckpointSaver) else None

    def _committing(self, saver: BaseCheckpointSaver[Any]) -> _Graph:
        """This graph with a checkpointer that writes checkpoints only, so that an update is one write: LangGraph puts
        it to the checkpoint before, too, where a kill in between would leave it as the results of open tasks."""
        quiet: Any = copy(saver)
        quiet.put_writes, quiet.aput_writes = _no_writes, _no_awrites
        return self.copy({"checkpointer": quiet})


def _after(config: RunnableConfig, edited: RunnableConfig) -> RunnableConfig:
    """The config of a run that goes on after an edit: that of the new checkpoint where an earlier one was edited."""
    known = config.get("configurable", {})
    if not known.get("checkpoint_id"):
        return config
    return {**config, "configurable": {**known, **edited.get("configurable", {})}}


def _onward(edit: Command[Any], left: StateSnapshot) -> Command[Any] | None:
    """The input for a thread that was edited: None lets it go on; one that has ended follows the command's `goto`."""
    return Command(goto=edit.goto) if edit.goto and not left.next else None


def _recorded(left: StateSnapshot) -> list[StateUpdate] | None:
    """What to commit of a thread before an edit: the results of tools, where other tools have not finished."""
    results = [task.result for task in left.tasks if task.name in _RUN_CALLS and isinstance(task.result, Mapping)]
    if not results or len(results) == len(left.tasks):
        return None
    return _committed(_settled(left.values.get("messages", [])), TOOLS, results)


def _begun(supersteps: Sequence[Sequence[StateUpdate]]) -> list[list[StateUpdate]]:
    """The updates of a thread that is in the middle of a turn, those `as_node="__input__"` as if they were the input of
    a run: LangGraph would keep them beside the open tasks, where the next input drops them."""
    return [
        [update._replace(as_node=START) if update.as_node == "__input__" else update for update in updates]
        for updates in supersteps
    ]


def _goes_on(input: Any) -> bool:
    return input is None or (isinstance(input, Command) and input.resume is not None)


def _open_calls(left: StateSnapshot, config: RunnableConfig) -> dict[str, RunnableConfig]:
    """Where the sub-agents of tool calls that have no result yet keep their threads, by checkpoint namespace."""
    known = config.get("configurable", {})
    above = f"{known['checkpoint_ns']}|" if known.get("checkpoint_ns") else ""
    places = [f"{above}{TOOLS}:{task.id}" for task in left.tasks if task.name == TOOLS and task.result is None]
    return {place: {"configurable": {"thread_id": known["thread_id"], "checkpoint_ns": place}} for place in places}


def _spent_before(
    left: StateSnapshot, open_calls: Mapping[str, CheckpointTuple | None]
) -> tuple[Accounts, dict[str, Accounts]]:
    """What the finished tool calls of an interrupted run spent, and what its open ones have, by namespace."""
    results = [task.result for task in left.tasks if task.name == TOOLS and isinstance(task.result, Mapping)]
    finished: Accounts = {}
    for result in results:
        for write in _writes(result.get("spent_by_agent")):
            finished = add_spent_by_agent(dict(finished), write)
    unfinished: dict[str, Accounts] = {}
    for place, kept in open_calls.items():
        if kept is not None:
            account = kept.checkpoint["channel_values"].get("spent_by_agent") or {}
            for _, channel, value in kept.pending_writes or ():
                if channel == "spent_by_agent":
                    account = add_spent_by_agent(account, value)
            # The seconds of a sub-agent are those of its call.
            unfinished[place] = {
                agent: {key: value for key, value in spent.items() if key != "seconds"}
                for agent, spent in account.items()
            }
    return finished, unfinished


def _settlement(left: StateSnapshot) -> list[StateUpdate] | None:
    """What to commit of a thread before it takes a new message: what is recorded, and errors for the other calls."""
    results = [task.result for task in left.tasks if isinstance(task.result, Mapping)]
    messages = left.values.get("messages", [])
    if not (results or (left.next and pending_calls(messages))):
        return None
    settled = _settled(messages, _NOT_STARTED if "review" in left.next else UNKNOWN)
    node = "wrap_up" if settled and isinstance(settled[-1], AIMessage) else TOOLS
    return _committed(settled, node, results)


def _committed(messages: list[AnyMessage], node: str, results: Sequence[Mapping[str, Any]]) -> list[StateUpdate]:
    """The updates that commit these messages, and what else the tasks wrote."""
    others = [
        {key: write} for result in results for key in result.keys() - {"messages"} for write in _writes(result[key])
    ]
    return [StateUpdate(update, as_node=node) for update in ({"messages": Overwrite(messages)}, *others)]


def _writes(value: Any) -> list[Any]:
    """What a task wrote to a channel; LangGraph shows several writes as one mapping."""
    several = isinstance(value, Mapping) and set(value) == {"$writes"}
    return list(value["$writes"]) if several else [value]


def _settled(messages: list[AnyMessage], why: str | None = None) -> list[AnyMessage]:
    """The thread's messages, those included that were brought since the last checkpoint, in order; with errors for open
    calls where `why` is given."""
    at = max((at for at, message in enumerate(messages) if isinstance(message, AIMessage)), default=-1) + 1
    order = {call["id"]: place for place, call in enumerate(pending_calls(messages[:at]))}
    answers = [*messages[at:], *(refused(call, why) for call in pending_calls(messages) if why)]
    answers.sort(key=lambda message: order.get(getattr(message, "tool_call_id", None), len(order)))
    return add_kimi_messages(messages[:at], [answers])


def _no_writes(*args: Any, **settings: Any) -> None:
    """Writes nothing."""


async def _no_awrites(*args: Any, **settings: Any) -> None:
    """Writes nothing."""
