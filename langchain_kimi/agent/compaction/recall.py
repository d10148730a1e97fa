"""The `recall` tool, by which a model reads what compaction moved to the archive of its own thread.

An agent with `Compaction(archive=True)` has the tool by itself, whatever its `select_tools` chooses.
"""

from collections.abc import Sequence
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolRuntime
from langgraph.store.base import BaseStore, GetOp, SearchOp

from langchain_kimi import tokens
from langchain_kimi._steps import Steps, arun_steps, run_steps
from langchain_kimi.agent.compaction.archive import StoreBatch, archive_namespace, thread_id_of
from langchain_kimi.agent.compaction.shortening import cut_middle

RECALL = "recall"
"""The tool's name."""

_MAX_ENTRIES = 20
"""The most entries that one call returns."""
_MAX_TOKENS = 6_000
"""The most tokens that one call returns."""
_PAGE = 200
_MAX_SCANNED = 10_000
"""How many entries a search by words reads, where the store has no index."""
_NO_ARCHIVE = "There is no archive here: the agent runs without a store, or without a thread_id."
_NOTHING = "Nothing in the archive of this conversation{}. What is still in the conversation is not archived."
_CUT = "\n[… {cut:,} of {all:,} characters left out: {how} …]\n"


def recall_tool() -> BaseTool:
    """The tool. It searches by meaning where the store has an index, and by words elsewhere."""

    def recall(runtime: ToolRuntime, query: str | None = None, key: str | None = None, limit: int = 5) -> str:
        return run_steps(_recall(runtime, query, key, limit), runtime.config)

    async def arecall(runtime: ToolRuntime, query: str | None = None, key: str | None = None, limit: int = 5) -> str:
        return await arun_steps(_recall(runtime, query, key, limit), runtime.config)

    return StructuredTool.from_function(
        recall,
        arecall,
        name=RECALL,
        description=(
            "Fetch back earlier parts of this conversation that were removed from it to save space: messages, thinking "
            "and whole tool results. Give `key`, where a note in the conversation names one, or `query`, some words to "
            "look for; without either, the latest parts come. `limit`: how many parts at most."
        ),
    )


def check_no_recall_tool(owner: str, tools: Sequence[BaseTool]) -> None:
    """Raise ValueError where one of the owner's tools has the name of the recall tool."""
    if any(tool.name == RECALL for tool in tools):
        raise ValueError(
            f"{owner}: the tool {RECALL!r} has the name of the tool that Compaction(archive=True) adds. Rename it."
        )


def _recall(runtime: ToolRuntime, query: str | None, key: str | None, limit: int) -> Steps[str]:
    thread_id = thread_id_of(runtime.config)
    if runtime.store is None or thread_id is None:
        return _NO_ARCHIVE
    if key:
        (item,) = yield StoreBatch(runtime.store, [GetOp(archive_namespace(thread_id), key)])
        return _format_items([item], _MAX_TOKENS) if item else _NOTHING.format(f" has the key {key!r}")
    limit = min(max(limit, 1), _MAX_ENTRIES)
    items = yield from _search(runtime.store, thread_id, query or "", limit)
    if not items:
        return _NOTHING.format(f" matches {query!r}" if query else "")
    return _format_items(items, _MAX_TOKENS // len(items))


def _search(store: BaseStore, thread_id: str, query: str, limit: int) -> Steps[list[Any]]:
    """The entries of the thread that match the query best; the latest ones where the query is empty."""
    # A store treats the namespace as a prefix, so that the filter must name the thread too.
    namespace, same_thread = archive_namespace(thread_id), {"thread": thread_id}
    if query:
        (items,) = yield StoreBatch(store, [SearchOp(namespace, same_thread, limit, 0, query)])
        indexed = [item for item in items if item.score is not None]
        if indexed:
            return indexed
    entries: list[Any] = []
    while len(entries) < _MAX_SCANNED:
        (items,) = yield StoreBatch(store, [SearchOp(namespace, same_thread, _PAGE, len(entries))])
        entries += items
        if len(items) < _PAGE:
            break
    words = query.lower().split()
    scored = [(_score(item.value, words), item) for item in entries]
    matches = [(score, item) for score, item in scored if score or not words]
    matches.sort(key=lambda pair: (pair[0], pair[1].value.get("turn", 0)), reverse=True)
    return [item for _, item in matches[:limit]]


def _score(value: dict[str, Any], words: Sequence[str]) -> int:
    """How many of the words the entry contains."""
    text = str([value.get(name) for name in ("text", "reasoning", "name", "calls")]).lower()
    return sum(word in text for word in words)


def _format_items(items: Sequence[Any], max_tokens: int) -> str:
    return "\n\n".join(_format_item(item.key, item.value, max_tokens) for item in items)


def _format_item(key: str, value: dict[str, Any], max_tokens: int) -> str:
    """An entry as the model reads it, with its middle left out where it has more than `max_tokens`."""
    author = f"result of {value.get('name') or 'a tool'}" if value["role"] == "tool" else value["role"]
    parts = [f"[key {key}, user turn {value.get('turn', '?')}] {author}:"]
    if value.get("reasoning"):
        parts.append(f"(thought) {value['reasoning']}")
    if value["text"]:
        parts.append(value["text"])
    parts += [f"(called) {call['name']}({call['arguments']})" for call in value.get("calls", ())]
    text = "\n".join(parts)
    total = tokens.count_text(text)
    if total <= max_tokens:
        return text
    how = f'recall(key="{key}") shows more' if max_tokens < _MAX_TOKENS else "it is too long to show in one piece"
    return cut_middle(text, len(text) * max_tokens // total, _CUT, how)
