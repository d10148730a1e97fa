"""`init_chat_model("moonshot:kimi-k2.6")`, after one call."""

from typing import Any

PREFIX = "moonshot"


def register_with_langchain() -> None:
    """Let `langchain.chat_models.init_chat_model` make `ChatKimi` of names like `moonshot:kimi-k2.6`.

    LangChain keeps its providers in a private table, into which this puts one row; a second call changes nothing.
    Raises ImportError without the package `langchain`, and RuntimeError where its table has changed its form.
    """
    from langchain.chat_models import base

    table: Any = getattr(base, "_BUILTIN_PROVIDERS", None)
    row = ("langchain_kimi", "ChatKimi", _made)
    if not isinstance(table, dict) or not all(isinstance(known, tuple) and len(known) == 3 for known in table.values()):
        raise RuntimeError(
            "This version of langchain keeps its chat models another way, so init_chat_model cannot learn of Kimi. "
            "Give ChatKimi(model=…) itself wherever a model is taken."
        )
    if (known := table.get(PREFIX)) is not None and known[:2] != row[:2]:
        raise RuntimeError(
            f"init_chat_model has a provider {PREFIX!r} already: {known[0]}.{known[1]}. It was left alone."
        )
    table[PREFIX] = row


def _made(cls: Any, **settings: Any) -> Any:
    return cls(**settings)
