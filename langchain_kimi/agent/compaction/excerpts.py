"""Tool results that are too long for the model's window: the state has all of each, and the model sees an excerpt.

What is shown is fixed once, by a number of characters that the state keeps, so that it is the same in every request.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.messages import AnyMessage, BaseMessage, ToolMessage

from langchain_kimi import tokens

Excerpts: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By the id of a result: how many `characters` of it are shown, and its `key` in the archive where the model can
recall it."""

_NOTE = (
    "\n[… {cut:,} of {all:,} characters are not shown here, because the whole result does not fit into your "
    "window{how} …]\n"
)
_HOW = '; recall(key="{key}") gives more'


def with_excerpts(messages: Sequence[AnyMessage], excerpts: Excerpts) -> list[AnyMessage]:
    """The messages as requests have them; those that are whole are the very ones given."""
    if not excerpts:
        return list(messages)
    shown = ((message, excerpts.get(message.id or "")) for message in messages)
    return [excerpt(message, about) if about else message for message, about in shown]


def excerpt(message: AnyMessage, about: Mapping[str, Any]) -> AnyMessage:
    """The message with the middle of each text left out that is longer than its share of the characters."""
    how = _HOW.format(key=about["key"]) if about.get("key") else ""
    size = int(about["characters"])
    if isinstance(message.content, str):
        return message.model_copy(update={"content": _cut(message.content, size, how)})
    texts = sum(_text_of(block) is not None for block in message.content)
    share = size // max(texts, 1)
    return message.model_copy(update={"content": [_cut_block(block, share, how) for block in message.content]})


def fitting(message: ToolMessage, size: int, key: str | None) -> Mapping[str, Any]:
    """How much of a result to show for it to have about so many tokens."""
    about: dict[str, Any] = {"characters": _characters(message), "key": key}
    for _ in range(4):  # its parts may have more tokens for their characters than the whole
        count = tokens.count_message(excerpt(message, about))
        if count <= size:
            break
        about["characters"] = max(int(about["characters"] * size / count * 0.99), 2)
    return about


def _characters(message: BaseMessage) -> int:
    if isinstance(message.content, str):
        return len(message.content)
    return sum(len(_text_of(block) or "") for block in message.content)


def _text_of(block: Any) -> str | None:
    text = block if isinstance(block, str) else block.get("text")
    return text if isinstance(text, str) else None


def _cut_block(block: Any, size: int, how: str) -> Any:
    text = _text_of(block)
    if text is None or len(text) <= size:
        return block
    cut = _cut(text, size, how)
    return cut if isinstance(block, str) else {**block, "text": cut}


def _cut(text: str, size: int, how: str) -> str:
    if len(text) <= size:
        return text
    tail = size // 3
    note = _NOTE.format(cut=len(text) - size, all=len(text), how=how)
    return f"{text[: size - tail]}{note}{text[len(text) - tail :]}"
