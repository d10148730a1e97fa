"""Excerpts of tool results that are too long for the model's window: the state has the whole result, a request less.

The state keeps the length of each excerpt in characters, so that all later requests have the same bytes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.messages import AnyMessage, BaseMessage, ToolMessage

from langchain_kimi import tokens
from langchain_kimi.agent.compaction.shortening import cut_middle

Excerpts: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By the id of a result, how many `characters` of it requests have, and its `key` in the archive or None."""

_NOT_SHOWN = (
    "\n[… {cut:,} of {all:,} characters are not shown here, because the whole result does not fit into your "
    "window{how} …]\n"
)


def with_excerpts(messages: Sequence[AnyMessage], excerpts: Excerpts) -> list[AnyMessage]:
    """The messages of a request: a result of which there is an excerpt is replaced by it."""
    if not excerpts:
        return list(messages)
    pairs = ((message, excerpts.get(message.id or "")) for message in messages)
    return [make_excerpt(message, settings) if settings else message for message, settings in pairs]


def make_excerpt(message: AnyMessage, settings: Mapping[str, Any]) -> AnyMessage:
    """The message without the middle of each text that is longer than its share of the `characters`."""
    how = f'; recall(key="{settings["key"]}") gives more' if settings.get("key") else ""
    size = int(settings["characters"])
    if isinstance(message.content, str):
        return message.model_copy(update={"content": cut_middle(message.content, size, _NOT_SHOWN, how)})
    texts = sum(_block_text(block) is not None for block in message.content)
    share = size // max(texts, 1)
    return message.model_copy(update={"content": [_cut_block(block, share, how) for block in message.content]})


def fit_excerpt(result: ToolMessage, max_tokens: int, key: str | None) -> Mapping[str, Any]:
    """The settings of an excerpt of about so many tokens. `key`: the key of the result in the archive."""
    settings: dict[str, Any] = {"characters": _count_characters(result), "key": key}
    for _ in range(4):  # the parts that stay may have more tokens for their characters than the whole
        count = tokens.count_message(make_excerpt(result, settings))
        if count <= max_tokens:
            break
        settings["characters"] = max(int(settings["characters"] * max_tokens / count * 0.99), 2)
    return settings


def _count_characters(message: BaseMessage) -> int:
    if isinstance(message.content, str):
        return len(message.content)
    return sum(len(_block_text(block) or "") for block in message.content)


def _block_text(block: Any) -> str | None:
    text = block if isinstance(block, str) else block.get("text")
    return text if isinstance(text, str) else None


def _cut_block(block: Any, size: int, how: str) -> Any:
    text = _block_text(block)
    if text is None or len(text) <= size:
        return block
    cut = cut_middle(text, size, _NOT_SHOWN, how)
    return cut if isinstance(block, str) else {**block, "text": cut}
