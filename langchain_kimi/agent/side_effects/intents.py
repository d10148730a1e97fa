"""Records in the checkpointer that a tool call is about to start.

An intent is a pending write of the checkpoint whose task runs the call, under the id of a task that does not exist, so
that LangGraph ignores it. Before the tool starts, the intent is written, and this checkpoint and those of all graphs
around are read back, with `durability="sync"` and `"async"` alike. So a run that is resumed after a crash finds the
intent of every call that may have started.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from langchain_kimi._steps import Steps
from langchain_kimi.agent.checkpoint_steps import Read, Wait, Write, checkpoints_of
from langchain_kimi.agent.side_effects.idempotency import CallIdentity
from langchain_kimi.agent.thread_messages import call_text
from langchain_kimi.errors import DurabilityError

_CHANNEL = "kimi_intent"
_RELEASED = "kimi_intent_released"
_COPIES = ("fork", "update")
"""Sources of checkpoints that LangGraph makes of an earlier one, without the intents of its calls."""
_LONGEST_PAUSE = 0.05
_PATIENCE = 60.0
"""Seconds after which a checkpoint that is not written counts as lost."""

_NO_CHECKPOINTER = (
    "`once` needs a checkpointer: without one, nothing is known of calls that started before a crash. Give the agent, "
    "or the graph around it, a `checkpointer`."
)
_AT_EXIT = (
    '`once` needs durability="sync" or "async": with "exit", nothing is written before the run ends, so a crash would '
    "leave no trace of a call that started."
)
_NOT_WRITTEN = (
    "The tool {name} was not run: its checkpoint was not written within {seconds:g} seconds, and without it a crash "
    "would leave no trace of the call."
)


class Intent(TypedDict):
    """A call that may have started."""

    message: str
    """The id of the message with the call."""
    call_id: str
    shown: str
    """The call as it started, as text."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A recorded intent of this process."""

    _saver: BaseCheckpointSaver[Any]
    _config: RunnableConfig
    _id: str

    def release(self) -> Steps[None]:
        """Record that the call ended by itself without a result: its tool interrupted the run, and begins again."""
        yield Write(self._saver, self._config, _RELEASED, self._id)


def check_durability(config: RunnableConfig) -> None:
    """Raise DurabilityError for a run whose checkpoints are not written while it runs."""
    configurable = config.get("configurable", {})
    if configurable.get("__pregel_checkpointer") is None:
        raise DurabilityError(_NO_CHECKPOINTER)
    if configurable.get("__pregel_durability") == "exit":
        raise DurabilityError(_AT_EXIT)


def record_intent(
    identity: CallIdentity, config: RunnableConfig, check_writes: Callable[[], None]
) -> Steps[Attempt | None]:
    """Record that the call is about to start; None if it may have started before, so that it must not.

    `config` is that of the node which runs the call. `check_writes` raises the error of a checkpointer that failed.
    """
    check_durability(config)
    saver = config["configurable"]["__pregel_checkpointer"]
    own, *around = checkpoints_of(config)
    attempt = Attempt(saver, own, str(uuid4()))
    intent: Intent = {
        "message": identity.message,
        "call_id": identity.call["id"] or "",
        "shown": call_text(identity.call),
    }
    yield Write(saver, own, _CHANNEL, {"id": attempt._id, **intent})
    saved = yield from _written(saver, own, identity, check_writes)
    for outer in around:
        yield from _written(saver, outer, identity, check_writes)
    others = [one for one in _intents_with_ids(saved) if one["id"] != attempt._id]
    while saved is not None and saved.metadata.get("source") in _COPIES and saved.parent_config:
        saved = yield Read(saver, saved.parent_config)
        others += _intents_with_ids(saved)
    is_same = (intent["message"], intent["call_id"])
    return None if any((other["message"], other["call_id"]) == is_same for other in others) else attempt


def open_intents(saved: CheckpointTuple | None) -> list[Intent]:
    """The intents that a checkpoint holds, also those of calls that have a result."""
    return [
        {"message": one["message"], "call_id": one["call_id"], "shown": one["shown"]}
        for one in _intents_with_ids(saved)
    ]


def _intents_with_ids(saved: CheckpointTuple | None) -> list[dict[str, Any]]:
    writes = (saved.pending_writes if saved else None) or []
    released = {value for _, channel, value in writes if channel == _RELEASED}
    return [value for _, channel, value in writes if channel == _CHANNEL and value["id"] not in released]


def _written(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig, identity: CallIdentity, check_writes: Callable[[], None]
) -> Steps[CheckpointTuple]:
    """The checkpoint, as soon as it can be read back. LangGraph offers no way to wait for its writes."""
    end, pause = time.monotonic() + _PATIENCE, 0.001
    while True:
        check_writes()
        saved: CheckpointTuple | None = yield Read(saver, config)
        if saved is not None:
            return saved
        if time.monotonic() > end:
            raise DurabilityError(_NOT_WRITTEN.format(name=identity.call["name"], seconds=_PATIENCE))
        yield Wait(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
