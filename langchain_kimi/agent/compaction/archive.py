"""Where a thread keeps what was taken out of it: entries in a LangGraph store, and a tool that fetches them back.

Every entry lies in the namespace of its thread, `("kimi_agent", <thread>, "archive")`, under a key that hangs on its
message alone, so that what is written twice is there once. Values are plain JSON: `thread`, `turn`, `role`, `text`, and
where there is one `reasoning`, `name`, `call_id`, and `calls` with name, arguments and id.
"""

import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolRuntime
from langgraph.store.base import BaseStore, GetOp, Op, PutOp, SearchOp

from langchain_kimi import tokens
from langchain_kimi._raw_calls import REASONING, calls_of, is_call_block
from langchain_kimi.agent.steps import Effect, adrive, drive

RECALL = "recall"
"""The tool's name."""

_ROLES = {"human": "user", "ai": "assistant"}
_MOST = 20
"""Entries that one call gives at most."""
_PAGE = 200
_LONGEST_LOOK = 10_000
"""Entries that are looked through where the store has no index."""
_ALL_TOKENS = 6_000
"""What one call gives at most."""
_NO_STORE = "There is no archive here: the agent runs without a store, or without a thread_id."
_NOTHING = "Nothing in the archive of this conversation{}. What is still in the conversation is not archived."
_CUT = "\n[… {cut:,} of {all:,} characters left out: {way} …]\n"

Steps = Generator[Effect, Any, str]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the archive keeps of one message."""

    key: str
    value: dict[str, Any] = field(hash=False)

    @property
    def text(self) -> str:
        """What the message says."""
        return str(self.value["text"])


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations on a store, as an effect."""

    store: BaseStore
    operations: Sequence[Op]

    def run(self, config: RunnableConfig) -> list[Any]:
        """Their results."""
        return self.store.batch(self.operations)

    async def arun(self, config: RunnableConfig) -> list[Any]:
        """Their results."""
        return await self.store.abatch(self.operations)


def namespace_of(thread_id: str) -> tuple[str, str, str]:
    """Where the thread's archive lies. LangGraph's namespaces hold no dots and no empty names."""
    return ("kimi_agent", thread_id.replace("~", "~~").replace(".", "~d") or "~e", "archive")


def write(store: BaseStore, thread_id: str, entries: Iterable[Entry]) -> Batch:
    """The effect that puts entries into a thread's archive."""
    space = namespace_of(thread_id)
    return Batch(store, [PutOp(space, entry.key, {"thread": thread_id, **entry.value}) for entry in entries])


def whole_entry(message: BaseMessage, turn: int) -> Entry:
    """All of a message."""
    value: dict[str, Any] = {"turn": turn, "role": _ROLES.get(message.type, message.type), "text": text_of(message)}
    if isinstance(message, AIMessage):
        if (reasoning := reasoning_of(message)).strip():
            value["reasoning"] = reasoning
        if calls := calls_of(message):
            value["calls"] = [{key: call[key] for key in ("id", "name", "arguments")} for call in calls]
    if isinstance(message, ToolMessage):
        value |= {"name": message.name or "", "call_id": message.tool_call_id}
    return Entry(key_of(message), value)


def reasoning_entry(message: AIMessage, turn: int) -> Entry:
    """What a message thought."""
    value = {"turn": turn, "role": "assistant", "text": "", "reasoning": reasoning_of(message)}
    return Entry(f"{key_of(message)}-thinking", value)


def key_of(message: BaseMessage) -> str:
    """The message's id, or one from what it says."""
    if message.id:
        return message.id
    said = f"{message.type} {getattr(message, 'tool_call_id', '')} {message.content}"
    return hashlib.blake2b(said.encode(errors="replace"), digest_size=8).hexdigest()


def text_of(message: BaseMessage) -> str:
    """What a message says, with other things than text named."""
    if isinstance(message.content, str):
        return message.content
    parts = [
        block if isinstance(block, str) else str(block.get("text") or f"[{block.get('type', 'part')}]")
        for block in message.content
        if not is_call_block(block) and not (isinstance(block, dict) and block.get("type") == "reasoning")
    ]
    return "\n".join(parts)


def reasoning_of(message: AIMessage) -> str:
    """What a message thought."""
    kept = message.additional_kwargs.get(REASONING)
    if isinstance(kept, str):
        return kept
    blocks = message.content if isinstance(message.content, list) else []
    return "".join(str(block.get("reasoning") or "") for block in blocks if isinstance(block, dict))


def recall_tool() -> BaseTool:
    """A tool by which the model fetches back what a compaction took out of its own thread.

    It needs the agent's `store` and `Compaction(archive=True)`. Where the store has an index it is searched by meaning,
    elsewhere by words.
    """

    def recall(runtime: ToolRuntime, query: str | None = None, key: str | None = None, limit: int = 5) -> str:
        return drive(_recalled(runtime, query, key, limit), runtime.config)

    async def arecall(runtime: ToolRuntime, query: str | None = None, key: str | None = None, limit: int = 5) -> str:
        return await adrive(_recalled(runtime, query, key, limit), runtime.config)

    return StructuredTool.from_function(
        recall,
        arecall,
        name=RECALL,
        description=(
            "Fetch back earlier parts of this conversation that were taken out of it to save room: messages, thinking "
            "and whole tool results. Give `key`, where a note in the conversation names one, or `query`, some words to "
            "look for; without either, the latest parts come. `limit`: how many parts at most."
        ),
    )


def _recalled(runtime: ToolRuntime, query: str | None, key: str | None, limit: int) -> Steps:
    thread_id = thread_of(runtime.config)
    if runtime.store is None or thread_id is None:
        return _NO_STORE
    space = namespace_of(thread_id)
    if key:
        (item,) = yield Batch(runtime.store, [GetOp(space, key)])
        return _shown([item], _ALL_TOKENS) if item else _NOTHING.format(f" has the key {key!r}")
    limit = min(max(limit, 1), _MOST)
    found = yield from _searched(runtime.store, thread_id, query or "", limit)
    if not found:
        return _NOTHING.format(f" matches {query!r}" if query else "")
    return _shown(found, _ALL_TOKENS // len(found))


OWN_THREAD = "__kimi_thread"
"""Where the config of a sub-agent's run holds the id of the thread that it has for itself."""


def thread_of(config: RunnableConfig) -> str | None:
    """The id of the thread that a run is in."""
    told = config.get("configurable", {})
    given = told.get(OWN_THREAD, told.get("thread_id"))
    return str(given) if given not in (None, "") else None


def _searched(store: BaseStore, thread_id: str, query: str, limit: int) -> Generator[Effect, Any, list[Any]]:
    """The thread's entries that fit the query best; without one, the latest."""
    # The filter holds whatever a store makes of the namespace, which is a prefix to it.
    space, own = namespace_of(thread_id), {"thread": thread_id}
    if query:
        (items,) = yield Batch(store, [SearchOp(space, own, limit, 0, query)])
        indexed = [item for item in items if item.score is not None]
        if indexed:
            return indexed
    entries: list[Any] = []
    while len(entries) < _LONGEST_LOOK:
        (items,) = yield Batch(store, [SearchOp(space, own, _PAGE, len(entries))])
        entries += items
        if len(items) < _PAGE:
            break
    words = query.lower().split()
    scored = [(_score(item.value, words), item) for item in entries]
    fitting = [(score, item) for score, item in scored if score or not words]
    fitting.sort(key=lambda pair: (pair[0], pair[1].value.get("turn", 0)), reverse=True)
    return [item for _, item in fitting[:limit]]


def _score(value: dict[str, Any], words: Sequence[str]) -> int:
    said = str([value.get(name) for name in ("text", "reasoning", "name", "calls")]).lower()
    return sum(word in said for word in words)


def _shown(items: Sequence[Any], size: int) -> str:
    return "\n\n".join(_part(item.key, item.value, size) for item in items)


def _part(key: str, value: dict[str, Any], size: int) -> str:
    who = f"result of {value.get('name') or 'a tool'}" if value["role"] == "tool" else value["role"]
    parts = [f"[key {key}, user turn {value.get('turn', '?')}] {who}:"]
    if value.get("reasoning"):
        parts.append(f"(thought) {value['reasoning']}")
    if value["text"]:
        parts.append(value["text"])
    parts += [f"(called) {call['name']}({call['arguments']})" for call in value.get("calls", ())]
    text = "\n".join(parts)
    whole = tokens.count_text(text)
    if whole <= size:
        return text
    kept = len(text) * size // whole
    way = f'recall(key="{key}") shows more' if size < _ALL_TOKENS else "it is too long to show in one piece"
    tail = kept // 3
    return text[: kept - tail] + _CUT.format(cut=len(text) - kept, all=len(text), way=way) + text[len(text) - tail :]
