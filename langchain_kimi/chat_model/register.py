"""Registers Kimi with LangChain's `init_chat_model("moonshot:kimi-k3")`."""

from typing import Any

_PROVIDER_PREFIX = "moonshot"


def register_with_langchain() -> None:
    """Let `langchain.chat_models.init_chat_model` make `ChatKimi` of names like `moonshot:kimi-k3`.

    LangChain has its providers in a private table, to which this adds one row; a second call changes nothing. Raises
    ImportError without the package `langchain`, and RuntimeError where the table has another form.
    """
    from langchain.chat_models import base

    table: Any = getattr(base, "_BUILTIN_PROVIDERS", None)
    row = ("langchain_kimi", "ChatKimi", _construct)
    if not isinstance(table, dict) or not all(isinstance(known, tuple) and len(known) == 3 for known in table.values()):
        raise RuntimeError(
            "Kimi cannot be registered with init_chat_model: this version of langchain has no table of chat models in "
            "the known form. Pass ChatKimi(model=…) instead of a model's name."
        )
    if (known := table.get(_PROVIDER_PREFIX)) is not None and known[:2] != row[:2]:
        raise RuntimeError(
            f"init_chat_model has a provider {_PROVIDER_PREFIX!r} already: {known[0]}.{known[1]}. It is left unchanged."
        )
    table[_PROVIDER_PREFIX] = row


def _construct(cls: Any, **settings: Any) -> Any:
    return cls(**settings)
