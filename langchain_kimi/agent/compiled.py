"""The compiled graph of an agent or a team, with recovery of interrupted threads.

When an interrupted thread is resumed (`invoke(None)`, `Command(resume=…)`), LangGraph runs only the tasks that have no
recorded result. A new message instead makes LangGraph drop what was recorded since the last checkpoint: an answer of
the model, or the results of tools whose siblings had not finished. `KimiAgent` therefore commits these results first,
and answers only the other calls as unknown.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, nullcontext
from typing import Any, TypeAlias, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot, StateUpdate

from langchain_kimi._pacing import pace
from langchain_kimi.agent import recovery
from langchain_kimi.agent.state import TOOLS_NODE, KimiState, editing_state
from langchain_kimi.agent.thread_locks.held_thread import aholding, checked_writes, holding
from langchain_kimi.agent.thread_locks.thread_lock import ThreadLock
from langchain_kimi.agent.tool_node.tool_threads import ended_by_ctrl_c, interruption_of, with_interruption
from langchain_kimi.agent.usage_limits.budget import budget_of, with_budget

_Graph: TypeAlias = CompiledStateGraph[KimiState, Any, Any, Any]


class KimiAgent(_Graph):
    """The compiled LangGraph graph that `create_kimi_agent` and `create_kimi_team` return.

    It has LangGraph's methods. In addition, a new message or an `update_state` on an interrupted thread loses no
    recorded result, and Ctrl-C ends a synchronous run although a tool is still at work.
    """

    def __init__(self, *, exclusive: ThreadLock | None = None, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.exclusive = exclusive
        """The lock by which one run at a time has a thread."""

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """LangGraph's `stream`, on which `invoke` is built."""
        with holding(self.exclusive, config) as own_config:
            yield from self._stream(input, own_config, **kwargs)

    def _stream(self, input: Any, config: RunnableConfig | None, **kwargs: Any) -> Iterator[Any]:
        if (command := self._edit_command(input, config)) is not None and config is not None:
            input = command
            if self.get_state(config).next:
                if command.update is not None:
                    config = _edited_config(config, self.update_state(config, command.update))
                input = _input_after_edit(command, self.get_state(config))
        saver = self._saver_for_new_message(input, config)
        if saver is not None and config is not None:
            snapshot = self.get_state(config)
            if updates := recovery.results_before_message(snapshot):
                _Graph.bulk_update_state(self._committing(saver), snapshot.config, [updates])
        config = self._with_budget(config)
        if (saver := self._saver_for_resume(input, config)) is not None and config is not None:
            snapshot = self.get_state(config)
            configs = recovery.open_call_configs(snapshot, config)
            open_calls = {namespace: saver.get_tuple(own) for namespace, own in configs.items()}
            budget_of(config).resume(*recovery.usage_before_resume(snapshot, open_calls))
        with nullcontext(config) if self._lacks_thread(config) else ended_by_ctrl_c(config) as own_config:
            yield from _Graph.stream(self._reporting_write_errors(config), input, own_config, **kwargs)

    def batch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> list[Any]:
        """LangChain's `batch`, whose runs are in threads. Ctrl-C ends them as it ends `invoke`."""
        with ended_by_ctrl_c(None) as own_config:
            if (interruption := interruption_of(own_config)) is not None:
                config = [
                    one if self._lacks_thread(one) else with_interruption(one, interruption)
                    for one in get_config_list(config, len(inputs))
                ]
            return super().batch(inputs, config, **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """LangGraph's `astream`, on which `ainvoke` is built."""
        await pace()
        async with (
            aholding(self.exclusive, config) as own_config,
            aclosing(self._astream(input, own_config, **kwargs)) as parts,
        ):
            async for part in parts:
                yield part

    async def _astream(self, input: Any, config: RunnableConfig | None, **kwargs: Any) -> AsyncGenerator[Any, None]:
        if (command := self._edit_command(input, config)) is not None and config is not None:
            input = command
            if (await self.aget_state(config)).next:
                if command.update is not None:
                    config = _edited_config(config, await self.aupdate_state(config, command.update))
                input = _input_after_edit(command, await self.aget_state(config))
        saver = self._saver_for_new_message(input, config)
        if saver is not None and config is not None:
            snapshot = await self.aget_state(config)
            if updates := recovery.results_before_message(snapshot):
                await _Graph.abulk_update_state(self._committing(saver), snapshot.config, [updates])
        config = self._with_budget(config)
        if (saver := self._saver_for_resume(input, config)) is not None and config is not None:
            snapshot = await self.aget_state(config)
            configs = recovery.open_call_configs(snapshot, config)
            open_calls = {namespace: await saver.aget_tuple(own) for namespace, own in configs.items()}
            budget_of(config).resume(*recovery.usage_before_resume(snapshot, open_calls))
        run = _Graph.astream(self._reporting_write_errors(config), input, config, **kwargs)
        async with aclosing(cast(AsyncGenerator[Any, None], run)) as parts:
            async for part in parts:
                yield part

    def bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]) -> RunnableConfig:
        """LangGraph's `bulk_update_state`, on which `update_state` is built.

        It keeps the results of tools whose siblings have not finished. LangGraph would drop them, and those tools would
        run again.
        """
        with holding(self.exclusive, config) as own_config:
            return self._bulk_update_state(own_config or config, supersteps)

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """LangGraph's `abulk_update_state`, on which `aupdate_state` is built. See `bulk_update_state`."""
        async with aholding(self.exclusive, config) as own_config:
            return await self._abulk_update_state(own_config or config, supersteps)

    def _bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]) -> RunnableConfig:
        with editing_state():
            if saver := self._own_saver(config):
                snapshot = self.get_state(config)
                checkpoint = saver.get_tuple(snapshot.config) if recovery.has_open_calls(snapshot) else None
                if recorded := recovery.recorded_calls(snapshot, checkpoint):
                    config = _Graph.bulk_update_state(self._committing(saver), snapshot.config, [recorded])
                if snapshot.next:
                    supersteps = recovery.as_turn_input(supersteps)
            return _Graph.bulk_update_state(self, config, supersteps)

    async def _abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        with editing_state():
            if saver := self._own_saver(config):
                snapshot = await self.aget_state(config)
                checkpoint = await saver.aget_tuple(snapshot.config) if recovery.has_open_calls(snapshot) else None
                if recorded := recovery.recorded_calls(snapshot, checkpoint):
                    config = await _Graph.abulk_update_state(self._committing(saver), snapshot.config, [recorded])
                if snapshot.next:
                    supersteps = recovery.as_turn_input(supersteps)
            return await _Graph.abulk_update_state(self, config, supersteps)

    def _saver_for_new_message(self, input: Any, config: RunnableConfig | None) -> BaseCheckpointSaver[Any] | None:
        """The checkpointer if the input is a new message for a thread of this graph.

        None for a resumed run and for an agent that runs as a node of another graph.
        """
        configurable = (config or {}).get("configurable", {})
        inside = any(key.startswith("__pregel") for key in configurable)
        has_thread = configurable.get("thread_id") and not configurable.get("checkpoint_id")
        if _resumes(input) or inside or not has_thread:
            return None
        return self.checkpointer if isinstance(self.checkpointer, BaseCheckpointSaver) else None

    def _edit_command(self, input: Any, config: RunnableConfig | None) -> Command[Any] | None:
        """The command if the input edits a thread of this graph and lets its turn go on, else None.

        Such a command has `update`, or `goto` the model or the tools, or both. The model node takes both: it passes
        open calls on to the tools, after the usual checks and approvals.
        """
        configurable = (config or {}).get("configurable", {})
        inside = any(key.startswith("__pregel") for key in configurable)
        if not isinstance(input, Command) or inside or self._own_saver(config or {}) is None:
            return None
        targets = list(input.goto) if isinstance(input.goto, list | tuple) else [input.goto]
        if input.resume is not None or input.graph or not all(target in ("model", TOOLS_NODE) for target in targets):
            return None
        edits = bool(targets) or input.update is not None
        return Command(update=input.update, goto="model" if targets else ()) if edits else None

    def _own_saver(self, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
        """The checkpointer if the config names a thread of this graph, not of a graph around or inside it."""
        configurable = config.get("configurable", {})
        own = bool(configurable.get("thread_id")) and not configurable.get("checkpoint_ns")
        return self.checkpointer if own and isinstance(self.checkpointer, BaseCheckpointSaver) else None

    def _lacks_thread(self, config: RunnableConfig | None) -> bool:
        """Whether the config lacks a thread. LangGraph raises an error for that only while `configurable` is empty."""
        return bool(self.checkpointer) and not (config or {}).get("configurable")

    def _with_budget(self, config: RunnableConfig | None) -> RunnableConfig | None:
        """The config with a budget for sub-agents."""
        return config if self._lacks_thread(config) else with_budget(config, self.name)

    def _reporting_write_errors(self, config: RunnableConfig | None) -> _Graph:
        """This graph with a checkpointer that reports errors of its writes.

        An agent inside another graph uses that graph's checkpointer and is returned unchanged.
        """
        inside = "__pregel_checkpointer" in (config or {}).get("configurable", {})
        if config is None or inside or not isinstance(self.checkpointer, BaseCheckpointSaver):
            return self
        saver = checked_writes(self.checkpointer, config)
        return self.copy({"checkpointer": recovery.report_write_errors(saver, budget_of(config))})

    def _saver_for_resume(self, input: Any, config: RunnableConfig | None) -> BaseCheckpointSaver[Any] | None:
        """The checkpointer if an interrupted run is resumed, this graph's run or one around it."""
        configurable = (config or {}).get("configurable", {})
        inside = configurable.get("__pregel_checkpointer")
        resumes = configurable.get("__pregel_resuming") or (not inside and _resumes(input))
        saver = inside or self.checkpointer
        return saver if resumes and configurable.get("thread_id") and isinstance(saver, BaseCheckpointSaver) else None

    def _committing(self, saver: BaseCheckpointSaver[Any]) -> _Graph:
        """This graph with a checkpointer that commits an update in one write."""
        return self.copy({"checkpointer": recovery.checkpoints_only(saver)})


def _edited_config(config: RunnableConfig, edited: RunnableConfig) -> RunnableConfig:
    """The config of a run after an edit, which names the new checkpoint if an earlier one was edited."""
    configurable = config.get("configurable", {})
    if not configurable.get("checkpoint_id"):
        return config
    return {**config, "configurable": {**configurable, **edited.get("configurable", {})}}


def _input_after_edit(command: Command[Any], snapshot: StateSnapshot) -> Command[Any] | None:
    """The input for an edited thread: None to resume it, or the command's `goto` if its turn has ended."""
    return Command(goto=command.goto) if command.goto and not snapshot.next else None


def _resumes(input: Any) -> bool:
    return input is None or (isinstance(input, Command) and input.resume is not None)
