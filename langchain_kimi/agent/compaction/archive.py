"""The archive of a thread: the messages, results and reasoning that compaction removed, in the agent's LangGraph store.

The entries of a thread are in the namespace `("kimi_agent", <thread>, "archive")`. The key of an entry depends on its
message alone, so that writing a message twice makes one entry. A value is plain JSON: `thread`, `turn`, `role`, `text`,
and where they apply `reasoning`, `name`, `call_id`, and `calls` (each with `name`, `arguments` and `id`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp
from langgraph.store.base import BaseStore, Op, PutOp

from langchain_kimi._raw_calls import raw_calls, reasoning_block_text, reasoning_text
from langchain_kimi._steps import Steps
from langchain_kimi.agent.compaction.config import Compaction
from langchain_kimi.agent.thread_messages import block_placeholder

SUBAGENT_THREAD = "__kimi_thread"
"""The key of `configurable` under which a sub-agent's run has the id of its own thread."""

_ROLES = {"human": "user", "ai": "assistant"}


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """One message, or the reasoning of one, as the archive stores it."""

    key: str
    value: dict[str, Any] = field(hash=False)

    @property
    def text(self) -> str:
        """The text of the message."""
        return str(self.value["text"])


@dataclass(frozen=True, slots=True)
class StoreBatch:
    """Operations on a store, to be run synchronously or asynchronously."""

    store: BaseStore
    operations: Sequence[Op]

    def run(self, config: RunnableConfig) -> list[Any]:
        """Run the operations and return their results."""
        return self.store.batch(self.operations)

    async def arun(self, config: RunnableConfig) -> list[Any]:
        """Run the operations and return their results."""
        return await self.store.abatch(self.operations)


def check_store(compaction: Compaction, store: BaseStore | None) -> None:
    """Raise ValueError where the run has no store and the archive needs one.

    An agent may get its store when it runs, from a graph around it or from LangGraph's server, so that this cannot be
    checked when it is built.
    """
    if compaction.archive and store is None:
        raise ValueError(
            "Compaction(archive=True) writes removed messages to the agent's store, and this run has none. Give the "
            "agent a `store`, or run it in a graph that has one; or leave out `archive`."
        )


def archive_namespace(thread_id: str) -> tuple[str, str, str]:
    """The namespace of the thread's archive. LangGraph allows no dots and no empty strings in a namespace."""
    return ("kimi_agent", thread_id.replace("~", "~~").replace(".", "~d") or "~e", "archive")


def write_entries(store: BaseStore | None, thread_id: str | None, entries: Iterable[ArchiveEntry]) -> Steps[str]:
    """Write entries to the archive of a thread; returns why that failed, or an empty string."""
    if store is None:
        return "the agent has no store"
    if thread_id is None:
        return "the run has no thread_id"
    namespace = archive_namespace(thread_id)
    operations = [PutOp(namespace, entry.key, {"thread": thread_id, **entry.value}) for entry in entries]
    if not operations:
        return ""
    try:
        try:
            yield StoreBatch(store, operations)
        except ValueError:  # LangGraph's InMemoryStore with an index refuses a batch in which a text comes twice
            for operation in operations:
                yield StoreBatch(store, [operation])
    except GraphBubbleUp:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def message_entry(message: BaseMessage, turn: int) -> ArchiveEntry:
    """The entry of a whole message. `turn`: the number of its user turn, from 1."""
    value: dict[str, Any] = {
        "turn": turn,
        "role": _ROLES.get(message.type, message.type),
        "text": message_text(message),
    }
    if isinstance(message, AIMessage):
        if (reasoning := reasoning_text(message) or "").strip():
            value["reasoning"] = reasoning
        if calls := raw_calls(message):
            value["calls"] = [{key: call[key] for key in ("id", "name", "arguments")} for call in calls]
    if isinstance(message, ToolMessage):
        value |= {"name": message.name or "", "call_id": message.tool_call_id}
    return ArchiveEntry(_message_key(message), value)


def reasoning_entry(message: AIMessage, turn: int) -> ArchiveEntry:
    """The entry of a message's reasoning alone."""
    value = {"turn": turn, "role": "assistant", "text": "", "reasoning": reasoning_text(message) or ""}
    return ArchiveEntry(f"{_message_key(message)}-thinking", value)


def message_text(message: BaseMessage) -> str:
    """The text of a message, with a placeholder for each other content block, such as an image."""
    if isinstance(message.content, str):
        return message.content
    return "\n".join(filter(None, map(_block_text, message.content)))


def thread_id_of(config: RunnableConfig) -> str | None:
    """The id of the thread whose archive a run uses; None where the run has no thread."""
    configurable = config.get("configurable", {})
    thread_id = configurable.get(SUBAGENT_THREAD, configurable.get("thread_id"))
    return str(thread_id) if thread_id not in (None, "") else None


def _block_text(block: Any) -> str:
    if isinstance(block, str):
        return block
    if reasoning_block_text(block) is not None:
        return ""
    return str(block.get("text") or "") or block_placeholder(block)


def _message_key(message: BaseMessage) -> str:
    """The message's id, or a hash of its content where it has none."""
    if message.id:
        return message.id
    content = f"{message.type} {getattr(message, 'tool_call_id', '')} {message.content}"
    return hashlib.blake2b(content.encode(errors="replace"), digest_size=8).hexdigest()
