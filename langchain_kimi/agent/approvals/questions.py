"""Keeps the response to one question from answering another, in graphs inside other graphs.

LangGraph stores a response with the outermost checkpoint, and gives it to whichever node inside asks next: also to a
question that was never shown, when a crashed run is resumed. So a question takes a response only after it was shown.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import set_config_context

from langchain_kimi._steps import Steps
from langchain_kimi.agent.checkpoint_steps import Read, Write, checkpoints_of

T = TypeVar("T")

_SCRATCHPAD = "__pregel_scratchpad"
_RESPONSE = ("00000000-0000-0000-0000-000000000000", "__resume__")
"""The task id and the channel under which LangGraph stores a response."""


def ask(config: RunnableConfig, question: Callable[[], T]) -> Steps[T]:
    """The result of a function that calls `interrupt`, for the node that a config belongs to.

    In a graph inside another one, a question that was not shown yet takes no response, and deletes the stored one.
    """
    configurable = config["configurable"]
    saver: Any = configurable.get("__pregel_checkpointer")
    own, *around = checkpoints_of(config) if saver else [config]
    if not around:
        return question()
    saved = yield Read(saver, own)
    shown = {task for task, channel, _ in (saved and saved.pending_writes) or () if channel == "__interrupt__"}
    if configurable["__pregel_task_id"] in shown:
        return question()
    for outer in around:
        checkpoint = yield Read(saver, outer)
        stored = (checkpoint and checkpoint.pending_writes) or ()
        if any((task, channel) == _RESPONSE and value is not None for task, channel, value in stored):
            yield Write(saver, outer, _RESPONSE[1], None, _RESPONSE[0])
    scratchpad = replace(configurable[_SCRATCHPAD], get_null_resume=_no_response)
    with set_config_context({**config, "configurable": {**configurable, _SCRATCHPAD: scratchpad}}) as context:
        return context.run(question)


def _no_response(consume: bool = False) -> Any:
    return None
